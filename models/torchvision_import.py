"""The one place that imports torchvision: beside an open window it crashes if loaded carelessly."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import version
from types import ModuleType

from napari_softseg.errors import InputError
from napari_softseg.native_libraries import own_symbols_first


@cache
def torchvision(submodule: str = "models") -> ModuleType:
    """Import and return a submodule of torchvision, ``models`` or a dotted name below it.

    torchvision imports Triton wherever there is one, and that must not happen under the window's LLVM.

    Raises
    ------
    InputError
        If torchvision does not fit the installed torch; says how to reinstall both.
    """
    try:
        with own_symbols_first():
            import triton  # noqa: F401
    except ImportError:  # torch for the CPU comes without it
        pass
    try:
        return importlib.import_module(f"torchvision.{submodule}")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        # Builds of two indexes do not fit: "operator torchvision::nms does not exist".
        raise InputError(
            f"torchvision {version('torchvision')} does not load with torch {version('torch')} ({error}): "
            "reinstall both from one index, pip install --force-reinstall torch torchvision "
            "--index-url https://download.pytorch.org/whl/cpu (or .../whl/cu130 for a GPU)."
        ) from None
