"""How a solve on the CPU begins and ends: the labels to start from, and the labels and energy of the result.

Labels lie as numba_rows.py describes.
"""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.lanes import (
    COUNT,
    alive,
    fill,
    hidden,
    higher,
    load,
    pick,
    place,
    store,
    total,
)
from napari_softseg.solver.kernels.numba_compile import kernel, part
from napari_softseg.solver.kernels.numba_terms import (
    FLOOR,
    HALF,
    NO_UNARY,
    ONE,
    TINY,
    ZERO,
    edge_energy,
    part_of_row,
    sigma_at,
    unary,
)


@kernel
def start_rows(  # type: ignore[no-untyped-def]
    source, plane, line, factor, lines, seeds, free, held, labels, shape, margin, top, bottom
):
    """Write the labels to start from: copies of `source`, not below the floor, and right at fixed pixels.

    Parameters
    ----------
    source : flat float32
        Labels of class k in the source's row r begin at k plane + r line.
    plane, line : int
    factor : int
        Pixels of a row that take the same label of the source, 1 or 2.
    lines : (H,) int64
        Row of the source for every row of the image.
    seeds : (H, W) int64
        Class index on strokes, negative elsewhere.
    free : (H, W) uint8
    held : (K, H, W) float32, or empty
        Labels of fixed pixels without a stroke; uniform where empty.
    labels, shape, margin, top, bottom
        As in numba_rows.py.
    """
    wide, uniform = free.shape[1], ONE / np.float32(shape[1])
    for row in range(top, bottom):
        here = margin + row * shape[1] * shape[2]
        for k in range(shape[1]):
            y, origin = labels[here + k * shape[2] :], source[k * plane + lines[row] * line :]
            if factor == 1:
                for x in range(wide):
                    y[x] = max(origin[x], FLOOR)
            else:
                for x in range(wide // 2):
                    value = max(origin[x], FLOOR)
                    y[2 * x] = value
                    y[2 * x + 1] = value
                if wide % 2 == 1:
                    y[wide - 1] = max(origin[wide // 2], FLOOR)
            for x in range(wide, shape[2]):
                y[x] = uniform
        for x in range(wide):
            if free[row, x] == 0:
                seed = seeds[row, x]
                for k in range(shape[1]):
                    value = uniform
                    if seed >= 0:
                        value = ONE if seed == k else ZERO
                    elif held.size > 0:
                        value = held[k, row, x]
                    labels[here + k * shape[2] + x] = value


@part
def _sum(y, at, stride, n_classes):  # type: ignore[no-untyped-def]
    whole = fill(ZERO)
    for k in range(n_classes):
        whole += load(y, at + k * stride)
    return higher(whole, TINY)  # margins are zero


@part
def _keep(plane, row, x, width, value, spare):  # type: ignore[no-untyped-def]
    """Set the numbers at x.. of a row of maps (..., width), not beyond it."""
    if x + COUNT <= width:
        store(plane, row * width + x, value)
        return
    store(spare, 0, value)
    for lane in range(width - x):
        plane[row * width + x + lane] = spare[lane]


@kernel
def settle_rows(  # type: ignore[no-untyped-def]
    relaxation,
    cross_entropy,
    offsets,
    weights,
    free,
    sigma,
    labels,
    result,
    shape,
    margin,
    top,
    bottom,
    report,
):
    """Divide the labels by their sum where they are free, into `result` (K, H, W); sum their energy.

    The other parameters are those of `sweep_rows`. `report` (3,) receives sum w P and sum H over the rows
    top..bottom-1. The energy takes labels of fixed pixels for divided, too: their sums are one.
    """
    height, n_classes, stride = shape[0], shape[1], shape[2]
    width = free.shape[1]
    below = n_classes * stride
    scratch = np.empty((2 * n_classes + 1) * COUNT, np.float32)
    y, guess = place(scratch), place(scratch[n_classes * COUNT :])
    spare = place(scratch[2 * n_classes * COUNT :])
    maps, frees, sigmas, old, new = place(weights), place(free), place(sigma), place(labels), place(result)
    pair_energy, unary_energy = 0.0, 0.0
    for row in range(top, bottom):
        pair_row, unary_row = fill(ZERO), fill(ZERO)
        for column in range(0, width, COUNT):
            x = hidden(column)
            here = margin + row * below + x
            is_free = part_of_row(frees, row, x, width, ZERO, spare)
            share, u = ONE / _sum(old, here, stride, n_classes), fill(ZERO)
            for k in range(n_classes):
                value = load(old, here + k * stride)
                settled = value * share
                u += settled * (ONE - settled)
                store(y, k * COUNT, settled)
                _keep(new, k * height + row, x, width, pick(is_free - HALF, settled, value), spare)
            for o in range(offsets.shape[0]):
                dy, dx = offsets[o, 0], offsets[o, 1]
                if row + dy < height:
                    there = here + dy * below + dx
                    s, v = fill(ZERO), fill(ZERO)
                    other = ONE / _sum(old, there, stride, n_classes)
                    for k in range(n_classes):
                        q = load(old, there + k * stride) * other
                        s += load(y, k * COUNT) * q
                        v += q * (ONE - q)
                    w = part_of_row(maps, o * height + row, x, width, ZERO, spare)
                    pair_row += edge_energy(relaxation, w, s, u, v)
            some, first, sigma_stride = guess, 0, COUNT
            if cross_entropy != NO_UNARY:
                some, first, sigma_stride = sigma_at(sigmas, row, x, shape[3], width, n_classes, guess)
            _, energy = unary(cross_entropy, y, 0, COUNT, n_classes, some, first, sigma_stride, ONE)
            unary_row += is_free * energy
        pair_energy += np.float64(total(pair_row))
        unary_energy += np.float64(total(unary_row))
    report[0] = pair_energy
    report[1] = unary_energy
    alive(scratch)
