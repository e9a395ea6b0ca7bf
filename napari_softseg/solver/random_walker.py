"""Closed form of the quadratic relaxation with a quadratic unary: the random walker with priors.

Setting the gradient of ``eta/2 sum |y_i - sigma_i|^2 + lambda/2 sum w_ij |y_i - y_j|^2`` to zero gives
``(eta I + lambda L) y = eta sigma`` on the free pixels, with the strokes as boundary values (Grady,
"Multilabel random walker image segmentation using prior models", CVPR 2005; Zhang & Boykov,
CVPR 2025, section 3). The rows stay in the simplex by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Generator

import torch
from torch import Tensor

from napari_softseg.solver.majorize_minimize import Minimum
from napari_softseg.solver.neighborhood import edge_ends, total_weight
from napari_softseg.solver.problem import Problem, refine
from napari_softseg.solver.relaxations import CLASS_DIM
from napari_softseg.solver.solution import EnergyTerms, SolveProgress, Status, drain

_RESIDUAL = 1e-6
"""Converged when the residual's norm fell to this share of the right-hand side's."""

_COARSEST = 16


def iter_random_walker(
    problem: Problem, *, max_iterations: int = 2000, stop: threading.Event | None = None
) -> Generator[SolveProgress, None, Minimum]:
    """Solve the linear system by conjugate gradients, diagonal preconditioner, coarse-to-fine start.

    The cross-entropy of `problem` is not used: the unary is quadratic. Yields progress without
    energies, returns as the default solver does.
    """
    height, width = problem.seeds.shape[-2:]
    y = problem.start()
    if min(height, width) > _COARSEST:
        coarse = drain(iter_random_walker(problem.coarsen(), max_iterations=max_iterations, stop=stop))
        y = problem.constrain(refine(coarse.labels, height, width))
    free = problem.free.unsqueeze(CLASS_DIM)
    eta = problem.eta if problem.sigma is not None else 0.0
    degree = (problem.lambda_ * total_weight(problem.edges) + eta).unsqueeze(CLASS_DIM)
    # a free pixel without any weight keeps its start: its row is zero on both sides
    inverse = torch.where(free & (degree > 0), 1 / degree.clamp_min(1e-30), 0.0)

    def laplacian(x: Tensor) -> Tensor:
        out = degree * x
        for offset, weights in problem.edges.items():
            starts, ends = edge_ends(offset, height, width)
            w = problem.lambda_ * weights[..., *starts].unsqueeze(CLASS_DIM)
            out[..., *starts] -= w * x[..., *ends]
            out[..., *ends] -= w * x[..., *starts]
        return torch.where(free, out, 0.0)

    right = 0.0 if problem.sigma is None else eta * torch.where(free, problem.sigma, 0.0)
    residual = right - laplacian(y)
    goal = _RESIDUAL * _norm(laplacian(problem.constrain(torch.zeros_like(y))) - right)
    scaled = inverse * residual
    direction = scaled
    energy = _inner(residual, scaled)
    for iteration in range(max_iterations):
        if stop is not None and stop.is_set():
            return Minimum(_on_simplex(problem, y), iteration, Status.STOPPED)
        if bool((_norm(residual) <= goal).all()):
            return Minimum(_on_simplex(problem, y), iteration, Status.CONVERGED)
        yield SolveProgress("solve", iteration, max_iterations)
        image = laplacian(direction)
        step = energy / _inner(direction, image).clamp_min(1e-30)
        y = y + step * direction
        residual = residual - step * image
        scaled = inverse * residual
        previous, energy = energy, _inner(residual, scaled)
        direction = scaled + energy / previous.clamp_min(1e-30) * direction
    return Minimum(_on_simplex(problem, y), max_iterations, Status.MAX_SWEEPS)


def quadratic_energy(problem: Problem, y: Tensor) -> EnergyTerms:
    """Return ``eta/2 sum |y - sigma|^2`` over the free pixels and ``lambda/2 sum w |y_i - y_j|^2``."""
    unary = 0.0
    if problem.sigma is not None:
        distance = (y - problem.sigma).cpu().double().square().sum(CLASS_DIM)
        unary = problem.eta / 2 * float(torch.where(problem.free.cpu(), distance, 0.0).sum())
    return EnergyTerms(unary, problem.energy_terms(y).pairwise)


def _on_simplex(problem: Problem, y: Tensor) -> Tensor:
    # exact in exact arithmetic; this removes what rounding and early stopping left
    y = y.clamp_min(0)
    return problem.constrain(y / y.sum(CLASS_DIM, keepdim=True).clamp_min(1e-30))


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """One value per image and class: the classes are independent systems."""
    return (x * y).sum((-2, -1), keepdim=True)


def _norm(x: Tensor) -> Tensor:
    return _inner(x, x).sqrt()
