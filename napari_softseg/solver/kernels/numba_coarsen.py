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


_PAIR = np.uint64(1)


def _part(function: Any) -> Any:
    return njit(forceinline=True, **_OPTIONS)(function)


@_part
def _shares(upper, lower, left, right, beside, there, little):  # type: ignore[no-untyped-def]
    """Return the weights of four pixels, given two rows of which are free, in their mean."""
    a, b = np.float32(upper[left]) + little, beside * (np.float32(upper[right]) + little)
    c, d = there * (np.float32(lower[left]) + little), there * beside * (np.float32(lower[right]) + little)
    share = _ONE / (a + b + c + d)
    return a * share, b * share, c * share, d * share


@_part
def _class(upper, lower, left, right):  # type: ignore[no-untyped-def]
    """Return the only class of strokes among four pixels, else -1."""
    highest = max(max(upper[left], upper[right]), max(lower[left], lower[right]))
    # unsigned: -1, no stroke, is higher than any class
    lowest = min(
        min(np.uint64(upper[left]), np.uint64(upper[right])),
        min(np.uint64(lower[left]), np.uint64(lower[right])),
    )
    return highest if np.uint64(highest) == lowest else np.int64(-1)


@_kernel
def coarsen_rows(  # type: ignore[no-untyped-def]
    sigma,
    plane,
    seeds,
    free,
    valid,
    little,
    n_classes,
    weights,
    joined,
    coarse_sigma,
    coarse_plane,
    coarse_seeds,
    coarse_valid,
    coarse_weights,
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
    weights : (O, H, W) float32
        Edge weights.
    joined : (N, 5) int64
        Number of the fine edges, of the coarse ones, row, column and shift of `coarse_parts` in neighborhood.py.
    coarse_sigma : flat float32
        Receives means of sigma, as it lies: (h, w) for every class, the next one's `coarse_plane` numbers on.
    coarse_plane : int
    coarse_seeds : (h, w) int64
        Receives the class of the block's strokes, -1 where there is none or more than one.
    coarse_valid : (h, w) uint8
        Receives whether any pixel counts.
    coarse_weights : (o, h, w) float32
        Receives the sums of edges, also of those between two seeds; zero before.
    """
    height, width = seeds.shape
    pairs, w = np.uint64(width // 2), coarse_seeds.shape[1]
    shares = np.empty((4, w), np.float32)
    for row in range(top, bottom):
        upper, lower = 2 * row, min(2 * row + 1, height - 1)
        there = _ONE if lower > upper else _ZERO
        a_, b_, c_, d_ = shares[0], shares[1], shares[2], shares[3]
        # loops of one kind each, and the odd column apart: so they are vectorised
        one, other = free[upper], free[lower]
        for x in range(pairs):
            a_[x], b_[x], c_[x], d_[x] = _shares(one, other, x + x, x + x + _PAIR, _ONE, there, little)
        some, more, found = seeds[upper], seeds[lower], coarse_seeds[row]
        for x in range(pairs):
            found[x] = _class(some, more, x + x, x + x + _PAIR)
        if width % 2 == 1:
            end = width - 1
            a_[w - 1], b_[w - 1], c_[w - 1], d_[w - 1] = _shares(one, other, end, end, _ZERO, there, little)
            found[w - 1] = _class(some, more, end, end)
        if valid.size > 0:
            for x in range(w):
                left, right = 2 * x, min(2 * x + 1, width - 1)
                coarse_valid[row, x] = (
                    valid[upper, left] | valid[upper, right] | valid[lower, left] | valid[lower, right]
                )
        for k in range(n_classes):
            one_row, other_row = sigma[k * plane + upper * width :], sigma[k * plane + lower * width :]
            out = coarse_sigma[k * coarse_plane + row * w :]
            for x in range(pairs):
                out[x] = (a_[x] * one_row[x + x] + b_[x] * one_row[x + x + _PAIR]) + (
                    c_[x] * other_row[x + x] + d_[x] * other_row[x + x + _PAIR]
                )
            if width % 2 == 1:
                out[w - 1] = a_[w - 1] * one_row[width - 1] + c_[w - 1] * other_row[width - 1]
        for n in range(joined.shape[0]):
            fine, coarse, down, column, shift = joined[n]
            if 2 * row + down < height:
                part, sums = weights[fine, 2 * row + down, column + 2 * shift :], coarse_weights[coarse, row]
                for x in range(np.uint64(max(0, min((width - column + 1) // 2 - shift, w)))):
                    sums[x] += part[x + x]


@_kernel
def drop_between_seeds(seeds, offsets, weights, top, bottom):  # type: ignore[no-untyped-def]
    """Set to zero the `weights` (O, h, w) of edges to the pixels at `offsets` that join two of `seeds` (h, w).

    Of those that start in the rows top..bottom-1.
    """
    height, width = seeds.shape
    for o in range(offsets.shape[0]):
        dy, dx = offsets[o, 0], offsets[o, 1]
        left, right = max(0, -dx), width - max(0, dx)
        for y in range(top, min(bottom, height - dy)):
            some, other, weight = seeds[y, left:], seeds[y + dy, left + dx :], weights[o, y, left:]
            for x in range(np.uint64(max(0, right - left))):
                weight[x] = _ZERO if (some[x] >= 0) & (other[x] >= 0) else weight[x]
