"""The dense neighbourhood against all pairs of pixels one by one, on images small enough for that."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data
from torch import Tensor

from napari_softseg import InputError, solve
from napari_softseg.options import CrossEntropy, Method, Relaxation
from napari_softseg.solver.dense import DENSE_RELAXATIONS, DenseEdges, dense_edges
from napari_softseg.solver.gradient_descent import iter_gradient_descent, logit_gradient
from napari_softseg.solver.kernels import numba_sweep
from napari_softseg.solver.kernels.numba_sweep import NumbaSweep
from napari_softseg.solver.kernels.torch_sweep import TorchSweep
from napari_softseg.solver.majorize_minimize import iter_majorize_minimize
from napari_softseg.solver.neighborhood import grid_edges
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.relaxations import relaxation_value
from napari_softseg.solver.solution import drain

PAIRS = [(p, h) for p in DENSE_RELAXATIONS for h in CrossEntropy]


def photo(channels: int = 3, height: int = 24, width: int = 28) -> Tensor:
    """A corner of a real photo, (1, C, H, W) float64; more channels mix those there are."""
    rgb = torch.from_numpy(data.astronaut()[80 : 80 + height, 180 : 180 + width]).double().movedim(-1, 0)
    return torch.stack([0.6 * rgb[k % 3] + 0.4 * rgb[(k // 2) % 3] for k in range(channels)])[None]


def exact_weights(image: Tensor, bandwidth: float, reach: float) -> Tensor:
    """All pairs, (N, N), from the definition; scaled to the mean degree of the 4-grid."""
    channels, height, width = image.shape[1:]
    colours = image[0].flatten(1).T
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double()
    far = (colours[:, None] - colours).square().sum(-1) * 3 / (2 * channels * bandwidth**2)
    weights = (-far - (places[:, None] - places).square().sum(-1) / (2 * reach**2)).exp().fill_diagonal_(0)
    grid = sum(float(w.sum()) for w in grid_edges(image, "grid4", bandwidth).values())
    return weights * (2 * grid / weights.sum())


def as_matrix(edges: DenseEdges) -> Tensor:
    """The weights (N, N) that the filter stands for: one column per pixel."""
    _, height, width = edges.degree.shape
    one_hot = torch.eye(height * width, dtype=edges.degree.dtype).view(1, -1, height, width)
    return edges.pull(one_hot)[0].flatten(1)


def problem(image: Tensor, n_classes: int = 3, dtype: torch.dtype = torch.float64, **changes: Any) -> Problem:
    """A noisy unary, a few seeds of every class."""
    batch, _, height, width = image.shape
    generator = torch.Generator().manual_seed(0)
    sigma = 2 * torch.randn(batch, n_classes, height, width, generator=generator, dtype=torch.float64)
    seeds = torch.full((batch, height, width), -1)
    for k in range(n_classes):
        seeds[:, 3 * k + 1, 3 : 3 + n_classes] = k
    options: dict[str, Any] = {"relaxation": "q", "bandwidth": 30.0, "reach": 8.0} | changes
    return Problem(
        seeds=seeds,
        edges={},
        dense=dense_edges(image.to(dtype), options.pop("bandwidth"), options.pop("reach")),
        n_classes=n_classes,
        sigma=sigma.softmax(1).to(dtype),
        **options,
    )


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("reach", [5.0, 20.0, 100.0])
def test_weights_are_close_to_those_of_all_pairs(channels: int, reach: float) -> None:
    image = photo(channels)
    exact = exact_weights(image, 15.0, reach)
    ours = as_matrix(dense_edges(image, 15.0, reach))
    assert ((ours - exact).norm() / exact.norm()).item() < 0.25
    assert ((ours.sum(1) - exact.sum(1)).abs().sum() / exact.sum()).item() < 0.08
    assert ours.sum().item() == pytest.approx(exact.sum().item())
    # what neighbours say on average, which is what decides a label
    classes = torch.arange(1, 4).view(3, 1, 1)
    y = (photo(1)[0] / 40 * classes).sin().softmax(0).flatten(1).double()
    said, should = (y @ w / w.sum(0).clamp_min(1e-9) for w in (ours, exact))
    assert (((said - should) * exact.sum(0)).abs().sum() / exact.sum() / 3).item() < 0.01


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_edges_are_symmetric_and_nonnegative_and_leave_out_the_pixel_itself(channels: int) -> None:
    edges = dense_edges(photo(channels), 15.0, 10.0)
    weights = as_matrix(edges)
    torch.testing.assert_close(weights, weights.T, atol=1e-12, rtol=1e-9)
    assert weights.min() >= 0
    assert weights.diagonal().abs().max() < 1e-12
    torch.testing.assert_close(weights.sum(1), edges.degree.flatten())


def test_symmetric_in_float32_at_full_size() -> None:
    image = torch.from_numpy(data.astronaut()).float().movedim(-1, 0)[None, :, :200, :160]
    edges = dense_edges(image, 9.0, 100.0)
    x, y = torch.rand(2, 1, 1, 200, 160, generator=torch.Generator().manual_seed(0))
    forth, back = (x * edges.pull(y)).double().sum(), (y * edges.pull(x)).double().sum()
    assert forth.item() == pytest.approx(back.item(), rel=1e-6)


@pytest.mark.parametrize("relaxation", DENSE_RELAXATIONS)
def test_energy_is_the_sum_over_all_pairs_but_those_of_seeds(relaxation: str) -> None:
    image = photo()
    p = problem(image, relaxation=relaxation, eta=0.0)
    assert p.dense is not None
    y = p.constrain(torch.rand(1, 3, 24, 28, generator=torch.Generator().manual_seed(1)).double().softmax(1))
    labels, seeds = y[0].flatten(1).T, p.seeds.flatten() >= 0
    value = relaxation_value(relaxation, labels[:, :, None].expand(-1, -1, len(labels)), labels.T[None])
    value[seeds[:, None] & seeds] = 0
    ours = p.energy_terms(y).pairwise
    assert ours == pytest.approx(p.lambda_ * (as_matrix(p.dense) * value).sum().item() / 2, rel=1e-10)
    assert ours == pytest.approx(
        p.lambda_ * (exact_weights(image, 30.0, 8.0) * value).sum().item() / 2, rel=0.03
    )


@pytest.mark.parametrize("relaxation", DENSE_RELAXATIONS)
def test_equal_labels_and_seeds_alone_cost_nothing(relaxation: str) -> None:
    p = problem(photo(), relaxation=relaxation, eta=0.0, dtype=torch.float32)
    same = p.fixed_labels[:, :, :1, :1].expand_as(p.fixed_labels).contiguous()
    none = dataclasses.replace(p, seeds=torch.full_like(p.seeds, -1))
    corner = torch.nn.functional.one_hot(torch.zeros_like(p.seeds), 3).movedim(-1, 1).float()
    assert none.energy_terms(corner).total == pytest.approx(0, abs=1e-3)
    if relaxation == "q":
        assert none.energy_terms(same).total == pytest.approx(0, abs=1e-3)
    full = dataclasses.replace(p, seeds=(torch.arange(24 * 28) % 3).view(1, 24, 28))
    assert full.energy_terms(full.start()).total == pytest.approx(0, abs=1e-2)
    assert none.energy_terms(full.start()).total > 1000


def test_the_energy_scale_is_that_of_the_grid() -> None:
    """Mean degree as in the 4-grid, whatever the size, so that lambda keeps its meaning."""
    for size in (24, 48):
        image = photo(3, size, size)
        grid = grid_edges(image, "grid4", 9.0)
        degree = dense_edges(image, 9.0, 50.0).degree
        assert degree.sum().item() == pytest.approx(2 * sum(w.sum().item() for w in grid.values()))


def test_constant_image_weighs_by_distance_alone() -> None:
    image = torch.full((1, 3, 20, 20), 77.0, dtype=torch.float64)
    weights = as_matrix(dense_edges(image, 9.0, 3.0)).view(20, 20, 20, 20)
    by_distance = [weights[10, 10, 10, 10 + d].item() for d in (1, 3, 6, 9)]
    assert by_distance == sorted(by_distance, reverse=True)
    assert by_distance[1] / by_distance[0] == pytest.approx(math.exp(-(9 - 1) / 18), rel=0.15)
    assert by_distance[3] < 0.03 * by_distance[0]
    flat = as_matrix(dense_edges(image, 9.0, 1e5))
    assert flat.sum(1).min() > 0.999 * flat.sum(1).max()


def test_images_of_a_batch_do_not_meet() -> None:
    first, second = photo(), photo().flip(-1) / 2 + 60
    y = torch.rand(2, 3, 24, 28, generator=torch.Generator().manual_seed(1)).double()
    together = dense_edges(torch.cat([first, second]), 15.0, 10.0)
    for index, image in enumerate((first, second)):
        alone = dense_edges(image, 15.0, 10.0)
        torch.testing.assert_close(together.pull(y)[index], alone.pull(y[index : index + 1])[0])
        torch.testing.assert_close(together.degree[index], alone.degree[0])


def test_padding_takes_no_part() -> None:
    image = photo()
    valid = torch.zeros(1, 24, 28, dtype=torch.bool)
    valid[..., :15, :19] = True
    padded = dense_edges(image.masked_fill(~valid, 500.0), 15.0, 10.0, valid)
    plain = dense_edges(image[..., :15, :19], 15.0, 10.0)
    y = torch.rand(1, 3, 24, 28, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(padded.pull(y)[..., :15, :19], plain.pull(y[..., :15, :19]))
    assert (padded.pull(y)[..., ~valid[0]] == 0).all()
    torch.testing.assert_close(padded.degree[..., :15, :19], plain.degree)


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_energy_never_rises(relaxation: str, cross_entropy: str, dtype: torch.dtype) -> None:
    p = problem(photo(), relaxation=relaxation, cross_entropy=cross_entropy, dtype=dtype)
    energies: list[float] = []
    end = drain(
        iter_majorize_minimize(p, max_sweeps=60, tolerance=0),
        lambda progress: energies.append(progress.energy or 0.0),
    )
    rounding = (1e-8 if dtype == torch.float64 else 1e-5) * energies[0]
    assert all(after <= before + rounding for before, after in itertools.pairwise(energies))
    # the result is normalised at last, which costs a little of the floor
    energies.append(p.energy_terms(end.labels).total)
    assert energies[-1] <= energies[-2] + 1e-5 * energies[0]
    assert energies[-1] < 0.9 * energies[0]


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
@pytest.mark.parametrize("with_grid", [False, True])
def test_the_fused_sweep_is_the_reference(relaxation: str, cross_entropy: str, with_grid: bool) -> None:
    """Also where a grid lies beside the dense edges."""
    assert numba_sweep.ready()
    image = torch.cat([photo(), photo().flip(-1)])
    edges = grid_edges(image.float(), "grid8", 30.0) if with_grid else {}
    p = problem(image, relaxation=relaxation, cross_entropy=cross_entropy, dtype=torch.float32)
    p = dataclasses.replace(p, edges=edges)
    exact = p.to(torch.device("cpu"), torch.float64)
    fused, reference = NumbaSweep(p, p.start(), 1e-5), TorchSweep(exact, exact.start())
    for momentum in (0.0, 0.4, 0.4):
        at = [momentum] * 2
        (ours, moved), (theirs, expected) = fused.sweep(at), reference.sweep(at)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3)
        fused.advance()
        reference.advance()
        torch.testing.assert_close(fused.labels().double(), reference.labels(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
def test_single_sweeps_without_momentum_never_raise_the_energy(relaxation: str, cross_entropy: str) -> None:
    p = problem(photo(), relaxation=relaxation, cross_entropy=cross_entropy)
    y = p.start()
    for _ in range(15):
        after = drain(iter_majorize_minimize(p, max_sweeps=1, tolerance=0, start=y)).labels
        before = p.energy_terms(y).total
        assert p.energy_terms(after).total <= before + 1e-9 * before
        y = after


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
def test_gradient_of_the_energy_is_autograds(relaxation: str, cross_entropy: str) -> None:
    p = problem(photo(), relaxation=relaxation, cross_entropy=cross_entropy)
    logits = torch.randn(1, 3, 24, 28, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logits.requires_grad_()
    p.energies(p.constrain(logits.softmax(1))).sum().backward()
    assert logits.grad is not None
    with torch.no_grad():
        ours = logit_gradient(p, p.constrain(logits.softmax(1)))
    torch.testing.assert_close(ours, logits.grad, atol=1e-8, rtol=1e-6)


def test_q_without_a_unary_meets_the_linear_system() -> None:
    """The minimum of a convex quadratic energy: L_FF Y_F = W_FS Y_S over all pairs."""
    p = problem(photo(), eta=0.0)
    assert p.dense is not None
    weights = as_matrix(p.dense).T
    laplacian = torch.diag(weights.sum(1)) - weights
    free = p.free.flatten()
    expected = p.fixed_labels[0].flatten(1).T.clone()
    expected[free] = torch.linalg.solve(laplacian[free][:, free], weights[free][:, ~free] @ expected[~free])
    ours = drain(iter_majorize_minimize(p, max_sweeps=3000, tolerance=1e-9)).labels
    torch.testing.assert_close(ours[0].flatten(1).T, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("relaxation", DENSE_RELAXATIONS)
def test_gradient_descent_goes_down_too(relaxation: str) -> None:
    p = problem(photo(), relaxation=relaxation)
    end = drain(iter_gradient_descent(p, steps=100)).labels
    best = drain(iter_majorize_minimize(p)).labels
    assert p.energy_terms(end).total < p.energy_terms(p.start()).total
    assert p.energy_terms(best).total < 1.01 * p.energy_terms(end).total


@pytest.fixture(scope="module")
def strokes() -> npt.NDArray[np.uint8]:
    scribbles = np.zeros((64, 72), np.uint8)
    scribbles[30:34, 30:50] = 3
    scribbles[4:8, 4:16] = 7
    return scribbles


@pytest.mark.parametrize("relaxation", [r for r in Relaxation if r not in DENSE_RELAXATIONS])
def test_other_relaxations_are_refused(strokes: npt.NDArray[np.uint8], relaxation: str) -> None:
    with pytest.raises(InputError, match=rf"dn needs relaxation bl or q.*got {relaxation}; choose .*sn"):
        solve(data.astronaut()[60:124, 170:242], strokes, neighborhood="dn", relaxation=relaxation)


def test_the_closed_form_is_refused(strokes: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"closed-form needs .* dn does not give; choose method mm"):
        solve(
            data.astronaut()[60:124, 170:242],
            strokes,
            neighborhood="dn",
            relaxation="q",
            method="closed-form",
        )


@pytest.mark.parametrize("relaxation", DENSE_RELAXATIONS)
@pytest.mark.parametrize("method", [Method.MM, Method.GD])
@pytest.mark.parametrize("unary", ["classifier", "none"])
def test_solves_a_photo(strokes: npt.NDArray[np.uint8], relaxation: str, method: str, unary: str) -> None:
    image = data.astronaut()[60:124, 170:242]
    solution = solve(
        image, strokes, neighborhood="dn", relaxation=relaxation, method=method, unary=unary, device="cpu"
    )
    np.testing.assert_allclose(solution.probabilities.sum(0), 1, atol=1e-5)
    assert (solution.labels[strokes > 0] == strokes[strokes > 0]).all()
    assert np.isfinite(solution.energy)


def test_reach_tells_near_from_far() -> None:
    """Two strokes on one colour: a short reach labels by distance, a long one cannot tell them apart."""
    image = np.full((40, 80), 90, np.uint8)
    strokes = np.zeros((40, 80), np.uint8)
    strokes[18:22, 8:12], strokes[18:22, 68:72] = 1, 2
    options: dict[str, Any] = {"neighborhood": "dn", "relaxation": "q", "unary": "none", "device": "cpu"}
    near = solve(image, strokes, reach=8, tolerance=1e-5, max_sweeps=2000, **options).probabilities
    far = solve(image, strokes, reach=10_000, tolerance=1e-5, max_sweeps=2000, **options).probabilities
    assert near[0, 30, 5] > 0.6
    assert near[1, 30, 75] > 0.6
    assert abs(far[0, 30, 5] - 0.5) < 0.05


def test_a_colour_of_its_own_has_nobody_to_listen_to() -> None:
    image = np.random.default_rng(0).integers(0, 255, (24, 24, 3)).astype(np.uint8)
    strokes = np.zeros((24, 24), np.uint8)
    strokes[3, 3:9], strokes[15, 10:16] = 1, 2
    for relaxation in DENSE_RELAXATIONS:
        solution = solve(
            image,
            strokes,
            neighborhood="dn",
            relaxation=relaxation,
            bandwidth=0.01,
            unary="none",
            device="cpu",
        )
        assert np.isfinite(solution.probabilities).all()
        assert solution.energy == pytest.approx(0, abs=1e-6)
