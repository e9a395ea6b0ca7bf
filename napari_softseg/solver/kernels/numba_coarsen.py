"""The coarser copy of a problem on the CPU, in one pass; `Problem.coarsen` is the reference.

One file: Numba does not see changes of a kernel's functions in other files (see numba_rows.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_ZERO, _ONE = np.float32(0), np.float32(1)


def _kernel(function: Any) -> Any:
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # nowhere to keep compiled code
        return njit(**_OPTIONS)(function)


@_kernel
def coarsen_rows(  # type: ignore[no-untyped-def]
    sigma,
    plane,
    seeds,
    free,
    valid,
    little,
    n_classes,
    coarse_sigma,
    coarse_plane,
    coarse_seeds,
    coarse_valid,
    top,
    bottom,
):
    """Join 2 x 2 pixels to the coarse rows top..bottom-1.

    Parameters
    ----------
    sigma : flat float32
        (H, W) for every class, the next one's `plane` numbers on.
    plane : int
    seeds : (H, W) int64
    free, valid : (H, W) uint8
        `valid` may be (0, 0): all pixels count.
    little : float32
        Weight of a fixed pixel in the mean of sigma, beside 1 + little of a free one.
    n_classes : int
        K, or 0 where there is no sigma.
    coarse_sigma : flat float32
        Receives means of sigma, as it lies: (h, w) for every class, the next one's `coarse_plane` numbers on.
    coarse_plane : int
    coarse_seeds : (h, w) int64
        Receives the class of the block's strokes, -1 where there is none or more than one.
    coarse_valid : (h, w) uint8
        Receives whether any pixel counts.
    """
    height, width = seeds.shape
    pairs, w = np.uint64(width // 2), coarse_seeds.shape[1]
    shares = np.empty((4, w), np.float32)
    for row in range(top, bottom):
        upper, lower = 2 * row, min(2 * row + 1, height - 1)
        there = _ONE if lower > upper else _ZERO
        for x in range(w):
            right = min(2 * x + 1, width - 1)
            beside = _ONE if right > 2 * x else _ZERO
            a = np.float32(free[upper, 2 * x]) + little
            b = beside * (np.float32(free[upper, right]) + little)
            c = there * (np.float32(free[lower, 2 * x]) + little)
            d = there * beside * (np.float32(free[lower, right]) + little)
            share = _ONE / (a + b + c + d)
            shares[0, x], shares[1, x], shares[2, x], shares[3, x] = (
                a * share,
                b * share,
                c * share,
                d * share,
            )
            highest = max(seeds[upper, 2 * x], seeds[upper, right], seeds[lower, 2 * x], seeds[lower, right])
            one = True
            for y in (upper, lower):
                for z in (2 * x, right):
                    one &= seeds[y, z] < 0 or seeds[y, z] == highest
            coarse_seeds[row, x] = highest if one else -1
            if valid.size > 0:
                coarse_valid[row, x] = (
                    valid[upper, 2 * x] | valid[upper, right] | valid[lower, 2 * x] | valid[lower, right]
                )
        a_, b_, c_, d_ = shares[0], shares[1], shares[2], shares[3]
        for k in range(n_classes):
            one_row, other_row = sigma[k * plane + upper * width :], sigma[k * plane + lower * width :]
            out = coarse_sigma[k * coarse_plane + row * w :]
            for x in range(pairs):
                out[x] = (a_[x] * one_row[x + x] + b_[x] * one_row[x + x + np.uint64(1)]) + (
                    c_[x] * other_row[x + x] + d_[x] * other_row[x + x + np.uint64(1)]
                )
            if width % 2 == 1:
                out[w - 1] = a_[w - 1] * one_row[width - 1] + c_[w - 1] * other_row[width - 1]


@_kernel
def add_every_other(weight, row, column, shift, coarse):  # type: ignore[no-untyped-def]
    """Add weight[row::2, column::2], moved `shift` columns to the left, to `coarse` (h, w)."""
    height, width = weight.shape
    count = np.uint64(max(0, min((width - column + 1) // 2 - shift, coarse.shape[1])))
    for y in range((height - row + 1) // 2):
        part, out = weight[2 * y + row, column + 2 * shift :], coarse[y]
        for x in range(count):
            out[x] += part[x + x]


@_kernel
def drop_between_seeds(seeds, dy, dx, weight):  # type: ignore[no-untyped-def]
    """Set to zero the `weight` (h, w) of edges from a pixel to the one at (dy, dx) that join two of `seeds` (h, w)."""
    height, width = seeds.shape
    for y in range(height - dy):
        for x in range(max(0, -dx), width - max(0, dx)):
            if seeds[y, x] >= 0 and seeds[y + dy, x + dx] >= 0:
                weight[y, x] = 0
