"""One sweep of majorise-minimise over all pixels, on the best backend that is there.

* :mod:`~napari_softseg.solver.kernels.torch_sweep`: the reference, any device and float type;
* :mod:`~napari_softseg.solver.kernels.numba_sweep`: fused, float32 on the CPU;
* :mod:`~napari_softseg.solver.kernels.triton_sweep`: fused, float32 on CUDA.

All of them agree to float32's rounding.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from napari_softseg.solver.kernels import numba_sweep, triton_sweep
from napari_softseg.solver.kernels.torch_sweep import TorchSweep
from napari_softseg.solver.problem import Problem


class Sweep(Protocol):
    """Labels on their way down, and the point the next sweep starts from."""

    def sweep(self, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the labels after the point, and the next point, ahead of them as `momentum` says.

        Takes a (B,) float tensor in 0..1. Returns the weighted energy terms (unary, pairwise) at the
        present point, (B, 2) float64, and the label mass that would move, (B,) in pixels.
        """
        ...

    def advance(self) -> None:
        """Take what the last sweep computed."""
        ...

    def restart(self, which: Tensor, normalise: bool = False) -> None:
        """Put the point of the images marked in `which`, (B,) bool, back on their labels.

        The floor under every label makes their sum a little more than one; `normalise` mends that.
        """
        ...

    def labels(self) -> Tensor:
        """Return the labels, (B, K, H, W), not necessarily contiguous."""
        ...


def sweep_for(problem: Problem, start: Tensor) -> Sweep:
    """Return the fastest sweep for the problem; `start` is (B, K, H, W), right at all fixed pixels."""
    if numba_sweep.fits(problem) and numba_sweep.ready():
        return numba_sweep.NumbaSweep(problem, start)
    if triton_sweep.fits(problem) and triton_sweep.ready(problem):
        return triton_sweep.TritonSweep(problem, start)
    return TorchSweep(problem, start)
