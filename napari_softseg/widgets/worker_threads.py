"""What the viewer's worker threads take of the CPU: how many solve, and that the window goes first."""

import os
import sys
import threading
from contextlib import suppress

_NICE = 10
"""Of a worker's thread; the window's has 0."""

_wanted = 0


def set_threads(count: int) -> None:
    """Let solves that begin from now on use so many threads; 0 leaves one core to the window.

    With all of them busy the event loop waits up to three times as long.
    """
    global _wanted
    _wanted = count


def apply_threads() -> None:
    """Make it so for the thread that calls; torch is loaded here, so it is none of the GUI's."""
    import torch

    count = _wanted or max(1, (os.cpu_count() or 2) - 1)
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def yield_to_window() -> None:
    """Let the window go first where it and the thread that calls both want the CPU, for good.

    The thread's own threads inherit it. Only Linux knows niceness of threads; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
