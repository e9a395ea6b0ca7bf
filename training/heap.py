"""Freed memory back to the system."""

from __future__ import annotations

import ctypes
import sys


def trim_heap() -> None:
    """Give back what was freed; does nothing where the C library is not glibc.

    glibc keeps freed blocks of up to 32 MB. A network leaves them behind in other sizes for every size of its
    input, and on tiles of nine sizes (corners, edges, the middle) they added up to more than a tile takes.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
