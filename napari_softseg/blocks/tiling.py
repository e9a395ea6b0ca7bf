"""How an image is cut, and how much memory a block takes.

Peak memory is at most

    PROGRAM + workers * (block + 2 * halo)^2 * per_pixel
    per_pixel = PER_PIXEL + PER_CHANNEL * channels + PER_CLASS * classes + PER_EDGE * edges
                (+ PER_PIXEL_PRETRAINED, with the unary pretrained)

with the constants measured below (``benchmarks/blocks.py --memory`` measures them again). Given the
bound, that is solved for the block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from napari_softseg.errors import InputError
from napari_softseg.options import Neighborhood
from napari_softseg.solver.neighborhood import OFFSETS
from napari_softseg.unary.classifier import ALIGNMENT

DEFAULT_HALO = 128
DEFAULT_MEMORY = "4 GB"

PROGRAM = 1_100_000_000
"""Bytes of the interpreter with PyTorch and all else loaded, and of small things."""

PER_PIXEL, PER_CHANNEL, PER_CLASS, PER_EDGE = 100, 30, 40, 12
"""Bytes for every pixel of a block and its halo at the peak: in any case, per channel, class and edge."""

PER_PIXEL_PRETRAINED = 300
"""The same, where a pretrained network's features stand beside the classifier's own."""

CHUNKS_AT_A_TIME = 10
"""Chunks that zarr decodes at a time, before the block's peak."""

SMALLEST, LARGEST = 64, 4096
"""Sides of the blocks that are chosen; beyond the larger one, less halo saves next to nothing."""

CHUNK = 512
"""Side of the chunks that a viewer reads; larger blocks are multiples of it."""

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_LEAST_MEMORY = 1000
"""Bytes; below, a unit was forgotten."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some rows and columns of the image."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    def widened(self, halo: int, size: tuple[int, int]) -> Window:
        """Return the window with `halo` more pixels on every side, inside an image of that size."""
        return Window(
            max(0, self.top - halo),
            min(self.bottom + halo, size[0]),
            max(0, self.left - halo),
            min(self.right + halo, size[1]),
        )

    def inside(self, outer: Window) -> tuple[slice, slice]:
        """Return this window's rows and columns counted from the start of `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )

    def quarters(self) -> list[Window]:
        """Return the window in four parts (or fewer, if it is thin), cut on the classifier's grid."""
        rows, columns = (
            [(a, a + half), (a + half, b)] if 0 < (half := _half(b - a)) < b - a else [(a, b)]
            for a, b in ((self.top, self.bottom), (self.left, self.right))
        )
        return [Window(*r, *c) for r in rows for c in columns]


def _half(length: int) -> int:
    return math.ceil(length / 2 / ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Tiling:
    """The blocks of an image.

    Parameters
    ----------
    size : (int, int)
        Rows and columns of the image.
    block : int
        Side of a block.
    """

    size: tuple[int, int]
    block: int

    @property
    def grid(self) -> tuple[int, int]:
        """Number of blocks down and across."""
        return -(-self.size[0] // self.block), -(-self.size[1] // self.block)

    def window(self, row: int, column: int) -> Window:
        """Return the block at a place of the grid."""
        top, left = row * self.block, column * self.block
        return Window(top, min(top + self.block, self.size[0]), left, min(left + self.block, self.size[1]))

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield (row, column) of every block, row by row."""
        rows, columns = self.grid
        return ((row, column) for row in range(rows) for column in range(columns))


def bytes_per_pixel(classes: int, channels: int, neighborhood: str, *, pretrained: bool = False) -> int:
    """Return the peak of memory for every pixel of a block and its halo."""
    edges = len(OFFSETS[Neighborhood.named(neighborhood)])
    learned = PER_PIXEL_PRETRAINED if pretrained else 0
    return PER_PIXEL + PER_CHANNEL * channels + PER_CLASS * classes + PER_EDGE * edges + learned


def memory_of(block: int, halo: int, workers: int, per_pixel: int) -> int:
    """Return the peak memory in bytes, by the formula of this module."""
    return PROGRAM + workers * (block + 2 * halo) ** 2 * per_pixel


def chosen_block(
    block: int | None, halo: int, memory: int, workers: int, per_pixel: int, size: tuple[int, int]
) -> int:
    """Return the side of the blocks, `block` itself where it is given and fits.

    Raises
    ------
    InputError
        If the memory does not suffice; the message says what would.
    """
    largest = -(-max(size) // ALIGNMENT) * ALIGNMENT
    if block is None:
        fitting = math.isqrt(max(0, memory - PROGRAM) // (workers * per_pixel)) - 2 * halo
        fitting = min(fitting, LARGEST)
        step = CHUNK if fitting >= CHUNK else ALIGNMENT
        block = min(fitting // step * step, largest)
        wanted = min(SMALLEST, largest)
    else:
        block = wanted = min(block, largest)
    needed = memory_of(wanted, halo, workers, per_pixel)
    if block < wanted or needed > memory:
        raise InputError(
            f"A block of {wanted} pixels with a halo of {halo} takes {needed / 1e9:.1f} GB with "
            f"{workers} worker{'s' * (workers > 1)}, more than the memory of {memory / 1e9:.1f} GB; "
            "give more memory, or a smaller block or halo."
        )
    return block


def check_chunks(chunk_bytes: int, memory: int, workers: int) -> None:
    """Raise InputError if reading alone may exceed the memory; zarr reads chunks as a whole."""
    reading = chunk_bytes * CHUNKS_AT_A_TIME * workers
    if reading > memory // 2:
        raise InputError(
            f"The image is stored in chunks of {chunk_bytes / 1e6:.0f} MB, and {CHUNKS_AT_A_TIME} of them are read "
            f"at a time: too much for a memory of {memory / 1e9:.1f} GB; save it in smaller chunks (512 x 512), "
            "or give more memory."
        )


def checked_side(name: str, value: int, lowest: int) -> int:
    """Return a block's or halo's size, or raise InputError where it does not fit the classifier's grid."""
    if isinstance(value, bool) or value != int(value) or value < lowest or value % ALIGNMENT:
        raise InputError(
            f"Expected {name} to be a multiple of {ALIGNMENT} from {lowest} up, but got {value}."
        )
    return int(value)


def parsed_memory(text: str | float) -> int:
    """Return bytes, given those or a text such as ``"4 GB"``, ``"500M"`` or ``"2 GiB"``."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([KMGT]?I?)B?", str(text).strip().upper())
    if match is None or match[2] not in _UNITS:
        raise InputError(f"Expected an amount of memory such as 4 GB or 1500 MB, but got {text!r}.")
    amount = int(float(match[1]) * _UNITS[match[2]])
    if amount < _LEAST_MEMORY:
        raise InputError(
            f"Expected an amount of memory such as 4 GB or 1500 MB, but got {text!r}, which is {amount} bytes."
        )
    return amount
