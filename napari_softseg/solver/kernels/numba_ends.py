"""How a solve on the CPU begins and ends: the labels to start from, and the labels and energy of the result.

Labels lie as numba_rows.py describes.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from napari_softseg.solver.kernels.lanes import (
    COUNT,
    alive,
    fill,
    floats_at,
    hidden,
    higher,
    load,
    pick,
    place,
    store,
    total,
)
from napari_softseg.solver.kernels.numba_compile import part
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


@part
def start(  # type: ignore[no-untyped-def]
    source, steps, lines, seeds, free, held, labels, shape, margin, top, bottom
):
    """Write the rows top..bottom-1 to start from: copies of the source, not below the floor, right at fixed pixels.

    Parameters are those of one image of a level in numba_rows.py; `source` and `labels` are addresses.
    """
    wide, n_classes, uniform = free.shape[1], shape[1], ONE / np.float32(shape[1])
    plane, line, factor = steps[0], steps[1], steps[2]
    for row in range(top, bottom):
        here = margin + row * n_classes * shape[2]
        for k in range(n_classes):
            y = carray(floats_at(labels + 4 * (here + k * shape[2])), shape[2])
            origin = carray(floats_at(source + 4 * (k * plane + lines[row] * line)), wide)
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
        whole = floats_at(labels + 4 * here)
        for x in range(wide):
            if free[row, x] == 0:
                seed = seeds[row, x]
                for k in range(n_classes):
                    value = uniform
                    if seed >= 0:
                        value = ONE if seed == k else ZERO
                    elif held.size > 0:
                        value = held[k, row, x]
                    whole[k * shape[2] + x] = value


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


@part
def settle(  # type: ignore[no-untyped-def]
    relaxation,
    cross_entropy,
    offsets,
    maps,
    frees,
    width,
    sigmas,
    old,
    new,
    shape,
    margin,
    top,
    bottom,
    report,
):
    """Divide the rows top..bottom-1 by the sum of their labels where they are free, and sum their energy.

    What numba_rows.py describes comes as pointers to one image's first numbers, `old` to the labels and `new` to the
    result. `report` (2,) receives sum w P and sum H. The energy takes labels of fixed pixels for divided, too: their
    sums are one.
    """
    height, n_classes, stride = shape[0], shape[1], shape[2]
    below = n_classes * stride
    scratch = np.empty((2 * n_classes + 1) * COUNT, np.float32)
    y, guess = place(scratch), place(scratch[n_classes * COUNT :])
    spare = place(scratch[2 * n_classes * COUNT :])
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
