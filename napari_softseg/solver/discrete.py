"""Hard labels: the Potts energy that all relaxations share at one-hot labels, minimised over those.

``E(k) = eta * sum_{i free} U_i(k_i) + lambda * sum_{ij} w_ij [k_i != k_j]``, where U_i(k) is what H gives
for the one-hot label k: ``-ln sigma_i(k)`` for CE and CCE. RCE takes the logarithm of the label itself, so
that its floor of 1e-6 speaks: ``-ln 1e-6 (1 - sigma_i(k))``.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_softseg.errors import InputError
from napari_softseg.options import CrossEntropy
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES
from napari_softseg.solver.neighborhood import edge_ends
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.solution import SolveProgress, drain

_MOST_SWEEPS = 200


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
        Class indices to start from, such as the best classes of soft labels: the result's energy is never
        higher. On strokes their own class counts instead. None starts from sigma.
    stop : threading.Event, optional
        When set, the labels reached so far are returned.

    Yields
    ------
    SolveProgress

    Returns
    -------
    (B, H, W) int64 tensor
        Class indices; the stroke's on strokes, those of `start` (0 without one) on padding.

    Raises
    ------
    InputError
        With dense edges, which join all pixels.
    """
    if problem.dense is not None:
        raise InputError(
            "Hard labels need a neighborhood of few pixels, but got dn; choose grid4, grid8 or sn."
        )
    if start is None:
        start = torch.zeros_like(problem.seeds) if problem.sigma is None else problem.sigma.argmax(1)
        start = torch.where(problem.free, start, 0)
    labels = torch.where(problem.seeds >= 0, problem.seeds, start)
    yield SolveProgress("solve", 0, 1)
    return _single_moves(problem, labels, stop)


def discrete_energies(problem: Problem, labels: Tensor) -> Tensor:
    """Return (B,) float64: the energy of hard labels (B, H, W), with the strokes' classes on strokes."""
    # at one-hot labels the logarithmic relaxations are infinite across an edge
    potts = replace(problem, relaxation="bl").to(labels.device, torch.float64)
    return potts.energies(potts.constrain(_one_hot(labels, problem.n_classes).double()))


def unary_costs(problem: Problem) -> Tensor:
    """Return (B, K, H, W): eta times U, zero where the label is no variable."""
    shape = (len(problem.seeds), problem.n_classes, *problem.seeds.shape[1:])
    costs = torch.zeros(shape, dtype=problem.dtype, device=problem.seeds.device)
    if problem.sigma is not None:
        value = CROSS_ENTROPIES[CrossEntropy.named(problem.cross_entropy)].value
        for k in range(problem.n_classes):
            label = torch.zeros_like(problem.sigma)
            label[:, k] = 1
            costs[:, k] = torch.where(problem.free, problem.eta * value(label, problem.sigma), 0)
    return costs


def _one_hot(labels: Tensor, n_classes: int) -> Tensor:
    return F.one_hot(labels, n_classes).movedim(-1, 1)


def _single_moves(problem: Problem, labels: Tensor, stop: threading.Event | None) -> Tensor:
    """Change single pixels to their best class, all at once that gain more than each of their neighbours."""
    height, width = labels.shape[-2:]
    unary = unary_costs(problem)
    for _ in range(_MOST_SWEEPS):
        if stop is not None and stop.is_set():
            break
        y = _one_hot(labels, problem.n_classes).to(unary)
        costs = unary.clone()
        for offset, weight in problem.edges.items():
            starts, ends = edge_ends(offset, height, width)
            w = problem.lambda_ * weight[..., *starts].unsqueeze(1)
            costs[..., *starts] -= w * y[..., *ends]
            costs[..., *ends] -= w * y[..., *starts]
        best, classes = costs.min(1)
        gain = torch.where(problem.free, costs.gather(1, labels.unsqueeze(1)).squeeze(1) - best, 0)
        # a move must pay more than what rounding can feign
        moves = gain > 1e-6 * (1 + best.abs())
        for offset, weight in problem.edges.items():
            starts, ends = edge_ends(offset, height, width)
            joined = weight[..., *starts] > 0
            first = gain[..., *starts] >= gain[..., *ends]
            moves[..., *ends] &= ~(joined & first)
            moves[..., *starts] &= ~joined | first
        if not moves.any():
            break
        labels = torch.where(moves, classes, labels)
    return labels
