"""How the kernels of this folder are compiled, and when their code on disk is too old.

Numba builds code on disk anew when the file of the kernel changes, and does not see changes in others, of
functions or of constants. Here the stamp of a kernel is that of its own file and of all it may call.

All functions that a kernel calls are inlined into it. Code from disk so runs as the freshly compiled did, to
the last bit: a function that is called would be, in the process that compiled, the first one of its name,
optimised by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

# error_model: a check for division by zero in a loop would keep it from being vectorised
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp", "nnan", "ninf"},
}

_PARTS = tuple(
    f"{name}.py"
    for name in (
        "lanes",
        "numba_compile",
        "numba_crew",
        "numba_ends",
        "numba_levels",
        "numba_passes",
        "numba_simplex",
        "numba_terms",
        "numba_updates",
    )
)
"""Files that kernels are made of, besides their own."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile the function when it is first called, and keep the code on disk where that can be written."""
    try:
        compiled = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither beside this file nor at home: every process compiles for itself
        return njit(**_OPTIONS)(function)
    compiled._cache._cache_file._source_stamp = _stamp(function.__code__.co_filename)
    return compiled


def part(function: Callable[..., Any]) -> Any:
    """Make a function that kernels call, inlined."""
    return njit(forceinline=True, **_OPTIONS)(function)


@cache
def _stamp(file: str) -> str:
    sources = (Path(file), *(Path(__file__).with_name(name) for name in _PARTS))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
