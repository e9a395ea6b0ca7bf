"""Hard labels: the Potts energy that all relaxations share at one-hot labels, minimised over those.

``E(k) = eta * sum_{i free} U_i(k_i) + lambda * sum_{ij} w_ij [k_i != k_j]``, where U_i(k) is what H gives
for the one-hot label k: ``-ln sigma_i(k)`` for CE and CCE. RCE takes the logarithm of the label itself, so
that its floor of 1e-6 speaks: ``-ln 1e-6 (1 - sigma_i(k))``.

Pixels are joined to regions, regions to larger ones, and so on. From the coarsest graph down to the pixels,
moves then lower the energy: each region in turn takes its best class, and each class takes the best set of
regions near it, which is a minimum cut. What would be a long way for pixels is a step for regions.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_softseg.errors import InputError
from napari_softseg.options import CrossEntropy
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES
from napari_softseg.solver.kernels.compiled import load_compiled
from napari_softseg.solver.neighborhood import Edges, edge_ends
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.solution import SolveProgress, drain

_EVERYWHERE = 20_000
"""Moves reach over graphs of so many nodes, or of this share of the pixels, if that is more; ..."""
_EVERYWHERE_SHARE = 1 / 13

_SHARE, _HOPS, _LEAST_HOPS = 1 / 6, 3, 2
"""... in graphs of this share of the pixels so many edges far from a class, in larger ones so few."""

_TINY = 1e-6
"""Edges that weigh less are left out."""

_MOST_SWEEPS = 200
"""Of single moves, the fallback: they end sooner, where no pixel gains any more."""

_Level = tuple[Any, Any, Any, Any, Any]
"""A graph of regions as numba_regions.py describes it: first, heads, weights, costs, labels."""


def solve_discrete(
    problem: Problem, start: Tensor | None = None, *, stop: threading.Event | None = None
) -> Tensor:
    """Return hard labels of low energy; see :func:`iter_discrete`."""
    return drain(iter_discrete(problem, start, stop=stop))


def iter_discrete(
    problem: Problem, start: Tensor | None = None, *, stop: threading.Event | None = None
) -> Generator[SolveProgress, None, Tensor]:
    """Minimise the energy of hard labels.

    Parameters
    ----------
    problem : Problem
        Its relaxation does not matter. Edges to padding are left out.
    start : (B, H, W) int64 tensor, optional
        Class indices to start from, such as the best classes of soft labels: up to rounding in float32
        (1e-5) the result's energy is no higher, and its own result as the start lowers it further. None
        starts from nothing.
    stop : threading.Event, optional
        When set, the labels reached so far are returned.

    Yields
    ------
    SolveProgress
        Its steps are graphs of all images.

    Returns
    -------
    (B, H, W) int64 tensor
        Class indices; the stroke's on strokes, those of `start` (0 without one) on padding.

    Raises
    ------
    InputError
        With dense edges, which join all pixels.

    Notes
    -----
    Expansion moves: Boykov, Veksler & Zabih, PAMI 2001. Without Numba only single pixels change class.
    """
    if problem.dense is not None:
        raise InputError("Hard labels need neighbours few in number, but got dn; choose grid4, grid8 or sn.")
    costs, edges = unary_costs(problem), _edges(problem)
    labels = torch.where(problem.seeds >= 0, problem.seeds, costs.argmin(1) if start is None else start)
    kernels = _kernels()
    if kernels is None:
        return (yield from _single_moves(problem, costs, edges, labels, stop))
    width = labels.shape[-1]
    offsets = np.array([dy * width + dx for dy, dx in edges], np.int64)
    solved = []
    for b, image in enumerate(labels):
        weights = np.stack([weight[b].flatten().cpu().float().numpy() for weight in edges.values()])
        # more than all else together
        forbidden = np.float32(1 + 2 * (float(costs[b].amax(0).double().sum()) + weights.sum(dtype=float)))
        table = _cost_table(costs[b], problem.seeds[b], float(forbidden))
        graph = kernels.regions.pixel_graph(weights, offsets, np.float32(_TINY * problem.lambda_))
        pixels = (*graph, table, image.flatten().cpu().to(torch.int32).numpy())
        done = yield from _descend(kernels, pixels, forbidden, start is None, stop)
        solved.append(torch.from_numpy(done).view(image.shape))
    return torch.stack(solved).to(problem.seeds)


def discrete_energies(problem: Problem, labels: Tensor) -> Tensor:
    """Return (B,) float64: the energy of hard labels (B, H, W), with the strokes' classes on strokes."""
    # at one-hot labels the logarithmic relaxations are infinite across an edge
    potts = replace(problem, relaxation="bl").to(torch.device("cpu"), torch.float64)
    return potts.energies(potts.constrain(_one_hot(labels.cpu(), problem.n_classes).double()))


def unary_costs(problem: Problem) -> Tensor:
    """Return (B, K, H, W): eta times U, zero where the label is no variable."""
    shape = (len(problem.seeds), problem.n_classes, *problem.seeds.shape[1:])
    costs = torch.zeros(shape, dtype=problem.dtype, device=problem.seeds.device)
    if problem.sigma is None:
        return costs
    name = CrossEntropy.named(problem.cross_entropy)
    if name == CrossEntropy.RCE:
        value = CROSS_ENTROPIES[name].value
        for k in range(problem.n_classes):
            label = torch.zeros_like(problem.sigma)
            label[:, k] = 1
            costs[:, k] = value(label, problem.sigma)
    else:
        costs = -problem.sigma.to(costs).log()
    return torch.where(problem.free.unsqueeze(1), problem.eta * costs, 0)


def _one_hot(labels: Tensor, n_classes: int) -> Tensor:
    return F.one_hot(labels, n_classes).movedim(-1, 1)


def _edges(problem: Problem) -> Edges:
    """Return the weights times lambda, zero at padding."""
    edges: Edges = {}
    for offset, weight in problem.edges.items():
        edges[offset] = problem.lambda_ * weight
        if problem.valid is not None:
            starts, ends = edge_ends(offset, *weight.shape[-2:])
            edges[offset][..., *starts] *= problem.valid[..., *starts] & problem.valid[..., *ends]
    return edges


def _cost_table(costs: Tensor, seeds: Tensor, forbidden: float) -> npt.NDArray[np.float32]:
    """Return (N, K): from (K, H, W) less the lowest of each pixel, other classes ruled out on strokes."""
    table = (costs - costs.amin(0)).flatten(1).T.cpu().float().contiguous()
    pixels = torch.nonzero(seeds.flatten().cpu() >= 0).squeeze(1)
    table[pixels] = forbidden
    table[pixels, seeds.flatten().cpu()[pixels]] = 0
    return np.asarray(table)


def _descend(
    kernels: _Kernels, pixels: _Level, forbidden: np.float32, anew: bool, stop: threading.Event | None
) -> Generator[SolveProgress, None, npt.NDArray[np.int32]]:
    """Join pixels to regions step by step, and return labels after moves on every graph, coarsest first."""
    levels, regions = [pixels], []
    while stop is None or not stop.is_set():
        region, n_regions = kernels.regions.join(*levels[-1], forbidden, not anew)
        if n_regions == len(region):
            break
        regions.append(region)
        *graph, costs, kept = kernels.regions.contract(*levels[-1], region, n_regions)
        levels.append((*graph, costs, costs.argmin(1).astype(np.int32) if anew else kept))
    labels: npt.NDArray[np.int32] = levels[-1][4]
    for number in reversed(range(len(levels))):
        yield SolveProgress("solve", len(levels) - 1 - number, len(levels))
        if number < len(regions):
            # regions without edges were left behind
            region = regions[number]
            labels = np.append(labels, np.int32(0))[region]
            labels = np.where(region >= 0, labels, levels[number][4])
        if stop is None or not stop.is_set():
            _move(kernels, levels[number], labels, forbidden, _hops(len(labels), len(levels[0][4])))
    return labels


def _move(
    kernels: _Kernels, level: _Level, labels: npt.NDArray[np.int32], forbidden: np.float32, hops: int
) -> None:
    """Change labels where it lowers the energy: every region by itself, then every class once."""
    *graph, costs, _ = level
    border = kernels.regions.relabel(*graph, costs, labels)
    place = np.full(len(labels), -1, np.int32)
    for k in range(costs.shape[1]):
        kernels.cut.expand(*graph, costs, labels, forbidden, k, border, hops, place)


def _hops(nodes: int, pixels: int) -> int:
    """Return how far moves reach in a graph, 0 for everywhere: the same work per pixel in all sizes."""
    if nodes <= max(_EVERYWHERE, _EVERYWHERE_SHARE * pixels):
        return 0
    return _HOPS if nodes <= _SHARE * pixels else _LEAST_HOPS


class _Kernels(NamedTuple):
    """The compiled kernels, in two modules."""

    regions: ModuleType
    cut: ModuleType


@functools.cache
def _kernels() -> _Kernels | None:
    """Return the compiled kernels, None where Numba cannot be used."""
    return load_compiled(_import, _compile, "Hard labels change by single pixels, to a higher energy")


def _import() -> _Kernels:
    from napari_softseg.solver.kernels import numba_cut, numba_regions

    return _Kernels(numba_regions, numba_cut)


def _compile(kernels: _Kernels) -> None:
    """Call the kernels on two pixels, which compiles them or loads them from disk."""
    graph = kernels.regions.pixel_graph(np.ones((1, 2), np.float32), np.ones(1, np.int64), np.float32(0))
    pixels = (*graph, np.eye(2, dtype=np.float32), np.zeros(2, np.int32))
    for anew in (True, False):
        for _ in _descend(kernels, pixels, np.float32(9), anew, None):
            pass


def _single_moves(
    problem: Problem, costs: Tensor, edges: Edges, labels: Tensor, stop: threading.Event | None
) -> Generator[SolveProgress, None, Tensor]:
    """Change single pixels to their best class, all at once that gain more than each of their neighbours."""
    height, width = labels.shape[-2:]
    for sweep in range(_MOST_SWEEPS):
        if stop is not None and stop.is_set():
            break
        yield SolveProgress("solve", sweep, _MOST_SWEEPS)
        y = _one_hot(labels, problem.n_classes).to(costs)
        prices = costs.clone()
        for offset, weight in edges.items():
            starts, ends = edge_ends(offset, height, width)
            w = weight[..., *starts].unsqueeze(1)
            prices[..., *starts] -= w * y[..., *ends]
            prices[..., *ends] -= w * y[..., *starts]
        best, classes = prices.min(1)
        gain = torch.where(problem.free, prices.gather(1, labels.unsqueeze(1)).squeeze(1) - best, 0)
        # a move must pay more than what rounding can feign
        moves = gain > 1e-6 * (1 + best.abs())
        for offset, weight in edges.items():
            starts, ends = edge_ends(offset, height, width)
            joined = weight[..., *starts] > 0
            first = gain[..., *starts] >= gain[..., *ends]
            moves[..., *ends] &= ~(joined & first)
            moves[..., *starts] &= ~joined | first
        if not moves.any():
            break
        labels = torch.where(moves, classes, labels)
    return labels
