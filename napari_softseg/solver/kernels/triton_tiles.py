"""The fused CUDA sweep: one program per tile of pixels with all their classes, everything in registers.

It is the arithmetic of :mod:`napari_softseg.solver.kernels.torch_sweep` in float32, compiled for every
P, H and number of classes padded to a power of two, which are constants to the compiler. Labels lie as
torch has them, (B, K, H W): neighbouring threads read neighbouring pixels of one class.

A neighbour is a constant distance away. Addresses are clamped to the image instead of masked: an edge
that would leave it has weight zero, and every thread has finite numbers to work with.
"""

# Triton's functions carry no types but those of constants; it knows no "in".
# mypy: disable-error-code="no-untyped-def, untyped-decorator"
# ruff: noqa: SIM109

from __future__ import annotations

import triton
import triton.language as tl

from napari_softseg.solver.kernels.extrapolation import MOST_OVER, OVER

BL = tl.constexpr(0)
Q = tl.constexpr(1)
NQ = tl.constexpr(2)
CCE = tl.constexpr(3)
LQ = tl.constexpr(4)
CD = tl.constexpr(5)

H_CE = tl.constexpr(0)
H_RCE = tl.constexpr(1)
H_CCE = tl.constexpr(2)

_FLOOR = tl.constexpr(1e-6)
_TINY = tl.constexpr(1e-30)
_PROXIMITY = tl.constexpr(1e-6)
_MAX_STEPS = tl.constexpr(60)
_OVER = tl.constexpr(OVER)
_MOST_OVER = tl.constexpr(MOST_OVER)


@triton.jit
def _edge(P: tl.constexpr, w, s, u, v):
    """Return w times pull, stay and value, as in the table of relaxations.py."""
    if P == BL:
        pull = w
        stay = tl.zeros_like(w)
        value = w * (1 - s)
    elif P == Q:
        pull = w
        stay = w
        value = w * (1 - (s + (u + v) * 0.5))
    elif P == NQ:
        pull = w / tl.sqrt((1 - u) * (1 - v))
        stay = pull * s
        value = w - stay
    elif P == CCE:
        s = tl.maximum(s, _TINY)
        pull = w / s
        stay = tl.zeros_like(w)
        value = -w * tl.log(s)
    elif P == LQ:
        agreement = tl.maximum(s + (u + v) * 0.5, _TINY)
        pull = w / agreement
        stay = pull
        value = -w * tl.log(agreement)
    else:
        pull = w / tl.maximum(s, _TINY)
        stay = w
        value = -0.5 * w * tl.log(tl.maximum(s * s / ((1 - u) * (1 - v)), _TINY))
    return pull, stay, value


@triton.jit
def _unary(H: tl.constexpr, y, guess):
    """Return H(y, sigma), and its weight of ln y' over eta."""
    if H == H_CE:
        value = -tl.sum(y * tl.log(tl.maximum(guess, _FLOOR)), 0)
        weight = tl.zeros_like(y)
    elif H == H_RCE:
        value = -tl.sum(guess * tl.log(tl.maximum(y, _FLOOR)), 0)
        weight = guess
    else:
        match = tl.maximum(tl.sum(y * guess, 0), _TINY)
        value = -tl.log(match)
        weight = y * guess / match[None, :]
    return value, weight


@triton.jit
def _labels_at(mu, a, d, real):
    """Return y(mu), -dy/dmu, how much the labels' sum exceeds one, and the sum of the slopes."""
    root = tl.sqrt(tl.maximum(4 * a * d[None, :] + (mu * mu)[None, :], _TINY))
    q = root + tl.abs(mu)[None, :]
    top = tl.where(mu[None, :] >= 0, 2 * a, q * q * (0.5 / tl.maximum(d, _TINY))[None, :])
    slope = tl.where(real, top / (q * root), 0.0)
    labels = slope * root
    return labels, slope, tl.sum(labels, 0) - 1, tl.sum(slope, 0)


@triton.jit
def _newton(a, d, mu, free, real, tolerance):
    """Minimise -sum a ln y + d/2 |y|^2 (see simplex.py)."""
    labels, slope, excess, falls = _labels_at(mu, a, d, real)
    step = 0
    while (tl.max(tl.where(free, tl.abs(excess), 0.0), 0) > tolerance) & (step < _MAX_STEPS):
        mu += excess / falls
        labels, slope, excess, falls = _labels_at(mu, a, d, real)
        step += 1
    return labels - slope * (excess / falls)[None, :]


@triton.jit
def _wide_labels_at(BARRIER: tl.constexpr, mu, a, b, c, d, real):
    """Return the same as `_labels_at` for the general problem."""
    linear = c + mu[None, :]
    if BARRIER:
        half = linear + a + b
        square = (linear - a + b) * (linear - a + b) + 4 * a * b
        root = tl.maximum(tl.sqrt(square), _TINY)
        labels = tl.where(half >= 0, 2 * a / (half + root), (half - root) / (2 * linear))
        slope = labels * (1 - labels) / root
    else:
        root = tl.sqrt(linear * linear + 4 * a * d[None, :])
        right = 2 * a / (linear + root)
        left = (root - linear) / (2 * d)[None, :]
        alone = (d == 0)[None, :]
        labels = tl.where(alone, a / linear, tl.where(linear >= 0, right, left))
        slope = labels / tl.where(alone, linear, root)
    labels, slope = tl.where(real, labels, 0.0), tl.where(real, slope, 0.0)
    return labels, slope, tl.sum(labels, 0) - 1, tl.sum(slope, 0)


@triton.jit
def _minimise_general(BARRIER: tl.constexpr, a, b, c, d, y, free, real, n_classes, tolerance):
    """Minimise -sum a ln y - sum b ln(1-y) + c.y + d/2 |y|^2, bracketed (see simplex.py); all float64."""
    share = 1.0 / n_classes.to(tl.float64)
    far = float("inf")
    c -= tl.min(tl.where(real, c, far), 0)[None, :]
    at_share = a / share - b / (1 - share) - c - d[None, :] * share
    low = tl.min(tl.where(real, at_share, far), 0)
    high = tl.max(tl.where(real, at_share, -far), 0)
    if not BARRIER:
        pole = tl.max(tl.where(real, at_share - a * (1 / share - 1), -far), 0)
        low = tl.where(d == 0, tl.maximum(low, pole), low)
    mu = tl.sum(a - b * y / tl.maximum(1 - y, 1e-12) - c * y - d[None, :] * y * y, 0)
    mu = tl.minimum(tl.maximum(mu, low), high)
    error = tl.full(mu.shape, far, tl.float64)
    step = 0
    while (tl.max(tl.where(free, error, 0.0), 0) > tolerance) & (step < _MAX_STEPS):
        _, _, excess, falls = _wide_labels_at(BARRIER, mu, a, b, c, d, real)
        low = tl.where(excess > 0, mu, low)
        high = tl.where(excess > 0, high, mu)
        newton = mu + excess / falls
        # bisection where Newton leaves the bracket, is not a number, or is slow
        fast = (newton >= low) & (newton <= high) & (tl.abs(excess) < error / 2)
        error = tl.abs(excess)
        mu = tl.where(error <= tolerance, mu, tl.where(fast, newton, (low + high) / 2))
        step += 1
    labels, slope, excess, falls = _wide_labels_at(BARRIER, mu, a, b, c, d, real)
    # rounding can keep a pixel of extreme labels from converging: there, normalise
    corrected = labels - slope * (excess / falls)[None, :]
    return tl.where((tl.abs(excess) <= tolerance)[None, :], corrected, labels / (1 + excess)[None, :])


@triton.jit(do_not_specialize=["n_pixels", "n_classes", "n_offsets"])
def sweep_tile(
    point,
    labels,
    sigma,
    free,
    weights,
    offsets,
    momentum,
    new_labels,
    new_point,
    report,
    n_pixels,
    n_classes,
    n_offsets,
    eta,
    lambda_,
    tolerance,
    P: tl.constexpr,
    H: tl.constexpr,
    CLASSES: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Update PIXELS pixels of image program_id(1) of a batch.

    Parameters
    ----------
    point, labels, sigma, new_labels, new_point : (B, K, N) float32
        `labels` are those the last step led to; `point`, extrapolated from them, is where the majoriser
        touches. `new_labels` and `new_point` are written.
    free : (B, N) uint8
        1 where the label is a variable, else 0.
    weights : (B, O, N) float32
        Edge weights at the pixel the edge starts from.
    offsets : (O,) int64
        Distance in N from the start of an edge to its end.
    momentum : (B,) float32
    report : (B, 3, tiles) float32
        Receives each tile's sum w P, sum H, and sum of |new - point|.
    n_pixels, n_classes, n_offsets : int
        N, K, O.
    eta, lambda_, tolerance : float
        As in numba_rows.py.
    P, H : int
        By their numbers; H is None without a unary.
    CLASSES, PIXELS : int
        Powers of two; CLASSES >= K.
    """
    image, tile = tl.program_id(1).to(tl.int64), tl.program_id(0)
    n_pixels, n_classes = n_pixels.to(tl.int64), n_classes.to(tl.int64)
    x = tile.to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    inside = x < n_pixels
    x = tl.minimum(x, n_pixels - 1)
    k = tl.arange(0, CLASSES).to(tl.int64)[:, None]
    real = k < n_classes
    plane = (image * n_classes + k) * n_pixels
    at = plane + x[None, :]
    y = tl.load(point + at, mask=real, other=0.0)
    u = tl.sum(y - y * y, 0)
    is_free = tl.load(free + image * n_pixels + x) != 0

    pull = tl.zeros_like(y)
    stay, energy = tl.zeros_like(u), tl.zeros_like(u)
    for o in range(n_offsets):
        offset = tl.load(offsets + o)
        start = (image * n_offsets + o) * n_pixels
        # the edge to the pixel `offset` ahead, and the one from the pixel as far behind
        for side in tl.static_range(2):
            there = x - offset if side else x + offset
            here = (there >= 0) & (there < n_pixels)
            w = tl.load(weights + start + (there if side else x), mask=here, other=0.0)
            there = tl.minimum(tl.maximum(there, 0), n_pixels - 1)
            q = tl.load(point + plane + there[None, :], mask=real, other=0.0)
            g, h, value = _edge(P, w, tl.sum(y * q, 0), u, tl.sum(q - q * q, 0))
            pull += g[None, :] * q
            stay += h
            if side == 0:
                energy += value
    at_report = report + (image * 3) * tl.num_programs(0) + tile
    tl.store(at_report, tl.sum(tl.where(inside, energy, 0.0), 0))

    pull *= lambda_
    stay *= lambda_
    weight = y * (_PROXIMITY if P == Q else pull + _PROXIMITY)
    guess = y
    if H is not None:
        guess = tl.load(sigma + at, mask=real, other=0.0)
        value, towards = _unary(H, y, guess)
        weight += eta * towards
        value = tl.sum(tl.where(inside & is_free, value, 0.0), 0)
        tl.store(at_report + tl.num_programs(0), value)

    if H == H_CE or P == Q or P == LQ:
        a, old, still = weight.to(tl.float64), y.to(tl.float64), stay.to(tl.float64)
        b, c = tl.zeros_like(a), tl.zeros_like(a)
        d = tl.zeros_like(still)
        if H == H_CE:
            c -= eta * tl.log(tl.maximum(guess.to(tl.float64), _FLOOR))
        if P == Q:
            c -= still[None, :] * old + pull
            d = 2 * still
        if P == LQ:
            b = old * still[None, :] * tl.maximum(1 - old, _FLOOR) / 2
            a += b
        if P == CD or P == NQ:
            d = still / tl.sum(old * old, 0)
        new = _minimise_general(
            P == LQ, a, b, c, d, old, is_free, real, n_classes, tl.minimum(tolerance, 1e-3)
        ).to(tl.float32)
    elif P == BL or P == CCE:
        new = weight / tl.sum(weight, 0)[None, :]
    else:
        mu = tl.sum(weight, 0) - stay  # at which the present labels would be optimal
        new = _newton(weight, stay / (1 - u), mu, is_free, real, tolerance)

    new = tl.where(is_free[None, :], tl.maximum(new, _FLOOR), y)
    new = tl.where(real, new, 0.0)
    moved = tl.sum(tl.abs(new - y), 0)
    tl.store(at_report + 2 * tl.num_programs(0), tl.sum(tl.where(inside, moved, 0.0), 0))
    old = tl.load(labels + at, mask=real, other=0.0)
    along = tl.load(momentum + image)
    ahead = new + along * (new - old) + tl.minimum(along * _OVER, _MOST_OVER) * (new - y)
    ahead = tl.maximum(ahead, new * 0.25)
    total = tl.where(is_free, tl.sum(ahead, 0), 1.0)  # one-hot labels stay exactly so
    written = real & inside[None, :]
    tl.store(new_labels + at, new, mask=written)
    tl.store(new_point + at, ahead / total[None, :], mask=written)
