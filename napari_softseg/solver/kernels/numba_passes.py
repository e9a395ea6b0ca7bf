"""The fused sweep over rows, as what its kernels share: edges first, then updates, a stretch at a time."""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.lanes import COUNT, alive, fill, hidden, load, place, store, total, written
from napari_softseg.solver.kernels.numba_compile import part
from napari_softseg.solver.kernels.numba_simplex import minimise_general, newton, normalise
from napari_softseg.solver.kernels.numba_terms import (
    BL,
    CCE,
    H_CE,
    LQ,
    NO_UNARY,
    ONE,
    ZERO,
    Q,
    edge,
    edge_energy,
    overlap,
    overlap_and_impurity,
    part_of_row,
    sigma_at,
    unary,
)
from napari_softseg.solver.kernels.numba_updates import impurity_of_row, log_weight, offset, write

_STRETCH = 4096
"""Numbers (classes x pixels) of a row between whose edges and updates the labels should stay in the cache."""


@part
def sweep(  # type: ignore[no-untyped-def]
    plain,
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    momentum,
    over,
    offsets,
    maps,
    frees,
    width,
    sigmas,
    dense_pull,
    dense_stay,
    dense,
    y,
    before,
    after,
    ahead,
    shape,
    margin,
    past,
    top,
    bottom,
    report,
):
    """Update the rows top..bottom-1 of one image.

    `plain` where there are nearest neighbours only, P is CD and H is CCE. What numba_rows.py describes comes as
    pointers to this image's first numbers, `y` to the point, `before` to the labels, `after` and `ahead` to the next
    ones. `report` (3,) receives sum w P, sum H, and the sum of |new - point|.
    """
    height, n_classes, stride = shape[0], shape[1], shape[2]
    wide = (width + COUNT - 1) // COUNT * COUNT
    below = n_classes * stride
    n_offsets = 2 if plain else offsets.shape[0]
    near = 2 if plain else 0
    while near < n_offsets and offsets[near, 0] <= 1:
        near += 1
    n_edges = (2 * n_offsets + 3) // 4 * 4
    length = max(_STRETCH // n_classes // COUNT, 1) * COUNT
    general = cross_entropy == H_CE or relaxation in (Q, LQ)
    stays_at_all = relaxation not in (BL, CCE)
    # of near edges, two rows are remembered, with margins; then come far edges, and one that is not there
    gap = margin + stride + margin
    distant = 2 * near * gap
    n_pulls, n_stays, block = distant + (2 * (n_offsets - near) + 1) * COUNT, distant, n_classes * COUNT
    scratch = np.zeros(n_pulls + n_stays + 2 * gap + 4 * block + 2 * COUNT, np.float32)
    pulls, stays, impurity = place(scratch), place(scratch[n_pulls:]), place(scratch[n_pulls + n_stays :])
    blocks = scratch[n_pulls + n_stays + 2 * gap :]
    a, result, slope, ends = (
        place(blocks),
        place(blocks[block:]),
        place(blocks[2 * block :]),
        place(blocks[3 * block :]),
    )
    spare, still = place(blocks[4 * block :]), place(blocks[4 * block + COUNT :])
    numbers = np.empty((3, n_classes))
    aa, bb, cc = place(numbers[0]), place(numbers[1]), place(numbers[2])
    # pulls of an edge lie at g_at + x or, if it is far, at g_at; its other end at q_at + x
    places = np.empty((3, n_edges), np.int64)
    g_at, q_at, moves = place(places[0]), place(places[1]), place(places[2])
    steps = place(offsets)
    uniform = fill(ONE / np.float32(n_classes))
    pair_energy, unary_energy, moved = 0.0, 0.0, 0.0
    above = max(top - 1, 0)
    for row in range(above, bottom):
        # of the row above the first, only its edges downwards are wanted
        own, parity = row >= top, row % 2
        start, level = margin + row * below, parity * gap + margin
        if row == above:
            impurity_of_row(y, start, stride, n_classes, wide, impurity, level)
        if row + 1 < height and not plain:
            impurity_of_row(y, start + below, stride, n_classes, wide, impurity, (1 - parity) * gap + margin)
        for e in range(n_edges):
            g_at[e], q_at[e], moves[e] = n_pulls - COUNT, start, 0
            if e >= 2 * n_offsets:
                continue
            o, sign = e // 2, 1 - 2 * (e % 2)
            dy, dx = offset(plain, steps, o)
            if 0 <= row + sign * dy < height:
                q_at[e] = start + sign * (dy * below + dx)
            if e < 2 * near:
                from_row, back = (row, 0) if sign == 1 else (row - dy, dx)
                g_at[e], moves[e] = (from_row % 2 * near + o) * gap + margin - back, 1
            else:
                g_at[e] = distant + (e - 2 * near) * COUNT
        pair_row, unary_row, moved_row = fill(ZERO), fill(ZERO), fill(ZERO)
        known = 0
        for left in range(0, wide, length):
            right = min(left + length, wide)
            # edges as far ahead as the updates of this stretch look
            until = min((right + margin + COUNT - 1) // COUNT * COUNT, wide)
            for column in range(known, until, COUNT):
                x = hidden(column)
                here = start + x
                u = load(impurity, level + x)
                for o in range(near):
                    dy, dx = offset(plain, steps, o)
                    at = (parity * near + o) * gap + margin + x
                    if row + dy >= height:
                        store(pulls, at, fill(ZERO))
                        store(stays, at, fill(ZERO))
                        continue
                    w = part_of_row(maps, o * height + row, x, width, ZERO, spare)
                    beside = (row + dy) % 2 * gap + margin + x + dx
                    if plain and dy == 1:
                        s, v = overlap_and_impurity(y, here, y, here + below, stride, n_classes)
                        store(impurity, beside, v)
                    else:
                        s = overlap(y, here, y, here + dy * below + dx, stride, n_classes)
                        v = load(impurity, beside)
                    g, h = edge(relaxation, w, s, u, v)
                    store(pulls, at, g)
                    store(stays, at, h)
                    if own:
                        pair_row += edge_energy(relaxation, w, s, u, v)
            known = until
            if not own:
                continue
            for column in range(left, right, COUNT):
                x = hidden(column)
                here = start + x
                u = load(impurity, level + x)
                is_free = part_of_row(frees, row, x, width, ZERO, spare)
                stay = fill(ZERO)
                if dense:
                    stay += part_of_row(dense_stay, row, x, width, ZERO, spare)
                if stays_at_all:
                    for e in range(2 * near):
                        stay += load(stays, g_at[e] + x)
                for e in range(2 * near, 2 * n_offsets):
                    o, sign = e // 2, 1 - 2 * (e % 2)
                    dy, dx = offset(plain, steps, o)
                    if row + sign * dy < 0 or row + sign * dy >= height:
                        store(pulls, g_at[e], fill(ZERO))
                        continue
                    from_row, back = (row, 0) if sign == 1 else (row - dy, dx)
                    w = part_of_row(maps, o * height + from_row, x - back, width, ZERO, spare)
                    s = overlap(y, here, y, q_at[e] + x, stride, n_classes)
                    v = fill(ZERO)
                    for k in range(n_classes):
                        q = load(y, q_at[e] + k * stride + x)
                        v += q * (ONE - q)
                    g, h = edge(relaxation, w, s, u, v)
                    store(pulls, g_at[e], g)
                    stay += h
                    if sign == 1:
                        pair_row += edge_energy(relaxation, w, s, u, v)
                guess, there, across = ends, 0, COUNT
                if cross_entropy != NO_UNARY:
                    guess, there, across = sigma_at(sigmas, row, x, shape[3], width, n_classes, ends)
                weight, energy = unary(cross_entropy, y, here, stride, n_classes, guess, there, across, eta)
                unary_row += is_free * energy
                sum_of_a = fill(ZERO)
                for e in range(0, n_edges, 4):
                    g0 = load(pulls, g_at[e] + moves[e] * x)
                    g1 = load(pulls, g_at[e + 1] + moves[e + 1] * x)
                    g2 = load(pulls, g_at[e + 2] + moves[e + 2] * x)
                    g3 = load(pulls, g_at[e + 3] + moves[e + 3] * x)
                    q0, q1, q2, q3 = q_at[e] + x, q_at[e + 1] + x, q_at[e + 2] + x, q_at[e + 3] + x
                    for k in range(n_classes):
                        base = k * stride
                        pull = (g0 * load(y, q0 + base) + g1 * load(y, q1 + base)) + (
                            g2 * load(y, q2 + base) + g3 * load(y, q3 + base)
                        )
                        if plain:
                            pull = log_weight(
                                cross_entropy,
                                load(y, here + base),
                                pull,
                                weight,
                                load(guess, there + k * across),
                                lambda_,
                            )
                            sum_of_a += pull
                        elif e > 0:
                            pull += load(a, k * COUNT)
                        store(a, k * COUNT, pull)
                if not plain:
                    for k in range(n_classes):
                        pull = load(a, k * COUNT)
                        if dense:
                            pull += load(dense_pull, here + k * stride)
                        if relaxation == Q:
                            store(result, k * COUNT, pull * lambda_)
                            pull = fill(ZERO)
                        pull = log_weight(
                            cross_entropy,
                            load(y, here + k * stride),
                            pull,
                            weight,
                            load(guess, there + k * across),
                            lambda_,
                        )
                        store(a, k * COUNT, pull)
                        sum_of_a += pull
                step = fill(ZERO)
                if general:
                    store(still, 0, stay)
                    minimise_general(
                        relaxation,
                        cross_entropy,
                        eta,
                        lambda_,
                        tolerance,
                        a,
                        still,
                        y,
                        here,
                        stride,
                        guess,
                        there,
                        across,
                        n_classes,
                        aa,
                        bb,
                        cc,
                        result,
                    )
                elif not stays_at_all:
                    normalise(a, sum_of_a, n_classes, result)
                else:
                    mu = sum_of_a - lambda_ * stay  # at which the present labels would be optimal
                    step = newton(a, lambda_ * stay / (ONE - u), mu, tolerance, n_classes, result, slope)
                moved_row += write(
                    y,
                    here,
                    stride,
                    n_classes,
                    result,
                    slope,
                    step,
                    before,
                    is_free,
                    momentum,
                    over,
                    after,
                    ahead,
                    a,
                    past,
                )
        if own:
            for x in range(wide, stride, COUNT):
                for k in range(n_classes):
                    store(after, start + k * stride + x, uniform)
                    store(ahead, start + k * stride + x, uniform)
        pair_energy += np.float64(total(pair_row))
        unary_energy += np.float64(total(unary_row))
        moved += np.float64(total(moved_row))
    written()
    report[0] = pair_energy
    report[1] = unary_energy
    report[2] = moved
    alive(scratch)
    alive(numbers)
    alive(places)
