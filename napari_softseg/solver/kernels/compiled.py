"""Compiled code that Numba keeps on disk, and what to do where it is damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from types import ModuleType

_LOG = logging.getLogger(__name__)


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
