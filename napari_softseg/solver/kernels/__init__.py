"""One sweep of majorise-minimise over all pixels, on the best backend that is there.

* :mod:`~napari_softseg.solver.kernels.torch_sweep`: the reference, any device and float type;
* :mod:`~napari_softseg.solver.kernels.numba_sweep`: fused, float32 on the CPU;
* :mod:`~napari_softseg.solver.kernels.triton_sweep`: fused, float32 on CUDA.

All of them agree to float32's rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from napari_softseg.solver.cross_entropy import FLOOR
from napari_softseg.solver.kernels import numba_coarser, numba_sweep, triton_sweep
from napari_softseg.solver.kernels.torch_sweep import TorchSweep
from napari_softseg.solver.problem import Problem, refine

Memory = numba_sweep.Memory
BriefSweep = numba_sweep.NumbaSweep
"""One that can make many sweeps by itself. What lies between sweeps is much of the time of a small image."""


class Sweep(Protocol):
    """Labels on their way down, and the point the next sweep starts from."""

    def sweep(self, momentum: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Compute the labels after the point, and the next point, ahead of them as `momentum` says.

        Takes a number in 0..1 for each of the B images. Returns the weighted energy terms (unary, pairwise) at the
        present point, (B, 2) float64, and the label mass that would move, (B,) in pixels.
        """
        ...

    def advance(self) -> None:
        """Take what the last sweep computed."""
        ...

    def restart(self, which: Tensor) -> None:
        """Put the point of the images marked in `which`, (B,) bool, back on their labels."""
        ...

    def labels(self) -> Tensor:
        """Return the labels, (B, K, H, W), not necessarily contiguous."""
        ...

    def settle(self) -> tuple[Tensor, Tensor]:
        """Return the labels (B, K, H, W) and their weighted energy terms (B, 2) float64; the last call.

        The floor under every label makes their sum a little more than one; that is mended first.
        """
        ...


def memory_for(problem: Problem, finer: Memory | None = None) -> Memory | None:
    """Return what :func:`sweep_for` may work in, before the coarser problem is solved within it.

    `finer` is that of the finer problem. Only the fused CPU sweep takes it; None for others.
    """
    if numba_sweep.fits(problem) and numba_sweep.ready():
        return numba_sweep.memory_for(problem, finer)
    return None


def sweep_for(problem: Problem, start: Tensor | BriefSweep, memory: Memory | None = None) -> Sweep:
    """Return the fastest sweep for the problem.

    `start` is (B, K, H, W), or of the size of the coarser problem; fixed pixels need not be right.
    """
    if numba_sweep.fits(problem) and numba_sweep.ready():
        return numba_sweep.NumbaSweep(problem, start, memory=memory)
    if isinstance(start, BriefSweep):
        start = start.labels()
    height, width = problem.seeds.shape[-2:]
    if start.shape[-2:] != (height, width):
        start = refine(start, height, width, problem.depth)
    start = problem.constrain(start.clamp_min(FLOOR))  # a label of exactly zero would stay so
    if triton_sweep.fits(problem) and triton_sweep.ready(problem):
        return triton_sweep.TritonSweep(problem, start)
    return TorchSweep(problem, start)


def coarsen(problem: Problem) -> Problem:
    """Return the problem on blocks of 2 x 2 pixels, by the fastest way to what `Problem.coarsen` gives."""
    plain = problem.depth == 1 and problem.held is None
    if plain and numba_sweep.fits(problem) and numba_sweep.ready():
        return numba_coarser.coarsen(problem)
    return problem.coarsen()
