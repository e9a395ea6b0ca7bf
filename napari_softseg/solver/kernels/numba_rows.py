"""The fused CPU sweep: every step on a stretch of one row, in the cache, compiled once for all P and H.

It is the arithmetic of :mod:`napari_softseg.solver.kernels.torch_sweep` in float32. Innermost loops run
over the pixels of a stretch and hold no branch, so that the compiler vectorises them; what differs
between relaxations branches outside of them, per stretch.

Labels lie row by row, in each row class by class (H, K, stride), in flat arrays with a margin at both
ends: a neighbour is a constant distance away, and one that would leave the image has weight zero.
(Planes (K, H, W) of a power-of-two width would all fall into the same few lines of the cache.)
What is only read, sigma and the maps, stays in planes. An edge is computed once, at the pixel it starts
from, and remembered for the other where that is in this row or the next.
Indices are unsigned where loops run over them: Numba then leaves out its check for negative ones.

One file, long as it is: Numba builds the code on disk anew when the file of the kernel changes, and does
not see changes in other files, of functions or of constants. All functions are inlined into the kernels.
Code from disk so runs as the freshly compiled did, to the last bit: a function that is called would be,
in the process that compiled, the first one of its name, optimised by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

STRETCH = 8192
"""Numbers (classes x pixels) in one stretch of a row."""

BL, Q, NQ, CCE, LQ, CD = range(6)
"""Numbers of the relaxations, in the order of the enumeration Relaxation."""

NO_UNARY, H_CE, H_RCE, H_CCE = range(-1, 3)
"""Numbers of the cross-entropies, in the order of the enumeration CrossEntropy."""

_FLOOR = np.float32(1e-6)
_TINY = np.float32(1e-30)
_PROXIMITY = np.float32(1e-6)
_ZERO, _ONE, _TWO, _FOUR = np.float32(0), np.float32(1), np.float32(2), np.float32(4)
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)
_MAX_STEPS = 60
_HUGE = 1e300  # not infinite: the compiler is told that there are no infinities

# error_model: a check for division by zero in a loop would keep it from being vectorised
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp", "nnan", "ninf"},
}
_INLINE: dict[str, Any] = {"forceinline": True, **_OPTIONS}


def _kernel(function: Callable[..., None]) -> Any:
    """Compile the function when it is first called, and keep the code on disk where that can be written."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # neither beside this file nor at home: every process compiles for itself
        return njit(**_OPTIONS)(function)


@intrinsic
def _bits(typingctx, x):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _from_bits(typingctx, x):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(**_INLINE)
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of a positive normal float32 to about 1e-7 (Cephes' logf), without a branch."""
    bits = _bits(x) - np.int32(0x3F3504F3)  # sqrt(1/2): the mantissa lands in [sqrt(1/2), sqrt(2))
    exponent = np.float32(bits >> np.int32(23))
    m = _from_bits((bits & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3)) - _ONE
    p = np.float32(7.0376836292e-2)
    p = p * m + np.float32(-1.1514610310e-1)
    p = p * m + np.float32(1.1676998740e-1)
    p = p * m + np.float32(-1.2420140846e-1)
    p = p * m + np.float32(1.4249322787e-1)
    p = p * m + np.float32(-1.6668057665e-1)
    p = p * m + np.float32(2.0000714765e-1)
    p = p * m + np.float32(-2.4999993993e-1)
    p = p * m + np.float32(3.3333331174e-1)
    return exponent * np.float32(0.69314718056) + (m + m * m * (m * p - _HALF))


@njit(**_INLINE)
def _overlap(p, q, stride, n_classes, n, s):  # type: ignore[no-untyped-def]
    """Set s = sum over the classes of p q; four classes at a time, to load and store s less often."""
    for x in range(n):
        s[x] = _ZERO
    fours = n_classes // np.uint64(4)
    for four in range(fours):
        k0 = four * np.uint64(4) * stride
        k1, k2, k3 = k0 + stride, k0 + stride + stride, k0 + stride + stride + stride
        for x in range(n):
            s[x] += (p[k0 + x] * q[k0 + x] + p[k1 + x] * q[k1 + x]) + (
                p[k2 + x] * q[k2 + x] + p[k3 + x] * q[k3 + x]
            )
    for k in range(fours * np.uint64(4), n_classes):
        k0 = k * stride
        for x in range(n):
            s[x] += p[k0 + x] * q[k0 + x]


@njit(**_INLINE)
def _impurity(p, stride, n_classes, n, u):  # type: ignore[no-untyped-def]
    """Set u = 1 - |p|^2, as a sum of positive terms."""
    for x in range(n):
        u[x] = _ZERO
    for k in range(n_classes):
        base = k * stride
        for x in range(n):
            u[x] += p[base + x] * (_ONE - p[base + x])


@njit(**_INLINE)
def _edge(relaxation, w, s, u, v, n, g, h):  # type: ignore[no-untyped-def]
    """Set g = w times pull and h = w times stay, as in the table of relaxations.py; no h where that is 0."""
    if relaxation == BL:
        for x in range(n):
            g[x] = w[x]
    elif relaxation == Q:
        for x in range(n):
            g[x] = w[x]
            h[x] = w[x]
    elif relaxation == NQ:
        for x in range(n):
            pull = w[x] / np.sqrt((_ONE - u[x]) * (_ONE - v[x]))
            g[x] = pull
            h[x] = pull * s[x]
    elif relaxation == CCE:
        for x in range(n):
            g[x] = w[x] / max(s[x], _TINY)
    elif relaxation == LQ:
        for x in range(n):
            pull = w[x] / max(s[x] + (u[x] + v[x]) * _HALF, _TINY)
            g[x] = pull
            h[x] = pull
    else:
        for x in range(n):
            g[x] = w[x] / max(s[x], _TINY)
            h[x] = w[x]


@njit(**_INLINE)
def _edge_energy(relaxation, w, s, u, v, n):  # type: ignore[no-untyped-def]
    """Return the sum of w P over a stretch."""
    total = _ZERO
    if relaxation == BL:
        for x in range(n):
            total += w[x] * (_ONE - s[x])
    elif relaxation == Q:
        for x in range(n):
            total += w[x] * (_ONE - (s[x] + (u[x] + v[x]) * _HALF))
    elif relaxation == NQ:
        for x in range(n):
            total += w[x] * (_ONE - s[x] / np.sqrt((_ONE - u[x]) * (_ONE - v[x])))
    elif relaxation == CCE:
        for x in range(n):
            total -= w[x] * log(max(s[x], _TINY))
    elif relaxation == LQ:
        for x in range(n):
            total -= w[x] * log(max(s[x] + (u[x] + v[x]) * _HALF, _TINY))
    else:
        for x in range(n):
            total -= _HALF * w[x] * log(max(s[x] * s[x] / ((_ONE - u[x]) * (_ONE - v[x])), _TINY))
    return np.float64(total)


@njit(**_INLINE)
def _sum_pulls(pulls, g_at, point, q_at, n_edges, width, stride, n_classes, n, a):  # type: ignore[no-untyped-def]
    """Set a = sum over the neighbours of g q; four neighbours at a time."""
    for k in range(n_classes):
        at, base = k * width, k * stride
        for four in range(0, n_edges, 4):
            q0, q1 = point[q_at[four] :], point[q_at[four + 1] :]
            q2, q3 = point[q_at[four + 2] :], point[q_at[four + 3] :]
            g0, g1 = pulls[g_at[four] :], pulls[g_at[four + 1] :]
            g2, g3 = pulls[g_at[four + 2] :], pulls[g_at[four + 3] :]
            if four == 0:
                for x in range(n):
                    a[at + x] = (g0[x] * q0[base + x] + g1[x] * q1[base + x]) + (
                        g2[x] * q2[base + x] + g3[x] * q3[base + x]
                    )
            else:
                for x in range(n):
                    a[at + x] += (g0[x] * q0[base + x] + g1[x] * q1[base + x]) + (
                        g2[x] * q2[base + x] + g3[x] * q3[base + x]
                    )


@njit(**_INLINE)
def _add_rows(rows, width, stride, n_classes, n, a):  # type: ignore[no-untyped-def]
    """Add the rows of all classes to a."""
    for k in range(n_classes):
        base, at = k * stride, k * width
        for x in range(n):
            a[at + x] += rows[base + x]


@njit(**_INLINE)
def _unary(  # type: ignore[no-untyped-def]
    cross_entropy, y, sigma, free, eta, width, stride, n_classes, n, weight, energy
):
    """Set weight = eta / (y . sigma) for CCE, else eta or 0; return the sum of H over the free pixels."""
    if cross_entropy == H_CCE:
        for x in range(n):
            weight[x] = _ZERO
        for k in range(n_classes):
            base, at = k * stride, k * width
            for x in range(n):
                weight[x] += y[base + x] * sigma[at + x]
        for x in range(n):
            energy[x] = -log(max(weight[x], _TINY))
            weight[x] = eta / max(weight[x], _TINY)
    else:
        value = eta if cross_entropy == H_RCE else _ZERO
        for x in range(n):
            energy[x] = _ZERO
            weight[x] = value
    if cross_entropy == H_RCE:
        for k in range(n_classes):
            base, at = k * stride, k * width
            for x in range(n):
                energy[x] -= sigma[at + x] * log(max(y[base + x], _FLOOR))
    elif cross_entropy == H_CE:
        for k in range(n_classes):
            base, at = k * stride, k * width
            for x in range(n):
                energy[x] -= y[base + x] * log(max(sigma[at + x], _FLOOR))
    total = _ZERO
    for x in range(n):
        total += free[x] * energy[x]
    return np.float64(total)


@njit(**_INLINE)
def _log_weights(  # type: ignore[no-untyped-def]
    cross_entropy, y, sigma, lambda_, weight, width, stride, n_classes, n, a, total
):
    """Set a = y (proximity + lambda pull) + the unary's weight of ln y; total = sum over the classes."""
    for x in range(n):
        total[x] = _ZERO
    for k in range(n_classes):
        base, at = k * stride, k * width
        if cross_entropy == H_CCE:
            for x in range(n):
                value = y[base + x] * (_PROXIMITY + lambda_ * a[at + x] + weight[x] * sigma[at + x])
                a[at + x] = value
                total[x] += value
        elif cross_entropy == H_RCE:
            for x in range(n):
                value = y[base + x] * (_PROXIMITY + lambda_ * a[at + x]) + weight[x] * sigma[at + x]
                a[at + x] = value
                total[x] += value
        else:
            for x in range(n):
                value = y[base + x] * (_PROXIMITY + lambda_ * a[at + x])
                a[at + x] = value
                total[x] += value


@njit(**_INLINE)
def _four_pulls_with_cce(  # type: ignore[no-untyped-def]
    pulls, g_at, point, q_at, y, sigma, lambda_, weight, width, stride, n_classes, n, a, total
):
    """Do what _sum_pulls and _log_weights do for four neighbours and H_CCE, in one pass."""
    for x in range(n):
        total[x] = _ZERO
    q0, q1, q2, q3 = point[q_at[0] :], point[q_at[1] :], point[q_at[2] :], point[q_at[3] :]
    g0, g1, g2, g3 = pulls[g_at[0] :], pulls[g_at[1] :], pulls[g_at[2] :], pulls[g_at[3] :]
    for k in range(n_classes):
        base, at = k * stride, k * width
        for x in range(n):
            pull = (g0[x] * q0[base + x] + g1[x] * q1[base + x]) + (
                g2[x] * q2[base + x] + g3[x] * q3[base + x]
            )
            value = y[base + x] * (_PROXIMITY + lambda_ * pull + weight[x] * sigma[at + x])
            a[at + x] = value
            total[x] += value


@njit(**_INLINE)
def _normalise(a, total, width, n_classes, n, result):  # type: ignore[no-untyped-def]
    """Minimise -sum a ln y."""
    for x in range(n):
        total[x] = _ONE / total[x]
    for k in range(n_classes):
        at = k * width
        for x in range(n):
            result[at + x] = max(a[at + x] * total[x], _FLOOR)


@njit(**_INLINE)
def _newton(  # type: ignore[no-untyped-def]
    a, d, mu, tolerance, width, n_classes, n, result, slope, excess, total, inverse
):
    """Minimise -sum a ln y + d/2 |y|^2 (see simplex.py); one division and one root per class and step.

    What remains is the last correction, result - slope total.
    """
    for x in range(n):
        inverse[x] = _HALF / max(d[x], _TINY)
    for _ in range(_MAX_STEPS):
        for x in range(n):
            excess[x] = -_ONE
            total[x] = _ZERO
        for k in range(n_classes):
            at = k * width
            for x in range(n):
                root = np.sqrt(max(_FOUR * a[at + x] * d[x] + mu[x] * mu[x], _TINY))
                q = root + abs(mu[x])
                top = _TWO * a[at + x] if mu[x] >= _ZERO else q * q * inverse[x]
                falls = top / (q * root)
                slope[at + x] = falls
                result[at + x] = falls * root
                excess[x] += falls * root
                total[x] += falls
        worst = _ZERO
        for x in range(n):
            worst = max(worst, abs(excess[x]))
            total[x] = excess[x] / total[x]
        if worst <= tolerance:
            break
        for x in range(n):
            mu[x] += total[x]


@njit(**_INLINE)
def _minimise_general(  # type: ignore[no-untyped-def]
    relaxation, cross_entropy, eta, lambda_, tolerance, a, stay, y, sigma, width, stride, n_classes, n, result
):
    """Minimise -sum a ln y - sum b ln(1-y) + c.y + d/2 |y|^2 in float64, bracketed (see simplex.py).

    `a` holds the weights of ln y without LQ's barrier; for Q it holds the pull instead.
    """
    share, tolerance = 1.0 / n_classes, min(np.float64(tolerance), 1e-3)
    aa, bb, cc = np.empty(n_classes), np.empty(n_classes), np.empty(n_classes)
    for x in range(n):
        still = np.float64(lambda_ * stay[x])
        d = 2.0 * still if relaxation == Q else 0.0
        smallest = _HUGE
        for k in range(n_classes):
            at, base = k * width + x, k * stride + x
            old = np.float64(y[base])
            aa[k], bb[k], cc[k] = np.float64(a[at]), 0.0, 0.0
            if relaxation == LQ:
                spread = still * max(1.0 - old, 1e-6) / 2.0
                aa[k] += old * spread
                bb[k] = old * spread
            if cross_entropy == H_CE:
                cc[k] = -np.float64(eta) * np.log(max(np.float64(sigma[at]), 1e-6))
            if relaxation == Q:
                cc[k] -= still * old + np.float64(result[at])
            smallest = min(smallest, cc[k])
        if relaxation in (CD, NQ):
            norm = 0.0
            for k in range(n_classes):
                norm += np.float64(y[k * stride + x]) ** 2
            d = still / norm
        low, high, mu, pole = _HUGE, -_HUGE, 0.0, -_HUGE
        for k in range(n_classes):
            old = np.float64(y[k * stride + x])
            cc[k] -= smallest
            at_share = aa[k] / share - bb[k] / (1.0 - share) - cc[k] - d * share
            low, high = min(low, at_share), max(high, at_share)
            pole = max(pole, at_share - aa[k] * (1.0 / share - 1.0))
            mu += aa[k] - bb[k] * old / max(1.0 - old, 1e-12) - cc[k] * old - d * old * old
        if relaxation != LQ and d == 0.0:
            low = max(low, pole)
        mu = min(max(mu, low), high)
        error, excess, falls = _HUGE, 0.0, 1.0
        for _ in range(_MAX_STEPS):
            excess, falls = -1.0, 0.0
            for k in range(n_classes):
                value, slope = _label_at(mu, aa[k], bb[k], cc[k], d, relaxation == LQ)
                excess += value
                falls += slope
            if abs(excess) <= tolerance:
                break
            if excess > 0:
                low = mu
            else:
                high = mu
            newton = mu + excess / falls
            fast = low <= newton <= high and abs(excess) < error / 2
            mu = newton if fast else (low + high) / 2
            error = abs(excess)
        for k in range(n_classes):
            value, slope = _label_at(mu, aa[k], bb[k], cc[k], d, relaxation == LQ)
            if abs(excess) <= tolerance:
                value -= slope * excess / falls
            else:
                value /= 1.0 + excess
            result[k * width + x] = np.float32(max(value, 1e-6))


@njit(**_INLINE)
def _label_at(mu, a, b, c, d, barrier):  # type: ignore[no-untyped-def]
    linear = c + mu
    if barrier:
        half = linear + a + b
        root = max(np.sqrt((linear - a + b) ** 2 + 4.0 * a * b), 1e-30)
        y = 2.0 * a / (half + root) if half >= 0 else (half - root) / (2.0 * linear)
        return y, y * (1.0 - y) / root
    if d == 0.0:
        y = a / linear
        return y, y / linear
    root = np.sqrt(linear * linear + 4.0 * a * d)
    y = 2.0 * a / (linear + root) if linear >= 0 else (root - linear) / (2.0 * d)
    return y, y / root


@njit(**_INLINE)
def _write(  # type: ignore[no-untyped-def]
    y, new, slope, step, old, free, momentum, over, width, stride, n_classes, n, labels, point, ahead, total
):
    """Write the new labels, new - slope step, and the point ahead of them (extrapolation.py).

    `ahead` and `total` are for use in here. Returns the mass that moved.
    """
    moved = _ZERO
    for x in range(n):
        total[x] = _ZERO
    for k in range(n_classes):
        base, at = k * stride, k * width
        for x in range(n):
            value = max(new[at + x] - slope[at + x] * step[x], _FLOOR)
            value = value if free[x] != _ZERO else y[base + x]
            moved += abs(value - y[base + x])
            further = value + momentum * (value - old[base + x]) + over * (value - y[base + x])
            further = max(further, value * _QUARTER)
            labels[base + x] = value
            ahead[at + x] = further
            total[x] += further
    for x in range(n):
        total[x] = _ONE / total[x] if free[x] != _ZERO else _ONE  # one-hot labels stay exactly so
    for k in range(n_classes):
        base, at = k * stride, k * width
        for x in range(n):
            point[base + x] = ahead[at + x] * total[x]
    return np.float64(moved)


@njit(**_INLINE)
def _part_of_row(row, left, n, beyond, part):  # type: ignore[no-untyped-def]
    """Set part = row[left : left + n], and what is not in the row to `beyond`."""
    size = np.int64(n)
    first, last = min(max(0, -left), size), max(min(size, row.size - left), 0)
    for x in range(np.uint64(first)):
        part[x] = beyond
    inside, target = row[left + first : left + last], part[first:last]
    for x in range(np.uint64(max(last - first, 0))):
        target[x] = np.float32(inside[x])
    outside = part[last:size]
    for x in range(np.uint64(size - last)):
        outside[x] = beyond


@_kernel
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
    height, n_classes, stride = shape[0], np.uint64(shape[1]), np.uint64(shape[2])
    below = shape[1] * shape[2]
    n_offsets, near = offsets.shape[0], 0
    while near < n_offsets and offsets[near, 0] <= 1:
        near += 1
    n_edges = (2 * n_offsets + 3) // 4 * 4
    pieces = (below + STRETCH - 1) // STRETCH
    step = min((shape[2] + 16 * pieces - 1) // (16 * pieces) * 16, shape[2])
    width = np.uint64(step)
    general = cross_entropy == H_CE or relaxation in (Q, LQ)
    stays_at_all = relaxation not in (BL, CCE)
    fused = n_offsets == near == 2 and cross_entropy == H_CCE and relaxation != Q and far_pull.size == 0
    s, stay, w = np.empty(step, np.float32), np.empty(step, np.float32), np.empty(step, np.float32)
    total, weight = np.empty(step, np.float32), np.empty(step, np.float32)
    excess, inverse = np.empty(step, np.float32), np.empty(step, np.float32)
    is_free, h, v = np.empty(step, np.float32), np.empty(step, np.float32), np.empty(step, np.float32)
    nothing = np.zeros(step, np.float32)
    # of near edges, two rows are remembered, with margins; then come far edges, and one that is not there
    gap = margin + shape[2] + margin
    distant = 2 * near * gap
    pulls = np.zeros(distant + (2 * (n_offsets - near) + 1) * step, np.float32)
    stays = np.zeros(distant, np.float32)
    impurity = np.zeros(2 * gap, np.float32)
    g_at, q_at = np.full(n_edges, pulls.size - step), np.zeros(n_edges, np.int64)
    a = np.empty(shape[1] * step, np.float32)
    result = np.empty(shape[1] * step, np.float32)
    slope = np.empty(shape[1] * step, np.float32)
    guess = np.empty(shape[1] * step if cross_entropy != NO_UNARY else 0, np.float32)
    pair_energy, unary_energy, moved = 0.0, 0.0, 0.0
    first = max(top - 1, 0)
    for row in range(first, bottom):
        # of the row above the first, only its edges downwards are wanted
        own, parity = row >= top, row % 2
        start = margin + row * below
        if row == first:
            _impurity(point[start:], stride, n_classes, stride, impurity[parity * gap + margin :])
        if row + 1 < height:
            under = impurity[(1 - parity) * gap + margin :]
            _impurity(point[start + below :], stride, n_classes, stride, under)
        for left in range(0, shape[2], step):
            count = min(step, shape[2] - left)
            n = np.uint64(count)
            here = start + left
            y = point[here:]
            u = impurity[parity * gap + margin + left :]
            for o in range(near):
                dy, dx = offsets[o, 0], offsets[o, 1]
                at = (parity * near + o) * gap + margin + left
                g, h_near = pulls[at : at + count], stays[at : at + count]
                if row + dy >= height:
                    for x in range(n):
                        g[x] = _ZERO
                        h_near[x] = _ZERO
                    continue
                _part_of_row(weights[o, row], left, n, _ZERO, w)
                v_near = impurity[(row + dy) % 2 * gap + margin + left + dx :]
                _overlap(y, point[here + dy * below + dx :], stride, n_classes, n, s)
                _edge(relaxation, w, s, u, v_near, n, g, h_near)
                if own:
                    pair_energy += _edge_energy(relaxation, w, s, u, v_near, n)
            if not own:
                continue
            if far_stay.size > 0:
                _part_of_row(far_stay[row], left, n, _ZERO, stay)
            else:
                for x in range(n):
                    stay[x] = _ZERO
            for edge in range(2 * near):
                o, sign = edge // 2, 1 - 2 * (edge % 2)
                dy, dx = offsets[o, 0], offsets[o, 1]
                from_row, back = (row, 0) if sign == 1 else (row - dy, dx)
                at = (from_row % 2 * near + o) * gap + margin + left - back
                g_at[edge], q_at[edge] = at, here
                if 0 <= row + sign * dy < height:
                    q_at[edge] = here + sign * (dy * below + dx)
                if stays_at_all:
                    h_near = stays[at:]
                    for x in range(n):
                        stay[x] += h_near[x]
            for edge in range(2 * near, 2 * n_offsets):
                o, sign = edge // 2, 1 - 2 * (edge % 2)
                dy, dx = offsets[o, 0], offsets[o, 1]
                at = distant + (edge - 2 * near) * step
                g = pulls[at : at + count]
                g_at[edge], q_at[edge] = at, here
                if row + sign * dy < 0 or row + sign * dy >= height:
                    for x in range(n):
                        g[x] = _ZERO
                    continue
                q_at[edge] = here + sign * (dy * below + dx)
                from_row, back = (row, 0) if sign == 1 else (row - dy, dx)
                _part_of_row(weights[o, from_row], left - back, n, _ZERO, w)
                q = point[q_at[edge] :]
                _overlap(y, q, stride, n_classes, n, s)
                _impurity(q, stride, n_classes, n, v)
                _edge(relaxation, w, s, u, v, n, g, h)
                if stays_at_all:
                    for x in range(n):
                        stay[x] += h[x]
                if sign == 1:
                    pair_energy += _edge_energy(relaxation, w, s, u, v, n)
            for edge in range(2 * n_offsets, n_edges):
                q_at[edge] = here
            _part_of_row(free[row], left, n, _ZERO, is_free)
            if cross_entropy != NO_UNARY:
                for k in range(shape[1]):
                    _part_of_row(sigma[k, row], left, n, _ONE, guess[k * step :])
            unary_energy += _unary(
                cross_entropy, y, guess, is_free, eta, width, stride, n_classes, n, weight, excess
            )
            if fused:
                _four_pulls_with_cce(
                    pulls, g_at, point, q_at, y, guess, lambda_, weight, width, stride, n_classes, n, a, total
                )
            else:
                pull = result if relaxation == Q else a
                _sum_pulls(pulls, g_at, point, q_at, n_edges, width, stride, n_classes, n, pull)
                if far_pull.size > 0:
                    _add_rows(far_pull[here:], width, stride, n_classes, n, pull)
                if relaxation == Q:
                    for x in range(np.uint64(shape[1] * step)):
                        result[x] *= lambda_
                        a[x] = _ZERO
                _log_weights(cross_entropy, y, guess, lambda_, weight, width, stride, n_classes, n, a, total)
            if general:
                _minimise_general(
                    relaxation,
                    cross_entropy,
                    eta,
                    lambda_,
                    tolerance,
                    a,
                    stay,
                    y,
                    guess,
                    width,
                    stride,
                    n_classes,
                    n,
                    result,
                )
            elif not stays_at_all:
                _normalise(a, total, width, n_classes, n, result)
            else:
                for x in range(n):
                    total[x] -= lambda_ * stay[x]  # mu at which the present labels would be optimal
                    stay[x] *= lambda_ / (_ONE - u[x])
                _newton(
                    a, stay, total, tolerance, width, n_classes, n, result, slope, excess, weight, inverse
                )
            corrected = stays_at_all and not general
            moved += _write(
                y,
                result,
                slope if corrected else result,
                weight if corrected else nothing,
                labels[here:],
                is_free,
                momentum,
                over,
                width,
                stride,
                n_classes,
                n,
                new_labels[here:],
                new_point[here:],
                a,
                total,
            )
    report[0] = pair_energy
    report[1] = unary_energy
    report[2] = moved


@_kernel
def energy_rows(  # type: ignore[no-untyped-def]
    relaxation, cross_entropy, offsets, weights, free, sigma, labels, shape, margin, top, bottom, report
):
    """Sum w P and H over the rows top..bottom-1; parameters as in :func:`sweep_rows`."""
    height, n_classes, stride = shape[0], np.uint64(shape[1]), np.uint64(shape[2])
    below = shape[1] * shape[2]
    s, w, total = (
        np.empty(shape[2], np.float32),
        np.empty(shape[2], np.float32),
        np.empty(shape[2], np.float32),
    )
    u, v, is_free = (
        np.empty(shape[2], np.float32),
        np.empty(shape[2], np.float32),
        np.empty(shape[2], np.float32),
    )
    guess = np.empty(below if cross_entropy != NO_UNARY else 0, np.float32)
    pair_energy, unary_energy = 0.0, 0.0
    for row in range(top, bottom):
        here = margin + row * below
        y = labels[here:]
        _impurity(y, stride, n_classes, stride, u)
        for o in range(offsets.shape[0]):
            dy, dx = offsets[o, 0], offsets[o, 1]
            if row + dy < height:
                q = labels[here + dy * below + dx :]
                _part_of_row(weights[o, row], 0, stride, _ZERO, w)
                _overlap(y, q, stride, n_classes, stride, s)
                _impurity(q, stride, n_classes, stride, v)
                pair_energy += _edge_energy(relaxation, w, s, u, v, stride)
        if cross_entropy != NO_UNARY:
            _part_of_row(free[row], 0, stride, _ZERO, is_free)
            for k in range(shape[1]):
                _part_of_row(sigma[k, row], 0, stride, _ONE, guess[k * shape[2] :])
            unary_energy += _unary(
                cross_entropy, y, guess, is_free, _ONE, stride, stride, n_classes, stride, w, total
            )
    report[0] = pair_energy
    report[1] = unary_energy


@_kernel
def settle_rows(labels, free, result, shape, margin, top, bottom):  # type: ignore[no-untyped-def]
    """Divide the labels by their sum where they are free, and copy them to `result`, (K, H, W)."""
    n_classes, stride, wide = np.uint64(shape[1]), np.uint64(shape[2]), np.uint64(free.shape[1])
    total = np.empty(shape[2], np.float32)
    for row in range(top, bottom):
        y, is_free = labels[margin + row * shape[1] * shape[2] :], free[row]
        for x in range(stride):
            total[x] = _ZERO
        for k in range(n_classes):
            for x in range(stride):
                total[x] += y[k * stride + x]
        for x in range(wide):
            total[x] = _ONE / total[x] if is_free[x] != 0 else _ONE
        for k in range(n_classes):
            out = result[k, row]
            for x in range(wide):
                value = y[k * stride + x] * total[x]
                y[k * stride + x] = value
                out[x] = value


@_kernel
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
        As in :func:`sweep_rows`.
    """
    wide, uniform = free.shape[1], _ONE / np.float32(shape[1])
    for row in range(top, bottom):
        here = margin + row * shape[1] * shape[2]
        for k in range(shape[1]):
            y, origin = labels[here + k * shape[2] :], source[k * plane + lines[row] * line :]
            if factor == 1:
                for x in range(wide):
                    y[x] = max(origin[x], _FLOOR)
            else:
                for x in range(wide // 2):
                    value = max(origin[x], _FLOOR)
                    y[2 * x] = value
                    y[2 * x + 1] = value
                if wide % 2 == 1:
                    y[wide - 1] = max(origin[wide // 2], _FLOOR)
            for x in range(wide, shape[2]):
                y[x] = uniform
        for x in range(wide):
            if free[row, x] == 0:
                seed = seeds[row, x]
                for k in range(shape[1]):
                    value = uniform
                    if seed >= 0:
                        value = _ONE if seed == k else _ZERO
                    elif held.size > 0:
                        value = held[k, row, x]
                    labels[here + k * shape[2] + x] = value
