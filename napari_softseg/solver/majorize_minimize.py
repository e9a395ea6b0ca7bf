"""The default solver: majorise-minimise without a step size.

One sweep replaces every log term by a separable bound that touches it at the current labels and
minimises the bound exactly in every pixel at once, so that the energy cannot rise (Jacobi order; the
bounds are joint in both ends of an edge). Two things make few sweeps enough:

* a coarse-to-fine start: the same problem on 2 x 2 blocks, solved first; recursively when there is
  no unary and strokes have far to travel. (With a unary, coarser levels cost more than they bring:
  the energy is not convex, and small objects that they swallow stay lost);
* momentum: the next sweep starts from a point extrapolated along the last step, and a little beyond
  the sweep's own (kernels/extrapolation.py). Its energy is known before it is used, at no cost; if it
  is higher than the last, the extrapolation is dropped. So the energies reported never rise.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_softseg.options import DEFAULTS
from napari_softseg.solver.kernels import BriefSweep, Memory, Sweep, coarsen, memory_for, sweep_for
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.solution import EnergyTerms, SolveProgress, Status, drain

_COARSEST = 24
"""Pyramid levels stop when a side is no longer than this."""

_DEPTH = 32
"""Most levels of the pyramid: any image ends sooner."""

_COARSE_SWEEPS = 30
"""Most sweeps on each coarse level."""

_AT_ONCE = 30
"""Most sweeps of a small image between two looks at whether to stop."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Labels (B, K, H, W) that sum to one, how many sweeps or steps they took, and how it ended."""

    labels: Tensor
    sweeps: int
    status: Status
    terms: EnergyTerms
    """Of the whole batch."""


def iter_majorize_minimize(
    problem: Problem,
    *,
    max_sweeps: int = DEFAULTS.max_sweeps,
    tolerance: float = DEFAULTS.tolerance,
    start: Tensor | None = None,
    stop: threading.Event | None = None,
) -> Generator[SolveProgress, None, Minimum]:
    """Minimise the energy of `problem` for any relaxation and cross-entropy.

    Parameters
    ----------
    problem : Problem
    max_sweeps : int
        Most sweeps on the full-size grid.
    tolerance : float
        Converged when a sweep moves less than this share of the free pixels' label mass.
    start : (B, K, H, W) float tensor, optional
        Labels to start from; None starts coarse-to-fine.
    stop : threading.Event, optional
        When set, the labels reached so far are returned.

    Yields
    ------
    SolveProgress
        After each full-size sweep; its energy is that of the labels the sweep started from.

    Returns
    -------
    Minimum

    Notes
    -----
    Derivation in docs/solver.md.
    """
    # nothing but the state holds labels while it works: an image that fits the memory is what limits it
    memory = memory_for(problem)
    begun = _start(problem, tolerance, stop, memory) if start is None else start
    state = sweep_for(problem, begun, memory)
    del start, begun, memory
    sweeps, status = yield from _descend(problem, state, max_sweeps, tolerance, stop)
    labels, terms = state.settle()
    unary, pairwise = terms.sum(0).tolist()
    return Minimum(labels, sweeps, status, EnergyTerms(unary, pairwise))


def _start(
    problem: Problem, tolerance: float, stop: threading.Event | None, memory: Memory | None
) -> Tensor | BriefSweep:
    if problem.dense is not None:
        return problem.start()  # every pixel sees all others: strokes reach far without coarser levels
    # of a volume even one coarser level swallows objects: a block joins eight voxels
    depth = _DEPTH if problem.sigma is None else 1 if problem.depth == 1 else 0
    return _coarse_start(problem, depth, tolerance, stop, memory)


def _coarse_start(
    problem: Problem, depth: int, tolerance: float, stop: threading.Event | None, memory: Memory | None
) -> Tensor | BriefSweep:
    """Return the labels of the coarser problem, (B, K, h, w), or some to start from where there is none.

    Of a small one only what is needed to make them, together with what comes after it.

    They lie in the memory of this one, outside of its first labels.
    """
    height, width = problem.seeds.shape[-2:]
    if depth == 0 or min(height // problem.depth, width) <= _COARSEST or (stop is not None and stop.is_set()):
        # sweep_for puts the labels of fixed pixels right
        return problem.start() if problem.sigma is None else problem.sigma.to(problem.dtype)
    coarse = coarsen(problem)
    within = memory_for(coarse, memory)
    state = sweep_for(coarse, _coarse_start(coarse, depth - 1, tolerance, stop, within), within)
    if isinstance(state, BriefSweep) and state.brief:
        state.put_off(_COARSE_SWEEPS, _still(coarse, tolerance), _momentum)
        return state
    drain(_descend(coarse, state, _COARSE_SWEEPS, tolerance, stop))
    return state.labels()


def _descend(
    problem: Problem, state: Sweep, max_sweeps: int, tolerance: float, stop: threading.Event | None
) -> Generator[SolveProgress, None, tuple[int, Status]]:
    """Sweep until little moves; returns how many sweeps it took and how it ended."""
    still = _still(problem, tolerance)
    if isinstance(state, BriefSweep) and state.brief:
        return (yield from _in_one_go(state, max_sweeps, still, stop))
    return (yield from _one_by_one(state, max_sweeps, still, stop, problem.seeds.device))


def _in_one_go(
    state: BriefSweep, max_sweeps: int, still: list[float], stop: threading.Event | None
) -> Generator[SolveProgress, None, tuple[int, Status]]:
    """Sweep a small image: what lies between its sweeps would take as long as they do."""
    sweeps = 0
    while sweeps < max_sweeps:
        if stop is not None and stop.is_set():
            return sweeps, Status.STOPPED
        most = min(_AT_ONCE, max_sweeps - sweeps)
        energies, converged = state.descend(most, still, _momentum, last=sweeps + most == max_sweeps)
        for energy in energies:
            yield SolveProgress("solve", sweeps, max_sweeps, energy)
            sweeps += 1
        if converged:
            return sweeps, Status.CONVERGED
    return max_sweeps, Status.MAX_SWEEPS


def _one_by_one(
    state: Sweep, max_sweeps: int, still: list[float], stop: threading.Event | None, device: torch.device
) -> Generator[SolveProgress, None, tuple[int, Status]]:
    last: list[float] = []
    age = [0] * len(still)
    for sweep in range(max_sweeps):
        if stop is not None and stop.is_set():
            return sweep, Status.STOPPED
        terms, moved = state.sweep(_momentum(age))
        energies = [sum(parts) for parts in terms.tolist()]
        worse = [now > before for now, before in zip(energies, last, strict=False)]
        if any(worse):
            age = [0 if one else steps for one, steps in zip(worse, age, strict=True)]
            state.restart(torch.tensor(worse, device=device))
            terms, moved = state.sweep(_momentum(age))
            energies = [sum(parts) for parts in terms.tolist()]
        yield SolveProgress("solve", sweep, max_sweeps, sum(energies))
        state.advance()
        last, age = energies, [steps + 1 for steps in age]
        if all(mass <= least for mass, least in zip(moved.tolist(), still, strict=True)):
            return sweep + 1, Status.CONVERGED
    return max_sweeps, Status.MAX_SWEEPS


def _still(problem: Problem, tolerance: float) -> list[float]:
    """Return the label mass that may move in each image's last sweep."""
    # not free.sum(), which makes a copy in int64; NumPy counts without PyTorch's threads, and sooner
    on_cpu = problem.free.device.type == "cpu"
    counts = map(np.count_nonzero, problem.free.numpy()) if on_cpu else map(torch.count_nonzero, problem.free)
    return [tolerance * int(count) for count in counts]


def _momentum(age: list[int]) -> list[float]:
    """Return how far the next points lie ahead, after so many steps without a restart."""
    return [steps / (steps + 3) for steps in age]
