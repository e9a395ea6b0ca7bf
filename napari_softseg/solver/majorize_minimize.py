"""The default solver: majorise-minimise without a step size.

One sweep replaces every log term by a separable bound that touches it at the current labels and
minimises the bound exactly in every pixel at once, so that the energy cannot rise (Jacobi order; the
bounds are joint in both ends of an edge). Two things make few sweeps enough:

* a coarse-to-fine start: the same problem on 2 x 2 blocks, solved first; recursively when there is
  no unary and strokes have far to travel. (With a unary, coarser levels cost more than they bring:
  the energy is not convex, and small objects that they swallow stay lost);
* momentum: the next sweep starts from a point extrapolated along the last step. Its energy is
  known before it is used, at no cost; if it is higher than the last, the extrapolation is dropped.
  So the energies reported never rise.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_softseg.options import DEFAULTS
from napari_softseg.solver.cross_entropy import FLOOR
from napari_softseg.solver.kernels import sweep_for
from napari_softseg.solver.problem import Problem, refine
from napari_softseg.solver.relaxations import CLASS_DIM
from napari_softseg.solver.solution import EnergyTerms, SolveProgress, Status, drain

_COARSEST = 24
"""Pyramid levels stop when a side is no longer than this."""

_DEPTH = 32
"""Most levels of the pyramid: any image ends sooner."""

_COARSE_SWEEPS = 30
"""Most sweeps on each coarse level."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Labels (B, K, H, W), how many sweeps or steps they took, how it ended, and their energy."""

    labels: Tensor
    sweeps: int
    status: Status
    terms: EnergyTerms
    """Of the whole batch."""

    @property
    def distributions(self) -> Tensor:
        """The labels (B, K, H, W) over their sum: the solvers' floor makes that a little more than one."""
        return self.labels / self.labels.sum(CLASS_DIM, keepdim=True)


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
    if start is None and problem.dense is not None:
        start = problem.start()  # every pixel sees all others: strokes reach far without coarser levels
    elif start is None:
        depth = _DEPTH if problem.sigma is None else 1
        start = _coarse_start(problem, depth, tolerance, stop)
    return (yield from _sweeps(problem, start, max_sweeps, tolerance, stop))


def _coarse_start(problem: Problem, depth: int, tolerance: float, stop: threading.Event | None) -> Tensor:
    height, width = problem.seeds.shape[-2:]
    if depth == 0 or min(height // problem.depth, width) <= _COARSEST or (stop is not None and stop.is_set()):
        return problem.start()
    coarse = problem.coarsen()
    start = _coarse_start(coarse, depth - 1, tolerance, stop)
    labels = drain(_sweeps(coarse, start, _COARSE_SWEEPS, tolerance, stop)).labels
    return problem.constrain(refine(labels, height, width, problem.depth))


def _sweeps(
    problem: Problem, start: Tensor, max_sweeps: int, tolerance: float, stop: threading.Event | None
) -> Generator[SolveProgress, None, Minimum]:
    state = sweep_for(problem, problem.constrain(start.clamp_min(FLOOR)))
    still = tolerance * problem.free.sum((-2, -1))
    last: Tensor | None = None
    age = torch.zeros(len(start), dtype=torch.float64, device=start.device)
    status, sweeps = Status.MAX_SWEEPS, max_sweeps
    for sweep in range(max_sweeps):
        if stop is not None and stop.is_set():
            status, sweeps = Status.STOPPED, sweep
            break
        terms, moved = state.sweep(age / (age + 3))
        energies = terms.sum(1)
        if last is not None and bool((energies > last).any()):
            worse = energies > last
            age = torch.where(worse, 0.0, age)
            state.restart(worse)
            terms, moved = state.sweep(age / (age + 3))
            energies = terms.sum(1)
        yield SolveProgress("solve", sweep, max_sweeps, float(energies.sum()))
        state.advance()
        last, age = energies, age + 1
        if bool((moved <= still).all()):
            status, sweeps = Status.CONVERGED, sweep + 1
            break
    # the labels themselves, normalised, and their energy: one sweep more, whose result is not used
    state.restart(torch.ones(len(start), dtype=torch.bool, device=start.device))
    terms, _ = state.sweep(torch.zeros_like(age))
    unary, pairwise = terms.sum(0).tolist()
    return Minimum(state.point(), sweeps, status, EnergyTerms(unary, pairwise))
