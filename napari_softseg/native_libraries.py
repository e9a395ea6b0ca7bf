"""How to load a compiled library that brings its own LLVM beside one that is loaded already."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_symbols_first() -> Iterator[None]:
    """Make extension modules imported in this block prefer their own symbols to loaded ones.

    Triton and Mesa's software OpenGL both bring an LLVM. With a window open they would bind to each
    other's symbols and crash; RTLD_DEEPBIND makes a library prefer its own. Linux alone has it and
    needs it.
    """
    if sys.platform != "linux":
        yield
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        yield
    finally:
        sys.setdlopenflags(flags)
