"""The fused CPU sweep: sixteen pixels of a row at a time, compiled once for all P and H.

It is the arithmetic of :mod:`napari_softseg.solver.kernels.torch_sweep` in float32. What is summed over the
classes of sixteen pixels stays in registers (lanes.py), what is needed again soon stays in the cache.

Labels lie row by row, in each row class by class (H, K, stride), in flat arrays with a margin at both
ends: a neighbour is a constant distance away, and one that would leave the image has weight zero.
(Planes (K, H, W) of a power-of-two width would all fall into the same few lines of the cache.)
What is only read, sigma and the maps, stays in planes. An edge is computed once, at the pixel it starts
from, and remembered for the other where that is in this row or the next.
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
    size,
    store,
    total,
)
from napari_softseg.solver.kernels.numba_compile import kernel, part
from napari_softseg.solver.kernels.numba_simplex import minimise_general, newton, normalise
from napari_softseg.solver.kernels.numba_terms import (
    BL,
    CCE,
    CD,
    FLOOR,
    H_CCE,
    H_CE,
    H_RCE,
    HALF,
    LQ,
    NO_UNARY,
    ONE,
    QUARTER,
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

_STRETCH = 4096
"""Numbers (classes x pixels) of a row between whose edges and updates the labels should stay in the cache."""

_PROXIMITY = np.float32(1e-6)


@part
def _impurity(p, at, stride, n_classes, wide, u, there):  # type: ignore[no-untyped-def]
    """Set u = 1 - |p|^2 along a row, as a sum of positive terms."""
    for x in range(0, wide, COUNT):
        store(u, there + x, fill(ZERO))
    for k in range(n_classes):
        for x in range(0, wide, COUNT):
            value = load(p, at + k * stride + x)
            store(u, there + x, load(u, there + x) + value * (ONE - value))


@part
def _log_weight(cross_entropy, old, pull, weight, guess, lambda_):  # type: ignore[no-untyped-def]
    """Return y (proximity + lambda pull) + the unary's weight of ln y, for one class."""
    if cross_entropy == H_CCE:
        return old * (_PROXIMITY + lambda_ * pull + weight * guess)
    if cross_entropy == H_RCE:
        return old * (_PROXIMITY + lambda_ * pull) + weight * guess
    return old * (_PROXIMITY + lambda_ * pull)


@part
def _write(  # type: ignore[no-untyped-def]
    y, here, stride, n_classes, new, slope, step, old, free, momentum, over, labels, point, ahead
):
    """Write the new labels, new - slope step, and the point ahead of them (extrapolation.py).

    `ahead` is for use in here. Returns the mass that moved.
    """
    moved, sum_ahead = fill(ZERO), fill(ZERO)
    for k in range(n_classes):
        at = here + k * stride
        before = load(y, at)
        value = higher(load(new, k * COUNT) - load(slope, k * COUNT) * step, FLOOR)
        value = pick(free - HALF, value, before)
        change = value - before
        moved += size(change)
        further = higher(value + momentum * (value - load(old, at)) + over * change, value * QUARTER)
        store(labels, at, value)
        store(ahead, k * COUNT, further)
        sum_ahead += further
    share = pick(free - HALF, ONE / sum_ahead, fill(ONE))  # one-hot labels stay exactly so
    for k in range(n_classes):
        store(point, here + k * stride, load(ahead, k * COUNT) * share)
    return moved


@part
def _step(plain, steps, o):  # type: ignore[no-untyped-def]
    """Return (dy, dx) of an offset; (0, 1) and (1, 0) are those of `plain`."""
    if plain:
        return o, 1 - o
    return steps[2 * o], steps[2 * o + 1]


@part
def _sweep(  # type: ignore[no-untyped-def]
    plain,
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    momentum,
    over,
    offsets,
    weights,
    free,
    sigma,
    far_pull,
    far_stay,
    point,
    labels,
    new_labels,
    new_point,
    shape,
    margin,
    top,
    bottom,
    report,
):
    """See `sweep_rows`; `plain` where there are nearest neighbours only, P is CD and H is CCE."""
    height, n_classes, stride = shape[0], shape[1], shape[2]
    width = free.shape[1]
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
    y, before, after, ahead = place(point), place(labels), place(new_labels), place(new_point)
    maps, frees, sigmas, steps = place(weights), place(free), place(sigma), place(offsets)
    dense_pull, dense_stay = place(far_pull), place(far_stay)
    dense, dense_stays = far_pull.size > 0, far_stay.size > 0
    uniform = fill(ONE / np.float32(n_classes))
    pair_energy, unary_energy, moved = 0.0, 0.0, 0.0
    above = max(top - 1, 0)
    for row in range(above, bottom):
        # of the row above the first, only its edges downwards are wanted
        own, parity = row >= top, row % 2
        start, level = margin + row * below, parity * gap + margin
        if row == above:
            _impurity(y, start, stride, n_classes, wide, impurity, level)
        if row + 1 < height and not plain:
            _impurity(y, start + below, stride, n_classes, wide, impurity, (1 - parity) * gap + margin)
        for e in range(n_edges):
            g_at[e], q_at[e], moves[e] = n_pulls - COUNT, start, 0
            if e >= 2 * n_offsets:
                continue
            o, sign = e // 2, 1 - 2 * (e % 2)
            dy, dx = _step(plain, steps, o)
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
                    dy, dx = _step(plain, steps, o)
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
                if dense_stays:
                    stay += part_of_row(dense_stay, row, x, width, ZERO, spare)
                if stays_at_all:
                    for e in range(2 * near):
                        stay += load(stays, g_at[e] + x)
                for e in range(2 * near, 2 * n_offsets):
                    o, sign = e // 2, 1 - 2 * (e % 2)
                    dy, dx = _step(plain, steps, o)
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
                    guess, there, across = sigma_at(sigmas, row, x, height, width, n_classes, ends)
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
                            pull = _log_weight(
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
                        pull = _log_weight(
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
                moved_row += _write(
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
                )
        if own:
            for x in range(wide, stride, COUNT):
                for k in range(n_classes):
                    store(after, start + k * stride + x, uniform)
                    store(ahead, start + k * stride + x, uniform)
        pair_energy += np.float64(total(pair_row))
        unary_energy += np.float64(total(unary_row))
        moved += np.float64(total(moved_row))
    report[0] = pair_energy
    report[1] = unary_energy
    report[2] = moved
    alive(scratch)
    alive(numbers)
    alive(places)


@kernel
def sweep_rows(  # type: ignore[no-untyped-def]
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    momentum,
    over,
    offsets,
    weights,
    free,
    sigma,
    far_pull,
    far_stay,
    point,
    labels,
    new_labels,
    new_point,
    shape,
    margin,
    top,
    bottom,
    report,
):
    """Update the rows top..bottom-1 of one image.

    Parameters
    ----------
    relaxation, cross_entropy : int
        P and H by their numbers.
    eta, lambda_ : float32
    tolerance : float32
        Largest difference of a label's sum from one before its last correction.
    momentum, over : float32
        How far the next point lies ahead (extrapolation.py).
    offsets : (O, 2) int64
        (dy, dx) of every kind of edge, first those with dy <= 1.
    weights : (O, H, W) float32
        Edge weights at the pixel the edge starts from, zero where it leaves the image.
    free : (H, W) uint8
        1 where the label is a variable, else 0.
    sigma : (K, H, W) float32
        Not read without a unary.
    point, labels, new_labels, new_point : (M + H*K*stride + M,) float32
        `labels` are those the last step led to; `point`, extrapolated from them, is where the majoriser
        touches. `new_labels` and `new_point` are written. M is the margin.
    far_pull : like `point`, or empty
        What dense edges add to the sum of w g y_j.
    far_stay : (H, W) float32, or empty
        What they add to that of w h.
    shape : (3,) int64
        H, K, stride.
    margin, top, bottom : int
    report : (3,) float64
        Receives sum w P, sum H, and the sum of |new - point|.
    """
    _sweep(
        False,
        relaxation,
        cross_entropy,
        eta,
        lambda_,
        tolerance,
        momentum,
        over,
        offsets,
        weights,
        free,
        sigma,
        far_pull,
        far_stay,
        point,
        labels,
        new_labels,
        new_point,
        shape,
        margin,
        top,
        bottom,
        report,
    )


@kernel
def plain_sweep_rows(  # type: ignore[no-untyped-def]
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    momentum,
    over,
    offsets,
    weights,
    free,
    sigma,
    far_pull,
    far_stay,
    point,
    labels,
    new_labels,
    new_point,
    shape,
    margin,
    top,
    bottom,
    report,
):
    """Do what `sweep_rows` does for CD and CCE on the 4-grid, what a solve has unless it is told otherwise.

    The compiler drops whatever else there is.
    """
    _sweep(
        True,
        CD,
        H_CCE,
        eta,
        lambda_,
        tolerance,
        momentum,
        over,
        offsets,
        weights,
        free,
        sigma,
        far_pull,
        far_stay,
        point,
        labels,
        new_labels,
        new_point,
        shape,
        margin,
        top,
        bottom,
        report,
    )
