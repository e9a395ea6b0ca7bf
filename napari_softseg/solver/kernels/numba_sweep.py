"""The fused CPU sweep: memory layout, threads, and when its compiled code is ready.

Numba compiles :mod:`~napari_softseg.solver.kernels.numba_rows` once per machine, in about ten seconds,
and keeps the code on disk. Whoever comes first compiles, and others wait; a viewer has it done beside.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.solver.kernels.extrapolation import over
from napari_softseg.solver.kernels.fused import TOLERANCE, energy_numbers
from napari_softseg.solver.neighborhood import Offset, coarse_parts
from napari_softseg.solver.problem import FIXED_SHARE, Problem

_LOG = logging.getLogger(__name__)
_LANES = 16
"""Rows are padded to a multiple of this, an odd one, so that no two classes share cache lines."""

_PER_THREAD = 40_000
"""Fewest numbers (classes x pixels) worth a thread of their own."""

_POOL = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="softseg-sweep")

Floats = npt.NDArray[np.float32]
Report = npt.NDArray[np.float64]


class _Compiled:
    """The compiled kernels: loaded once per process, by whichever thread needs them first."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._tried = False
        self._beside = False
        self._kernels: _Kernels | None = None

    def ready(self) -> bool:
        """Return whether the kernels can be called.

        The first call compiles them or loads them from disk; others wait for it, so that all solves of a
        run take the same kernels. Only after `prepare` is the answer False, at once, while they compile.
        """
        if not self._tried and self._busy.acquire(blocking=not self._beside):
            self._try()
        return self._kernels is not None

    def prepare(self) -> None:
        """Have a thread of its own load or compile the kernels; until then, ready() is False."""
        self._beside = True
        if not self._tried and self._busy.acquire(blocking=False):
            threading.Thread(target=self._try, name="softseg-compile", daemon=True).start()

    def _try(self) -> None:
        try:
            if not self._tried:
                self._kernels = _load()
                self._tried = True
        finally:
            self._busy.release()

    def kernels(self) -> _Kernels:
        """Return the modules of the kernels; only when ready."""
        assert self._kernels is not None
        return self._kernels


class _Kernels(NamedTuple):
    rows: ModuleType
    coarsen: ModuleType


def _load() -> _Kernels | None:
    try:
        from napari_softseg.solver.kernels import numba_coarsen, numba_rows
    except ImportError as error:
        _LOG.warning("Solving with PyTorch alone, several times slower: Numba cannot be used (%s).", error)
        return None
    kernels = _Kernels(numba_rows, numba_coarsen)
    try:
        _compile(kernels)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the code on disk
        _LOG.warning("Compiling the solver again: its compiled code on disk is damaged (%s).", error)
        for function in [*vars(numba_rows).values(), *vars(numba_coarsen).values()]:
            if hasattr(function, "_cache"):
                function._cache.flush()
        try:
            _compile(kernels)
        except Exception as second:  # noqa: BLE001 - an LLVM that cannot, a disk that is full
            _LOG.warning("Solving with PyTorch alone, several times slower: %s", second)
            return None
    return kernels


def _compile(kernels: _Kernels) -> None:
    """Call the kernels on an image of two pixels, which compiles them or loads them from disk."""
    flat, point, labels, ahead = (np.full(64, 0.5, np.float32) for _ in range(4))
    shape, offsets, one = np.array([1, 2, 16]), np.array([[0, 1]]), np.float32(1)
    planes, free, empty = (
        np.full((2, 1, 2), 0.5, np.float32),
        np.ones((1, 2), np.uint8),
        np.empty(0, np.float32),
    )
    maps, rows, report = planes[:1], (shape, 16, 0, 1), np.zeros(3)
    seeds = np.full((1, 2), -1)
    kernels.rows.start_rows(flat, 2, 2, 1, np.zeros(1, np.int64), seeds, free, planes, labels, *rows)
    kernels.rows.sweep_rows(
        5, -1, one, one, one, one, one, offsets, maps, free, planes, empty, np.empty((0, 0), np.float32),
        point, labels, flat, ahead, *rows, report,
    )  # fmt: skip
    kernels.rows.energy_rows(5, -1, offsets, maps, free, planes, labels, *rows, report)
    kernels.rows.settle_rows(labels, free, planes, *rows)
    half = np.empty((2, 1, 1), np.float32), np.empty((1, 1), np.int64), np.empty((1, 1), np.uint8)
    kernels.coarsen.coarsen_rows(planes, seeds, free, free, one, *half, 0, 1)
    kernels.coarsen.add_every_other(planes[0], 0, 0, 0, half[0][0])


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
        offsets = sorted(local)  # those within a row and to the next one first
        reach = max(abs(dx) for _, dx in offsets)
        self._margin = (reach + _LANES - 1) // _LANES * _LANES
        self._shape = np.array([self._height, classes, stride])
        self._problem = problem
        work = self._height * stride * classes
        self._threads = min(torch.get_num_threads(), 1 + work // _PER_THREAD)
        bands = min(self._height, 4 * self._threads if self._threads > 1 else 1)
        edges = [self._height * band // bands for band in range(bands + 1)]
        self._bands = list(pairwise(edges))
        relaxation, cross_entropy = energy_numbers(problem)
        self._energy = (relaxation, -1 if cross_entropy is None else cross_entropy)
        self._numbers = tuple(np.float32(x) for x in (problem.eta, problem.lambda_, tolerance))
        self._offsets = np.array(offsets, dtype=np.int64)
        self._weights = np.stack([local[offset].numpy() for offset in offsets], 1)
        self._free = _bytes(problem.free)
        self._sigma = (
            np.empty((batch, 0, 0, 0), np.float32) if problem.sigma is None else _floats(problem.sigma)
        )
        self._labels = [self._rows(classes) for _ in range(batch)]
        self._start(start)
        # the point lies on the labels; spare buffers of every image for the next ones
        self._point = list(self._labels)
        self._spare = [[self._rows(classes) for _ in range(3)] for _ in range(batch)]
        self._next: list[tuple[Floats, Floats]] = []

    def _rows(self, classes: int) -> Floats:
        """Return flat rows (M + H*classes*stride + M,); only the margins are set yet, to zero."""
        flat = np.empty(2 * self._margin + self._height * classes * int(self._shape[2]), np.float32)
        flat[: self._margin] = flat[flat.size - self._margin :] = 0
        return flat

    def _image(self, flat: Floats) -> Tensor:
        """Return the (K, H, W) view of flat rows."""
        rows = torch.from_numpy(flat)[self._margin : flat.size - self._margin]
        return rows.view(self._height, -1, int(self._shape[2]))[..., : self._width].transpose(0, 1)

    def _start(self, start: Tensor) -> None:
        problem, start = self._problem, start.to(torch.float32)
        start = start if start.stride(-1) == 1 else start.contiguous()
        plane, line = start.stride()[1:3]
        lines, factor = np.arange(self._height), 1
        if start.shape[-2:] != problem.seeds.shape[-2:]:
            tall = self._height // problem.depth
            lines, factor = lines // tall // 2 * ((tall + 1) // 2) + lines % tall // 2, 2
        extent = (problem.n_classes - 1) * plane + (start.shape[-2] - 1) * line + start.shape[-1]
        flat = [image.as_strided((extent,), (1,)).numpy() for image in start]
        seeds = problem.seeds.contiguous().numpy()
        held = np.empty((len(seeds), 0, 0, 0), np.float32) if problem.held is None else _floats(problem.held)
        kernel = _COMPILED.kernels().rows.start_rows

        def rows(b: int, top: int, bottom: int, _: Report) -> None:
            kernel(
                flat[b], plane, line, factor, lines, seeds[b], self._free[b], held[b], self._labels[b],
                self._shape, self._margin, top, bottom,
            )  # fmt: skip

        self._each_band(rows)

    def _each_band(self, rows: Callable[[int, int, int, Report], None]) -> Tensor:
        """Call `rows` for every image, top, bottom and what it may report, on threads; sum the reports."""
        bands = self._bands
        report = np.zeros((len(self._free), len(bands), 3))
        tasks = [(b, *bands[i], report[b, i]) for b in range(len(report)) for i in range(len(bands))]
        _share(self._threads, rows, tasks)
        return torch.from_numpy(report.sum(1))

    def sweep(self, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """Update all pixels at once, bands of rows on threads."""
        problem, kernel = self._problem, _COMPILED.kernels().rows.sweep_rows
        ahead, beyond = (m.numpy().astype(np.float32) for m in (momentum, over(momentum)))
        pull, stay, far = self._dense(self._point)
        self._next = [(spare[-1], spare[-2]) for spare in self._spare]

        def rows(b: int, top: int, bottom: int, report: Report) -> None:
            kernel(
                *self._energy, *self._numbers, ahead[b], beyond[b], self._offsets, self._weights[b],
                self._free[b], self._sigma[b], pull[b], stay[b], self._point[b], self._labels[b],
                *self._next[b], self._shape, self._margin, top, bottom, report,
            )  # fmt: skip

        between, unary, moved = self._each_band(rows).unbind(1)
        return torch.stack([problem.eta * unary, problem.lambda_ * (between + far)], 1), moved / 2

    def _dense(self, labels: list[Floats]) -> tuple[list[Floats], Floats, Tensor | float]:
        """Return pull, stay and energy of dense edges, empty or 0 where there are none."""
        if self._problem.dense is None:
            batch = len(labels)
            return [np.empty(0, np.float32)] * batch, np.empty((batch, 0, 0), np.float32), 0.0
        dense = self._problem.dense_pairwise(torch.stack([self._image(flat) for flat in labels]))
        pull = [np.zeros_like(flat) for flat in labels]
        for flat, image in zip(pull, dense.pull, strict=True):
            self._image(flat).copy_(image)
        return pull, _floats(dense.stay), dense.energy

    def advance(self) -> None:
        """Swap the buffers."""
        for b, (labels, point) in enumerate(self._next):
            old = [self._labels[b], *([] if self._point[b] is self._labels[b] else [self._point[b]])]
            self._spare[b] = old + self._spare[b][:-2]
            self._labels[b], self._point[b] = labels, point

    def restart(self, which: Tensor) -> None:
        """Let the point be the labels."""
        for b in np.flatnonzero(which.numpy()):
            if self._point[b] is not self._labels[b]:
                self._spare[b].insert(0, self._point[b])
                self._point[b] = self._labels[b]

    def labels(self) -> Tensor:
        """Return the labels, a view of them where there is one image."""
        images = [self._image(flat) for flat in self._labels]
        return images[0][None] if len(images) == 1 else torch.stack(images)

    def settle(self) -> tuple[Tensor, Tensor]:
        """Divide by the sums, copy to planes, and sum the energy."""
        problem, kernels = self._problem, _COMPILED.kernels().rows
        del self._point, self._spare, self._next  # memory for the copy
        result = np.empty((len(self._labels), problem.n_classes, self._height, self._width), np.float32)
        rest = (self._shape, self._margin)

        def settle(b: int, top: int, bottom: int, _: Report) -> None:
            kernels.settle_rows(self._labels[b], self._free[b], result[b], *rest, top, bottom)

        def energy(b: int, top: int, bottom: int, report: Report) -> None:
            kernels.energy_rows(
                *self._energy, self._offsets, self._weights[b], self._free[b], self._sigma[b],
                self._labels[b], *rest, top, bottom, report,
            )  # fmt: skip

        self._each_band(settle)
        between, unary, _ = self._each_band(energy).unbind(1)
        far = self._dense(self._labels)[2]
        return torch.from_numpy(result), torch.stack(
            [problem.eta * unary, problem.lambda_ * (between + far)], 1
        )


def coarsen(problem: Problem) -> Problem:
    """Return the problem on blocks of 2 x 2 pixels, as `Problem.coarsen` does.

    Not for volumes, and not where pixels are held.
    """
    kernels = _COMPILED.kernels().coarsen
    batch, height, width = problem.seeds.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    empty = np.empty((batch, 0, 0, 0), np.float32)
    sigma = empty if problem.sigma is None else _floats(problem.sigma)
    seeds, free = problem.seeds.contiguous().numpy(), _bytes(problem.free)
    valid = np.empty((batch, 0, 0), np.uint8) if problem.valid is None else _bytes(problem.valid)
    found = np.empty((batch, sigma.shape[1], h, w), np.float32)
    strokes, inside = np.empty((batch, h, w), np.int64), np.ones((batch, h, w), np.uint8)

    def rows(b: int, top: int, bottom: int) -> None:
        kernels.coarsen_rows(
            sigma[b],
            seeds[b],
            free[b],
            valid[b],
            np.float32(FIXED_SHARE),
            found[b],
            strokes[b],
            inside[b],
            top,
            bottom,
        )

    threads = min(torch.get_num_threads(), 1 + height * width * problem.n_classes // _PER_THREAD)
    edges = [h * band // threads for band in range(threads + 1)]
    _share(threads, rows, [(b, *band) for b in range(batch) for band in pairwise(edges)])
    weights: dict[Offset, Floats] = {}
    for fine, offset, row, column, shift in coarse_parts(problem.edges):
        whole = weights.setdefault(offset, np.zeros((batch, h, w), np.float32))
        for b in range(batch):
            kernels.add_every_other(_floats(problem.edges[fine][b]), row, column, shift, whole[b])
    return replace(
        problem,
        seeds=torch.from_numpy(strokes),
        edges={offset: torch.from_numpy(weight) for offset, weight in weights.items()},
        sigma=None if problem.sigma is None else torch.from_numpy(found),
        valid=None if problem.valid is None else torch.from_numpy(inside).bool(),
        eta=4 * problem.eta,
    )


def _share(threads: int, work: Callable[..., None], tasks: Iterable[tuple[Any, ...]]) -> None:
    """Call `work` for all tasks, on so many threads."""
    queue = iter(tasks)

    def some() -> None:
        for task in queue:
            work(*task)

    helpers = [_POOL.submit(some) for _ in range(threads - 1)]
    some()
    for helper in helpers:
        helper.result()


def _bytes(x: Tensor) -> npt.NDArray[np.uint8]:
    array: npt.NDArray[np.uint8] = x.contiguous().numpy().view(np.uint8)
    return array


def _floats(x: Tensor) -> Floats:
    array: Floats = x.to(torch.float32).contiguous().numpy()
    return array
