"""The fused CPU sweep, and the coarser copy of a problem: memory layout and bands of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.kernels.extrapolation import over
from napari_softseg.solver.kernels.fused import energy_numbers
from napari_softseg.solver.kernels.numba_arrays import addresses, bytes_of, flat_planes, floats_of, stacked
from napari_softseg.solver.kernels.numba_memory import Floats, keep, take
from napari_softseg.solver.kernels.numba_ready import COMPILED, share, together
from napari_softseg.solver.neighborhood import Offset, coarse_parts
from napari_softseg.solver.problem import FIXED_SHARE, Problem, planes_apart

_LANES = 16
"""Rows are padded to a multiple of this, an odd one, so that no two classes share cache lines."""

_PER_THREAD = 40_000
"""Fewest numbers (classes x pixels) worth a thread of their own."""

_ABOVE_ALL = np.finfo(np.float64).max
"""An energy that none is above: kernels know no infinity."""

_ROWS, _BANDS = 16, 8
"""Rows of the narrowest band of a sweep, and most bands with up to two threads."""

_BRIEF = 2_000_000
"""Numbers of all images up to which thirty sweeps take less than a tenth of a second."""

_FEW = 4
"""Sweeps that follow on each other in small images, at least."""

_SHORT = 4
"""How much longer a sweep takes than to coarsen, start or settle as many numbers."""

_PAST_CACHE = 4_000_000
"""Bytes of labels from which on a sweep's own are not kept in the cache: by the next one they would be gone."""

_PLAIN = (list(Relaxation).index(Relaxation.CD), list(CrossEntropy).index(CrossEntropy.CCE))
"""P and H, by their numbers, that the kernel for the 4-grid knows."""

_TOLERANCE = 0.03
"""As `fused.TOLERANCE`, for sixteen pixels at a time: where only the worst of many stops, most are better."""

Memory = list[Floats]
"""Flat arrays for labels: of every image of a batch one to begin with, then three more of each."""
Report = npt.NDArray[np.float64]

ready, prepare = COMPILED.ready, COMPILED.prepare


def fits(problem: Problem) -> bool:
    """Return whether the kernel can take this problem."""
    return problem.seeds.device.type == "cpu" and problem.dtype == torch.float32


def _threads_for(work: int) -> int:
    """Return how many threads so many numbers are worth."""
    return max(1, min(torch.get_num_threads(), work // _PER_THREAD))


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the labels of an image lie, as numba_rows.py describes: flat rows, (M + H*classes*stride + M,)."""

    offsets: list[Offset]
    """Of its edges, those within a row and to the next one first."""
    stride: int
    margin: int
    size: int

    @classmethod
    def of(cls, problem: Problem) -> _Layout:
        _, height, width = problem.seeds.shape
        stride = (width + _LANES - 1) // _LANES * _LANES
        stride += _LANES * (1 - stride // _LANES % 2)
        # the kernel wants some edge; beside dense ones there may be none
        offsets = sorted(problem.edges) or [(0, 1)]
        reach = max(abs(dx) for _, dx in offsets)
        margin = (reach + _LANES - 1) // _LANES * _LANES
        return cls(offsets, stride, margin, 2 * margin + height * problem.n_classes * stride)


def memory_for(problem: Problem, finer: Memory | None = None) -> Memory:
    """Return memory for the labels of a problem, where it fits within that of a finer one that is solved later.

    The finer problem's first labels are made of those of this one, so they keep a place of their own.
    """
    batch, size = len(problem.seeds), _Layout.of(problem).size
    parts = [
        whole[begin : begin + size]
        for whole in (finer or [])[batch:]
        for begin in range(0, whole.size - size + 1, size)
    ]
    return parts[: 4 * batch] if len(parts) >= 4 * batch else take(4 * batch, size)


class NumbaSweep:
    """See :class:`~napari_softseg.solver.kernels.Sweep`; `memory` is that of :func:`memory_for`."""

    def __init__(
        self, problem: Problem, start: Tensor, tolerance: float = _TOLERANCE, memory: Memory | None = None
    ) -> None:
        batch, self._height, self._width = problem.seeds.shape
        layout, classes = _Layout.of(problem), problem.n_classes
        offsets, stride, self._margin = layout.offsets, layout.stride, layout.margin
        local = problem.edges or {offsets[0]: torch.zeros_like(problem.free, dtype=problem.dtype)}
        self._sigma, plane = flat_planes(problem.sigma, batch)
        self._shape = np.array([self._height, classes, stride, plane])
        self._problem = problem
        work = batch * self._height * stride * classes
        self._work = work
        # many sweeps take so little time that nobody waits for one of them
        self.brief = work <= _BRIEF and problem.dense is None
        # threads that stay for a few sweeps
        self._crew = _threads_for(_FEW * work if self.brief else work)
        # some more bands than threads: one that is held up, or comes late, then takes fewer
        self._bands = max(1, min(self._height // _ROWS, max(_BANDS, _BANDS // 2 * self._crew)))
        relaxation, cross_entropy = energy_numbers(problem)
        self._energy = (relaxation, -1 if cross_entropy is None else cross_entropy)
        self._numbers = tuple(np.float32(x) for x in (problem.eta, problem.lambda_, tolerance))
        self._offsets = np.array(offsets, dtype=np.int64)
        self._plain = (*self._energy, offsets) == (*_PLAIN, [(0, 1), (1, 0)]) and problem.dense is None
        self._weights = stacked([local[offset] for offset in offsets])
        self._free = bytes_of(problem.free)
        self._past = int(4 * layout.size >= _PAST_CACHE)
        memory = memory or memory_for(problem)
        # labels and next labels in turn, and points (see sweep_rows); the point is the labels themselves at first
        self._flats = [memory[:batch], *(memory[batch + number :: 3] for number in range(3))]
        self._swept, self._on_labels = 0, np.ones(batch, np.bool_)
        self._rungs, self._lasts = np.zeros(batch, np.int64), np.full(batch, _ABOVE_ALL)
        self._start(start)
        for flat in memory:  # only now: what it starts from may lie there
            flat[: self._margin] = flat[flat.size - self._margin :] = 0

    @property
    def _labels(self) -> list[Floats]:
        return self._flats[self._swept % 2]

    @property
    def _point(self) -> list[Floats]:
        ahead = self._flats[3 - self._swept % 2]
        return [
            flat if on else other
            for on, flat, other in zip(self._on_labels, self._labels, ahead, strict=True)
        ]

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
        held = (
            np.empty((len(seeds), 0, 0, 0), np.float32) if problem.held is None else floats_of(problem.held)
        )
        kernel = COMPILED.kernels().ends.start_rows

        def rows(b: int, top: int, bottom: int, _: Report) -> None:
            kernel(
                flat[b], plane, line, factor, lines, seeds[b], self._free[b], held[b], self._labels[b],
                self._shape, self._margin, top, bottom,
            )  # fmt: skip

        self._each_band(rows)

    def _each_band(self, rows: Callable[[int, int, int, Report], None]) -> Report:
        """Call `rows` for every image, top, bottom and what it may report, on threads; sum the reports."""
        threads = _threads_for(self._work // _SHORT)
        count = threads if threads == 1 else 4 * threads
        bounds = list(pairwise(self._height * band // count for band in range(count + 1)))
        report = np.zeros((len(self._free), count, 3))
        tasks = [(b, *bounds[i], report[b, i]) for b in range(len(report)) for i in range(count)]
        share(threads, rows, tasks)
        total: Report = report.sum(1)
        return total

    def sweep(self, momentum: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Update all pixels at once, bands of rows on threads."""
        self._rungs, self._lasts = np.arange(len(momentum)), np.full(len(momentum), _ABOVE_ALL)
        dense, stay, far = self._dense(self._point)
        report, *_ = self._sweeps(1, np.zeros(len(momentum)), momentum, (dense, stay))
        total: Report = report[0].sum(1)
        return self._terms(total, far), torch.from_numpy(total[:, 2] / 2)

    def descend(
        self, most: int, still: Sequence[float], momentum: Callable[[list[int]], list[float]]
    ) -> tuple[list[float], bool]:
        """Make up to `most` sweeps as the driver would, without leaving compiled code.

        They end when in each image no more label mass moves than `still` says. `momentum` gives how far the next
        point lies ahead, for numbers of sweeps without a restart. Returns the energy at the point of
        each sweep, and whether little moved in the last one.
        """
        ladder = momentum(list(range(int(self._rungs.max()) + most)))
        _, energies, self._rungs, self._lasts, ended = self._sweeps(most, np.array(still), ladder, ([], []))
        sweeps = int(ended[0])
        self._swept += sweeps
        self._on_labels = np.zeros_like(self._on_labels)
        return energies[:sweeps].tolist(), bool(ended[1])

    def _sweeps(
        self, most: int, still: Any, momentum: Sequence[float], dense: tuple[Any, Any]
    ) -> tuple[Any, ...]:
        """Call the kernel on all threads; return what it reports."""
        kernels = COMPILED.kernels().rows
        batch = len(still)
        found = (
            np.empty((2 * most, batch, self._bands, 3)), np.empty(most),
            np.empty_like(self._rungs), np.empty_like(self._lasts), np.zeros(2, np.int64),
        )  # fmt: skip
        arguments = (
            *self._energy, *self._numbers, np.array([(m, over(m)) for m in momentum], np.float32), self._rungs,
            self._lasts, self._offsets, self._weights, self._free, addresses(self._sigma),
            np.array([addresses(some) if len(some) else [0] * batch for some in dense]),
            np.array([addresses(some) for some in self._flats]), self._swept, self._on_labels, self._shape,
            self._margin, self._past, still, most, *found,
        )  # fmt: skip
        kernel = kernels.plain_sweep_rows if self._plain else kernels.sweep_rows
        together(min(self._crew, batch * self._bands), batch * self._bands, kernel, arguments)
        return found

    def _terms(self, report: Report, far: Tensor | float) -> Tensor:
        """Return the weighted energy terms, (B, 2)."""
        report[:, 0] += np.asarray(far)
        return torch.from_numpy(report[:, 1::-1] * (self._problem.eta, self._problem.lambda_))

    def _dense(self, labels: list[Floats]) -> tuple[Sequence[Floats], Sequence[Floats], Tensor | float]:
        """Return pull and stay of each image's dense edges, and their energy; none and 0 where there are no such."""
        if self._problem.dense is None:
            return [], [], 0.0
        dense = self._problem.dense_pairwise(torch.stack([self._image(flat) for flat in labels]))
        pull = [np.zeros_like(flat) for flat in labels]
        for flat, image in zip(pull, dense.pull, strict=True):
            self._image(flat).copy_(image)
        return pull, list(floats_of(dense.stay)), dense.energy

    def advance(self) -> None:
        """Swap the buffers."""
        self._swept += 1
        self._on_labels = np.zeros_like(self._on_labels)

    def restart(self, which: Tensor) -> None:
        """Let the point be the labels."""
        self._on_labels = self._on_labels | which.numpy()

    def labels(self) -> Tensor:
        """Return the labels, a view of them where there is one image."""
        images = [self._image(flat) for flat in self._labels]
        return images[0][None] if len(images) == 1 else torch.stack(images)

    def settle(self) -> tuple[Tensor, Tensor]:
        """Divide by the sums, copy to planes, and sum the energy."""
        problem, kernel = self._problem, COMPILED.kernels().ends.settle_rows
        labels, shape = self._labels, (len(self._free), problem.n_classes, self._height, self._width)
        if len(labels) == 1:
            result = self._flats[2][0][: math.prod(shape)].reshape(shape)
            spare = [self._flats[slot][0] for slot in (0, 1, 3)]
        else:
            spare, self._flats = [], []  # memory for the copy
            result = np.empty(shape, np.float32)

        def rows(b: int, top: int, bottom: int, report: Report) -> None:
            kernel(
                *self._energy, self._offsets, self._weights[b], self._free[b], self._sigma[b],
                labels[b], result[b], self._shape, self._margin, top, bottom, report,
            )  # fmt: skip

        report, settled = self._each_band(rows), torch.from_numpy(result)
        self._flats = []
        keep(spare)
        return settled, self._terms(
            report, 0.0 if problem.dense is None else problem.dense_pairwise(settled).energy
        )


def coarsen(problem: Problem) -> Problem:
    """Return the problem on blocks of 2 x 2 pixels, as `Problem.coarsen` does.

    Not for volumes, and not where pixels are held.
    """
    kernels = COMPILED.kernels().coarsen
    batch, height, width = problem.seeds.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    sigma, plane = flat_planes(problem.sigma, batch)
    seeds, free = problem.seeds.contiguous().numpy(), bytes_of(problem.free)
    valid = np.empty((batch, 0, 0), np.uint8) if problem.valid is None else bytes_of(problem.valid)
    n_classes = 0 if problem.sigma is None else problem.n_classes
    means = None if problem.sigma is None else planes_apart((batch, n_classes, h, w), torch.float32)
    found, coarse_plane = flat_planes(means, batch)
    strokes, inside = np.empty((batch, h, w), np.int64), np.ones((batch, h, w), np.uint8)
    fine, parts = sorted(problem.edges), list(coarse_parts(problem.edges))
    offsets = sorted({offset for _, offset, *_ in parts})
    joined = np.array([(fine.index(one), offsets.index(other), *at) for one, other, *at in parts], np.int64)
    edges = stacked([problem.edges[offset] for offset in fine])
    weights = np.zeros((batch, len(offsets), h, w), np.float32)  # as the sweep takes them

    def rows(b: int, top: int, bottom: int) -> None:
        kernels.coarsen_rows(
            sigma[b], plane, seeds[b], free[b], valid[b], np.float32(FIXED_SHARE), n_classes, edges[b],
            joined.reshape(-1, 5), found[b], coarse_plane, strokes[b], inside[b], weights[b], top, bottom,
        )  # fmt: skip

    def edges_of(b: int, top: int, bottom: int) -> None:
        kernels.drop_between_seeds(
            strokes[b], np.array(offsets, np.int64).reshape(-1, 2), weights[b], top, bottom
        )

    threads = _threads_for(height * width * problem.n_classes // _SHORT)
    tasks = [
        (b, h * band // threads, h * (band + 1) // threads) for b in range(batch) for band in range(threads)
    ]
    share(threads, rows, tasks)
    share(threads, edges_of, tasks)  # once all seeds are there
    maps = torch.from_numpy(weights)
    return replace(
        problem,
        seeds=torch.from_numpy(strokes),
        edges={offset: maps[:, number] for number, offset in enumerate(offsets)},
        sigma=means,
        valid=None if problem.valid is None else torch.from_numpy(inside).bool(),
        eta=4 * problem.eta,
        prepared=True,
    )
