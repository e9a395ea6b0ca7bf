"""Compiled code that Numba keeps on disk, and what to do where it is damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import TypeVar

_LOG = logging.getLogger(__name__)

Modules = TypeVar("Modules", bound=tuple[ModuleType, ...])


def load_compiled(
    modules: Callable[[], Modules], call: Callable[[Modules], object], without: str
) -> Modules | None:
    """Import modules of compiled functions, and compile them or load them from disk.

    Parameters
    ----------
    modules
        Imports them.
    call
        Calls all their functions, which compiles them.
    without
        What the log says comes of it where Numba cannot be used.
    """
    try:
        _check_it_compiles()
        loaded = modules()
        call_or_rebuild(partial(call, loaded), loaded)
    except Exception as error:  # noqa: BLE001 - no Numba, an LLVM that cannot, a disk that is full
        _LOG.warning("%s: Numba cannot be used (%s).", without, error)
        return None
    return loaded


def _check_it_compiles() -> None:
    """Raise if Numba is told to leave functions in plain Python, which would take hours."""
    from numba import config

    if config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set")


def call_or_rebuild(call: Callable[[], object], modules: Iterable[ModuleType]) -> None:
    """Make a call that compiles the kernels of `modules` or loads them from disk.

    Where it fails, their code on disk is dropped, and the call made again.
    """
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the code on disk
        _LOG.warning("Compiling the solver again: its compiled code on disk is damaged (%s).", error)
        for module in modules:
            for function in vars(module).values():
                if hasattr(function, "_cache"):
                    function._cache.flush()
        call()
