"""The terms of the losses against autograd, closed forms, hand-computed values and loops over pairs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_softseg.options import CrossEntropy, Neighborhood, Relaxation
from napari_softseg.solver.dense import DENSE_RELAXATIONS
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.relaxations import relaxation_value
from napari_softseg.training.data import Batch
from napari_softseg.training.losses import entropy, labelled, potts, self_labelling
from napari_softseg.training.options import train_options
from napari_softseg.training.pseudo_labels import batch_problem
from tests.training.random_batches import random_batch, random_logits

SPARSE = [(p, n) for p in Relaxation for n in Neighborhood if n is not Neighborhood.DN]
ALL = SPARSE + [(p, Neighborhood.DN) for p in DENSE_RELAXATIONS]


def potts_problem(batch: Batch, n_classes: int = 3, **options: Any) -> Problem:
    """Edges of a batch alone, float64."""
    nothing = torch.full_like(batch.seeds, -1)
    chosen = train_options(bandwidth=30.0, reach=5.0, **options)
    return batch_problem(batch.images.double(), nothing, batch.valid, n_classes, chosen)


def pseudo_labels(like: Tensor, seed: int = 5, sharpness: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(like.shape, generator=generator, dtype=like.dtype)).softmax(1)


def gradient(total: Tensor, logits: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(total, logits)
    return result


def test_labelled_by_hand() -> None:
    logits = torch.tensor([1.0, 3.0]).log().view(1, 2, 1, 1).repeat(1, 1, 1, 3)  # sigma = 1/4, 3/4
    labels = torch.tensor([[[0, 1, -1]]])
    assert labelled(logits, labels).item() == pytest.approx(-math.log(1 / 4) - math.log(3 / 4))


def test_entropy_by_hand() -> None:
    logits = torch.zeros(1, 4, 1, 3)
    logits[0, 0, 0, 1] = 100.0
    free = torch.tensor([[[True, True, False]]])
    assert entropy(logits, free).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ce", -(0.8 * math.log(0.25) + 0.2 * math.log(0.75))),
        ("rce", -(0.25 * math.log(0.8) + 0.75 * math.log(0.2))),
        ("cce", -math.log(0.8 * 0.25 + 0.2 * 0.75)),
    ],
)
def test_self_labelling_by_hand(name: str, expected: float) -> None:
    logits = torch.tensor([1.0, 3.0]).log().view(1, 2, 1, 1).repeat(1, 1, 1, 3)
    labels = torch.tensor([0.8, 0.2]).view(1, 2, 1, 1).repeat(1, 1, 1, 3)
    free = torch.tensor([[[True, True, False]]])
    assert self_labelling(logits, labels, name, free).item() == pytest.approx(2 * expected)


def test_gradients_of_pixel_terms() -> None:
    batch = random_batch(padding=2)
    logits, free = random_logits(batch), batch.valid & (batch.seeds < 0)
    y = pseudo_labels(logits)
    assert torch.autograd.gradcheck(lambda x: labelled(x, batch.seeds), logits)
    assert torch.autograd.gradcheck(lambda x: entropy(x, free), logits)
    for name in CrossEntropy:
        assert torch.autograd.gradcheck(lambda x, h=name: self_labelling(x, y, h, free), logits)


@pytest.mark.parametrize(("relaxation", "neighborhood"), ALL)
def test_gradient_of_potts(relaxation: str, neighborhood: str) -> None:
    batch = random_batch(size=(2, 4, 5), padding=1)
    problem = potts_problem(batch, relaxation=relaxation, neighborhood=neighborhood)
    assert torch.autograd.gradcheck(lambda x: potts(x, problem), random_logits(batch))
    # scaled from outside
    logits = random_logits(batch)
    once = gradient(potts(logits, problem), logits)
    torch.testing.assert_close(gradient(-3 * potts(logits, problem), logits), -3 * once)
    assert once.abs().sum() > 0


@pytest.mark.parametrize("name", list(CrossEntropy))
def test_self_labelling_gradient_in_closed_form(name: str) -> None:
    """dH/dl: sigma - y (CE), sigma (ln y mean - ln y) (RCE), sigma - y sigma / y.sigma (CCE)."""
    batch = random_batch()
    logits, free = random_logits(batch), batch.valid & (batch.seeds < 0)
    y, sigma = pseudo_labels(logits), logits.detach().softmax(1)
    expected = {
        "ce": sigma - y,
        "rce": sigma * ((sigma * y.log()).sum(1, keepdim=True) - y.log()),
        "cce": sigma - y * sigma / (y * sigma).sum(1, keepdim=True),
    }[name] * free.unsqueeze(1)
    torch.testing.assert_close(gradient(self_labelling(logits, y, name, free), logits), expected)


def test_no_gradient_reaches_the_pseudo_labels() -> None:
    logits = random_logits(random_batch())
    y = pseudo_labels(logits).requires_grad_()
    for name in CrossEntropy:
        total = self_labelling(logits, y, name, torch.ones_like(logits[:, 0], dtype=torch.bool))
        assert torch.autograd.grad(total, y, allow_unused=True)[0] is None


@pytest.mark.parametrize(("relaxation", "neighborhood"), SPARSE)
def test_potts_is_the_sum_over_pairs(relaxation: str, neighborhood: str) -> None:
    batch = random_batch(size=(2, 5, 6), padding=1)
    problem = potts_problem(batch, relaxation=relaxation, neighborhood=neighborhood, lambda_=2.5)
    logits = random_logits(batch)
    sigma, total = logits.detach().softmax(1), 0.0
    for (dy, dx), weights in problem.edges.items():
        for b, i, j in itertools.product(range(2), range(5 - dy), range(6)):
            if 0 <= j + dx < 6:
                p, q = sigma[b, :, i, j], sigma[b, :, i + dy, j + dx]
                both = batch.valid[b, i, j] & batch.valid[b, i + dy, j + dx]
                colours = (batch.images[b, :, i, j] - batch.images[b, :, i + dy, j + dx]).double()
                weight = math.exp(-float(colours.square().sum()) / (2 * 30.0**2)) / math.hypot(dy, dx)
                assert weights[b, i, j].item() == pytest.approx(weight * both.item())
                total += 2.5 * weight * float(both) * relaxation_value(relaxation, p[None], q[None]).item()
    assert potts(logits, problem).item() == pytest.approx(total)


@pytest.mark.parametrize("relaxation", ["bl", "q", "nq"])
def test_potts_of_hard_predictions_is_the_weight_of_the_cut(relaxation: str) -> None:
    """Two edges are cut, one of a step of 30 in all colours, one of none."""
    images = torch.tensor([10.0, 10.0, 40.0, 40.0]).repeat(3, 1).view(1, 3, 1, 4)
    ones = torch.ones(1, 1, 4, dtype=torch.bool)
    batch = Batch(images, torch.full((1, 1, 4), -1), ones, None)
    problem = potts_problem(batch, n_classes=2, relaxation=relaxation, lambda_=6.0)
    logits = torch.zeros(1, 2, 1, 4, dtype=torch.float64)
    for pixel, k in enumerate([0, 0, 1, 0]):
        logits[0, k, 0, pixel] = 2000.0  # sigma is exactly one-hot
    assert logits.softmax(1).unique().tolist() == [0.0, 1.0]
    assert potts(logits, problem).item() == pytest.approx(6.0 * (math.exp(-3 * 30**2 / (2 * 30**2)) + 1))


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    n_classes=st.integers(2, 6),
    sharpness=st.floats(0, 2000),
    choice=st.sampled_from(ALL),
    cross_entropy=st.sampled_from(list(CrossEntropy)),
)
def test_any_logits(
    seed: int, n_classes: int, sharpness: float, choice: tuple[str, str], cross_entropy: str
) -> None:
    """Finite and nonnegative; a constant for all classes changes nothing, so gradients sum to zero."""
    batch = random_batch(seed, n_classes=n_classes, padding=seed % 3)
    logits = random_logits(batch, n_classes, seed, sharpness).detach().float().requires_grad_()
    free = batch.valid & (batch.seeds < 0)
    problem = potts_problem(batch, n_classes, relaxation=choice[0], neighborhood=choice[1])
    problem = problem.to(torch.device("cpu"), torch.float32)
    y = pseudo_labels(logits, seed, min(sharpness, 5.0))
    for total in (
        labelled(logits, batch.seeds),
        entropy(logits, free),
        self_labelling(logits, y, cross_entropy, free),
        potts(logits, problem),
    ):
        slope = gradient(total, logits)
        assert math.isfinite(total.item())
        assert total.item() >= -1e-3
        assert torch.isfinite(slope).all()
        assert not slope[~batch.valid.unsqueeze(1).expand_as(slope)].any()
        scale = float(slope.abs().sum(1).max())
        if choice[0] == "lq" and sharpness > 5:
            continue  # certain neighbours that disagree: not even float64 knows what is left of 1 - sigma
        assert float(slope.sum(1).abs().max()) <= 1e-4 * scale + 1e-5


@pytest.mark.parametrize("relaxation", list(Relaxation))
def test_single_precision_is_enough(relaxation: str) -> None:
    """Also between neighbours that are certain of different classes."""
    batch = random_batch(size=(2, 12, 12))
    logits = random_logits(batch, sharpness=8.0)
    problem = potts_problem(batch, relaxation=relaxation)
    narrow = logits.detach().float().requires_grad_()
    narrow_problem = problem.to(torch.device("cpu"), torch.float32)
    ours = gradient(potts(narrow, narrow_problem), narrow)
    torch.testing.assert_close(ours.double(), gradient(potts(logits, problem), logits), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["ce", "cce"])
def test_a_confident_mistake_is_still_pulled_back(name: str) -> None:
    """sigma of the right class is e^-40: far below every floor of the solver, if the label is soft."""
    logits = torch.tensor([0.0, 40.0]).view(1, 2, 1, 1).requires_grad_()
    free = torch.ones(1, 1, 1, dtype=torch.bool)
    one_hot = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    soft = torch.tensor([1 - 1e-6, 1e-6]).view(1, 2, 1, 1)
    for y in (one_hot, soft) if name == "ce" else (soft,):
        slope = gradient(self_labelling(logits, y, name, free), logits).flatten()
        if name == "ce":
            assert slope.tolist() == pytest.approx([-1, 1], abs=1e-5)
        else:  # CCE takes a certain sigma's word against a label that leaves any doubt
            sigma = torch.tensor([0.0, 40.0]).double().softmax(0).numpy()
            share = np.array([1 - 1e-6, 1e-6]) * sigma
            assert slope.numpy() == pytest.approx(sigma - share / share.sum(), abs=1e-9)


def test_sums_over_nothing_have_a_graph() -> None:
    batch = random_batch()
    logits, nowhere = random_logits(batch), torch.zeros_like(batch.valid)
    for total in (
        labelled(logits, torch.full_like(batch.seeds, -1)),
        entropy(logits, nowhere),
        *(self_labelling(logits, pseudo_labels(logits), name, nowhere) for name in CrossEntropy),
        potts(logits, potts_problem(Batch(batch.images, batch.seeds, nowhere, None))),
    ):
        assert total.item() == 0
        assert not gradient(total, logits).any()
