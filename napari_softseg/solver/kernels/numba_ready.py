"""When the compiled code of the fused CPU sweep is ready, and the threads it runs on.

Numba compiles :mod:`~napari_softseg.solver.kernels.numba_rows` once per machine, in about twenty seconds,
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

from napari_softseg.solver.kernels.compiled import load_compiled

_POOL = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="softseg-sweep")


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
    ends: ModuleType
    coarsen: ModuleType


def _import() -> Kernels:
    from napari_softseg.solver.kernels import numba_coarsen, numba_ends, numba_rows

    return Kernels(numba_rows, numba_ends, numba_coarsen)


def _compile(kernels: Kernels) -> None:
    """Call the kernels on an image of two pixels, which compiles them or loads them from disk."""
    flat, point, labels = (np.full(64, 0.5, np.float32) for _ in range(3))
    shape, offsets, one = np.array([1, 2, 16, 2]), np.array([[0, 1], [1, 0]]), np.float32(1)
    planes, free = np.full((2, 1, 2), 0.5, np.float32), np.ones((1, 2), np.uint8)
    maps, rows, report = planes, (shape, 16, 0, 1), np.zeros(3)
    seeds = np.full((1, 2), -1)
    kernels.ends.start_rows(flat, 2, 2, 1, np.zeros(1, np.int64), seeds, free, planes, labels, *rows)
    nowhere, whole, real = np.zeros((4, 1), np.int64), np.zeros(1, np.int64), np.zeros(1)
    for sweep in (kernels.rows.sweep_rows, kernels.rows.plain_sweep_rows):
        sweep(
            0, 1, np.ones(9, np.int64), 5, -1, one, one, one, np.zeros((1, 2), np.float32), whole, real, offsets,
            maps[None], free[None], whole, nowhere[:2], nowhere, 0, np.ones(1, np.bool_), shape, 16, 0, real, 1,
            np.zeros((2, 1, 1, 3)), real, whole, real, nowhere[:, 0].copy(),
        )  # fmt: skip
    kernels.ends.settle_rows(5, -1, offsets, maps, free, point, labels, planes, *rows, report)
    half = flat, 1, np.empty((1, 1), np.int64), np.empty((1, 1), np.uint8), np.zeros((1, 1, 1), np.float32)
    kernels.coarsen.coarsen_rows(
        point, 2, seeds, free, free, one, 2, planes, np.zeros((1, 5), np.int64), *half, 0, 1
    )
    kernels.coarsen.drop_between_seeds(seeds, offsets, planes, 0, 1)


COMPILED = _Compiled()


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


def together(threads: int, tasks: int, kernel: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Call a kernel that shares its tasks (numba_crew.py) on up to so many threads, until all of them are done."""
    arguments = (threads, np.zeros(8 + tasks, np.int64), *arguments)
    helpers = [_POOL.submit(kernel, number, *arguments) for number in range(1, threads)]
    kernel(0, *arguments)
    for helper in helpers:
        helper.cancel()  # those that come too late
