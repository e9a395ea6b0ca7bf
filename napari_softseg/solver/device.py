"""Which device solves, and what happens when its memory is full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import TypeVar

import torch

from napari_softseg.errors import InputError

_LOG = logging.getLogger(__name__)

_FULL = ("out of memory", "can't allocate memory", "not enough memory")
"""Words of errors without a class of their own: CUDA's start, Triton, Apple; PyTorch's on Linux, on Windows."""

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


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory, a device's or the computer's, did not suffice."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL))


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
