"""The three methods against closed forms, other implementations, and properties of the problem."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import maxflow
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.gradient_descent import LEARNING_RATE, iter_gradient_descent, logit_gradient
from napari_softseg.solver.majorize_minimize import iter_majorize_minimize
from napari_softseg.solver.neighborhood import OFFSETS, grid_edges
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.random_walker import iter_random_walker
from napari_softseg.solver.simplex import minimise_on_simplex
from napari_softseg.solver.solution import Status, drain

PAIRS = [(p, h) for p in Relaxation for h in CrossEntropy]


def problem(
    height: int = 14,
    width: int = 17,
    n_classes: int = 3,
    *,
    batch: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    neighborhood: str = "grid4",
    confidence: float = 1.5,
    **changes: Any,
) -> Problem:
    """A random problem: noisy image, noisy unary, a few seeds of every class."""
    generator = torch.Generator().manual_seed(seed)
    image = 40 * torch.rand(batch, 3, height, width, generator=generator, dtype=dtype)
    sigma = torch.randn(batch, n_classes, height, width, generator=generator, dtype=dtype)
    seeds = torch.full((batch, height, width), -1)
    for k in range(n_classes):
        seeds[:, 2 * k, 3 : 3 + n_classes] = k
    return Problem(
        seeds=seeds,
        edges=grid_edges(image, neighborhood, 9.0),
        n_classes=n_classes,
        sigma=(confidence * sigma).softmax(1),
        **changes,
    )


def brute_force_energy(p: Problem, y: Tensor) -> float:
    """Pixel by pixel and edge by edge, from the definitions."""
    seeds = p.seeds[0].numpy()
    labels, sigma = y[0].numpy(), p.sigma[0].numpy() if p.sigma is not None else None
    total = 0.0
    for i, j in np.argwhere(seeds < 0):
        if sigma is not None:
            total -= p.eta * np.log(labels[:, i, j] @ sigma[:, i, j])
    for (dy, dx), weight in p.edges.items():
        for i, j in np.argwhere(weight[0].numpy() > 0):
            if seeds[i, j] >= 0 and seeds[i + dy, j + dx] >= 0:
                continue
            a, b = labels[:, i, j], labels[:, i + dy, j + dx]
            total -= (
                p.lambda_ * weight[0, i, j].item() * np.log(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            )
    return total


@pytest.mark.parametrize("neighborhood", OFFSETS)
def test_energy_is_the_sum_over_pixels_and_edges(neighborhood: str) -> None:
    p = problem(7, 8, neighborhood=neighborhood)
    y = p.constrain(
        torch.rand(1, 3, 7, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(1)
    )
    assert p.energy_terms(y).total == pytest.approx(brute_force_energy(p, y), rel=1e-10)


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
@pytest.mark.parametrize("neighborhood", OFFSETS)
def test_energy_never_rises(relaxation: str, cross_entropy: str, neighborhood: str) -> None:
    p = problem(relaxation=relaxation, cross_entropy=cross_entropy, neighborhood=neighborhood, confidence=4.0)
    energies: list[float] = []
    end = drain(
        iter_majorize_minimize(p, max_sweeps=60, tolerance=0, start=p.start()),
        lambda progress: energies.append(progress.energy or 0.0),
    )
    scale = abs(energies[0])
    assert all(after <= before + 1e-8 * scale for before, after in itertools.pairwise(energies))
    # what the solver says of its result; that is normalised at last, which costs a little of the floor
    assert end.terms.total == pytest.approx(p.energy_terms(end.labels).total, rel=1e-12)
    assert end.terms.total <= energies[-1] + 1e-5 * scale
    assert energies[-1] < energies[0] - 0.1 * scale


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
def test_energy_never_rises_in_float32_against_a_sharp_unary(relaxation: str, cross_entropy: str) -> None:
    """Labels a hair from one-hot are where single precision fails first."""
    p = problem(
        24, 24, dtype=torch.float32, confidence=6.0, relaxation=relaxation, cross_entropy=cross_entropy
    )
    energies: list[float] = []
    drain(
        iter_majorize_minimize(p, max_sweeps=60, tolerance=0, start=p.start()),
        lambda progress: energies.append(progress.energy or 0.0),
    )
    assert all(after <= before + 1e-5 * energies[0] for before, after in itertools.pairwise(energies))


def test_threads_of_torch_are_left_as_they_were() -> None:
    """Also with two solves at once and one that is never finished."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        p = problem(300, 300, dtype=torch.float32)
        suspended = iter_majorize_minimize(p, max_sweeps=5, start=p.start())
        next(suspended)
        drain(iter_majorize_minimize(p, max_sweeps=2, start=p.start()))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
        suspended.close()
    finally:
        torch.set_num_threads(before)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    pair=st.sampled_from(PAIRS),
    confidence=st.floats(0, 8),
    eta=st.floats(0, 5),
    lambda_=st.floats(0, 50),
)
def test_one_sweep_never_raises_the_energy(
    seed: int, pair: tuple[str, str], confidence: float, eta: float, lambda_: float
) -> None:
    """In float32, as the solver runs; labels stay distributions and seeds one-hot."""
    p = problem(
        9,
        8,
        seed=seed,
        dtype=torch.float32,
        confidence=confidence,
        relaxation=pair[0],
        cross_entropy=pair[1],
        eta=eta,
        lambda_=lambda_,
    )
    before = p.constrain(p.start().clamp_min(1e-6))
    after = drain(iter_majorize_minimize(p, max_sweeps=1, tolerance=0, start=before)).labels
    start = p.energy_terms(before).total
    assert p.energy_terms(after).total <= start + 1e-4 * abs(start) + 1e-5
    assert (after >= 0).all()
    torch.testing.assert_close(after.sum(1), torch.ones_like(after[:, 0]), atol=1e-4, rtol=0)
    on_seeds = (p.seeds[:, None] >= 0).expand_as(after)
    assert torch.equal(after[on_seeds], p.fixed_labels[on_seeds])


@pytest.mark.parametrize("relaxation", ["q", "lq"])
@pytest.mark.parametrize("cross_entropy", list(CrossEntropy))
def test_convex_pairs_meet_at_one_energy(relaxation: str, cross_entropy: str) -> None:
    """Q and LQ with any H are convex programs: every method and start must end alike."""
    p = problem(8, 9, relaxation=relaxation, cross_entropy=cross_entropy, lambda_=2.0)
    uniform = p.constrain(torch.full_like(p.fixed_labels, 1 / 3))
    one, other = (
        p.energy_terms(end.labels).total
        for start in (p.start(), uniform)
        for end in [drain(iter_majorize_minimize(p, max_sweeps=400, tolerance=0, start=start))]
    )
    assert one == pytest.approx(other, rel=1e-5)
    # plain gradient descent gets there slowly, from above
    descended = p.energy_terms(drain(iter_gradient_descent(p, steps=3000)).labels).total
    assert one * (1 - 1e-6) <= descended <= 1.03 * one


def test_closed_form_against_a_dense_linear_system() -> None:
    p = problem(6, 7, relaxation="q", neighborhood="grid8")
    count = 6 * 7
    laplacian = np.zeros((count, count))
    for (dy, dx), weight in p.edges.items():
        for i, j in np.argwhere(weight[0].numpy() > 0):
            a, b, w = i * 7 + j, (i + dy) * 7 + j + dx, weight[0, i, j].item()
            laplacian[[a, b], [a, b]] += w
            laplacian[[a, b], [b, a]] -= w
    free = (p.seeds.flatten() < 0).numpy()
    assert p.sigma is not None
    sigma = p.sigma[0].flatten(1).T.numpy()
    fixed = p.fixed_labels[0].flatten(1).T.numpy()
    system = p.eta * np.eye(count) + p.lambda_ * laplacian
    right = p.eta * sigma[free] - system[np.ix_(free, ~free)] @ fixed[~free]
    expected = fixed.copy()
    expected[free] = np.linalg.solve(system[np.ix_(free, free)], right)
    ours = drain(iter_random_walker(p)).labels[0].flatten(1).T.numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_without_a_unary_the_solver_meets_the_closed_form() -> None:
    """Both then minimise the same convex energy, lambda/2 sum w |y_i - y_j|^2."""
    p = problem(10, 10, relaxation="q", eta=0.0)
    walker = drain(iter_random_walker(p)).labels
    ours = drain(iter_majorize_minimize(p, max_sweeps=1000, tolerance=0)).labels
    torch.testing.assert_close(ours, walker, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
def test_gradient_of_the_energy_is_autograds(relaxation: str, cross_entropy: str) -> None:
    p = problem(6, 7, relaxation=relaxation, cross_entropy=cross_entropy, neighborhood="grid8")
    logits = torch.randn(1, 3, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logits.requires_grad_()
    p.energies(p.constrain(logits.softmax(1))).sum().backward()
    assert logits.grad is not None
    with torch.no_grad():
        ours = logit_gradient(p, p.constrain(logits.softmax(1)))
    torch.testing.assert_close(ours, logits.grad, atol=1e-8, rtol=1e-6)


def test_gradient_descent_is_the_papers_in_autograd() -> None:
    """Written again as the paper says it: softmax, seeds reset, plain steps of 0.075 on sums."""
    p = problem(8, 9)
    assert p.sigma is not None
    logits = p.sigma.log().requires_grad_()
    seeds = p.seeds[0]
    one_hot = torch.nn.functional.one_hot(seeds.clamp_min(0), 3).movedim(-1, 0)[None].double()
    for _ in range(25):
        y = torch.where(seeds >= 0, one_hot, logits.softmax(1))
        unary = -(y * p.sigma).sum(1).log()[:, seeds < 0].sum()
        right = torch.nn.functional.cosine_similarity(y[..., :, :-1], y[..., :, 1:], dim=1)
        down = torch.nn.functional.cosine_similarity(y[..., :-1, :], y[..., 1:, :], dim=1)
        # edges between seeds have weight 0, and 0 * ln 0 must not become NaN
        w_right, w_down = p.edges[(0, 1)][..., :-1], p.edges[(1, 0)][..., :-1, :]
        pairwise = -(w_right * right.clamp_min(1e-300).log()).sum()
        pairwise -= (w_down * down.clamp_min(1e-300).log()).sum()
        (gradient,) = torch.autograd.grad(p.eta * unary + p.lambda_ * pairwise, logits)
        logits = (logits - LEARNING_RATE * torch.where(seeds < 0, gradient, 0.0)).detach().requires_grad_()
    expected = torch.where(seeds >= 0, one_hot, logits.softmax(1)).detach()
    ours = drain(iter_gradient_descent(p, steps=25)).labels
    torch.testing.assert_close(ours, expected, atol=1e-8, rtol=1e-6)


def test_bilinear_is_tight_against_max_flow() -> None:
    """BL + CE: rounding the relaxed labels pixel by pixel gives a labelling no worse than they are.

    The relaxed minimum is the discrete one, which max-flow finds for two classes; ours is a local
    minimum, so it may end above, never below.
    """
    height, width = 10, 11
    p = problem(height, width, 2, relaxation="bl", cross_entropy="ce", lambda_=2.0, confidence=1.0)
    assert p.sigma is not None
    graph = maxflow.Graph[float]()
    nodes = graph.add_grid_nodes((height, width))
    for (dy, dx), weight in p.edges.items():
        structure = np.zeros((3, 3))
        structure[1 + dy, 1 + dx] = 1
        capacity = p.lambda_ * weight[0].numpy()
        graph.add_grid_edges(nodes, weights=capacity, structure=structure, symmetric=True)
    cost = -p.eta * p.sigma[0].log().numpy()
    seeds = p.seeds[0].numpy()
    cost[:, seeds >= 0] = 0
    cost[0, seeds == 1] = cost[1, seeds == 0] = 1e6
    graph.add_grid_tedges(nodes, cost[1], cost[0])
    discrete = graph.maxflow()
    segments = torch.from_numpy(graph.get_grid_segments(nodes).astype(np.int64))[None]
    cut = torch.nn.functional.one_hot(segments, 2).movedim(-1, 1).double()
    assert p.energy_terms(p.constrain(cut)).total == pytest.approx(discrete, rel=1e-6)

    relaxed = drain(iter_majorize_minimize(p, max_sweeps=3000, tolerance=1e-9)).labels
    soft = p.energy_terms(relaxed).total
    assert soft >= discrete * (1 - 1e-9)
    rounded = _rounded_one_by_one(p, relaxed)
    assert p.energy_terms(rounded).total <= soft + 1e-9
    assert p.energy_terms(rounded).total <= 1.05 * discrete
    # from the cut itself nothing can go down any further
    softened = p.constrain(0.999 * cut + 0.0005)
    stays = drain(iter_majorize_minimize(p, max_sweeps=500, tolerance=0, start=softened)).labels
    assert p.energy_terms(stays).total == pytest.approx(discrete, rel=1e-3)


def _rounded_one_by_one(p: Problem, y: Tensor) -> Tensor:
    """BL + CE is linear in every single label: moving it to its best corner cannot raise the energy."""
    y = y.clone()
    assert p.sigma is not None
    for i, j in np.argwhere(p.free[0].numpy()):
        slope = -p.eta * p.sigma[0, :, i, j].log() - p.lambda_ * p.pairwise(y).pull[0, :, i, j]
        y[0, :, i, j] = torch.nn.functional.one_hot(slope.argmin(), p.n_classes)
    return y


@pytest.mark.parametrize(("relaxation", "cross_entropy"), [("cd", "cce"), ("lq", "ce"), ("q", "rce")])
def test_equivariance(relaxation: str, cross_entropy: str) -> None:
    """Flipped images and renamed classes give flipped and renamed labels."""
    generator = torch.Generator().manual_seed(0)
    image = 40 * torch.rand(1, 3, 12, 12, generator=generator, dtype=torch.float64)
    sigma = torch.randn(1, 3, 12, 12, generator=generator, dtype=torch.float64).softmax(1)
    seeds = torch.full((1, 12, 12), -1)
    seeds[0, 1, 2:5], seeds[0, 6, 3:5], seeds[0, 9, 7:9] = 0, 1, 2

    def run(image: Tensor, sigma: Tensor, seeds: Tensor) -> Tensor:
        p = Problem(
            seeds=seeds,
            edges=grid_edges(image, "grid8", 9.0),
            n_classes=3,
            sigma=sigma,
            relaxation=relaxation,
            cross_entropy=cross_entropy,
        )
        return drain(iter_majorize_minimize(p, max_sweeps=80, tolerance=0, start=p.start())).labels

    plain = run(image, sigma, seeds)
    for axes in [(-1,), (-2,), (-1, -2)]:
        flipped = run(image.flip(axes), sigma.flip(axes), seeds.flip(axes))
        torch.testing.assert_close(flipped.flip(axes), plain, atol=1e-6, rtol=0)
    order = torch.tensor([2, 0, 1])
    renamed = run(image, sigma[:, order], torch.where(seeds < 0, seeds, order.argsort()[seeds]))
    torch.testing.assert_close(renamed[:, order.argsort()], plain, atol=1e-6, rtol=0)


def test_padding_takes_no_part() -> None:
    generator = torch.Generator().manual_seed(0)
    image = 40 * torch.rand(1, 3, 16, 20, generator=generator, dtype=torch.float64)
    sigma = torch.randn(1, 3, 16, 20, generator=generator, dtype=torch.float64).softmax(1)
    seeds = torch.full((1, 16, 20), -1)
    seeds[0, 2, 2:5], seeds[0, 6, 3:5], seeds[0, 9, 7:9] = 0, 1, 2
    valid = torch.zeros(1, 16, 20, dtype=torch.bool)
    valid[..., :11, :13] = True

    def run(rows: int, columns: int, valid: Tensor | None) -> Tensor:
        window = (..., slice(rows), slice(columns))
        p = Problem(
            seeds=seeds[window],
            edges=grid_edges(image[window], "grid4", 9.0, valid),
            n_classes=3,
            sigma=sigma[window],
            valid=valid,
        )
        return drain(iter_majorize_minimize(p, max_sweeps=50, tolerance=0, start=p.start())).labels

    padded, plain = run(16, 20, valid), run(11, 13, None)
    torch.testing.assert_close(padded[..., :11, :13], plain, atol=1e-9, rtol=0)
    assert torch.equal(padded[..., 11:, :], torch.full_like(padded[..., 11:, :], 1 / 3))


def test_images_of_a_batch_do_not_meet() -> None:
    first, second = problem(seed=1), problem(seed=2)
    both = dataclasses.replace(
        first,
        seeds=torch.cat([first.seeds, second.seeds]),
        edges={o: torch.cat([first.edges[o], second.edges[o]]) for o in first.edges},
        sigma=torch.cat([p.sigma for p in (first, second) if p.sigma is not None]),
    )
    together = drain(iter_majorize_minimize(both, max_sweeps=40, tolerance=0)).labels
    for index, alone in enumerate((first, second)):
        labels = drain(iter_majorize_minimize(alone, max_sweeps=40, tolerance=0)).labels
        torch.testing.assert_close(together[index : index + 1], labels, atol=1e-7, rtol=0)


def test_far_edges_cross_the_bands_of_rows() -> None:
    """A batch is cut into thinner bands than one image; neither shows in labels or energy."""
    alone = problem(400, 60, neighborhood="sn")
    copies = {offset: weight.expand(12, -1, -1) for offset, weight in alone.edges.items()}
    assert alone.sigma is not None
    batch = dataclasses.replace(
        alone, seeds=alone.seeds.expand(12, -1, -1), edges=copies, sigma=alone.sigma.expand(12, -1, -1, -1)
    )
    run = iter_majorize_minimize(batch, max_sweeps=2, tolerance=0, start=batch.start())
    assert next(run).energy == pytest.approx(batch.energy_terms(batch.start()).total, rel=1e-12)
    together = drain(run).labels
    expected = drain(iter_majorize_minimize(alone, max_sweeps=2, tolerance=0, start=alone.start())).labels
    torch.testing.assert_close(together[5:6], expected, atol=1e-9, rtol=0)


def test_coarse_start_carries_strokes_far() -> None:
    """Strokes only, a plain image of 128 x 128: single-pixel steps would not cross it in 20 sweeps."""
    seeds = torch.full((1, 128, 128), -1)
    seeds[0, 10, 10:20], seeds[0, 118, 100:110] = 0, 1
    p = Problem(seeds=seeds, edges=grid_edges(torch.zeros(1, 1, 128, 128), "grid4", 9.0), n_classes=2, eta=0)
    flat = drain(iter_majorize_minimize(p, max_sweeps=20, tolerance=0, start=p.start())).labels
    coarse = drain(iter_majorize_minimize(p, max_sweeps=20, tolerance=0)).labels
    assert flat[0, 0, 60, 20].item() == pytest.approx(0.5, abs=1e-3)
    assert coarse[0, 0, 40, 40] > 0.6
    assert coarse[0, 1, 90, 90] > 0.6
    assert p.energy_terms(coarse).total < 0.5 * p.energy_terms(flat).total


def test_a_class_without_strokes_and_strokes_everywhere() -> None:
    p = problem(8, 8)
    fewer = dataclasses.replace(p, seeds=torch.where(p.seeds == 2, -1, p.seeds))
    assert torch.isfinite(drain(iter_majorize_minimize(fewer)).labels).all()
    full = dataclasses.replace(p, seeds=torch.arange(64).reshape(1, 8, 8) % 3)
    end = drain(iter_majorize_minimize(full))
    assert torch.equal(end.labels.argmax(1), full.seeds)
    assert full.energy_terms(end.labels).total == 0


def test_isolated_pixels_and_zero_weights_stay_finite() -> None:
    for eta, lambda_ in ((0.3, 0.0), (0.0, 6.0), (0.0, 0.0)):
        for relaxation, cross_entropy in PAIRS:
            p = problem(6, 6, relaxation=relaxation, cross_entropy=cross_entropy, dtype=torch.float32)
            p = dataclasses.replace(p, eta=eta, lambda_=lambda_)
            alone = dataclasses.replace(p, edges={o: torch.zeros_like(w) for o, w in p.edges.items()})
            for each in (p, alone):
                assert torch.isfinite(drain(iter_majorize_minimize(each, max_sweeps=5)).labels).all()


def test_stop_returns_the_labels_so_far() -> None:
    stop = threading.Event()
    p = problem(40, 40)
    run = iter_majorize_minimize(p, max_sweeps=50, tolerance=0, start=p.start(), stop=stop)
    next(run)
    next(run)
    stop.set()
    end = drain(run)
    assert end.status is Status.STOPPED
    assert end.sweeps == 2
    assert p.energy_terms(end.labels).total < p.energy_terms(p.start()).total


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n_classes=st.integers(2, 8),
    with_b=st.booleans(),
    with_c=st.booleans(),
    with_d=st.booleans(),
    spread=st.floats(0.1, 3),
)
def test_one_pixel_problem_meets_its_optimality_conditions(
    seed: int, n_classes: int, with_b: bool, with_c: bool, with_d: bool, spread: float
) -> None:
    """At the minimum the derivative is the same in all classes (the multiplier), and the sum is one."""
    generator = torch.Generator().manual_seed(seed)

    def positive(*shape: int) -> Tensor:
        return (spread * torch.randn(shape, generator=generator, dtype=torch.float64)).exp()

    shape = (1, n_classes, 5, 4)
    a = positive(*shape)
    b = positive(*shape) if with_b else None
    c = positive(*shape) if with_c else None
    d = positive(1, 1, 5, 4) if with_d and not with_b else None
    y = torch.rand(shape, generator=generator, dtype=torch.float64).softmax(1)
    result = minimise_on_simplex(a, b, c, d, y, 1e-10)
    torch.testing.assert_close(result.sum(1), torch.ones(1, 5, 4, dtype=torch.float64), atol=1e-9, rtol=0)
    derivative = -a / result
    for term in (b / (1 - result) if b is not None else None, c, d * result if d is not None else None):
        if term is not None:
            derivative = derivative + term
    spread_over_classes = derivative.amax(1) - derivative.amin(1)
    inside = (result > 1e-6).all(1) & (result < 1 - 1e-6).all(1)
    assert (spread_over_classes[inside] <= 1e-4 * derivative.abs().amax(1)[inside] + 1e-6).all()
