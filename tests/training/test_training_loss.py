"""The loss of a batch: weights, normalisation, padding, empty batches, what its pseudo-labels are."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_softseg import InputError, solve
from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.training.data import Batch
from napari_softseg.training.losses import LossTerms, TrainingLoss, entropy, labelled, self_labelling
from napari_softseg.training.options import train_options
from tests.training.random_batches import random_batch, random_logits

LOSSES: list[dict[str, Any]] = [
    {"loss": "pce"},
    {"loss": "full"},
    {"loss": "self"},
    {"loss": "self", "neighborhood": "dn", "relaxation": "q"},
    {"loss": "hard"},
    {"loss": "hard", "hard_labels": "cut"},
    {"loss": "hard", "cross_entropy": "rce"},
    {"loss": "gd"},
    {"loss": "gd", "neighborhood": "dn", "relaxation": "bl"},
]


def loss_of(
    batch: Batch, logits: Tensor, n_classes: int = 3, *, counts: Tensor | None = None, **options: Any
) -> LossTerms:
    chosen = train_options(**{"reach": 5.0, "bandwidth": 30.0, "eta": 0.3, "lambda_": 6.0, **options})
    result: LossTerms = TrainingLoss(chosen, n_classes)(logits, batch, stage=2, counts=counts)
    return result


def gradient(loss: LossTerms, logits: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss.total, logits)
    return result


def part(batch: Batch, b: int) -> Batch:
    """Image `b` as a batch of its own."""
    own = slice(b, b + 1)
    truth = None if batch.truth is None else batch.truth[own]
    return Batch(batch.images[own], batch.seeds[own], batch.valid[own], truth)


@pytest.mark.parametrize("normalisation", ["seeds", "means"])
def test_terms_have_the_stated_weights(normalisation: str) -> None:
    batch = random_batch(padding=1)
    logits = random_logits(batch)
    free = batch.valid & (batch.seeds < 0)
    of_seeds = 1 / float((batch.seeds >= 0).sum())
    of_free = of_seeds if normalisation == "seeds" else 1 / float(free.sum())
    pce = labelled(logits, batch.seeds).item() * of_seeds

    soft = loss_of(batch, logits, eta=0.7, normalisation=normalisation)
    assert soft.pseudo_labels is not None
    h = self_labelling(logits, soft.pseudo_labels, "cce", free).item()
    assert soft.terms["pce"] == pytest.approx(pce)
    assert soft.terms["self"] == pytest.approx(0.7 * h * of_free)
    assert soft.total.item() == pytest.approx(sum(soft.terms.values()))

    gd = loss_of(batch, logits, loss="gd", eta=0.7, normalisation=normalisation, lambda_=0.0)
    assert gd.terms["entropy"] == pytest.approx(0.7 * entropy(logits, free).item() * of_free)
    assert gd.terms["potts"] == 0
    assert loss_of(batch, logits, loss="gd", eta=0.7, entropy=0.2).terms["entropy"] == pytest.approx(
        gd.terms["entropy"] * 2 / 7 / (1 if normalisation == "means" else of_free * float(free.sum()))
    )
    assert "entropy" not in loss_of(batch, logits, loss="gd", entropy=0.0).terms

    full = loss_of(batch, logits, loss="full", normalisation=normalisation)
    assert batch.truth is not None
    expected = labelled(logits, batch.truth).item() / float((batch.truth >= 0).sum())
    assert full.terms == {"ce": pytest.approx(expected)}


def test_first_stage_is_strokes_alone() -> None:
    batch = random_batch()
    logits = random_logits(batch)
    first = TrainingLoss(train_options(loss="self"), 3)(logits, batch, stage=1)
    assert first.terms == loss_of(batch, logits, loss="pce").terms == {"pce": first.total.item()}
    assert first.pseudo_labels is None


@pytest.mark.parametrize("neighborhood", ["grid4", "grid8", "sn"])
def test_pseudo_labels_are_those_of_the_solver(neighborhood: str) -> None:
    """The same image, strokes and sigma by way of the public function."""
    batch = random_batch(size=(1, 30, 33))
    batch = dataclasses.replace(batch, images=batch.images.round())
    logits = random_logits(batch).detach().float()
    loss = loss_of(batch, logits.requires_grad_(), neighborhood=neighborhood, sweeps=500)
    there = solve(
        batch.images[0].movedim(0, -1).byte().numpy(),
        batch.seeds[0].numpy() + 1,
        unary=logits.detach().softmax(1)[0].numpy(),
        neighborhood=neighborhood,
        bandwidth=30.0,
        max_sweeps=500,
        tolerance=0.0,
        device="cpu",
    )
    assert loss.pseudo_labels is not None
    # where both end: on the way there, a last bit of sigma may decide whether momentum is given up
    torch.testing.assert_close(
        loss.pseudo_labels[0], torch.from_numpy(there.probabilities), atol=1e-4, rtol=0
    )
    strokes = float((batch.seeds >= 0).sum())
    free = float((batch.seeds < 0).sum())
    assert loss.terms["potts"] == pytest.approx(there.terms.pairwise / free, rel=1e-4)
    seeds_loss = loss_of(batch, logits, neighborhood=neighborhood, sweeps=500, normalisation="seeds")
    assert seeds_loss.terms["potts"] == pytest.approx(there.terms.pairwise / strokes, rel=1e-4)
    # where sigma trains and the pseudo-labels do not
    one_hot = loss.pseudo_labels[0].movedim(0, -1)[batch.seeds[0] >= 0]
    assert torch.equal(one_hot.argmax(-1), batch.seeds[0][batch.seeds[0] >= 0])


@pytest.mark.parametrize("name", list(CrossEntropy))
def test_gradient_is_that_of_fixed_pseudo_labels(name: str) -> None:
    batch = random_batch(padding=1)
    logits = random_logits(batch)
    loss = loss_of(batch, logits, cross_entropy=name, eta=0.9, normalisation="means")
    y, sigma = loss.pseudo_labels, logits.detach().softmax(1)
    assert y is not None
    free = (batch.valid & (batch.seeds < 0)).unsqueeze(1)
    on_free = {
        "ce": sigma - y,
        "rce": sigma * ((sigma * y.log()).sum(1, keepdim=True) - y.log()),
        "cce": sigma - y * sigma / (y * sigma).sum(1, keepdim=True),
    }[name]
    strokes = (batch.seeds >= 0).unsqueeze(1)
    one_hot = torch.nn.functional.one_hot(batch.seeds.clamp_min(0), 3).movedim(-1, 1)
    expected = torch.where(strokes, (sigma - one_hot) / strokes.sum(), 0.0)
    expected = expected + torch.where(free, 0.9 * on_free / free.sum(), 0.0)
    torch.testing.assert_close(gradient(loss, logits), expected)


def test_hard_labels_are_the_best_of_the_soft_ones() -> None:
    batch = random_batch()
    logits = random_logits(batch)
    soft, hard = (loss_of(batch, logits, loss=name).pseudo_labels for name in ("self", "hard"))
    assert soft is not None
    assert hard is not None
    assert hard.unique().tolist() == [0, 1]
    assert torch.equal(hard.sum(1), torch.ones_like(hard[:, 0]))
    assert torch.equal(hard.argmax(1), soft.argmax(1))
    # on one-hot labels ce and cce are the same -ln sigma_k
    by_ce, by_cce = (loss_of(batch, logits, loss="hard", cross_entropy=h) for h in ("ce", "cce"))
    assert by_ce.pseudo_labels is not None
    free = batch.valid & (batch.seeds < 0)
    expected = 0.3 * labelled(logits, torch.where(free, by_ce.pseudo_labels.argmax(1), -1)) / free.sum()
    assert by_ce.terms["self"] == pytest.approx(expected.item())
    assert by_cce.pseudo_labels is not None
    expected = 0.3 * labelled(logits, torch.where(free, by_cce.pseudo_labels.argmax(1), -1)) / free.sum()
    assert by_cce.terms["self"] == pytest.approx(expected.item())


@pytest.mark.parametrize(("lambda_", "centre"), [(1.0, 0), (4.0, 1)])
def test_cut_labels_count_8_neighbours(lambda_: float, centre: int) -> None:
    """One free pixel, class 0 by sigma at a gain of 10, among one neighbour of class 0 and seven of class 1.

    With all 8 neighbours class 1 gains 3 + 4 / sqrt(2) - 1 = 4.8 edges, with 4 of them 2.
    """
    seeds = torch.ones(1, 3, 3, dtype=torch.int64)
    seeds[0, 0, 1], seeds[0, 1, 1] = 0, -1
    batch = Batch(torch.zeros(1, 3, 3, 3), seeds, torch.ones_like(seeds, dtype=torch.bool), None)
    logits = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    logits[:, 0] = 10.0
    logits.requires_grad_()
    options: dict[str, Any] = {"loss": "hard", "hard_labels": "cut", "eta": 1.0, "lambda_": lambda_}
    labels = loss_of(batch, logits, 2, **options).pseudo_labels
    assert labels is not None
    assert labels.unique().tolist() == [0, 1]
    assert labels.argmax(1).tolist() == [[[1, 0, 1], [1, centre, 1], [1, 1, 1]]]
    # the solver's relaxation has no say, nor has its neighbourhood
    same = loss_of(batch, logits, 2, **options, relaxation="q", neighborhood="dn").pseudo_labels
    assert same is not None
    assert torch.equal(labels, same)


@pytest.mark.parametrize("options", LOSSES)
def test_padding_has_no_influence(options: dict[str, Any]) -> None:
    """Whatever lies there: pixels, strokes, masks, logits. And it gets no gradient."""
    batch = random_batch(padding=2)
    logits = random_logits(batch)
    base = loss_of(batch, logits, **options)
    outside = ~batch.valid
    assert batch.truth is not None
    other = dataclasses.replace(
        batch,
        images=torch.where(outside.unsqueeze(1), 255.0, batch.images),
        seeds=torch.where(outside, 1, batch.seeds),
        truth=torch.where(outside, 2, batch.truth),
    )
    changed = torch.where(outside.unsqueeze(1), 9.0 * torch.eye(3)[0].view(1, 3, 1, 1), logits).detach()
    loss = loss_of(other, changed.requires_grad_(), **options)
    assert loss.terms == pytest.approx(base.terms, rel=1e-9)
    slope = gradient(base, logits)
    torch.testing.assert_close(gradient(loss, changed), slope)
    assert not slope[outside.unsqueeze(1).expand_as(logits)].any()
    # and so it equals the crop without it
    size = (..., slice(None), slice(0, -2))
    crop = Batch(batch.images[size], batch.seeds[size], batch.valid[size], batch.truth[size])
    tolerance = 0.2 if options.get("neighborhood") == "dn" else 1e-9  # the lattice lies elsewhere
    cropped = logits[size].detach().requires_grad_()
    assert loss_of(crop, cropped, **options).terms == pytest.approx(base.terms, rel=tolerance)


@pytest.mark.parametrize("options", LOSSES)
def test_a_batch_is_the_sum_of_its_images(options: dict[str, Any]) -> None:
    """Times the number of seeds. No image gets more sweeps because another one needs them."""
    batch = random_batch(7)
    logits = random_logits(batch)
    options = {**options, "normalisation": "seeds"}

    def count(x: Batch) -> float:
        labels = x.truth if options["loss"] == "full" else x.seeds
        assert labels is not None
        return float((labels >= 0).sum())

    whole = loss_of(batch, logits, **options)
    parts = [loss_of(part(batch, b), logits[b : b + 1], **options) for b in range(2)]
    total = sum(p.total.item() * count(part(batch, b)) for b, p in enumerate(parts))
    assert whole.total.item() * count(batch) == pytest.approx(total, rel=1e-9)
    counts = [count(part(batch, b)) for b in range(2)]
    assert counts[0] != counts[1]


@pytest.mark.parametrize("normalisation", ["seeds", "means"])
@pytest.mark.parametrize("options", LOSSES)
def test_batches_with_common_counts_make_one_loss(options: dict[str, Any], normalisation: str) -> None:
    batch = random_batch(7)
    logits = random_logits(batch)
    options = {**options, "normalisation": normalisation}
    loss = TrainingLoss(train_options(**options), 3)
    mean = torch.stack([loss.counts(part(batch, b), stage=2) for b in range(2)]).mean(0)
    parts = [loss_of(part(batch, b), logits[b : b + 1], counts=mean, **options) for b in range(2)]
    whole = loss_of(batch, logits, **options)
    assert (parts[0].total.item() + parts[1].total.item()) / 2 == pytest.approx(whole.total.item(), rel=1e-9)


@pytest.mark.parametrize("normalisation", ["seeds", "means"])
@pytest.mark.parametrize("strokes", [0.0, 1.0])
@pytest.mark.parametrize("options", LOSSES)
def test_no_strokes_or_nothing_but_strokes(
    options: dict[str, Any], strokes: float, normalisation: str
) -> None:
    batch = random_batch(strokes=strokes)
    if options["loss"] == "full":
        batch = dataclasses.replace(batch, truth=torch.full_like(batch.seeds, -1))
    logits = random_logits(batch)
    loss = loss_of(batch, logits, normalisation=normalisation, **options)
    slope = gradient(loss, logits)
    assert math.isfinite(loss.total.item())
    assert torch.isfinite(slope).all()
    if strokes == 0:
        assert loss.terms.get("pce", 0) == 0
        if normalisation == "seeds" or options["loss"] in ("full", "pce"):
            assert loss.total.item() == 0
            assert not slope.any()
    else:
        assert loss.terms.get("self", 0) == loss.terms.get("entropy", 0) == 0


def test_a_batch_of_padding_alone_is_zero() -> None:
    batch = random_batch(padding=7)
    logits = random_logits(batch)
    for options in LOSSES:
        loss = loss_of(batch, logits, **options)
        assert loss.total.item() == 0
        assert not gradient(loss, logits).any()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    n_classes=st.integers(2, 5),
    sharpness=st.floats(0, 1000),
    strokes=st.floats(0, 1),
    options=st.sampled_from(LOSSES),
    relaxation=st.sampled_from(list(Relaxation)),
    cross_entropy=st.sampled_from(list(CrossEntropy)),
    normalisation=st.sampled_from(["seeds", "means"]),
)
def test_any_batch(
    seed: int,
    n_classes: int,
    sharpness: float,
    strokes: float,
    options: dict[str, Any],
    relaxation: str,
    cross_entropy: str,
    normalisation: str,
) -> None:
    """Finite, with finite gradients whose sum over the classes vanishes; pseudo-labels are distributions."""
    batch = random_batch(seed, n_classes=n_classes, strokes=strokes, padding=seed % 3)
    logits = random_logits(batch, n_classes, seed, sharpness).detach().float().requires_grad_()
    chosen = {"relaxation": relaxation, "cross_entropy": cross_entropy, **options}
    loss = loss_of(batch, logits, n_classes, normalisation=normalisation, **chosen)
    slope = gradient(loss, logits)
    assert torch.isfinite(slope).all()
    assert loss.total.item() == pytest.approx(sum(loss.terms.values()), rel=1e-4, abs=1e-6)
    assert all(value >= -1e-4 for value in loss.terms.values())
    if loss.pseudo_labels is not None:
        y = loss.pseudo_labels
        assert y.shape == logits.shape
        assert not y.requires_grad
        assert y.min() >= 0
        torch.testing.assert_close(y.sum(1), torch.ones_like(y[:, 0]), atol=1e-4, rtol=0)


def test_half_precision_is_widened() -> None:
    batch = random_batch()
    narrow = random_logits(batch).detach().bfloat16().requires_grad_()
    wide = narrow.detach().float().requires_grad_()
    for options in LOSSES:
        expected = loss_of(batch, wide, **options)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(batch, narrow, **options)
        assert loss.total.dtype == torch.float32
        assert loss.terms == expected.terms
        assert gradient(loss, narrow).dtype == torch.bfloat16


def test_logits_that_are_not_numbers_give_a_loss_that_is_none() -> None:
    """So that training can stop and say so."""
    batch = random_batch()
    logits = torch.full((2, 3, 6, 7), torch.nan, requires_grad=True)
    for options in LOSSES:
        assert math.isnan(loss_of(batch, logits, **options).total.item())


def test_what_does_not_go_together_is_refused_in_one_line() -> None:
    for loss in ("self", "gd", "hard"):
        with pytest.raises(InputError, match=r"^Neighborhood dn needs relaxation bl or q.*cd; choose[^\n]*$"):
            TrainingLoss(train_options(loss=loss, neighborhood="dn"), 3)
    TrainingLoss(train_options(loss="pce", neighborhood="dn"), 3)
    batch = dataclasses.replace(random_batch(), truth=None)
    with pytest.raises(InputError, match=r"^Loss full needs complete masks[^\n]*$"):
        loss_of(batch, random_logits(batch), loss="full")
