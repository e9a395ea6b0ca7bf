"""Closed form of the quadratic relaxation with a quadratic unary: the random walker with priors.

Setting the gradient of ``eta/2 sum |y_i - sigma_i|^2 + lambda/2 sum w_ij |y_i - y_j|^2`` to zero gives
``(eta I + lambda L) y = eta sigma`` on the free pixels, with the strokes as boundary values (Grady,
"Multilabel random walker image segmentation using prior models", CVPR 2005; Zhang & Boykov,
CVPR 2025, section 3). The rows stay in the simplex by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Generator

import numpy as np
import numpy.typing as npt
import torch
from pyamg import ruge_stuben_solver
from scipy.sparse import coo_array, csr_array
from torch import Tensor

from napari_softseg.options import DEFAULTS
from napari_softseg.solver.majorize_minimize import Minimum
from napari_softseg.solver.neighborhood import edge_ends
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.relaxations import CLASS_DIM
from napari_softseg.solver.solution import EnergyTerms, SolveProgress, Status

_RESIDUAL = 1e-5
"""Relative residual at which a system counts as solved."""


class _Stopped(Exception):
    """Leaves a running multigrid solve."""


_ANCHOR = 1e-10
"""Pull towards the start: decides pixels that nothing else reaches."""


def iter_random_walker(
    problem: Problem, *, max_iterations: int = DEFAULTS.max_sweeps, stop: threading.Event | None = None
) -> Generator[SolveProgress, None, Minimum]:
    """Solve the linear systems, one per class, by conjugate gradients on algebraic multigrid (PyAMG).

    The relaxation and the cross-entropy of `problem` are not used: both terms are quadratic. Runs on
    the CPU in float64 (edge weights span many orders of magnitude). Yields progress without energies,
    returns as the default solver does; stopped, the unsolved classes keep their start. `max_iterations`
    is the most per class.
    """

    def heed_stop(_: object) -> None:
        if stop is not None and stop.is_set():
            raise _Stopped

    batch, n_classes = len(problem.seeds), problem.n_classes
    labels = problem.start().cpu().double().numpy()
    iterations, status = 0, Status.CONVERGED
    for image in range(batch):
        free = problem.free[image].cpu().numpy().ravel()
        flat = labels[image].reshape(n_classes, -1)
        if not free.any():
            continue
        eta = 0.0 if problem.sigma is None else problem.eta
        matrix = _laplacian(problem, image) * problem.lambda_
        system = csr_array(matrix[free][:, free])
        system.setdiag(system.diagonal() + eta + _ANCHOR)
        multigrid = ruge_stuben_solver(system)
        boundary = matrix[free][:, ~free]
        for k in range(n_classes):
            yield SolveProgress("solve", image * n_classes + k, batch * n_classes)
            right = (eta + _ANCHOR) * flat[k, free] - boundary @ flat[k, ~free]
            residuals: list[float] = []
            try:
                heed_stop(None)
                solved, unsolved = multigrid.solve(
                    right,
                    x0=flat[k, free],
                    tol=_RESIDUAL,
                    maxiter=max_iterations,
                    accel="cg",
                    residuals=residuals,
                    callback=heed_stop,
                    return_info=True,
                )
            except _Stopped:
                return _minimum(problem, labels, iterations, Status.STOPPED)
            flat[k, free] = np.clip(solved, 0, 1)
            iterations += len(residuals) - 1
            if unsolved:
                status = Status.MAX_SWEEPS
    return _minimum(problem, labels, iterations, status)


def _minimum(problem: Problem, labels: npt.NDArray[np.float64], iterations: int, status: Status) -> Minimum:
    y = torch.from_numpy(labels)
    y = (y / y.sum(CLASS_DIM, keepdim=True)).to(problem.seeds.device, problem.dtype)
    y = problem.constrain(y)
    return Minimum(y, iterations, status, quadratic_energy(problem, y))


def quadratic_energy(problem: Problem, y: Tensor) -> EnergyTerms:
    """Return ``eta/2 sum |y - sigma|^2`` over the free pixels and ``lambda/2 sum w |y_i - y_j|^2``."""
    unary = 0.0
    if problem.sigma is not None:
        distance = (y - problem.sigma).cpu().double().square().sum(CLASS_DIM)
        unary = problem.eta / 2 * float(torch.where(problem.free.cpu(), distance, 0.0).sum())
    return EnergyTerms(unary, problem.energy_terms(y).pairwise)


def _laplacian(problem: Problem, image: int) -> csr_array:
    """Return L = D - W of one image, (H W, H W) float64, without the edges of padding."""
    height, width = problem.seeds.shape[-2:]
    pixels = np.arange(height * width).reshape(height, width)
    rows: list[npt.NDArray[np.int64]] = []
    columns: list[npt.NDArray[np.int64]] = []
    values: list[npt.NDArray[np.float64]] = []
    for offset, weights in problem.edges.items():
        starts, ends = edge_ends(offset, height, width)
        w = weights[image][starts].cpu().double().numpy().ravel()
        a, b = pixels[starts].ravel(), pixels[ends].ravel()
        rows += [a, b, a, b]
        columns += [b, a, a, b]
        values += [-w, -w, w, w]
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return coo_array(entries, shape=(height * width,) * 2).tocsr()
