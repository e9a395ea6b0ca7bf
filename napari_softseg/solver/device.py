"""Which device solves, and what happens when its memory is full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import TypeVar

import torch

from napari_softseg.errors import InputError

_LOG = logging.getLogger(__name__)

_Step = TypeVar("_Step")
_Result = TypeVar("_Result")


def resolve_device(name: str) -> torch.device:
    """Return the torch device for a name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    InputError
        If the name is unknown or the device is not there; the message says what is.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    there = ["auto", "cpu"] + ["mps"] * mps + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        raise InputError(f"Unknown device {name!r}; choose one of: {', '.join(there)}.") from None
    if device.type == "cpu" or (device.type == "mps" and mps):
        return device
    if device.type == "cuda" and cuda and (device.index or 0) < torch.cuda.device_count():
        return device
    raise InputError(f"Device {name!r} is not available here; choose one of: {', '.join(there)}.")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether the memory of a device was full."""
    # CUDA's allocator has an error of its own; CUDA's start, Triton's and Apple's have only these words
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def in_its_memory(
    attempt: Callable[[torch.device], Generator[_Step, None, _Result]], device: torch.device
) -> Generator[_Step, None, _Result]:
    """Make the attempt on `device`, and where its memory does not suffice, all of it anew on the CPU."""
    try:
        return (yield from attempt(device))
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    # outside of the handler, so that what the failed attempt held is free
    if device.type == "cuda":
        torch.cuda.empty_cache()
    _LOG.warning("Solving on the CPU, slower: the memory of device %s does not suffice.", device)
    return (yield from attempt(torch.device("cpu")))
