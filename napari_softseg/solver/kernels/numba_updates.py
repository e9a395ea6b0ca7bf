"""What a sweep does to sixteen pixels besides solving their one-pixel problem, and along a row before."""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.lanes import (
    COUNT,
    fill,
    higher,
    load,
    pick,
    size,
    soon_read,
    soon_written,
    store,
    store_past,
)
from napari_softseg.solver.kernels.numba_compile import part
from napari_softseg.solver.kernels.numba_terms import FLOOR, H_CCE, H_RCE, HALF, ONE, QUARTER, ZERO

_PROXIMITY = np.float32(1e-6)
"""As `torch_sweep.PROXIMITY`."""


@part
def impurity_of_row(p, at, stride, n_classes, wide, u, there):  # type: ignore[no-untyped-def]
    """Set u = 1 - |p|^2 along a row, as a sum of positive terms."""
    for x in range(0, wide, COUNT):
        store(u, there + x, fill(ZERO))
    for k in range(n_classes):
        for x in range(0, wide, COUNT):
            value = load(p, at + k * stride + x)
            store(u, there + x, load(u, there + x) + value * (ONE - value))


@part
def log_weight(cross_entropy, old, pull, weight, guess, lambda_):  # type: ignore[no-untyped-def]
    """Return y (proximity + lambda pull) + the unary's weight of ln y, for one class."""
    if cross_entropy == H_CCE:
        return old * (_PROXIMITY + lambda_ * pull + weight * guess)
    if cross_entropy == H_RCE:
        return old * (_PROXIMITY + lambda_ * pull) + weight * guess
    return old * (_PROXIMITY + lambda_ * pull)


@part
def write(  # type: ignore[no-untyped-def]
    y, here, stride, n_classes, new, slope, step, old, free, momentum, over, labels, point, ahead, past
):
    """Write the new labels, new - slope step, and the point ahead of them (extrapolation.py).

    `ahead` is for use in here. With `past`, what is written stays out of the cache. Returns the mass that moved.
    """
    moved, sum_ahead = fill(ZERO), fill(ZERO)
    for k in range(n_classes):
        at = here + k * stride
        soon_read(old, at)
        before = load(y, at)
        value = higher(load(new, k * COUNT) - load(slope, k * COUNT) * step, FLOOR)
        value = pick(free - HALF, value, before)
        change = value - before
        moved += size(change)
        further = higher(value + momentum * (value - load(old, at)) + over * change, value * QUARTER)
        if past:
            store_past(labels, at, value)
        else:
            soon_written(labels, at)
            soon_written(point, at)
            store(labels, at, value)
        store(ahead, k * COUNT, further)
        sum_ahead += further
    share = pick(free - HALF, ONE / sum_ahead, fill(ONE))  # one-hot labels stay exactly so
    for k in range(n_classes):
        value = load(ahead, k * COUNT) * share
        if past:
            store_past(point, here + k * stride, value)
        else:
            store(point, here + k * stride, value)
    return moved


@part
def offset(plain, steps, o):  # type: ignore[no-untyped-def]
    """Return (dy, dx) of an offset; (0, 1) and (1, 0) are those of `plain`."""
    if plain:
        return o, 1 - o
    return steps[2 * o], steps[2 * o + 1]
