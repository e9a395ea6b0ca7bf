"""The fused CPU sweep: memory layout, and what its kernel is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.kernels.extrapolation import over
from napari_softseg.solver.kernels.fused import energy_numbers
from napari_softseg.solver.kernels.numba_arrays import addresses, bytes_of, flat_planes, floats_of, stacked
from napari_softseg.solver.kernels.numba_levels import AT_END, NOT, WHERE_QUIET, Level
from napari_softseg.solver.kernels.numba_memory import Floats, keep, take
from napari_softseg.solver.kernels.numba_ready import COMPILED, threads_for, together
from napari_softseg.solver.neighborhood import Offset
from napari_softseg.solver.problem import Problem

_LANES = 16
"""Rows are padded to a multiple of this, an odd one, so that no two classes share cache lines."""

_ABOVE_ALL = np.finfo(np.float64).max
"""An energy that none is above: kernels know no infinity."""

_ROWS, _BANDS = 16, 8
"""Rows of the narrowest band of a sweep, and most bands with up to two threads."""

_BRIEF = 2_000_000
"""Numbers of all images up to which thirty sweeps take less than a tenth of a second."""

_FEW = 4
"""Sweeps that follow on each other in small images, at least."""

_PAST_CACHE = 4_000_000
"""Bytes of labels from which on a sweep's own are not kept in the cache: by the next one they would be gone."""

_PLAIN = (list(Relaxation).index(Relaxation.CD), list(CrossEntropy).index(CrossEntropy.CCE))
"""P and H, by their numbers, that the kernel for the 4-grid knows."""

_TOLERANCE = 0.03
"""As `fused.TOLERANCE`, for sixteen pixels at a time: where only the worst of many stops, most are better."""

Memory = list[Floats]
"""Flat arrays for labels: of every image of a batch one to begin with, then three more of each."""
Report = npt.NDArray[np.float64]
Momentum = Callable[[list[int]], list[float]]

ready, prepare = COMPILED.ready, COMPILED.prepare


def fits(problem: Problem) -> bool:
    """Return whether the kernel can take this problem."""
    return problem.seeds.device.type == "cpu" and problem.dtype == torch.float32


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


@dataclass(frozen=True, slots=True)
class _Sweeps:
    """What is to be done with labels that are there: sweeps, and settling them."""

    most: int = 0
    still: Sequence[float] = ()
    ladder: Sequence[float] = (0.0,)
    """How far the next point lies ahead, by rungs."""
    settles: int = 0
    dense: tuple[Sequence[Floats], Sequence[Floats]] = ((), ())


class NumbaSweep:
    """See :class:`~napari_softseg.solver.kernels.Sweep`; `memory` is that of :func:`memory_for`.

    It may start from a coarser problem whose sweeps are still to be made (:meth:`put_off`): they are made in the
    call that makes its own.
    """

    def __init__(
        self,
        problem: Problem,
        start: Tensor | NumbaSweep,
        tolerance: float = _TOLERANCE,
        memory: Memory | None = None,
    ) -> None:
        batch, self._height, self._width = problem.seeds.shape
        layout, classes = _Layout.of(problem), problem.n_classes
        offsets, stride, self._margin = layout.offsets, layout.stride, layout.margin
        local = problem.edges or {offsets[0]: torch.zeros_like(problem.free, dtype=problem.dtype)}
        self._sigma, plane = flat_planes(problem.sigma, batch)
        self._problem = problem
        work = batch * self._height * stride * classes
        # many sweeps take so little time that nobody waits for one of them
        self.brief = work <= _BRIEF and problem.dense is None
        # threads that stay for a few sweeps
        self._crew = threads_for(_FEW * work if self.brief else work)
        # some more bands than threads: one that is held up, or comes late, then takes fewer
        self._bands = max(1, min(self._height // _ROWS, max(_BANDS, _BANDS // 2 * self._crew)))
        relaxation, cross_entropy = energy_numbers(problem)
        self._energy = (relaxation, -1 if cross_entropy is None else cross_entropy)
        self._plain = (*self._energy, offsets) == (*_PLAIN, [(0, 1), (1, 0)]) and problem.dense is None
        memory = memory or memory_for(problem)
        # labels and next labels in turn, and points (see numba_rows.py); the point is the labels themselves at first
        self._flats = [memory[:batch], *(memory[batch + number :: 3] for number in range(3))]
        self._swept, self._on_labels = 0, np.ones(batch, np.bool_)
        self._rungs, self._lasts = np.zeros(batch, np.int64), np.full(batch, _ABOVE_ALL)
        self._put_off = _Sweeps()
        self._result: Floats | None = None
        self._settled: Report | None = None
        self._start: Tensor | NumbaSweep | None = start
        if isinstance(start, NumbaSweep) and not (self.brief and start.follows_nothing):
            self._start = start.labels()
        held = problem.held
        self._fixed = {
            "eta": np.float32(problem.eta),
            "lambda_": np.float32(problem.lambda_),
            "tolerance": np.float32(tolerance),
            "offsets": np.array(offsets, np.int64),
            "weights": stacked([local[offset] for offset in offsets]),
            "free": bytes_of(problem.free),
            "seeds": problem.seeds.contiguous().numpy(),
            "held": np.empty((batch, 0, 0, 0), np.float32) if held is None else floats_of(held),
            "sigma": addresses(self._sigma),
            "labels": np.array([addresses(some) for some in self._flats]),
            "shape": np.array([self._height, classes, stride, plane]),
            "margin": self._margin,
            "past": int(4 * layout.size >= _PAST_CACHE),
            **self._source(self._start),
        }

    @property
    def follows_nothing(self) -> bool:
        """Whether all that comes before its own sweeps has been made."""
        return not isinstance(self._start, NumbaSweep)

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
        return rows.view(self._height, self._problem.n_classes, -1)[..., : self._width].transpose(0, 1)

    def _source(self, start: Tensor | NumbaSweep) -> dict[str, Any]:
        """Return where the labels to start from are, for the kernel."""
        batch, height, width = self._problem.seeds.shape
        if isinstance(start, NumbaSweep):
            where = np.zeros(batch, np.int64)
            rows, columns, (_, classes, plane, _) = start._height, start._width, start._fixed["shape"]
            line = classes * plane
        else:
            start = start.to(torch.float32)
            self._start = start = start if start.stride(-1) == 1 else start.contiguous()
            where = np.array([image.data_ptr() for image in start])
            (rows, columns), (plane, line) = start.shape[2:], start.stride()[1:3]
        lines, factor = np.arange(height), 1
        if (rows, columns) != (height, width):
            tall = height // self._problem.depth
            lines, factor = lines // tall // 2 * ((tall + 1) // 2) + lines % tall // 2, 2
        return {"source": where, "steps": np.array([plane, line, factor]), "lines": lines}

    def _level(self, todo: _Sweeps) -> Level:
        """Return what the kernel is told."""
        batch, most = len(self._rungs), todo.most
        if todo.settles != NOT and self._result is None:
            self._result = self._room()
        return Level(
            **self._fixed,
            starts=self._start is not None,
            most=most,
            still=np.array(todo.still or [0.0] * batch),
            ladder=np.array([(m, over(m)) for m in todo.ladder], np.float32),
            rungs=self._rungs,
            lasts=self._lasts,
            swept=self._swept,
            on_labels=self._on_labels,
            dense=np.array([addresses(some) if len(some) else [0] * batch for some in todo.dense]),
            settles=todo.settles,
            result=np.zeros(batch, np.int64) if self._result is None else addresses(list(self._result)),
            board=np.zeros(8 + batch * self._bands, np.int64),
            report=np.empty((max(1, 2 * most), batch, self._bands, 3)),
            settled=np.empty((batch, self._bands, 2)),
            energies=np.empty(most),
            rungs_after=np.empty_like(self._rungs),
            lasts_after=np.empty_like(self._lasts),
            ended=np.zeros(3, np.int64),
        )

    def _room(self) -> Floats:
        """Return memory for the result, (B, K, H, W)."""
        shape = (len(self._rungs), self._problem.n_classes, self._height, self._width)
        if len(self._rungs) > 1:
            return np.empty(shape, np.float32)
        return self._flats[2][0][: math.prod(shape)].reshape(shape)

    def _run(self, todo: _Sweeps) -> Level:
        """Call the kernel on all threads; return what it was told and what it reports."""
        level, before = self._level(todo), self._start
        coarser = before._level(before._put_off) if isinstance(before, NumbaSweep) else level
        kernels = COMPILED.kernels().rows
        together(
            min(self._crew, len(self._rungs) * self._bands),
            kernels.plain_solve_rows if self._plain else kernels.solve_rows,
            (*self._energy, (coarser, level), int(coarser is level)),
        )
        self._start = None
        self._settled = level.settled.sum(1) if level.ended[2] else None
        return level

    def _begin(self) -> None:
        """Make the labels to start from, if there are none yet."""
        if self._start is not None:
            self._run(_Sweeps())

    def sweep(self, momentum: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Update all pixels at once, bands of rows on threads."""
        batch = len(momentum)
        self._rungs, self._lasts = np.arange(batch), np.full(batch, _ABOVE_ALL)
        dense, far = self._dense()
        total: Report = self._run(_Sweeps(1, [0.0] * batch, momentum, dense=dense)).report[0].sum(1)
        return self._terms(total, far), torch.from_numpy(total[:, 2] / 2)

    def put_off(self, most: int, still: Sequence[float], momentum: Momentum) -> None:
        """Leave up to `most` sweeps, as `descend` would make them, to the finer problem that starts from here."""
        self._put_off = _Sweeps(most, still, momentum(list(range(most))))

    def descend(
        self, most: int, still: Sequence[float], momentum: Momentum, *, last: bool = True
    ) -> tuple[list[float], bool]:
        """Make up to `most` sweeps as the driver would, without leaving compiled code.

        They end when in each image no more label mass moves than `still` says. `momentum` gives how far the next
        point lies ahead, for numbers of sweeps without a restart. Unless these are the `last`, more follow where
        too much moves. Returns the energy at the point of each sweep, and whether little moved in the last one.
        """
        ladder = momentum(list(range(int(self._rungs.max()) + most)))
        level = self._run(_Sweeps(most, still, ladder, AT_END if last else WHERE_QUIET))
        sweeps, quiet, _ = level.ended.tolist()
        self._rungs, self._lasts = level.rungs_after, level.lasts_after
        self._move(sweeps)
        return level.energies[:sweeps].tolist(), bool(quiet)

    def _terms(self, report: Report, far: Tensor | float) -> Tensor:
        """Return the weighted energy terms, (B, 2)."""
        report[:, 0] += np.asarray(far)
        return torch.from_numpy(report[:, 1::-1] * (self._problem.eta, self._problem.lambda_))

    def _dense(self) -> tuple[tuple[Sequence[Floats], Sequence[Floats]], Tensor | float]:
        """Return pull and stay of each image's dense edges, and their energy; none and 0 where there are no such."""
        if self._problem.dense is None:
            return ((), ()), 0.0
        self._begin()
        dense = self._problem.dense_pairwise(torch.stack([self._image(flat) for flat in self._point]))
        pull = [np.zeros_like(flat) for flat in self._labels]
        for flat, image in zip(pull, dense.pull, strict=True):
            self._image(flat).copy_(image)
        return (pull, list(floats_of(dense.stay))), dense.energy

    def advance(self) -> None:
        """Swap the buffers."""
        self._move(1)

    def _move(self, sweeps: int) -> None:
        self._swept += sweeps
        if sweeps:
            self._on_labels = np.zeros_like(self._on_labels)

    def restart(self, which: Tensor) -> None:
        """Let the point be the labels."""
        self._on_labels = self._on_labels | which.numpy()

    def labels(self) -> Tensor:
        """Return the labels, a view of them where there is one image."""
        if self._put_off.most:
            put_off, self._put_off = self._put_off, _Sweeps()
            self._move(int(self._run(put_off).ended[0]))
        self._begin()
        images = [self._image(flat) for flat in self._labels]
        return images[0][None] if len(images) == 1 else torch.stack(images)

    def settle(self) -> tuple[Tensor, Tensor]:
        """Divide by the sums, copy to planes, and sum the energy."""
        problem, single = self._problem, len(self._rungs) == 1
        if self._settled is None:
            if not single:
                self._begin()
                self._flats = [self._labels] * 4  # memory for the copy
            self._run(_Sweeps(settles=AT_END))
        assert self._result is not None
        assert self._settled is not None
        spare = [self._flats[slot][0] for slot in (0, 1, 3)] if single else []
        self._flats = []
        keep(spare)
        settled = torch.from_numpy(self._result)
        far = 0.0 if problem.dense is None else problem.dense_pairwise(settled).energy
        return settled, self._terms(self._settled, far)
