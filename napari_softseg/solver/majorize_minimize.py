"""The default solver: majorise-minimise without a step size.

One sweep replaces every log term by a separable bound that touches it at the current labels and
minimises the bound exactly in every pixel at once, so that the energy cannot rise (Jacobi order; the
bounds are joint in both ends of an edge). Two things make few sweeps enough:

* a coarse-to-fine start: the same problem on 2 x 2 blocks, solved first, recursively;
* momentum: the next sweep starts from a point extrapolated along the last step. Its energy is
  known before it is used, at no cost; if it is higher than the last, the extrapolation is dropped.
  So the energies reported never rise.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES, FLOOR
from napari_softseg.solver.problem import Pairwise, Problem, refine
from napari_softseg.solver.relaxations import CLASS_DIM, RELAXATIONS, Surrogate
from napari_softseg.solver.simplex import minimise_on_simplex
from napari_softseg.solver.solution import SolveProgress, Status, drain

_PROXIMITY = 1e-6
"""Weight of the old label in the new one: keeps pixels without any edge or unary defined."""

_BAND = 32_768
"""Numbers in one band of rows that the CPU updates at a time: torch's limit for one thread."""

_COARSEST = 24
"""Pyramid levels stop when a side is no longer than this."""

_COARSE_SWEEPS = 30
"""Most sweeps on each coarse level."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Labels (B, K, H, W), how many sweeps or steps they took, and how it ended."""

    labels: Tensor
    sweeps: int
    status: Status


def iter_majorize_minimize(
    problem: Problem,
    *,
    max_sweeps: int = 200,
    tolerance: float = 1e-4,
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
        Converged when a sweep moves less than this share of all label mass.
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
    if start is None:
        start = _coarse_start(problem, tolerance, stop)
    return (yield from _sweeps(problem, start, max_sweeps, tolerance, stop))


def _coarse_start(problem: Problem, tolerance: float, stop: threading.Event | None) -> Tensor:
    height, width = problem.seeds.shape[-2:]
    if min(height, width) <= _COARSEST or (stop is not None and stop.is_set()):
        return problem.start()
    coarse = problem.coarsen()
    start = _coarse_start(coarse, tolerance, stop)
    labels = drain(_sweeps(coarse, start, _COARSE_SWEEPS, tolerance, stop)).labels
    return problem.constrain(refine(labels, height, width))


def _sweeps(
    problem: Problem, start: Tensor, max_sweeps: int, tolerance: float, stop: threading.Event | None
) -> Generator[SolveProgress, None, Minimum]:
    labels = point = problem.constrain(start.clamp_min(FLOOR))
    last: Tensor | None = None
    age = torch.zeros(len(point), 1, 1, 1, dtype=point.dtype, device=point.device)
    for sweep in range(max_sweeps):
        if stop is not None and stop.is_set():
            return Minimum(labels, sweep, Status.STOPPED)
        pairwise = problem.pairwise(point)
        energies = problem.energies(point, pairwise)
        if last is not None:
            rejected = energies > last
            if rejected.any():
                where = rejected.view(-1, 1, 1, 1)
                point = torch.where(where, labels, point)
                age = torch.where(where, 0.0, age)
                pairwise = problem.pairwise(point)
                energies = problem.energies(point, pairwise)
        last = energies
        yield SolveProgress("solve", sweep, max_sweeps, float(energies.sum()))
        previous, labels = labels, _update(problem, point, pairwise)
        if bool((_moved(point, labels) <= tolerance).all()):
            return Minimum(labels, sweep + 1, Status.CONVERGED)
        point = _extrapolated(labels, previous, age / (age + 3))
        age = age + 1
    return Minimum(labels, max_sweeps, Status.MAX_SWEEPS)


def _update(problem: Problem, y: Tensor, pairwise: Pairwise) -> Tensor:
    """Return the minimiser of the majoriser at `y`: all pixels at once."""
    updated = torch.empty_like(y)
    height = y.shape[-2]

    def update_rows(top: int, rows: int) -> None:
        band = (..., slice(top, top + rows), slice(None))
        sigma = None if problem.sigma is None else problem.sigma[band]
        updated[band] = _minimiser(problem, y[band], sigma, pairwise.pull[band], pairwise.stay[band])

    if y.device.type != "cpu":
        update_rows(0, height)
    else:
        # bands of rows whose temporaries stay in the cache, one thread each: torch's own threads
        # would meet at a barrier after every operation
        rows = max(1, _BAND * height // y.numel())
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(update_rows, range(0, height, rows), repeat(rows)))
    return problem.constrain(updated)


def _minimiser(problem: Problem, y: Tensor, sigma: Tensor | None, pull: Tensor, stay: Tensor) -> Tensor:
    """Return the labels (B, K, h, W) that minimise the majoriser at `y` on a band of rows."""
    terms = RELAXATIONS[Relaxation.named(problem.relaxation)]
    unary = CROSS_ENTROPIES[CrossEntropy.named(problem.cross_entropy)]
    pull = problem.lambda_ * pull
    stay = problem.lambda_ * stay.unsqueeze(CLASS_DIM)
    b = c = d = None
    log_weight = torch.full_like(y, _PROXIMITY)
    if terms.surrogate is Surrogate.QUADRATIC:
        c, d = -(stay * y + pull), 2 * stay
    else:
        log_weight += pull
    if terms.surrogate is Surrogate.LOG_QUADRATIC:
        d = stay / (y * y).sum(CLASS_DIM, keepdim=True)
    if terms.surrogate is Surrogate.LOG_BARRIER:
        spread = stay * (1 - y).clamp_min(FLOOR) / 2
        log_weight += spread
        b = y * spread
    if sigma is not None and unary.log_weight is not None:
        log_weight += problem.eta * unary.log_weight(y, sigma)
    if sigma is not None and unary.linear is not None:
        linear = problem.eta * unary.linear(sigma)
        c = linear if c is None else c + linear
    # the energy's error is of second order in this, far below what a sweep gains
    tolerance = 0.01 if y.dtype == torch.float32 else 1e-6
    return minimise_on_simplex(y * log_weight, b, c, d, y, tolerance).clamp_min_(FLOOR)


def _moved(before: Tensor, after: Tensor) -> Tensor:
    """Return (B,): the mean total-variation distance between old and new labels."""
    return (after - before).abs().sum((-3, -2, -1)) / (2 * before.shape[-2] * before.shape[-1])


def _extrapolated(labels: Tensor, previous: Tensor, momentum: Tensor) -> Tensor:
    point = torch.maximum(labels + momentum * (labels - previous), labels / 4)
    return point / point.sum(CLASS_DIM, keepdim=True)
