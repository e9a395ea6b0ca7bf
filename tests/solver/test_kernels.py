"""The fused sweep against the reference in PyTorch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_softseg.solver import drain, iter_majorize_minimize, majorize_minimize
from napari_softseg.solver.kernels import (
    Sweep,
    numba_arrays,
    numba_coarser,
    numba_memory,
    numba_sweep,
    sweep_for,
)
from napari_softseg.solver.kernels.numba_sweep import NumbaSweep
from napari_softseg.solver.kernels.torch_sweep import TorchSweep
from napari_softseg.solver.problem import refine
from tests.solver import sweeps
from tests.solver.sweeps import PAIRS, cropped_problem, far_edges, random_labels, random_problem

check_sweeps = partial(sweeps.check_sweeps, NumbaSweep)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    assert numba_sweep.ready()


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
def test_agrees_with_the_reference(relaxation: str, cross_entropy: str) -> None:
    problem = random_problem(0, (13, 37), 4, relaxation=relaxation, cross_entropy=cross_entropy)
    check_sweeps(problem, random_labels(problem, 1))
    check_sweeps(problem, problem.start())


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    height=st.integers(2, 30),
    width=st.integers(2, 150),
    n_classes=st.sampled_from([2, 3, 4, 5, 9, 21, 64]),
    batch=st.integers(1, 3),
    pair=st.sampled_from(PAIRS),
    neighborhood=st.sampled_from(["grid4", "grid8"]),
    with_unary=st.booleans(),
    eta=st.floats(0.01, 3),
    lambda_=st.just(0.0) | st.floats(0.001, 30),
    sharpness=st.floats(0, 6),
)
@example(374, 3, 139, 64, 2, ("cd", "ce"), "grid8", False, 1.0, 10.0, 0.0)  # 64 classes, all alike
def test_agrees_on_any_problem(
    seed: int,
    height: int,
    width: int,
    n_classes: int,
    batch: int,
    pair: tuple[str, str],
    neighborhood: str,
    with_unary: bool,
    eta: float,
    lambda_: float,
    sharpness: float,
) -> None:
    problem = random_problem(
        seed,
        (height, width),
        n_classes,
        batch,
        neighborhood=neighborhood,
        relaxation=pair[0],
        cross_entropy=pair[1],
        eta=eta,
        lambda_=lambda_,
        **({} if with_unary else {"sigma": None}),
    )
    check_sweeps(problem, random_labels(problem, seed + 1, sharpness))


def test_far_offsets_and_wide_images() -> None:
    problem = random_problem(3, (12, 70), 3, edges=far_edges(12, 70))
    check_sweeps(problem, random_labels(problem, 4))
    wide = random_problem(5, (3, 5000), 4)  # rows of several stretches
    check_sweeps(wide, random_labels(wide, 6))


def test_window_of_a_larger_image() -> None:
    check_sweeps(*cropped_problem())


def test_padding_and_one_class_of_256() -> None:
    valid = torch.rand(1, 9, 21, generator=torch.Generator().manual_seed(0)) < 0.7
    problem = random_problem(7, (9, 21), 256, valid=valid)
    check_sweeps(problem, random_labels(problem, 8))


def test_restart_returns_to_the_labels() -> None:
    problem = random_problem(9, (8, 40), 3, batch=2)
    fused: Sweep = NumbaSweep(problem, random_labels(problem, 1))
    still = [0.0] * 2
    fused.sweep([0.9] * 2)
    fused.advance()
    ahead, _ = fused.sweep(still)
    fused.restart(torch.tensor([True, False]))
    back, _ = fused.sweep(still)
    expected, _ = TorchSweep(problem, fused.labels()).sweep(still)
    torch.testing.assert_close(back[0], expected[0], rtol=1e-5, atol=1e-3)
    assert torch.equal(back[1], ahead[1])


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
@pytest.mark.parametrize("neighborhood", ["grid4", "sn"])
def test_settles_with_the_energy_of_its_labels(
    relaxation: str, cross_entropy: str, neighborhood: str
) -> None:
    changes = {"relaxation": relaxation, "cross_entropy": cross_entropy, "neighborhood": neighborhood}
    problem = random_problem(9, (70, 80), 3, batch=2, **changes)
    fused: Sweep = NumbaSweep(problem, random_labels(problem, 1))
    fused.sweep([0.9] * 2)
    fused.advance()
    before = fused.labels().clone()
    labels, terms = fused.settle()
    torch.testing.assert_close(labels.sum(1), torch.ones(2, 70, 80), rtol=0, atol=3e-7)
    torch.testing.assert_close(labels, before / before.sum(1, keepdim=True), rtol=0, atol=3e-7)
    exact = problem.to(torch.device("cpu"), torch.float64)
    pairwise, unary = exact.pairwise(labels.double()).energy, exact.unary_energy(labels.double())
    torch.testing.assert_close(
        terms, torch.stack([problem.eta * unary, problem.lambda_ * pairwise], 1), rtol=1e-5, atol=1e-3
    )


def test_edges_of_a_problem_are_not_copied() -> None:
    problem = random_problem(3, (9, 14), 3, batch=2, neighborhood="grid8")
    maps = numba_arrays.stacked([problem.edges[offset] for offset in sorted(problem.edges)])
    assert maps.ctypes.data == problem.edges[0, 1].data_ptr()
    some = [problem.edges[offset] for offset in ((0, 1), (1, 0), (1, -1))]
    for stacked in (numba_arrays.stacked(some), numba_arrays.stacked([one.clone() for one in some])):
        assert np.array_equal(stacked, torch.stack(some, 1))
    for number, offset in enumerate(sorted(problem.edges)):
        assert np.array_equal(maps[:, number], problem.edges[offset])


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("depth", [1, 4])
def test_starts_from_any_labels(coarse: bool, depth: int) -> None:
    """Floor, fixed pixels and copies of coarser labels are as in PyTorch."""
    height, width = 9 * depth, 37
    valid = torch.rand(2, height, width, generator=torch.Generator().manual_seed(0)) < 0.8
    problem = random_problem(9, (height, width), 3, batch=2, valid=valid, depth=depth)
    shape = (2, 3, 5 * ((depth + 1) // 2), 19) if coarse else (2, 3, height, width)
    start = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    start[:, 0] = 0
    expected = refine(start, height, width, depth) if coarse else start
    for held in (None, torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(2))):
        rim = replace(problem, held=held)
        assert torch.equal(
            NumbaSweep(rim, start.transpose(1, 2).contiguous().transpose(1, 2)).labels(),
            rim.constrain(expected.clamp_min(1e-6)),
        )


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_result(threads: int) -> None:
    problem = random_problem(11, (200, 300), 5)
    start, common = random_labels(problem, 12), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = NumbaSweep(problem, start)
        torch.set_num_threads(threads)
        shared = NumbaSweep(problem, start)
    finally:
        torch.set_num_threads(common)
    for state in (alone, shared):
        for _ in range(3):
            state.sweep([0.3])
            state.advance()
    assert torch.equal(alone.labels(), shared.labels())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("changes", "restarts"),
    [
        ({}, False),
        ({"relaxation": "lq"}, False),
        ({"neighborhood": "grid8"}, False),
        ({"relaxation": "bl"}, True),
        ({"sigma": None}, True),  # coarser and coarser
    ],
)
def test_sweeps_in_one_call_are_those_of_the_driver(
    threads: int, changes: dict[str, Any], restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarts, the end and the energies between, also where it takes several calls."""
    size = (41, 37) if "relaxation" in changes and restarts else (150, 130)
    problem, common = random_problem(3, size, 3, batch=2, lambda_=40.0, **changes), torch.get_num_threads()
    restarted: list[None] = []
    restart = NumbaSweep.restart
    monkeypatch.setattr(NumbaSweep, "restart", lambda self, which: restarted.append(restart(self, which)))
    monkeypatch.setattr(majorize_minimize, "_AT_ONCE", 7)
    ways = []
    for most in (numba_sweep._BRIEF, 0):
        monkeypatch.setattr(numba_sweep, "_BRIEF", most)
        try:
            torch.set_num_threads(threads if most else 1)
            run, energies = iter_majorize_minimize(problem, max_sweeps=60, tolerance=1e-4), []
            while True:
                energies.append(float(next(run).energy or 0))
        except StopIteration as end:
            ways.append((end.value, energies))
        finally:
            torch.set_num_threads(common)
    (ours, found), (theirs, expected) = ways
    assert bool(restarted) == restarts  # by the driver: the kernel does so by itself
    assert ours.sweeps == theirs.sweeps > 7
    assert ours.status == theirs.status
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert torch.equal(ours.labels, theirs.labels)


def test_results_stay_when_memory_is_used_again() -> None:
    problem = random_problem(4, (150, 130), 3)
    first = drain(iter_majorize_minimize(problem, max_sweeps=5)).labels
    before = first.clone()
    second = drain(iter_majorize_minimize(problem, max_sweeps=5)).labels
    third = drain(iter_majorize_minimize(replace(problem, lambda_=9.0), max_sweeps=5)).labels
    assert torch.equal(first, before)
    assert torch.equal(second, before)
    assert not torch.equal(third, before)


def test_kept_memory_goes_where_it_does_not_fit() -> None:
    one, other = numba_memory.take(2, 64)
    numba_memory.keep([one, other])
    assert numba_memory.take(1, 64)[0] is one
    numba_memory.keep([one])
    numba_memory.take(1, 80)
    assert numba_memory.take(1, 64)[0] is not one


def test_parts_of_memory_are_not_kept() -> None:
    """The coarse levels' are parts of the finest one's, which is still to be solved; another thread could get them."""
    (whole,) = numba_memory.take(1, 64)
    part = whole[16:48]
    numba_memory.keep([part])
    (found,) = numba_memory.take(1, 32)
    assert not np.shares_memory(found, whole)


@pytest.mark.parametrize("changes", [{}, {"relaxation": "lq"}, {"neighborhood": "grid8"}])
def test_writing_past_the_cache_changes_nothing(
    changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = random_problem(0, (61, 83), 21, batch=2, **changes)
    labels = []
    for least in (1e9, 0):
        monkeypatch.setattr(numba_sweep, "_PAST_CACHE", least)
        labels.append(drain(iter_majorize_minimize(problem, max_sweeps=8)).labels)
    assert torch.equal(*labels)


def test_logarithm() -> None:
    from numba import njit

    from napari_softseg.solver.kernels.lanes import load, log, place, store

    @njit
    def logarithms(values, found):  # type: ignore[no-untyped-def]
        for at in range(0, values.size, 16):
            store(place(found), at, log(load(place(values), at)))

    values = np.logspace(-30, 30, 2000).astype(np.float32)
    ours = np.empty_like(values)
    logarithms(values, ours)
    np.testing.assert_allclose(ours, np.log(values.astype(np.float64)), rtol=2e-7, atol=1e-7)


def test_float64_and_dense_problems_go_to_the_reference() -> None:
    problem = random_problem(1, (5, 5), 2)
    assert isinstance(sweep_for(problem, problem.start()), NumbaSweep)
    wide = problem.to(torch.device("cpu"), torch.float64)
    assert isinstance(sweep_for(wide, wide.start()), TorchSweep)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    height=st.integers(1, 30),
    width=st.integers(1, 50),
    n_classes=st.sampled_from([2, 5, 21]),
    batch=st.integers(1, 2),
    neighborhood=st.sampled_from(["grid4", "grid8", "sn"]),
    with_unary=st.booleans(),
    masked=st.booleans(),
)
def test_coarsens_like_the_reference(
    seed: int,
    height: int,
    width: int,
    n_classes: int,
    batch: int,
    neighborhood: str,
    with_unary: bool,
    masked: bool,
) -> None:
    changes: dict[str, Any] = {} if with_unary else {"sigma": None}
    if masked:
        generator = torch.Generator().manual_seed(seed)
        changes["valid"] = torch.rand(batch, height, width, generator=generator) < 0.6
    problem = random_problem(seed, (height, width), n_classes, batch, neighborhood=neighborhood, **changes)
    found, expected = numba_coarser.coarsen(problem), problem.coarsen()
    assert found.edges.keys() == expected.edges.keys()
    for offset, weight in expected.edges.items():
        torch.testing.assert_close(found.edges[offset], weight)
    maps = [found.edges[offset] for offset in sorted(found.edges)]
    if maps:  # taken as they lie, not copied
        assert np.shares_memory(numba_arrays.stacked(maps), maps[0].numpy())
    assert torch.equal(found.seeds, expected.seeds)
    assert found.eta == expected.eta
    for one, other in ((found.valid, expected.valid), (found.sigma, expected.sigma)):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    n_classes=st.integers(2, 5),
    batch=st.integers(1, 3),
    neighborhood=st.sampled_from(["grid4", "grid8", "sn"]),
)
def test_coarser_labels_lie_within_the_memory_of_finer_ones(
    height: int, width: int, n_classes: int, batch: int, neighborhood: str
) -> None:
    """All apart from one another, and none where the first labels of the finer problem are written."""
    problem = random_problem(0, (height, width), n_classes, batch, neighborhood=neighborhood)
    finer = numba_sweep.memory_for(problem)
    coarser = numba_sweep.memory_for(numba_coarser.coarsen(problem), finer)
    assert len(finer) == len(coarser) == 4 * batch
    assert all(part.ctypes.data % 64 == 0 for part in coarser)
    apart = [*finer[:batch], *coarser]
    for number, part in enumerate(apart):
        assert not any(np.shares_memory(part, other) for other in apart[:number])
    if height >= 49 and width >= 64:  # in narrow images padding takes the room
        assert all(any(np.shares_memory(part, whole) for whole in finer[batch:]) for part in coarser)


@pytest.mark.parametrize("with_unary", [True, False])
def test_working_within_the_memory_of_the_finer_problem_changes_nothing(
    with_unary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {} if with_unary else {"sigma": None}
    problem = random_problem(1, (150, 130), 3, batch=2, **changes)
    within = drain(iter_majorize_minimize(problem, max_sweeps=5))
    monkeypatch.setattr(majorize_minimize, "memory_for", lambda *_: None)
    apart = drain(iter_majorize_minimize(problem, max_sweeps=5))
    assert torch.equal(within.labels, apart.labels)
    assert within.terms == apart.terms
