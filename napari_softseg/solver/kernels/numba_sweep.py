"""The fused CPU sweep: memory layout, threads, and when its compiled code is ready.

Numba compiles :mod:`~napari_softseg.solver.kernels.numba_rows` once per machine, in about ten seconds,
and keeps the code on disk. Whoever comes first compiles, and others wait; a viewer has it done beside.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.solver.kernels.extrapolation import over
from napari_softseg.solver.kernels.fused import TOLERANCE, energy_numbers
from napari_softseg.solver.problem import Problem

_LOG = logging.getLogger(__name__)
_LANES = 16
"""Rows are padded to a multiple of this, an odd one, so that no two classes share cache lines."""

_PER_THREAD = 40_000
"""Fewest numbers (classes x pixels) worth a thread of their own."""

_POOL = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="softseg-sweep")

Floats = npt.NDArray[np.float32]


class _Compiled:
    """The compiled kernels: loaded once per process, by whichever thread needs them first."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._tried = False
        self._beside = False
        self._module: ModuleType | None = None

    def ready(self) -> bool:
        """Return whether the kernels can be called.

        The first call compiles them or loads them from disk; others wait for it, so that all solves of a
        run take the same kernels. Only after `prepare` is the answer False, at once, while they compile.
        """
        if not self._tried and self._busy.acquire(blocking=not self._beside):
            self._try()
        return self._module is not None

    def prepare(self) -> None:
        """Have a thread of its own load or compile the kernels; until then, ready() is False."""
        self._beside = True
        if not self._tried and self._busy.acquire(blocking=False):
            threading.Thread(target=self._try, name="softseg-compile", daemon=True).start()

    def _try(self) -> None:
        try:
            if not self._tried:
                self._module = _load()
                self._tried = True
        finally:
            self._busy.release()

    def kernels(self) -> ModuleType:
        """Return the module of the kernels; only when ready."""
        assert self._module is not None
        return self._module


def _load() -> ModuleType | None:
    try:
        from napari_softseg.solver.kernels import numba_rows
    except ImportError as error:
        _LOG.warning("Solving with PyTorch alone, several times slower: Numba cannot be used (%s).", error)
        return None
    try:
        _compile(numba_rows)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the code on disk
        _LOG.warning("Compiling the solver again: its compiled code on disk is damaged (%s).", error)
        for function in vars(numba_rows).values():
            if hasattr(function, "_cache"):
                function._cache.flush()
        try:
            _compile(numba_rows)
        except Exception as second:  # noqa: BLE001 - an LLVM that cannot, a disk that is full
            _LOG.warning("Solving with PyTorch alone, several times slower: %s", second)
            return None
    return numba_rows


def _compile(kernels: ModuleType) -> None:
    """Call the kernels on an image of one pixel, which compiles them or loads them from disk."""
    many, one = np.full(64, 0.5, np.float32), np.float32(0)
    shape, offsets = np.array([1, 2, 16]), np.array([[0, 1]])
    kernels.restart_rows(many, many, many.copy(), many.copy(), shape, 16, False)
    kernels.sweep_rows(
        5, -1, one, one, one, one, one, offsets, many[None], many, many, many, many, many, many, many,
        many.copy(), many.copy(), many.copy(), shape, 16, 0, 1, np.zeros(3),
    )  # fmt: skip


_COMPILED = _Compiled()
ready, prepare = _COMPILED.ready, _COMPILED.prepare


def fits(problem: Problem) -> bool:
    """Return whether the kernel can take this problem."""
    return problem.seeds.device.type == "cpu" and problem.dtype == torch.float32


class NumbaSweep:
    """See :class:`~napari_softseg.solver.kernels.Sweep`; labels lie as numba_rows.py describes."""

    def __init__(self, problem: Problem, start: Tensor, tolerance: float = TOLERANCE) -> None:
        batch, self._height, self._width = problem.seeds.shape
        classes = problem.n_classes
        stride = (self._width + _LANES - 1) // _LANES * _LANES
        stride += _LANES * (1 - stride // _LANES % 2)
        # the kernel wants some edge; beside dense ones there may be none
        local = problem.edges or {(0, 1): torch.zeros_like(problem.free, dtype=problem.dtype)}
        reach = max(abs(dx) for _, dx in local)
        self._margin = (reach + _LANES - 1) // _LANES * _LANES
        self._shape = np.array([self._height, classes, stride])
        self._problem, self._tolerance = problem, np.float32(tolerance)
        self._offsets = np.array(list(local), dtype=np.int64)
        self._weights = self._rows(batch, len(local), 1)
        for number, weight in enumerate(local.values()):
            self._fill(self._weights[:, number], weight[:, None], 0)
        self._free = self._fill(self._rows(batch, 1), problem.free[:, None], 0)
        self._impurity = [self._rows(batch, 1), self._rows(batch, 1)]
        uniform = 1 / classes
        self._labels = [self._fill(self._rows(batch, classes), start, uniform), self._rows(batch, classes)]
        self._point = [self._rows(batch, classes), self._rows(batch, classes)]
        self.restart(torch.ones(batch, dtype=torch.bool))
        self._sigma = (
            self._point[0]
            if problem.sigma is None
            else self._fill(self._rows(batch, classes), problem.sigma, uniform)
        )
        self._far_pull, self._far_stay = np.empty((2, batch, 0), np.float32)
        if problem.dense is not None:
            self._far_pull, self._far_stay = self._rows(batch, classes), self._rows(batch, 1)
        work = self._height * stride * classes
        self._threads = min(torch.get_num_threads(), 1 + work // _PER_THREAD)
        bands = min(self._height, 4 * self._threads if self._threads > 1 else 1)
        edges = [self._height * band // bands for band in range(bands + 1)]
        self._bands = list(pairwise(edges))
        relaxation, cross_entropy = energy_numbers(problem)
        self._energy = (
            relaxation,
            -1 if cross_entropy is None else cross_entropy,
            np.float32(problem.eta),
            np.float32(problem.lambda_),
        )

    def _rows(self, *shape: int) -> Floats:
        """Return flat rows (..., size) for so many classes; only the margins are set yet, to zero."""
        *outer, classes = shape
        flat = np.empty((*outer, 2 * self._margin + self._height * classes * int(self._shape[2])), np.float32)
        flat[..., : self._margin] = flat[..., flat.shape[-1] - self._margin :] = 0
        return flat

    def _image(self, flat: Floats, padded: bool = False) -> Tensor:
        """Return the (B, K, H, W) view of flat rows; with the padding of the rows if asked."""
        margin, (_, _, stride) = self._margin, self._shape
        rows = torch.from_numpy(flat)[:, margin : flat.shape[1] - margin]
        width = stride if padded else self._width
        return rows.view(len(flat), self._height, -1, int(stride))[..., :width].transpose(1, 2)

    def _fill(self, flat: Floats, image: Tensor, padding: float) -> Floats:
        rows = self._image(flat, padded=True)
        rows[..., : self._width] = image
        rows[..., self._width :] = padding
        return flat

    def sweep(self, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """Update all pixels at once, bands of rows on threads."""
        problem, rows = self._problem, _COMPILED.kernels().sweep_rows
        far = None
        if problem.dense is not None:
            dense = problem.dense_pairwise(self._image(self._point[0]))
            far = problem.lambda_ * dense.energy
            self._fill(self._far_pull, dense.pull, 0)
            self._fill(self._far_stay, dense.stay[:, None], 0)
        report = np.zeros((len(self._free), len(self._bands), 3))
        ahead, beyond = (m.numpy().astype(np.float32) for m in (momentum, over(momentum)))

        def update(task: tuple[int, int]) -> None:
            b, i = task
            rows(
                *self._energy, self._tolerance, ahead[b], beyond[b], self._offsets, self._weights[b], self._free[b],
                self._sigma[b], self._far_pull[b], self._far_stay[b], self._point[0][b],
                self._impurity[0][b], self._labels[0][b], self._labels[1][b], self._point[1][b],
                self._impurity[1][b], self._shape, self._margin, *self._bands[i], report[b, i],
            )  # fmt: skip

        queue = iter([(b, i) for b in range(len(self._free)) for i in range(len(self._bands))])

        def work() -> None:
            for task in queue:
                update(task)

        helpers = [_POOL.submit(work) for _ in range(self._threads - 1)]
        work()
        for helper in helpers:
            helper.result()
        between, unary, moved = torch.from_numpy(report.sum(1)).unbind(1)
        between = problem.lambda_ * between
        if far is not None:
            between += far
        return torch.stack([problem.eta * unary, between], 1), moved / 2

    def advance(self) -> None:
        """Swap the buffers."""
        for buffers in (self._point, self._labels, self._impurity):
            buffers.reverse()

    def restart(self, which: Tensor, normalise: bool = False) -> None:
        """Copy the labels over the point."""
        restart = _COMPILED.kernels().restart_rows
        for b in np.flatnonzero(which.numpy()):
            restart(
                self._labels[0][b],
                self._free[b],
                self._point[0][b],
                self._impurity[0][b],
                self._shape,
                self._margin,
                normalise,
            )

    def labels(self) -> Tensor:
        """Return a view of the labels, (B, K, H, W)."""
        return self._image(self._labels[0])
