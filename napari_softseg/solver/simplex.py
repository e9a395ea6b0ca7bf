"""Exact minimiser of the separable one-pixel problems that majorisation leaves.

``min_y  -sum_k a_k ln y_k - sum_k b_k ln(1 - y_k) + d/2 |y|^2 + c.y`` over the simplex. For a
multiplier mu every y_k has a closed form that falls with mu; mu is found so that they sum to one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_softseg.solver.relaxations import CLASS_DIM

_MAX_STEPS = 60


def minimise_on_simplex(
    a: Tensor, b: Tensor | None, c: Tensor | None, d: Tensor | None, y: Tensor, tolerance: float
) -> Tensor:
    """Return the minimiser, normalised.

    Parameters
    ----------
    a : (B, K, H, W) float tensor, >= 0
    b : (B, K, H, W) float tensor >= 0, or None for zero; not together with `d`
    c : (B, K, H, W) float tensor, or None for zero
    d : (B, 1, H, W) float tensor, >= 0, or None for zero
    y : (B, K, H, W) float tensor
        Current labels; mu starts where they would be optimal.
    tolerance : float
        Largest allowed difference of a sum from one before normalisation. The excess energy is of
        second order in it.
    """
    if b is None and c is None and d is None:
        return a / a.sum(CLASS_DIM, keepdim=True)
    mu, low, high = _bracket(a, b, c, d, y)
    for _ in range(_MAX_STEPS):
        result, slope = _labels_at(mu, a, b, c, d)
        excess = result.sum(CLASS_DIM, keepdim=True) - 1
        if excess.abs().max() <= tolerance:
            break
        low = torch.where(excess > 0, mu, low)
        high = torch.where(excess > 0, high, mu)
        newton = mu + excess / slope.sum(CLASS_DIM, keepdim=True)
        # bisection where Newton leaves the bracket (also where it is not a number)
        mu = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    return result / result.sum(CLASS_DIM, keepdim=True)


def _bracket(
    a: Tensor, b: Tensor | None, c: Tensor | None, d: Tensor | None, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a first mu and bounds: at the bounds all y_k are >= 1/K and <= 1/K."""
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
    return torch.clamp(at_current.sum(CLASS_DIM, keepdim=True), low, high), low, high


def _labels_at(
    mu: Tensor, a: Tensor, b: Tensor | None, c: Tensor | None, d: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return y(mu) and -dy/dmu, both (B, K, H, W), written without cancellation."""
    linear = mu if c is None else c + mu
    if b is not None:
        # linear y^2 - (linear + a + b) y + a = 0
        half = linear + a + b
        root = ((linear - a + b).square() + 4 * a * b).sqrt()
        y = torch.where(half >= 0, 2 * a / (half + root), (half - root) / (2 * linear))
        return y, y * (1 - y) / root
    if d is None:
        y = a / linear
        return y, y / linear
    # d y^2 + linear y - a = 0
    root = (linear.square() + 4 * a * d).sqrt()
    y = torch.where(linear >= 0, 2 * a / (linear + root), (root - linear) / (2 * d))
    return y, y / root
