"""The one-pixel problems: labels that minimise the majoriser, on the simplex (see simplex.py)."""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.lanes import COUNT, fill, higher, largest, load, pick, root, size, store
from napari_softseg.solver.kernels.numba_compile import part
from napari_softseg.solver.kernels.numba_terms import (
    CD,
    FLOOR,
    FOUR,
    H_CE,
    HALF,
    LQ,
    NQ,
    ONE,
    TINY,
    TWO,
    ZERO,
    Q,
)

_MAX_STEPS = 60
_HUGE = 1e300  # not infinite: the compiler is told that there are no infinities


@part
def normalise(a, sum_of_a, n_classes, result):  # type: ignore[no-untyped-def]
    """Minimise -sum a ln y over sixteen pixels; scratch arrays."""
    share = ONE / sum_of_a
    for k in range(n_classes):
        store(result, k * COUNT, higher(load(a, k * COUNT) * share, FLOOR))


@part
def newton(a, d, mu, tolerance, n_classes, result, slope):  # type: ignore[no-untyped-def]
    """Minimise -sum a ln y + d/2 |y|^2 over sixteen pixels; one division and one root per class and step.

    Returns the last correction, which remains to be made: result - slope correction.
    """
    inverse = HALF / higher(d, TINY)
    four_d = FOUR * d
    step = fill(ZERO)
    for _ in range(_MAX_STEPS):
        excess, falls = fill(ZERO - ONE), fill(ZERO)
        square, distance = mu * mu, size(mu)
        for k in range(n_classes):
            weight = load(a, k * COUNT)
            inside = higher(four_d * weight + square, TINY)
            high = root(inside)
            both = high + distance
            fall = pick(mu, TWO * weight, both * both * inverse) / (inside + distance * high)
            value = fall * high
            store(slope, k * COUNT, fall)
            store(result, k * COUNT, value)
            excess += value
            falls += fall
        step = excess / falls
        if largest(size(excess)) <= tolerance:
            break
        mu += step
    return step


@part
def minimise_general(  # type: ignore[no-untyped-def]
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    a,
    stay,
    y,
    here,
    stride,
    sigma,
    there,
    across,
    n_classes,
    aa,
    bb,
    cc,
    result,
):
    """Minimise -sum a ln y - sum b ln(1-y) + c.y + d/2 |y|^2 in float64, bracketed (see simplex.py).

    `a` holds the weights of ln y without LQ's barrier; for Q `result` holds the pull times lambda. `stay`,
    too, is a scratch array here, and `numbers` 3 K float64.
    """
    share, tolerance = 1.0 / n_classes, min(np.float64(tolerance), 1e-3)
    for x in range(COUNT):
        still = np.float64(lambda_ * stay[x])
        d = 2.0 * still if relaxation == Q else 0.0
        smallest = _HUGE
        for k in range(n_classes):
            at, base = k * COUNT + x, here + k * stride + x
            old = np.float64(y[base])
            aa[k], bb[k], cc[k] = np.float64(a[at]), 0.0, 0.0
            if relaxation == LQ:
                spread = still * max(1.0 - old, 1e-6) / 2.0
                aa[k] += old * spread
                bb[k] = old * spread
            if cross_entropy == H_CE:
                cc[k] = -np.float64(eta) * np.log(max(np.float64(sigma[there + k * across + x]), 1e-6))
            if relaxation == Q:
                cc[k] -= still * old + np.float64(result[at])
            smallest = min(smallest, cc[k])
        if relaxation in (CD, NQ):
            norm = 0.0
            for k in range(n_classes):
                norm += np.float64(y[here + k * stride + x]) ** 2
            d = still / norm
        low, high, mu, pole = _HUGE, -_HUGE, 0.0, -_HUGE
        for k in range(n_classes):
            old = np.float64(y[here + k * stride + x])
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
            further = mu + excess / falls
            fast = low <= further <= high and abs(excess) < error / 2
            mu = further if fast else (low + high) / 2
            error = abs(excess)
        for k in range(n_classes):
            value, slope = _label_at(mu, aa[k], bb[k], cc[k], d, relaxation == LQ)
            if abs(excess) <= tolerance:
                value -= slope * excess / falls
            else:
                value /= 1.0 + excess
            result[k * COUNT + x] = np.float32(max(value, 1e-6))


@part
def _label_at(mu, a, b, c, d, barrier):  # type: ignore[no-untyped-def]
    linear = c + mu
    if barrier:
        half = linear + a + b
        radical = max(np.sqrt((linear - a + b) ** 2 + 4.0 * a * b), 1e-30)
        y = 2.0 * a / (half + radical) if half >= 0 else (half - radical) / (2.0 * linear)
        return y, y * (1.0 - y) / radical
    if d == 0.0:
        y = a / linear
        return y, y / linear
    radical = np.sqrt(linear * linear + 4.0 * a * d)
    y = 2.0 * a / (linear + radical) if linear >= 0 else (radical - linear) / (2.0 * d)
    return y, y / radical
