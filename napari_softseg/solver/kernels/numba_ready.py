"""When the compiled code of the fused CPU sweep is ready, and the threads it runs on.

Numba compiles :mod:`~napari_softseg.solver.kernels.numba_rows` once per machine, in about forty seconds,
and keeps the code on disk. Whoever comes first compiles, and others wait; a viewer has it done beside.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from napari_softseg.solver.kernels.compiled import load_compiled
from napari_softseg.solver.kernels.numba_levels import NOT, Level

_POOL = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="softseg-sweep")


_PER_THREAD = 40_000
"""Fewest numbers (classes x pixels) worth a thread of their own."""


class _Compiled:
    """The compiled kernels: loaded once per process, by whichever thread needs them first."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._tried = False
        self._beside = False
        self._kernels: Kernels | None = None

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
                self._kernels = load_compiled(
                    _import, _compile, "Solving with PyTorch alone, several times slower"
                )
                self._tried = True
        finally:
            self._busy.release()

    def kernels(self) -> Kernels:
        """Return the modules of the kernels; only when ready."""
        assert self._kernels is not None
        return self._kernels


class Kernels(NamedTuple):
    """The modules of compiled functions."""

    rows: ModuleType
    coarsen: ModuleType


def _import() -> Kernels:
    from napari_softseg.solver.kernels import numba_coarsen, numba_rows

    return Kernels(numba_rows, numba_coarsen)


def _compile(kernels: Kernels) -> None:
    """Call the kernels on an image of two pixels, which compiles them or loads them from disk."""
    flat, planes, free = (
        np.full((4, 64), 0.5, np.float32),
        np.full((2, 1, 2), 0.5, np.float32),
        np.ones((1, 2), np.uint8),
    )
    seeds, whole, real, one = np.full((1, 2), -1), np.zeros(1, np.int64), np.zeros(1), np.float32(1)
    begin = np.array([x.ctypes.data for x in flat])
    level = Level(
        eta=one, lambda_=one, tolerance=one, offsets=np.array([[0, 1], [1, 0]]), weights=planes[None],
        free=free[None], seeds=seeds[None], held=np.empty((1, 0, 0, 0), np.float32), sigma=begin[:1],
        labels=begin[:, None], shape=np.array([1, 2, 16, 2]), margin=16, past=0, starts=False, source=whole,
        steps=np.zeros(3, np.int64), lines=whole, most=0, still=real, ladder=np.zeros((1, 2), np.float32),
        rungs=whole, lasts=real, swept=0, on_labels=np.ones(1, np.bool_), dense=np.zeros((2, 1), np.int64),
        settles=NOT, result=whole, board=np.zeros(9, np.int64), report=np.zeros((1, 1, 1, 3)),
        settled=np.zeros((1, 1, 2)), energies=real[:0], rungs_after=whole.copy(), lasts_after=real.copy(),
        ended=np.zeros(3, np.int64),
    )  # fmt: skip
    for solve in (kernels.rows.solve_rows, kernels.rows.plain_solve_rows):
        solve(0, 1, 5, -1, (level, level), 1)
    half = flat[0], 1, np.empty((1, 1), np.int64), np.empty((1, 1), np.uint8), np.zeros((1, 1, 1), np.float32)
    kernels.coarsen.coarsen_rows(
        flat[0], 2, seeds, free, free, one, 2, planes, np.zeros((1, 5), np.int64), *half, 0, 1
    )
    kernels.coarsen.drop_between_seeds(seeds, np.array([[0, 1], [1, 0]]), planes, 0, 1)


COMPILED = _Compiled()


def threads_for(work: int) -> int:
    """Return how many threads so many numbers are worth."""
    return max(1, min(torch.get_num_threads(), work // _PER_THREAD))


def share(threads: int, work: Callable[..., None], tasks: Iterable[tuple[Any, ...]]) -> None:
    """Call `work` for all tasks, on so many threads."""
    queue = iter(tasks)

    def some() -> None:
        for task in queue:
            work(*task)

    helpers = [_POOL.submit(some) for _ in range(threads - 1)]
    some()
    for helper in helpers:
        helper.result()


def together(threads: int, kernel: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Call a kernel that shares its tasks (numba_crew.py) on up to so many threads, until all of them are done."""
    helpers = [_POOL.submit(kernel, number, threads, *arguments) for number in range(1, threads)]
    kernel(0, threads, *arguments)
    for helper in helpers:
        helper.cancel()  # those that come too late
