"""Solving what a stroke changes against solving everything."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_softseg import solve
from napari_softseg.solver import (
    IncrementalSolver,
    Problem,
    Status,
    drain,
    grid_edges,
    iter_majorize_minimize,
)

SHAPE = (240, 320)
MASS, LABELS = 0.01, 0.005
"""Largest mean label mass, and share of pixels with another label, between both; see docs/solver.md."""
FINE: dict[str, Any] = {"tolerance": 2e-4, "max_sweeps": 2000}
"""Both are compared close to where they end: what the tolerance leaves open is not what is tested."""


def photo(seed: int) -> tuple[Tensor, Tensor]:
    """Return a blotchy image (1, 3, H, W) in 0..255 and an unary (1, 3, H, W) that half knows its blotches."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 9, 12, generator=generator)
    blotches = torch.nn.functional.interpolate(coarse, SHAPE, mode="bicubic")
    noise = torch.randn(1, 3, *SHAPE, generator=generator)
    guess = torch.randn(1, 3, *SHAPE, generator=generator)
    return 128 + 40 * blotches + 4 * noise, (1.5 * blotches + guess).softmax(1)


def draw(seeds: Tensor, rng: np.random.Generator, n_classes: int = 3) -> Tensor:
    """Return the seeds with one more stroke."""
    row, column = rng.integers(5, SHAPE[0] - 25), rng.integers(5, SHAPE[1] - 25)
    drawn = seeds.clone()
    drawn[0, row : row + rng.integers(2, 20), column : column + rng.integers(2, 20)] = int(
        rng.integers(n_classes)
    )
    return drawn


def setting(seed: int) -> tuple[dict[str, Any], Tensor]:
    image, sigma = photo(seed)
    seeds = torch.full((1, *SHAPE), -1)
    for k, column in enumerate((40, 150, 260)):
        seeds[0, 100:104, column : column + 20] = k
    return {"edges": grid_edges(image, "grid4", 9.0), "n_classes": 3, "sigma": sigma}, seeds


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 999), undone=st.lists(st.booleans(), min_size=4, max_size=8))
@example(seed=953, undone=[False] * 4)
def test_strokes_and_undo_come_to_what_solving_all_gives(seed: int, undone: list[bool]) -> None:
    common, seeds = setting(seed)
    rng = np.random.default_rng(seed)
    memory, history = IncrementalSolver(), [seeds]
    drain(memory.iter_solve(Problem(seeds=seeds, **common), **FINE))
    for undo in undone:
        if undo and len(history) > 1:
            history.pop()
        else:
            history.append(draw(history[-1], rng))
        problem = Problem(seeds=history[-1], **common)
        ours = drain(memory.iter_solve(problem, **FINE))
        cold = drain(iter_majorize_minimize(problem, **FINE))
        moved = (ours.labels - cold.labels).abs().sum(1) / 2
        assert float(moved.mean()) <= MASS
        assert float((ours.labels.argmax(1) != cold.labels.argmax(1)).float().mean()) <= LABELS
        assert ours.terms.total == pytest.approx(cold.terms.total, rel=0.01)
        # followed from window to window, but true
        assert ours.terms.total == pytest.approx(problem.energy_terms(ours.labels).total, rel=1e-4)
        on_strokes = problem.seeds[0] >= 0
        assert torch.equal(ours.labels[0].argmax(0)[on_strokes], problem.seeds[0][on_strokes])
        torch.testing.assert_close(ours.labels.sum(1), torch.ones(1, *SHAPE), rtol=0, atol=1e-5)


def test_only_a_window_is_solved() -> None:
    common, seeds = setting(1)
    memory = IncrementalSolver()
    first = drain(memory.iter_solve(Problem(seeds=seeds, **common)))
    assert drain(memory.iter_solve(Problem(seeds=seeds, **common))) is first
    more = seeds.clone()
    more[0, 200:210, 280:290] = 1
    second = drain(memory.iter_solve(Problem(seeds=more, **common)))
    assert second.status is Status.CONVERGED
    untouched = (second.labels == first.labels).all(1)[0]
    assert not untouched[200:210, 280:290].any()
    assert untouched[:100].all()
    assert untouched[:, :160].all()
    again = drain(memory.iter_solve(Problem(seeds=seeds, **common)))
    assert float((again.labels - first.labels).abs().sum(1).mean()) <= 2 * MASS


@pytest.mark.parametrize("change", ["classes", "sigma", "image", "weight"])
def test_other_problems_are_solved_from_scratch(change: str) -> None:
    common, seeds = setting(2)
    memory = IncrementalSolver()
    drain(memory.iter_solve(Problem(seeds=seeds, **common)))
    image, sigma = photo(3)
    if change == "classes":
        common |= {"n_classes": 4, "sigma": torch.cat([sigma, sigma[:, :1]], 1) / 2}
    changes: dict[str, dict[str, Any]] = {
        "classes": {},
        "sigma": {"sigma": sigma},
        "image": {"edges": grid_edges(image, "grid4", 9.0)},
        "weight": {"lambda_": 2.0},
    }
    common |= changes[change]
    problem = Problem(seeds=seeds, **common)
    ours, cold = drain(memory.iter_solve(problem)), drain(iter_majorize_minimize(problem))
    assert torch.equal(ours.labels, cold.labels)


def test_another_tolerance_is_another_solve() -> None:
    common, seeds = setting(7)
    problem = Problem(seeds=seeds, **common)
    memory = IncrementalSolver()
    rough = drain(memory.iter_solve(problem, tolerance=0.1))
    fine = drain(memory.iter_solve(problem, tolerance=1e-4))
    assert fine.terms.total < rough.terms.total
    assert torch.equal(fine.labels, drain(iter_majorize_minimize(problem, tolerance=1e-4)).labels)


def test_a_stopped_solve_is_not_built_upon() -> None:
    common, seeds = setting(4)
    memory, stop = IncrementalSolver(), threading.Event()
    stop.set()
    problem = Problem(seeds=seeds, **common)
    assert drain(memory.iter_solve(problem, stop=stop)).status is Status.STOPPED
    assert torch.equal(
        drain(memory.iter_solve(problem)).labels, drain(iter_majorize_minimize(problem)).labels
    )


def test_a_window_holds_its_rim() -> None:
    common, seeds = setting(5)
    problem = Problem(seeds=seeds, **common)
    labels = drain(iter_majorize_minimize(problem)).labels
    part = (..., slice(90, 150), slice(30, 90))
    inner = torch.zeros(1, 60, 60, dtype=torch.bool)
    inner[:, 2:-2, 2:-2] = True
    window = problem.crop(part[1], part[2], inner, labels[part])
    found = drain(iter_majorize_minimize(window, tolerance=1e-5)).labels
    rim = ~inner[:, None].expand_as(found)
    torch.testing.assert_close(found[rim], labels[part][rim], rtol=0, atol=1e-6)
    whole = drain(iter_majorize_minimize(problem, start=labels, tolerance=1e-5, max_sweeps=1000)).labels
    window = problem.crop(part[1], part[2], inner, whole[part])
    found = drain(iter_majorize_minimize(window, start=whole[part], tolerance=1e-5)).labels
    assert float((found - whole[part]).abs().max()) <= 0.05


def test_public_solve_takes_a_memory() -> None:
    image, sigma = photo(6)
    pixels = image[0].movedim(0, -1).clamp(0, 255).to(torch.uint8).numpy()
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[20:24, 20:60], strokes[180:184, 200:240], strokes[100:104, 100:140] = 1, 2, 3
    memory = IncrementalSolver()
    solve(pixels, strokes, unary=sigma[0].numpy(), device="cpu", memory=memory)
    strokes[220:224, 20:30] = 2
    ours = solve(pixels, strokes, unary=sigma[0].numpy(), device="cpu", memory=memory)
    cold = solve(pixels, strokes, unary=sigma[0].numpy(), device="cpu")
    assert np.abs(ours.probabilities - cold.probabilities).sum(0).mean() / 2 <= MASS
    assert (ours.labels != cold.labels).mean() <= LABELS


def test_maps_are_known_again_unless_changed_in_place() -> None:
    common, seeds = setting(3)
    first, second = (Problem(seeds=seeds, **common) for _ in range(2))
    assert second.has_maps_of(first)
    common["edges"][0, 1].mul_(0.5)
    assert not Problem(seeds=seeds, **common).has_maps_of(first)
    copies = {offset: weight.clone() for offset, weight in common["edges"].items()}
    assert not Problem(seeds=seeds, **{**common, "edges": copies}).has_maps_of(first)
