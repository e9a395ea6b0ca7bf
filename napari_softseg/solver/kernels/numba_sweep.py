"""The fused CPU sweep, and the coarser copy of a problem: memory layout and bands of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.kernels.extrapolation import over
from napari_softseg.solver.kernels.fused import energy_numbers
from napari_softseg.solver.kernels.numba_ready import COMPILED, share
from napari_softseg.solver.neighborhood import Offset, coarse_parts
from napari_softseg.solver.problem import FIXED_SHARE, Problem

_LANES = 16
"""Rows are padded to a multiple of this, an odd one, so that no two classes share cache lines."""

_PER_THREAD = 60_000
"""Fewest numbers (classes x pixels) worth a thread of their own."""

_PAST_CACHE = 4_000_000
"""Bytes of labels from which on a sweep's own are not kept in the cache: by the next one they would be gone."""

_PLAIN = (list(Relaxation).index(Relaxation.CD), list(CrossEntropy).index(CrossEntropy.CCE))
"""P and H, by their numbers, that the kernel for the 4-grid knows."""

_TOLERANCE = 0.03
"""As `fused.TOLERANCE`, for sixteen pixels at a time: where only the worst of many stops, most are better."""

Floats = npt.NDArray[np.float32]
Report = npt.NDArray[np.float64]

ready, prepare = COMPILED.ready, COMPILED.prepare


def fits(problem: Problem) -> bool:
    """Return whether the kernel can take this problem."""
    return problem.seeds.device.type == "cpu" and problem.dtype == torch.float32


def _threads_for(work: int) -> int:
    """Return how many threads so many numbers are worth."""
    return max(1, min(torch.get_num_threads(), work // _PER_THREAD))


class NumbaSweep:
    """See :class:`~napari_softseg.solver.kernels.Sweep`; labels lie as numba_rows.py describes."""

    def __init__(self, problem: Problem, start: Tensor, tolerance: float = _TOLERANCE) -> None:
        batch, self._height, self._width = problem.seeds.shape
        classes = problem.n_classes
        stride = (self._width + _LANES - 1) // _LANES * _LANES
        stride += _LANES * (1 - stride // _LANES % 2)
        # the kernel wants some edge; beside dense ones there may be none
        local = problem.edges or {(0, 1): torch.zeros_like(problem.free, dtype=problem.dtype)}
        offsets = sorted(local)  # those within a row and to the next one first
        reach = max(abs(dx) for _, dx in offsets)
        self._margin = (reach + _LANES - 1) // _LANES * _LANES
        self._sigma, plane = _flat_planes(problem.sigma, batch)
        self._shape = np.array([self._height, classes, stride, plane])
        self._problem = problem
        work = self._height * stride * classes
        self._threads = _threads_for(batch * work)
        # some more bands than threads: one that is held up then takes fewer
        bands = min(
            self._height,
            4 * self._threads if self._threads > 1 else 1,
            max(self._threads, work // _PER_THREAD),
        )
        edges = [self._height * band // bands for band in range(bands + 1)]
        self._bands = list(pairwise(edges))
        relaxation, cross_entropy = energy_numbers(problem)
        self._energy = (relaxation, -1 if cross_entropy is None else cross_entropy)
        self._numbers = tuple(np.float32(x) for x in (problem.eta, problem.lambda_, tolerance))
        self._offsets = np.array(offsets, dtype=np.int64)
        self._plain = (*self._energy, offsets) == (*_PLAIN, [(0, 1), (1, 0)]) and problem.dense is None
        self._weights = _stacked([local[offset] for offset in offsets])
        self._free = _bytes(problem.free)
        size = 2 * self._margin + self._height * classes * stride
        self._past = int(4 * size >= _PAST_CACHE)
        # of every image the labels; the point lies on them
        self._labels = [self._rows(size) for _ in range(batch)]
        self._start(start)
        self._point = list(self._labels)
        self._spare: list[list[Floats]] = []
        self._next: list[tuple[Floats, Floats]] = []

    def _rows(self, size: int) -> Floats:
        """Return flat rows (M + H*classes*stride + M,), which begin with a cache line; only margins are set, to 0."""
        block = np.empty(size + _LANES, np.float32)
        flat = block[-block.ctypes.data // 4 % _LANES :][:size]
        flat[: self._margin] = flat[size - self._margin :] = 0
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
        kernel = COMPILED.kernels().ends.start_rows

        def rows(b: int, top: int, bottom: int, _: Report) -> None:
            kernel(
                flat[b], plane, line, factor, lines, seeds[b], self._free[b], held[b], self._labels[b],
                self._shape, self._margin, top, bottom,
            )  # fmt: skip

        self._each_band(rows)

    def _each_band(self, rows: Callable[[int, int, int, Report], None]) -> Report:
        """Call `rows` for every image, top, bottom and what it may report, on threads; sum the reports."""
        bands = self._bands
        report = np.zeros((len(self._free), len(bands), 3))
        tasks = [(b, *bands[i], report[b, i]) for b in range(len(report)) for i in range(len(bands))]
        share(self._threads, rows, tasks)
        total: Report = report.sum(1)
        return total

    def sweep(self, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """Update all pixels at once, bands of rows on threads."""
        if not self._spare:  # three more for the next ones; only now, in the memory of what was solved before
            self._spare = [[self._rows(flat.size) for _ in range(3)] for flat in self._labels]
        kernels = COMPILED.kernels().rows
        kernel = kernels.plain_sweep_rows if self._plain else kernels.sweep_rows
        ahead, beyond = (m.numpy().astype(np.float32) for m in (momentum, over(momentum)))
        pull, stay, far = self._dense(self._point)
        self._next = [(spare[-1], spare[-2]) for spare in self._spare]

        def rows(b: int, top: int, bottom: int, report: Report) -> None:
            kernel(
                *self._energy, *self._numbers, ahead[b], beyond[b], self._offsets, self._weights[b],
                self._free[b], self._sigma[b], pull[b], stay[b], self._point[b], self._labels[b],
                *self._next[b], self._shape, self._margin, self._past, top, bottom, report,
            )  # fmt: skip

        report = self._each_band(rows)
        return self._terms(report, far), torch.from_numpy(report[:, 2] / 2)

    def _terms(self, report: Report, far: Tensor | float) -> Tensor:
        """Return the weighted energy terms, (B, 2)."""
        report[:, 0] += np.asarray(far)
        return torch.from_numpy(report[:, 1::-1] * (self._problem.eta, self._problem.lambda_))

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
        problem, kernel = self._problem, COMPILED.kernels().ends.settle_rows
        del self._point, self._spare, self._next  # memory for the copy
        result = np.empty((len(self._labels), problem.n_classes, self._height, self._width), np.float32)

        def rows(b: int, top: int, bottom: int, report: Report) -> None:
            kernel(
                *self._energy, self._offsets, self._weights[b], self._free[b], self._sigma[b],
                self._labels[b], result[b], self._shape, self._margin, top, bottom, report,
            )  # fmt: skip

        report, labels = self._each_band(rows), torch.from_numpy(result)
        return labels, self._terms(
            report, 0.0 if problem.dense is None else problem.dense_pairwise(labels).energy
        )


def coarsen(problem: Problem) -> Problem:
    """Return the problem on blocks of 2 x 2 pixels, as `Problem.coarsen` does.

    Not for volumes, and not where pixels are held.
    """
    kernels = COMPILED.kernels().coarsen
    batch, height, width = problem.seeds.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    sigma, plane = _flat_planes(problem.sigma, batch)
    seeds, free = problem.seeds.contiguous().numpy(), _bytes(problem.free)
    valid = np.empty((batch, 0, 0), np.uint8) if problem.valid is None else _bytes(problem.valid)
    found = np.empty((batch, 0 if problem.sigma is None else problem.n_classes, h, w), np.float32)
    strokes, inside = np.empty((batch, h, w), np.int64), np.ones((batch, h, w), np.uint8)

    def rows(b: int, top: int, bottom: int) -> None:
        kernels.coarsen_rows(
            sigma[b],
            plane,
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

    threads = _threads_for(height * width * problem.n_classes)
    edges = [h * band // threads for band in range(threads + 1)]
    share(threads, rows, [(b, *band) for b in range(batch) for band in pairwise(edges)])
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


def _stacked(maps: list[Tensor]) -> Floats:
    """Return (B, O, H, W) of O maps (B, H, W): a view where they lie so, as the edges of a problem do."""
    first, size = maps[0], maps[0][0].numel()
    stride = (len(maps) * size, first.shape[-1], 1)
    lie_so = all(
        one.stride() == stride and one.data_ptr() == first.data_ptr() + number * size * one.element_size()
        for number, one in enumerate(maps)
    )
    if lie_so and first.untyped_storage().nbytes() >= (first.storage_offset() + len(first) * stride[0]) * 4:
        return _floats(
            first.as_strided((len(first), len(maps), *first.shape[1:]), (stride[0], size, *stride[1:]))
        )
    return _floats(torch.stack(maps, 1))


def _flat_planes(sigma: Tensor | None, batch: int) -> tuple[list[Floats], int]:
    """Return all numbers of each image's sigma, and how many lie from one plane's first to the next one's."""
    if sigma is None:
        return [np.empty(0, np.float32)] * batch, 0
    sigma = sigma.to(torch.float32)
    plane = sigma.stride(1)
    extent = (sigma.shape[1] - 1) * plane + sigma.shape[2] * sigma.shape[3]
    return [image.as_strided((extent,), (1,)).numpy() for image in sigma], plane


def _bytes(x: Tensor) -> npt.NDArray[np.uint8]:
    array: npt.NDArray[np.uint8] = x.contiguous().numpy().view(np.uint8)
    return array


def _floats(x: Tensor) -> Floats:
    array: Floats = x.to(torch.float32).contiguous().numpy()
    return array
