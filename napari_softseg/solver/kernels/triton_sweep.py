"""The fused CUDA sweep: when its kernel can be had, its buffers and launches.

Triton compiles :mod:`~napari_softseg.solver.kernels.triton_tiles` for every P, H and number of classes
when it is first asked for, in seconds, and keeps the code on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from napari_softseg.native_libraries import own_symbols_first
from napari_softseg.options import CrossEntropy
from napari_softseg.solver.kernels.fused import TOLERANCE, energy_numbers
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.relaxations import CLASS_DIM

_LOG = logging.getLogger(__name__)


def fits(problem: Problem) -> bool:
    """Return whether the kernel can take this problem."""
    return problem.seeds.device.type == "cuda" and problem.dtype == torch.float32 and problem.dense is None


def ready(problem: Problem) -> bool:
    """Return whether the kernel for this P, H and K compiles and runs there; if not, say why, once."""
    cross_entropy = None if problem.sigma is None else problem.cross_entropy
    return _runs(problem.seeds.device, problem.n_classes, problem.relaxation, cross_entropy)


@cache
def _runs(device: torch.device, n_classes: int, relaxation: str, cross_entropy: str | None) -> bool:
    """Sweep over two pixels."""
    uniform = torch.full((1, n_classes, 1, 2), 1 / n_classes, device=device)
    problem = Problem(
        seeds=torch.full((1, 1, 2), -1, device=device),
        edges={(0, 1): torch.tensor([[[1.0, 0.0]]], device=device)},
        n_classes=n_classes,
        sigma=None if cross_entropy is None else uniform,
        relaxation=relaxation,
        cross_entropy=cross_entropy or CrossEntropy.CCE,
    )
    try:
        TritonSweep(problem, uniform).sweep([0.0])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - no Triton, no C compiler, a device too old, damaged code on disk
        _say(f"Solving on {device} with PyTorch alone, slower: Triton cannot be used ({error}).")
        return False
    return True


@cache
def _say(message: str) -> None:
    _LOG.warning(message)


@cache
def kernels() -> ModuleType:
    """Import Triton and the kernels."""
    with own_symbols_first():
        from napari_softseg.solver.kernels import triton_tiles
    return triton_tiles


def tile_of(n_classes: int, relaxation: int, cross_entropy: int | None) -> tuple[int, int]:
    """Return classes and pixels of a tile, powers of two, for P and H by their numbers.

    With 128 threads to a tile the arrays of 2048 numbers fit the registers, and half of that in float64.
    """
    tiles = kernels()
    classes = 1 << (n_classes - 1).bit_length()
    wide = cross_entropy == tiles.H_CE.value or relaxation in (tiles.Q.value, tiles.LQ.value)
    return classes, max(8, min(128, (1024 if wide else 2048) // classes))


class TritonSweep:
    """See :class:`~napari_softseg.solver.kernels.Sweep`."""

    def __init__(self, problem: Problem, start: Tensor, tolerance: float = TOLERANCE) -> None:
        self._problem, self._tolerance = problem, tolerance
        self._relaxation, self._cross_entropy = energy_numbers(problem)
        self._free = problem.free.to(torch.uint8).contiguous()
        self._weights = torch.stack(list(problem.edges.values()), 1)
        width = start.shape[-1]
        self._offsets = torch.tensor([dy * width + dx for dy, dx in problem.edges], device=start.device)
        start = start.contiguous()
        self._labels = [start.clone(), torch.empty_like(start)]
        self._point = [start.clone(), torch.empty_like(start)]
        self._sigma = start if problem.sigma is None else problem.sigma.to(start).contiguous()

    def sweep(self, momentum: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Update all pixels at once; waits for the momenta to be there, not for the result."""
        problem = self._problem
        batch, n_classes, height, width = self._labels[0].shape
        classes, pixels = tile_of(n_classes, self._relaxation, self._cross_entropy)
        tiles = (height * width + pixels - 1) // pixels
        report = torch.zeros((batch, 3, tiles), device=self._free.device)
        with torch.cuda.device_of(report):
            kernels().sweep_tile[tiles, batch](
                self._point[0],
                self._labels[0],
                self._sigma,
                self._free,
                self._weights,
                self._offsets,
                torch.tensor(momentum, dtype=torch.float32, device=self._free.device),
                self._labels[1],
                self._point[1],
                report,
                height * width,
                n_classes,
                len(self._offsets),
                problem.eta,
                problem.lambda_,
                self._tolerance,
                P=self._relaxation,
                H=self._cross_entropy,
                CLASSES=classes,
                PIXELS=pixels,
                num_warps=4,
                enable_fp_fusion=True,
            )
        pairwise, unary, moved = report.sum(-1, dtype=torch.float64).unbind(1)
        return torch.stack([problem.eta * unary, problem.lambda_ * pairwise], 1), moved / 2

    def advance(self) -> None:
        """Swap the buffers."""
        self._labels.reverse()
        self._point.reverse()

    def restart(self, which: Tensor) -> None:
        """Copy the labels over the point."""
        torch.where(which.view(-1, 1, 1, 1), self._labels[0], self._point[0], out=self._point[0])

    def labels(self) -> Tensor:
        """Return the labels, (B, K, H, W)."""
        return self._labels[0].clone()

    def settle(self) -> tuple[Tensor, Tensor]:
        """Divide by the sums; the energy is that of one sweep more, whose result is not used."""
        labels = self._labels[0]
        free = self._problem.free
        labels.div_(torch.where(free.unsqueeze(CLASS_DIM), labels.sum(CLASS_DIM, keepdim=True), 1))
        self.restart(torch.ones_like(free[:, 0, 0]))
        terms, _ = self.sweep([0.0] * len(free))
        return labels, terms
