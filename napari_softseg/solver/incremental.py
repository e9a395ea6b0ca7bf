"""Solving one image again and again while strokes come and go.

A stroke changes the labels near it and hardly any others. So only a window around the change is solved
anew, from scratch, its rim held at the labels of the last solve; it grows until nothing moves at its rim.
What lies outside stays as it is, and every label is as if solved from scratch: no stroke that was undone
leaves a trace.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_softseg.options import DEFAULTS
from napari_softseg.solver.kernels import sweep_for
from napari_softseg.solver.majorize_minimize import Minimum, iter_majorize_minimize
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.solution import EnergyTerms, SolveProgress, Status

_MARGIN = 32
"""Pixels around the change that the first window takes in; it doubles until the rim is quiet."""

_RING = 8
"""Pixels along the rim that are looked at."""

_LARGEST = 0.4
"""Share of the image above which all of it is solved."""

_SAME = ("n_classes", "relaxation", "cross_entropy", "eta", "lambda_", "depth")


@dataclass(frozen=True, slots=True)
class _Solved:
    problem: Problem
    minimum: Minimum
    tolerance: float


class IncrementalSolver:
    """Remembers the last solve and uses it where the next problem differs in a few places only.

    One at a time: not to be shared between threads that solve at once.
    """

    def __init__(self) -> None:
        self._last: _Solved | None = None

    def iter_solve(
        self,
        problem: Problem,
        *,
        max_sweeps: int = DEFAULTS.max_sweeps,
        tolerance: float = DEFAULTS.tolerance,
        stop: threading.Event | None = None,
    ) -> Generator[SolveProgress, None, Minimum]:
        """Minimise as :func:`~napari_softseg.solver.majorize_minimize.iter_majorize_minimize` does.

        Same parameters, progress and result; the labels differ from those of a solve from scratch by
        what `tolerance` leaves open (docs/solver.md gives figures).
        """
        minimum: Minimum | None = None
        if self._last is not None and self._last.tolerance == tolerance:
            minimum = yield from _update(self._last, problem, max_sweeps, tolerance, stop)
        if minimum is None:
            minimum = yield from iter_majorize_minimize(
                problem, max_sweeps=max_sweeps, tolerance=tolerance, stop=stop
            )
        self._last = _Solved(problem, minimum, tolerance) if minimum.status is Status.CONVERGED else None
        return minimum


def _update(
    last: _Solved, problem: Problem, max_sweeps: int, tolerance: float, stop: threading.Event | None
) -> Generator[SolveProgress, None, Minimum | None]:
    """Return the minimum from that of the last problem, or None where all must be solved."""
    changed = _changed(last.problem, problem)
    if changed is None:
        return None
    rows, columns = (changed.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    if not rows:
        return last.minimum
    height, width = changed.shape
    (top, bottom), (left, right) = (rows[0], rows[-1]), (columns[0], columns[-1])
    reach = max(max(abs(dy), abs(dx)) for dy, dx in problem.edges)
    rim = 2 * ((reach + 1) // 2)  # whole 2 x 2 blocks, so that coarser copies hold it as well
    margin = _MARGIN
    while True:
        inner = (
            max(top - margin, 0) // 2 * 2,
            min(bottom + 1 + margin, height + 1) // 2 * 2,
            max(left - margin, 0) // 2 * 2,
            min(right + 1 + margin, width + 1) // 2 * 2,
        )
        if (inner[1] - inner[0]) * (inner[3] - inner[2]) > _LARGEST * height * width:
            return None
        window = _Window(inner, rim, height, width)
        before = last.minimum.labels[window.part]
        # with the change and without: the last solve may have stopped a little earlier in here
        both = [window.of(one, before) for one in (last.problem, problem)]
        minimum = yield from iter_majorize_minimize(
            _batch(both), max_sweeps=max_sweeps, tolerance=tolerance, stop=stop
        )
        without, found = minimum.labels.split(1)
        if minimum.status is Status.STOPPED or window.is_quiet(without, found, tolerance):
            break
        margin *= 2
    labels = last.minimum.labels.clone()
    labels[window.part] = found
    was, now = _terms(both[0], before), _terms(both[1], found)
    return Minimum(
        labels,
        minimum.sweeps,
        minimum.status,
        EnergyTerms(
            last.minimum.terms.unary + now.unary - was.unary,
            last.minimum.terms.pairwise + now.pairwise - was.pairwise,
        ),
    )


def _batch(problems: list[Problem]) -> Problem:
    """Return problems that differ in seeds, edges and sigma as one batch."""
    first = problems[0]
    return replace(
        first,
        seeds=torch.cat([one.seeds for one in problems]),
        edges={offset: torch.cat([one.edges[offset] for one in problems]) for offset in first.edges},
        sigma=torch.cat([one.sigma for one in problems if one.sigma is not None]),
        valid=torch.cat([one.valid for one in problems if one.valid is not None]),
        held=torch.cat([one.held for one in problems if one.held is not None]),
    )


def _changed(old: Problem, new: Problem) -> Tensor | None:
    """Return (H, W) bool where the problems differ; None where they are not problems of one image."""
    if (
        new.seeds.shape != old.seeds.shape
        or len(new.seeds) != 1
        or new.depth > 1
        or new.sigma is None  # then strokes reach far
        or new.dense is not None
        or old.dense is not None
        or new.edges.keys() != old.edges.keys()
        or new.seeds.device != old.seeds.device
        or new.dtype != old.dtype
        or any(getattr(new, name) != getattr(old, name) for name in _SAME)
        or old.sigma is None
        or (new.valid is None) != (old.valid is None)
    ):
        return None
    changed = new.seeds != old.seeds
    if not new.has_maps_of(old):
        for offset, weights in new.edges.items():
            changed |= weights != old.edges[offset]
        if not torch.equal(new.sigma, old.sigma):
            changed |= (new.sigma != old.sigma).any(1)
    if new.valid is not None and old.valid is not None:
        changed |= new.valid != old.valid
    return changed[0]


class _Window:
    """A window of the image: inner rows and columns, even ones, and the rim around them."""

    def __init__(self, inner: tuple[int, int, int, int], rim: int, height: int, width: int) -> None:
        top, bottom, left, right = inner
        self._rows = slice(max(top - rim, 0), min(bottom + rim, height))
        self._columns = slice(max(left - rim, 0), min(right + rim, width))
        self.part = (..., self._rows, self._columns)
        self._inner = torch.zeros(1, height, width, dtype=torch.bool)[self.part]
        offset = (top - self._rows.start, left - self._columns.start)
        self._inner[:, offset[0] : offset[0] + bottom - top, offset[1] : offset[1] + right - left] = True
        # a side of the window that is a side of the image has no ring
        quiet = torch.zeros_like(self._inner)
        quiet[
            :,
            offset[0] + _RING * (top > 0) : offset[0] + bottom - top - _RING * (bottom < height),
            offset[1] + _RING * (left > 0) : offset[1] + right - left - _RING * (right < width),
        ] = True
        self._ring = self._inner & ~quiet

    def of(self, problem: Problem, held: Tensor) -> Problem:
        """Return the part of the problem in this window."""
        inner = self._inner.to(problem.seeds.device)
        return problem.crop(self._rows, self._columns, inner, held)

    def is_quiet(self, before: Tensor, after: Tensor, tolerance: float) -> bool:
        """Return whether hardly any label mass moved along the rim."""
        moved = (after - before).abs().sum(1)[self._ring.to(before.device)] / 2
        return bool(moved.mean() <= 10 * tolerance) if moved.numel() else True


def _terms(problem: Problem, labels: Tensor) -> EnergyTerms:
    unary, pairwise = sweep_for(problem, labels).settle()[1].sum(0).tolist()
    return EnergyTerms(unary, pairwise)
