"""Memory for labels, kept from one solve to the next.

What a system hands out it clears first, page by page: for a large image that takes as long as several sweeps,
and far longer on a virtual machine whose host has to find the pages again.
"""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import numpy.typing as npt
import psutil

Floats = npt.NDArray[np.float32]

LINE = 16
"""Numbers in a line of the processor's cache."""

_SHARE = 16
"""At most this part of the machine's memory is kept while nothing is solved: one over so much."""

_LOCK = threading.Lock()
_kept: list[Floats] = []


def take(count: int, size: int) -> list[Floats]:
    """Return so many arrays of a size that begin with a cache line, those that were kept first.

    What was kept is forgotten where it does not fit, before there is more.
    """
    with _LOCK:
        # no larger ones: the result of a solve lies in one of them
        found = [one for one in _kept if one.size == size][:count]
        _kept.clear()
    return found + [_new(size) for _ in range(count - len(found))]


def keep(arrays: list[Floats]) -> None:
    """Keep arrays that nobody uses any more for the next who takes some.

    Not those of a coarse level, which are parts of the finer one's: that is about to use them.
    """
    parts = any(one.base is None or one.base.size != one.size + LINE for one in arrays)
    if not parts and sum(one.nbytes for one in arrays) <= _all_memory() // _SHARE:
        with _LOCK:
            _kept[:] = arrays


@cache  # it asks the system, which takes as long as a coarse sweep
def _all_memory() -> int:
    return int(psutil.virtual_memory().total)


def _new(size: int) -> Floats:
    block = np.empty(size + LINE, np.float32)
    return block[-block.ctypes.data // 4 % LINE :][:size]
