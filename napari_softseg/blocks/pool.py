"""Who solves the blocks: threads of this process, or the workers of a dask cluster.

Both speak the language of :mod:`concurrent.futures`, so one loop serves both. No more blocks are under way than
there are workers: that is what bounds the memory.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from napari_softseg.blocks.block import BlockJob
from napari_softseg.errors import InputError
from napari_softseg.solver.solution import Status

PATIENCE = 10
"""Seconds to wait for a scheduler, and for its first worker."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers for blocks.

    Parameters
    ----------
    executor : Executor
        Runs a function elsewhere.
    workers : int
        Blocks under way at a time.
    per_process : int
        How many of them share one process's memory.
    share : callable
        Sends a job to where the blocks are solved, once.
    """

    executor: Executor
    workers: int
    per_process: int
    share: Callable[[BlockJob], Any]
    lost: tuple[type[BaseException], ...] = ()
    """Errors of the executor itself."""

    def run(
        self, job: BlockJob, places: Sequence[tuple[int, int]], stop: threading.Event | None
    ) -> Iterator[int]:
        """Solve the blocks at `places`; yield how many are done, from 0 up.

        Once `stop` is set no block is begun, and those under way in this process end early.
        """
        yield 0
        local = isinstance(self.executor, ThreadPoolExecutor)
        shared = self.share(job)
        waiting = iter(places)
        running: set[Future[Status]] = set()
        done = 0
        try:
            while True:
                free = 0 if stop and stop.is_set() else self.workers - len(running)
                for place in itertools.islice(waiting, free):
                    running.add(self.executor.submit(_solve, shared, place, stop if local else None))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += future.result() is not Status.STOPPED
                yield done
        except self.lost as error:
            raise InputError(
                f"The cluster lost a block ({type(error).__name__}), perhaps for lack of memory on a worker; give less "
                "memory, or more to the workers. Finished blocks are kept."
            ) from error
        finally:
            for future in running:
                future.cancel()


def _solve(job: BlockJob, place: tuple[int, int], stop: threading.Event | None) -> Status:
    return job.solve(place, stop)


@contextmanager
def open_pool(scheduler: str | None, workers: int | None) -> Iterator[Pool]:
    """Yield threads of this process, or the cluster at the address `scheduler`.

    Raises
    ------
    InputError
        If no scheduler with workers answers there, or dask.distributed is not installed.
    """
    if scheduler is None:
        count = workers or 1
        with ThreadPoolExecutor(count) as executor:
            yield Pool(executor, count, count, lambda job: job)
        return
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise InputError("A scheduler needs dask.distributed: pip install distributed.") from None
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"No dask scheduler answers at {scheduler} ({error}); start one with: dask scheduler."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise InputError(
                f"The scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}."
            ) from None
        threads = client.nthreads().values()
        count = workers or sum(threads)
        with client.get_executor(pure=False) as executor:
            yield Pool(
                executor, count, min(count, max(threads)), _scattered(client), (KilledWorker, CancelledError)
            )


def _scattered(client: Any) -> Callable[[BlockJob], Any]:
    return lambda job: client.scatter(job, broadcast=True)
