"""Threads of our own for PyTorch's work.

PyTorch's own threads meet at a barrier after every operation, which costs far more than they bring as soon
as anything else, such as a viewer, runs on the machine. And for some milliseconds after it they wait for the
next one without leaving their processors, which the threads of a solve then have to share with them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

_SETTING = threading.Lock()


@contextmanager
def lone_workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads in each of which PyTorch works alone; its common setting stays."""
    started = threading.Barrier(count + 1)

    def work_alone() -> None:
        torch.get_num_threads()  # takes the common setting once; after that the thread has its own
        torch.set_num_threads(1)
        started.wait()

    with ThreadPoolExecutor(count, initializer=work_alone) as pool:
        with _SETTING:  # it also changes what new threads start with: put that back at once
            common = torch.get_num_threads()
            for _ in range(count):
                pool.submit(int)
            started.wait()
            torch.set_num_threads(common)
        yield pool


@contextmanager
def alone() -> Iterator[None]:
    """Let PyTorch work without its other threads in a block of this thread, or a function it decorates."""
    torch.get_num_threads()  # takes the common setting once; after that the thread has its own
    with _openmp().limit(limits=1):
        yield


@cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")
