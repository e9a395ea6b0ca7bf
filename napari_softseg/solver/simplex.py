"""Exact minimiser of the separable one-pixel problems that majorisation leaves.

``min_y  -sum_k a_k ln y_k - sum_k b_k ln(1 - y_k) + d/2 |y|^2 + c.y`` over the simplex. For a
multiplier mu every y_k has a closed form that falls with mu; Newton's method finds the mu for which
they sum to one. Its last step is taken in y itself, where it is linear: the sum is then exactly one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_softseg.solver.relaxations import CLASS_DIM, wide_type

_MAX_STEPS = 60

_AT_ONCE = 131_072
"""Numbers solved together on the CPU: they stay in its cache, and a hard pixel holds up few others."""


def minimise_on_simplex(
    a: Tensor, b: Tensor | None, c: Tensor | None, d: Tensor | None, y: Tensor, tolerance: float
) -> Tensor:
    """Return the minimiser, (B, K, H, W); entries may round to just below zero.

    Parameters
    ----------
    a : (B, K, H, W) float tensor, >= 0
    b : (B, K, H, W) float tensor >= 0, or None for zero; not together with `d`
    c : (B, K, H, W) float tensor, or None for zero
    d : (B, 1, H, W) float tensor, >= 0, or None for zero
    y : (B, K, H, W) float tensor
        Current labels; mu starts where they would be optimal.
    tolerance : float
        Largest difference of a sum from one before the last correction; what remains after it is of
        second order, and the excess energy of fourth.
    """
    if b is None and c is None:
        return a / a.sum(CLASS_DIM, keepdim=True) if d is None else _without_linear_term(a, d, y, tolerance)
    rows = max(1, _AT_ONCE * a.shape[-2] // a.numel())
    if a.device.type != "cpu" or rows >= a.shape[-2]:
        return _with_linear_term(a, b, c, d, y, tolerance)
    result = torch.empty_like(a)
    for top in range(0, a.shape[-2], rows):
        part = (..., slice(top, top + rows), slice(None))
        of_b, of_c, of_d = (None if x is None else x[part] for x in (b, c, d))
        result[part] = _with_linear_term(a[part], of_b, of_c, of_d, y[part], tolerance)
    return result


def _with_linear_term(
    a: Tensor, b: Tensor | None, c: Tensor | None, d: Tensor | None, y: Tensor, tolerance: float
) -> Tensor:
    # poles, steps and labels a hair from one-hot: float32 is not enough here
    narrow, wide, tolerance = a.dtype, wide_type(a), min(tolerance, 1e-3)
    a, y = a.to(wide), y.to(wide)
    b, c, d = (None if x is None else x.to(wide) for x in (b, c, d))
    if c is not None:
        c = c - c.amin(CLASS_DIM, keepdim=True)  # only differences count; small numbers round less
    mu, low, high = _bracket(a, b, c, d, y)
    error = torch.full_like(mu, torch.inf)
    for _ in range(_MAX_STEPS):
        result, slope = _labels_at(mu, a, b, c, d)
        excess = result.sum(CLASS_DIM, keepdim=True) - 1
        step = excess / slope.sum(CLASS_DIM, keepdim=True)
        if bool((excess.abs() <= tolerance).all()):
            break
        low = torch.where(excess > 0, mu, low)
        high = torch.where(excess > 0, high, mu)
        newton = mu + step
        # bisection where Newton leaves the bracket, is not a number, or is slow
        fast = (newton >= low) & (newton <= high) & (excess.abs() < error / 2)
        mu = torch.where(fast, newton, (low + high) / 2)
        error = excess.abs()
    # rounding can keep a pixel of extreme labels from converging: there, normalise
    return torch.where(excess.abs() <= tolerance, result - slope * step, result / (1 + excess)).to(narrow)


def _without_linear_term(a: Tensor, d: Tensor, y: Tensor, tolerance: float) -> Tensor:
    """The case of the default solver, in few passes over memory: b = c = 0.

    The sum of y is convex in mu, so Newton's method needs no bracket.
    """
    mu = a.sum(CLASS_DIM, keepdim=True) - d * (y * y).sum(CLASS_DIM, keepdim=True)
    twice, product = 2 * a, 4 * d * a
    for _ in range(_MAX_STEPS):
        root = (product + mu * mu).sqrt_()
        result = twice / (root + mu)
        if bool((mu < 0).any()):
            result = torch.where(mu < 0, (root - mu) / (2 * d).clamp_min(1e-30), result)
        excess = result.sum(CLASS_DIM, keepdim=True) - 1
        slope = result / root
        step = excess / slope.sum(CLASS_DIM, keepdim=True)
        if float(excess.abs().max()) <= tolerance:
            break
        mu = mu + step
    return result - slope * step


def _bracket(
    a: Tensor, b: Tensor | None, c: Tensor | None, d: Tensor | None, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a first mu and bounds: at the lower all y_k are >= 1/K (or one is 1), at the upper <= 1/K."""
    share = 1 / a.shape[CLASS_DIM]
    at_share = a / share
    at_current = a.clone()
    if b is not None:
        at_share = at_share - b / (1 - share)
        at_current -= b * y / (1 - y).clamp_min(1e-12)
    if c is not None:
        at_share = at_share - c
        at_current -= c * y
    if d is not None:
        at_share = at_share - d * share
        at_current -= d * y * y
    low, high = at_share.amin(CLASS_DIM, keepdim=True), at_share.amax(CLASS_DIM, keepdim=True)
    if b is None and d is None:
        # y = a / (c + mu) has a pole; the labels are positive right of all poles only
        low = torch.maximum(low, (at_share - a * (1 / share - 1)).amax(CLASS_DIM, keepdim=True))
    return torch.clamp(at_current.sum(CLASS_DIM, keepdim=True), low, high), low, high


def _labels_at(
    mu: Tensor, a: Tensor, b: Tensor | None, c: Tensor | None, d: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return y(mu) and -dy/dmu, both (B, K, H, W), written without cancellation."""
    linear = mu if c is None else c + mu
    if b is not None:
        # linear y^2 - (linear + a + b) y + a = 0
        half = linear + a + b
        root = ((linear - a + b).square() + 4 * a * b).sqrt().clamp_min(1e-30)
        y = torch.where(half >= 0, 2 * a / (half + root), (half - root) / (2 * linear))
        return y, y * (1 - y) / root
    if d is None:
        y = a / linear
        return y, y / linear
    # d y^2 + linear y - a = 0
    root = (linear.square() + 4 * a * d).sqrt()
    y = torch.where(linear >= 0, 2 * a / (linear + root), (root - linear) / (2 * d))
    return y, y / root
