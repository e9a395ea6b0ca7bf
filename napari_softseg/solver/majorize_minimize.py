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
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_softseg.options import DEFAULTS, CrossEntropy, Relaxation
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES, FLOOR
from napari_softseg.solver.problem import Pairwise, Problem, refine
from napari_softseg.solver.relaxations import CLASS_DIM, RELAXATIONS, Surrogate
from napari_softseg.solver.simplex import minimise_on_simplex
from napari_softseg.solver.solution import SolveProgress, Status, drain

_PROXIMITY = 1e-6
"""Weight of the old label in the new one: keeps pixels without any edge or unary defined."""

_SETTING = threading.Lock()

_BAND = 131_072
"""Numbers in one band of rows that the CPU updates at a time."""

_COARSEST = 24
"""Pyramid levels stop when a side is no longer than this."""

_DEPTH = 32
"""Most levels of the pyramid: any image ends sooner."""

_COARSE_SWEEPS = 30
"""Most sweeps on each coarse level."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Labels (B, K, H, W), how many sweeps or steps they took, and how it ended."""

    labels: Tensor
    sweeps: int
    status: Status

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
    if start is None:
        depth = _DEPTH if problem.sigma is None else 1
        start = _coarse_start(problem, depth, tolerance, stop)
    return (yield from _sweeps(problem, start, max_sweeps, tolerance, stop))


def _coarse_start(problem: Problem, depth: int, tolerance: float, stop: threading.Event | None) -> Tensor:
    height, width = problem.seeds.shape[-2:]
    if depth == 0 or min(height, width) <= _COARSEST or (stop is not None and stop.is_set()):
        return problem.start()
    coarse = problem.coarsen()
    start = _coarse_start(coarse, depth - 1, tolerance, stop)
    labels = drain(_sweeps(coarse, start, _COARSE_SWEEPS, tolerance, stop)).labels
    return problem.constrain(refine(labels, height, width))


def _sweeps(
    problem: Problem, start: Tensor, max_sweeps: int, tolerance: float, stop: threading.Event | None
) -> Generator[SolveProgress, None, Minimum]:
    labels = point = problem.constrain(start.clamp_min(FLOOR))
    bands = _bands(problem)
    still = tolerance * problem.free.sum((-2, -1))
    last: Tensor | None = None
    age = torch.zeros(len(point), 1, 1, 1, dtype=point.dtype, device=point.device)
    threads = min(torch.get_num_threads(), len(bands))
    with _workers(threads) if threads > 1 else nullcontext() as pool:
        for sweep in range(max_sweeps):
            if stop is not None and stop.is_set():
                return Minimum(labels, sweep, Status.STOPPED)
            updated, energies, moved = _sweep(bands, point, pool)
            if last is not None and bool((energies > last).any()):
                worse = (energies > last).view(-1, 1, 1, 1)
                point, age = torch.where(worse, labels, point), torch.where(worse, 0.0, age)
                updated, energies, moved = _sweep(bands, point, pool)
            yield SolveProgress("solve", sweep, max_sweeps, float(energies.sum()))
            previous, labels, last = labels, updated, energies
            if bool((moved <= still).all()):
                return Minimum(labels, sweep + 1, Status.CONVERGED)
            point = _extrapolated(labels, previous, age / (age + 3))
            age = age + 1
    return Minimum(labels, max_sweeps, Status.MAX_SWEEPS)


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads in each of which torch works alone.

    Torch's own threads meet at a barrier after every operation, which costs more than it brings as
    soon as anything else runs on the machine.
    """
    started = threading.Barrier(count + 1)

    def work_alone() -> None:
        torch.get_num_threads()  # takes the common setting once; after that the thread has its own
        torch.set_num_threads(1)
        started.wait()

    with ThreadPoolExecutor(count, initializer=work_alone) as pool:
        with _SETTING:  # it also changes what new threads start with: put that back at once
            common = torch.get_num_threads()
            for _ in range(count):
                pool.submit(int)
            started.wait()
            torch.set_num_threads(common)
        yield pool


@dataclass(frozen=True, slots=True)
class _Band:
    """Some rows of the image, and the problem on these and those their edges reach on either side."""

    problem: Problem
    outer: slice
    """Rows of the window in the image."""
    inner: slice
    """Own rows in the window."""
    rows: slice
    """Own rows in the image."""


def _bands(problem: Problem) -> list[_Band]:
    """Cut the image into bands whose temporaries stay in the cache (CPU), or take it whole."""
    batch, height, width = problem.seeds.shape
    own = height
    if problem.seeds.device.type == "cpu":
        own = max(4, _BAND // (batch * problem.n_classes * width) - 2)
    reach = max(down for down, _ in problem.edges)
    bands = []
    for top in range(0, height, own):
        bottom = min(top + own, height)
        outer = slice(max(top - reach, 0), min(bottom + reach, height))
        inner = slice(top - outer.start, bottom - outer.start)
        bands.append(_Band(problem.window(outer), outer, inner, slice(top, bottom)))
    return bands


def _sweep(
    bands: list[_Band], point: Tensor, pool: ThreadPoolExecutor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Update all pixels at once.

    Returns the new labels (B, K, H, W), and per image (B,) the energy at `point` in float64 and the
    label mass that moved, in pixels.
    """
    updated = torch.empty_like(point)

    @torch.no_grad()
    def update(band: _Band) -> tuple[Tensor, Tensor]:
        problem, y = band.problem, point[..., band.outer, :]
        pairwise = problem.pairwise(y, band.inner)
        energy = problem.eta * problem.unary_energy(y, band.inner) + problem.lambda_ * pairwise.energy
        new = problem.constrain(_minimiser(problem, y, pairwise))[..., band.inner, :]
        updated[..., band.rows, :] = new
        return energy, (new - y[..., band.inner, :]).abs().sum((-3, -2, -1))

    energies, moved = zip(*(pool.map if pool else map)(update, bands), strict=True)
    return updated, torch.stack(energies).sum(0), torch.stack(moved).sum(0) / 2


def _minimiser(problem: Problem, y: Tensor, pairwise: Pairwise) -> Tensor:
    """Return the labels (B, K, H, W) that minimise the majoriser at `y`."""
    terms = RELAXATIONS[Relaxation.named(problem.relaxation)]
    unary = CROSS_ENTROPIES[CrossEntropy.named(problem.cross_entropy)]
    sigma = problem.sigma
    pull = problem.lambda_ * pairwise.pull
    stay = problem.lambda_ * pairwise.stay.unsqueeze(CLASS_DIM)
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
    tolerance = 0.1 if y.dtype == torch.float32 else 1e-6
    return minimise_on_simplex(y * log_weight, b, c, d, y, tolerance).clamp_min_(FLOOR)


def _extrapolated(labels: Tensor, previous: Tensor, momentum: Tensor) -> Tensor:
    point = torch.maximum(labels + momentum * (labels - previous), labels / 4)
    return point / point.sum(CLASS_DIM, keepdim=True)
