"""The sweep in plain PyTorch: the reference for the fused ones, and for devices without one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES, FLOOR
from napari_softseg.solver.kernels.extrapolation import over
from napari_softseg.solver.problem import Pairwise, Problem
from napari_softseg.solver.relaxations import CLASS_DIM, RELAXATIONS, Surrogate
from napari_softseg.solver.simplex import minimise_on_simplex
from napari_softseg.threads import lone_workers

PROXIMITY = 1e-6
"""Weight of the old label in the new one: keeps pixels without any edge or unary defined."""

_BAND = 131_072
"""Numbers in one band of rows that the CPU updates at a time."""


class TorchSweep:
    """See :class:`~napari_softseg.solver.kernels.Sweep`."""

    def __init__(self, problem: Problem, start: Tensor) -> None:
        self._bands = _bands(problem)
        self._labels = self._point = start
        self._threads = min(torch.get_num_threads(), len(self._bands))

    def sweep(self, momentum: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Update all pixels at once, in bands of rows."""
        point = self._point
        updated = torch.empty_like(point)

        @torch.no_grad()
        def update(band: _Band) -> tuple[Tensor, Tensor]:
            problem, y = band.problem, point[..., band.outer, :]
            pairwise = problem.pairwise(y, band.inner)
            unary = problem.unary_energy(y, band.inner)
            new = torch.where(problem.free.unsqueeze(CLASS_DIM), minimiser(problem, y, pairwise), y)
            updated[..., band.rows, :] = new[..., band.inner, :]
            moved = (new - y)[..., band.inner, :].abs().sum((-3, -2, -1)) / 2
            return torch.stack([problem.eta * unary, problem.lambda_ * pairwise.energy], 1), moved

        with lone_workers(self._threads) if self._threads > 1 else nullcontext() as pool:
            energies, moved = zip(*(pool.map if pool else map)(update, self._bands), strict=True)
        self._updated = updated
        self._momentum = momentum
        return torch.stack(energies).sum(0), torch.stack(moved).sum(0)

    def advance(self) -> None:
        """Move on, and extrapolate."""
        momentum = self._updated.new_tensor(self._momentum).view(-1, 1, 1, 1)
        beyond = self._updated.new_tensor([over(m) for m in self._momentum]).view(-1, 1, 1, 1)
        ahead = self._updated + momentum * (self._updated - self._labels)
        ahead += beyond * (self._updated - self._point)
        ahead = torch.maximum(ahead, self._updated / 4)
        self._labels, self._point = self._updated, ahead / ahead.sum(CLASS_DIM, keepdim=True)

    def restart(self, which: Tensor) -> None:
        """Back to the labels."""
        self._point = torch.where(which.view(-1, 1, 1, 1), self._labels, self._point)

    def labels(self) -> Tensor:
        """Return the labels, (B, K, H, W)."""
        return self._labels

    def settle(self) -> tuple[Tensor, Tensor]:
        """Divide by the sums; the energy is that of one sweep more, whose result is not used."""
        self._labels = self._point = self._labels / self._labels.sum(CLASS_DIM, keepdim=True)
        terms, _ = self.sweep([0.0] * len(self._labels))
        return self._labels.contiguous(), terms


@dataclass(frozen=True, slots=True)
class _Band:
    """Some rows of the image, and the problem on these and one more on either side."""

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
    own, reach = height, problem.reach
    if problem.seeds.device.type == "cpu" and reach < height:
        own = max(4 * reach, _BAND // (batch * problem.n_classes * width) - 2 * reach)
    bands = []
    for top in range(0, height, own):
        bottom = min(top + own, height)
        outer = slice(max(top - reach, 0), min(bottom + reach, height))
        inner = slice(top - outer.start, bottom - outer.start)
        bands.append(_Band(problem.window(outer), outer, inner, slice(top, bottom)))
    return bands


def minimiser(problem: Problem, y: Tensor, pairwise: Pairwise) -> Tensor:
    """Return the labels (B, K, H, W) that minimise the majoriser at `y`."""
    terms = RELAXATIONS[Relaxation.named(problem.relaxation)]
    unary = CROSS_ENTROPIES[CrossEntropy.named(problem.cross_entropy)]
    sigma = problem.sigma
    pull = problem.lambda_ * pairwise.pull
    stay = problem.lambda_ * pairwise.stay.unsqueeze(CLASS_DIM)
    b = c = d = None
    log_weight = torch.full_like(y, PROXIMITY)
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
