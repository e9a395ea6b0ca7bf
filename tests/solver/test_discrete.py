"""Hard labels against all labelings, exact cuts and another library's expansion moves."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import maxflow
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_softseg.errors import InputError
from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.dense import dense_edges
from napari_softseg.solver.discrete import discrete_energies, iter_discrete, solve_discrete, unary_costs
from napari_softseg.solver.kernels.compiled import call_or_rebuild
from napari_softseg.solver.neighborhood import OFFSETS, edge_ends, grid_edges
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.solution import drain


def problem(
    height: int = 14,
    width: int = 17,
    n_classes: int = 3,
    *,
    batch: int = 1,
    seed: int = 0,
    neighborhood: str = "grid4",
    contrast: float = 40,
    confidence: float = 1.5,
    n_strokes: int = 2,
    padded: bool = False,
    **changes: Any,
) -> Problem:
    """A random problem in float32: noisy image, noisy unary, short strokes."""
    generator = torch.Generator().manual_seed(seed)
    image = contrast * torch.rand(batch, 3, height, width, generator=generator)
    sigma = torch.randn(batch, n_classes, height, width, generator=generator)
    seeds = torch.full((batch, height, width), -1)
    for stroke in range(n_strokes):
        row = int(torch.randint(height, (), generator=generator))
        column = int(torch.randint(width, (), generator=generator))
        seeds[:, row, column : column + 4] = stroke % n_classes
    valid = None
    if padded:
        valid = torch.ones(batch, height, width, dtype=torch.bool)
        valid[:, -2:] = False
        valid[:, :, :1] = False
    return Problem(
        seeds=seeds,
        edges=grid_edges(image, neighborhood, 9.0, valid),
        n_classes=n_classes,
        sigma=(confidence * sigma).softmax(1),
        valid=valid,
        **changes,
    )


def photo(n_classes: int, size: int = 96, neighborhood: str = "grid4") -> Problem:
    """Blurred noise in colour, as a photo has regions and texture; the unary is weak and noisy."""
    generator = torch.Generator().manual_seed(n_classes)
    coarse = torch.rand(1, 3, size // 8, size // 8, generator=generator)
    image = 255 * torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    image += 6 * torch.randn(image.shape, generator=generator)
    centres = 255 * torch.rand(n_classes, 3, generator=generator)
    distance = (image[:, None] - centres[None, :, :, None, None]).square().sum(2)
    noise = 2 * torch.randn(1, n_classes, size, size, generator=generator)
    seeds = torch.full((1, size, size), -1)
    for k in range(n_classes):
        seeds[0, 9 * k + 3 : 9 * k + 6, 5:40] = k
    return Problem(
        seeds=seeds,
        edges=grid_edges(image, neighborhood, 9.0),
        n_classes=n_classes,
        sigma=(noise - distance / 8000).softmax(1),
    )


def energy_by_hand(p: Problem, labels: Tensor, b: int = 0) -> float:
    """Pixel by pixel and edge by edge, from the definition."""
    k, seeds, sigma = labels[b].numpy(), p.seeds[b].numpy(), p.sigma
    inside = np.ones_like(seeds, dtype=bool) if p.valid is None else p.valid[b].numpy()
    total = 0.0
    for i, j in np.argwhere((seeds < 0) & inside):
        if sigma is not None:
            s = sigma[b, k[i, j], i, j].item()
            total += p.eta * (-np.log(1e-6) * (1 - s) if p.cross_entropy == "rce" else -np.log(s))
    for (dy, dx), weight in p.edges.items():
        for i, j in np.argwhere(weight[b].numpy() > 0):
            if k[i, j] != k[i + dy, j + dx]:
                total += p.lambda_ * weight[b, i, j].item()
    return total


def random_labels(p: Problem, seed: int = 1) -> Tensor:
    return torch.randint(p.n_classes, p.seeds.shape, generator=torch.Generator().manual_seed(seed))


def exact_cut(p: Problem) -> Tensor:
    """The best labels of two classes, by PyMaxflow."""
    height, width = p.seeds.shape[-2:]
    cost = unary_costs(p)[0].double().numpy().copy()
    for k in (0, 1):
        cost[k][(p.seeds[0] == 1 - k).numpy()] = 1e9
    graph = maxflow.GraphFloat()
    nodes = graph.add_grid_nodes((height, width))
    for offset, weight in p.edges.items():
        starts, ends = edge_ends(offset, height, width)
        w = p.lambda_ * weight[0][starts].double().numpy().ravel()
        graph.add_edges(nodes[starts].ravel(), nodes[ends].ravel(), w, w)
    graph.add_grid_tedges(nodes, cost[1], cost[0])
    graph.maxflow()
    return torch.from_numpy(graph.get_grid_segments(nodes)).long()[None]


@pytest.mark.parametrize("cross_entropy", CrossEntropy)
@pytest.mark.parametrize("relaxation", Relaxation)
def test_energy_is_the_sum_over_pixels_and_edges(cross_entropy: str, relaxation: str) -> None:
    """Whatever the relaxation: at one-hot labels all are the Potts model."""
    p = problem(6, 7, batch=2, cross_entropy=cross_entropy, relaxation=relaxation)
    labels = torch.where(p.seeds < 0, random_labels(p), p.seeds)
    expected = [energy_by_hand(p, labels, b) for b in (0, 1)]
    assert discrete_energies(p, labels).tolist() == pytest.approx(expected, rel=1e-6)
    costs = unary_costs(p).gather(1, labels[:, None])[p.free[:, None]]
    unary = [energy_by_hand(dataclasses.replace(p, lambda_=0.0), labels, b) for b in (0, 1)]
    assert costs.sum().item() == pytest.approx(sum(unary), rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 12), st.integers(2, 12)),
    n_classes=st.integers(2, 7),
    neighborhood=st.sampled_from([*OFFSETS]),
    cross_entropy=st.sampled_from([*CrossEntropy]),
    contrast=st.sampled_from([0.0, 20.0, 80.0]),
    confidence=st.floats(0, 6),
    lambda_=st.sampled_from([0.0, 0.5, 6.0, 1000.0]),
    padded=st.booleans(),
    n_strokes=st.integers(0, 3),
)
def test_never_above_the_start_with_strokes_and_padding_kept(
    shape: tuple[int, int], lambda_: float, **given_: Any
) -> None:
    p = problem(*shape, lambda_=lambda_, batch=2, **given_)
    start = random_labels(p)
    labels = solve_discrete(p, start)
    on_stroke = p.seeds >= 0
    assert torch.equal(labels[on_stroke], p.seeds[on_stroke])
    if p.valid is not None:
        assert torch.equal(labels[~p.valid], start[~p.valid])
    before, after = discrete_energies(p, start), discrete_energies(p, labels)
    assert (after <= before + 1e-5 * before + 1e-4).all()
    again = discrete_energies(p, solve_discrete(p, labels))
    assert (again <= after + 1e-5 * after + 1e-4).all()
    anew = solve_discrete(p)
    assert torch.equal(anew[on_stroke], p.seeds[on_stroke])
    assert ((anew >= 0) & (anew < p.n_classes)).all()


def lowest_of_all_labelings(p: Problem) -> float:
    """The minimum over all labelings of a small image without padding, from the definition."""
    assert p.sigma is not None
    _, height, width = p.seeds.shape
    every = np.array([*itertools.product(range(p.n_classes), repeat=height * width)])
    every = every.reshape(-1, height, width)
    seeds, cost = p.seeds[0].numpy(), -p.eta * np.log(p.sigma[0].double().numpy())
    total = np.zeros(len(every))
    for i, j in np.ndindex(height, width):
        label = every[:, i, j]
        total += cost[label, i, j] if seeds[i, j] < 0 else np.where(label == seeds[i, j], 0, np.inf)
        for (dy, dx), weight in p.edges.items():
            if i + dy < height and 0 <= j + dx < width:
                w = p.lambda_ * weight[0, i, j].item()
                total += w * (label != every[:, i + dy, j + dx])
    return float(total.min())


def test_against_every_labeling() -> None:
    """Expansion moves promise no more than twice the optimum; from nothing they find it nearly always."""
    found = []
    for seed in range(30):
        p = problem(
            3,
            3,
            n_strokes=1,
            seed=seed,
            lambda_=(0.3, 1.0, 6.0)[seed % 3],
            neighborhood=("grid4", "grid8")[seed % 2],
        )
        best = lowest_of_all_labelings(p)
        anew, improved = (
            discrete_energies(p, solve_discrete(p, start)).item() for start in (None, random_labels(p))
        )
        assert min(anew, improved) >= best - 1e-5
        assert improved <= 2 * best + 1e-5
        found.append(anew <= best * (1 + 1e-5))
    assert np.mean(found) > 0.9


@pytest.mark.parametrize("neighborhood", OFFSETS)
def test_two_classes_against_the_exact_cut(neighborhood: str) -> None:
    """On small graphs moves reach everywhere; for two classes they are then exact."""
    for p in (
        problem(40, 45, 2, neighborhood=neighborhood, confidence=3.0, n_strokes=4),
        problem(31, 12, 2, neighborhood=neighborhood, confidence=1.0, contrast=80, padded=True),
        photo(2, neighborhood=neighborhood),
    ):
        best = discrete_energies(p, exact_cut(p)).item()
        for start in (None, random_labels(p)):
            found = discrete_energies(p, solve_discrete(p, start)).item()
            assert best * (1 - 1e-5) <= found <= 1.001 * best


def expansion_moves(p: Problem) -> Tensor:
    """Alpha-expansion on PyMaxflow's cuts until no class gains, from the unary's best labels."""
    height, width = p.seeds.shape[-2:]
    cost, seeds = unary_costs(p)[0].double().numpy().copy(), p.seeds[0].numpy()
    for k in range(p.n_classes):
        cost[k][(seeds >= 0) & (seeds != k)] = 1e6
    labels = cost.argmin(0)
    edges = [(*edge_ends(o, height, width), p.lambda_ * w[0].double().numpy()) for o, w in p.edges.items()]
    lowest = np.inf
    while True:
        for alpha in range(p.n_classes):
            graph = maxflow.GraphFloat()
            nodes = graph.add_grid_nodes((height, width))
            stay, take = np.take_along_axis(cost, labels[None], 0)[0], cost[alpha].copy()
            for starts, ends, weight in edges:
                w, one, other = weight[starts], labels[starts], labels[ends]
                both, first, second = w * (one != other), w * (one != alpha), w * (other != alpha)
                stay[starts] += both  # [both stay], corrected where one of them takes alpha
                take[starts] += second
                take[ends] -= second
                graph.add_edges(
                    nodes[starts].ravel(), nodes[ends].ravel(), (first + second - both).ravel(), 0 * w.ravel()
                )
            low = np.minimum(stay, take)
            graph.add_grid_tedges(nodes, take - low, stay - low)
            graph.maxflow()
            labels = np.where(graph.get_grid_segments(nodes), alpha, labels)
        energy = discrete_energies(p, torch.from_numpy(labels)[None]).item()
        if energy >= lowest * (1 - 1e-9):
            return torch.from_numpy(labels)[None]
        lowest = energy


def test_against_expansion_moves_of_another_library() -> None:
    """Moves near each class alone, as on large images, and moves everywhere."""
    p = photo(5)
    theirs = discrete_energies(p, expansion_moves(p)).item()
    assert p.sigma is not None
    rough = p.sigma.argmax(1)
    assert discrete_energies(p, rough).item() > 1.3 * theirs
    for start in (None, rough):
        assert discrete_energies(p, solve_discrete(p, start)).item() <= 1.01 * theirs
    large = photo(5, 256)
    theirs = discrete_energies(large, expansion_moves(large)).item()
    assert discrete_energies(large, solve_discrete(large)).item() <= 1.01 * theirs


def test_batches_equal_single_images() -> None:
    p = problem(15, 20, batch=3, padded=True)
    together = solve_discrete(p)
    assert together.dtype == torch.int64
    for b in range(3):
        one = Problem(
            seeds=p.seeds[b : b + 1],
            edges={offset: weight[b : b + 1] for offset, weight in p.edges.items()},
            n_classes=3,
            sigma=p.sigma[b : b + 1] if p.sigma is not None else None,
            valid=p.valid[b : b + 1] if p.valid is not None else None,
        )
        assert torch.equal(solve_discrete(one), together[b : b + 1])


def test_without_a_unary_strokes_spread() -> None:
    """Two flat halves: the cheapest border is the step between them."""
    image = torch.zeros(1, 1, 8, 20)
    image[..., 12:] = 50
    seeds = torch.full((1, 8, 20), -1)
    seeds[0, 3, 2], seeds[0, 5, 17] = 1, 0
    p = Problem(seeds=seeds, edges=grid_edges(image, "grid4", 9.0), n_classes=2)
    expected = (torch.arange(20) < 12).long().expand(1, 8, 20)
    assert torch.equal(solve_discrete(p), expected)


def test_what_the_start_is_stays_as_it_was() -> None:
    p = problem()
    start = random_labels(p)
    kept = start.clone()
    solve_discrete(p, start)
    assert torch.equal(start, kept)


def test_stops_on_request() -> None:
    p, stop = photo(3), threading.Event()
    run = iter_discrete(p, stop=stop)
    first = next(run)
    assert first.step < first.max_steps
    stop.set()
    partial = drain(run)
    assert torch.equal(partial[p.seeds >= 0], p.seeds[p.seeds >= 0])
    assert discrete_energies(p, solve_discrete(p)).item() < discrete_energies(p, partial).item()
    start = random_labels(p)
    on_request = solve_discrete(p, start, stop=stop)
    assert torch.equal(on_request, torch.where(p.seeds >= 0, p.seeds, start))


def test_dense_edges_are_refused() -> None:
    p = problem(8, 8)
    image = torch.rand(1, 3, 8, 8)
    dense = Problem(seeds=p.seeds, edges={}, n_classes=3, relaxation="q", dense=dense_edges(image, 9.0, 10.0))
    with pytest.raises(InputError, match="dn; choose grid4"):
        solve_discrete(dense)


WITHOUT = """
import logging, sys, torch
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from tests.solver.test_discrete import photo, solve_discrete
{before}
for _ in range(2):
    torch.save(solve_discrete(photo(3)), {out!r})
"""


def solved_elsewhere(tmp_path: Path, before: str) -> tuple[Tensor, str]:
    """Solve in a process of its own; return the result and what it said."""
    out = tmp_path / "labels.pt"
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(before=before, out=str(out))],
        capture_output=True,
        text=True,
        check=True,
    )
    labels: Tensor = torch.load(out)
    return labels, ran.stderr


def test_without_numba_single_pixels_move_and_it_says_so_once(tmp_path: Path) -> None:
    labels, said = solved_elsewhere(tmp_path, "sys.modules['numba'] = None")
    assert said.count("Numba cannot be used") == 1
    p = photo(3)
    assert p.sigma is not None
    best, found = discrete_energies(p, solve_discrete(p)), discrete_energies(p, labels)
    assert best < found < 0.9 * discrete_energies(p, p.sigma.argmax(1))
    assert torch.equal(labels[p.seeds >= 0], p.seeds[p.seeds >= 0])


def test_damaged_compiled_code_is_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "kernels_on_disk.py"
    path.write_text(
        "from numba import njit\n\n@njit(cache=True)\ndef double(x):\n    return 2 * x\n", encoding="utf-8"
    )

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    first = load()
    call_or_rebuild(lambda: first.double(1), [first])
    assert not caplog.records
    (index,) = tmp_path.rglob("*double*.nbi")
    index.write_bytes(index.read_bytes()[:-20])
    again = load()
    call_or_rebuild(lambda: again.double(1), [again])
    assert [record.getMessage().count("damaged") for record in caplog.records] == [1]
    assert load().double(4) == 8
