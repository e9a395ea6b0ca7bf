"""The six relaxations P of the Potts model (Zhang & Boykov, CVPR 2025, table 1).

Every P(p, q) is a function of three numbers only: the overlap ``s = p.q`` and the
impurities ``u = sum p(1-p) = 1 - |p|^2`` of both labels. So is everything a solver
needs of it. With ``g`` (pull) and ``h`` (stay) given per relaxation below,

* the gradient is ``dP/dp = h p - g q`` (up to a constant, which the simplex ignores),
* the separable majoriser at the current point, ``-ln(p.q) <= -sum r (ln p + ln q) + ...``
  with ``r = p*q/s`` (Jensen) and tangents for what is concave, has the same ``g`` and
  ``h``, because a majoriser touches its function.

Hence one table serves gradient descent, majorise-minimise and the reported energy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from napari_softseg.options import Relaxation

CLASS_DIM = 1
"""Axis of the classes in every (B, K, H, W) tensor."""

_TINY = 1e-30
"""Keeps logarithms and quotients finite where an edge has weight zero."""


class Surrogate(Enum):
    """Shape of the majoriser in one pixel's label y (A = sum g q, G = sum h over edges)."""

    LOG = "-sum (y A) ln y'"
    LOG_QUADRATIC = "-sum (y A) ln y' + G/2 |y'|^2"
    LOG_BARRIER = "-sum (y A + v G) ln y' - sum v G ln(1 - y'),  v = y(1-y)/2"
    QUADRATIC = "G |y'|^2 - (y G + A).y'"


@dataclass(frozen=True, slots=True)
class RelaxationTerms:
    """One P: each function takes (s, u_p, u_q), tensors of one shape, and returns that shape."""

    value: Callable[[Tensor, Tensor, Tensor], Tensor]
    """P(p, q)."""
    pull: Callable[[Tensor, Tensor, Tensor], Tensor]
    """g: how strongly the neighbour's label attracts."""
    stay: Callable[[Tensor, Tensor, Tensor], Tensor] | None
    """h (times |p|^2 where `normalized`): how strongly the own label is damped; None for zero."""
    normalized: bool
    """P depends on directions p/|p| only, so that h carries a factor 1/|p|^2."""
    surrogate: Surrogate
    """Which one-pixel problem the majoriser gives."""


def _agreement(s: Tensor, up: Tensor, uq: Tensor) -> Tensor:
    # 1 - |p-q|^2/2 as a sum of positive terms: no cancellation at opposite corners, where LQ is infinite
    return (s + (up + uq) / 2).clamp_min(_TINY)


def _squared_norms(up: Tensor, uq: Tensor) -> Tensor:
    return (1 - up) * (1 - uq)


def _cosine(s: Tensor, up: Tensor, uq: Tensor) -> Tensor:
    return s * _squared_norms(up, uq).rsqrt()


RELAXATIONS: dict[Relaxation, RelaxationTerms] = {
    # 1 - p.q
    Relaxation.BL: RelaxationTerms(
        value=lambda s, up, uq: 1 - s,
        pull=lambda s, up, uq: torch.ones_like(s),
        stay=None,
        normalized=False,
        surrogate=Surrogate.LOG,
    ),
    # |p - q|^2 / 2
    Relaxation.Q: RelaxationTerms(
        value=lambda s, up, uq: 1 - (s + (up + uq) / 2),
        pull=lambda s, up, uq: torch.ones_like(s),
        stay=lambda s, up, uq: torch.ones_like(s),
        normalized=False,
        surrogate=Surrogate.QUADRATIC,
    ),
    # 1 - cos(p, q)
    Relaxation.NQ: RelaxationTerms(
        value=lambda s, up, uq: 1 - _cosine(s, up, uq),
        pull=lambda s, up, uq: _squared_norms(up, uq).rsqrt(),
        stay=_cosine,
        normalized=True,
        surrogate=Surrogate.LOG_QUADRATIC,
    ),
    # -ln p.q
    Relaxation.CCE: RelaxationTerms(
        value=lambda s, up, uq: -s.clamp_min(_TINY).log(),
        pull=lambda s, up, uq: s.clamp_min(_TINY).reciprocal(),
        stay=None,
        normalized=False,
        surrogate=Surrogate.LOG,
    ),
    # -ln(1 - |p - q|^2 / 2)
    Relaxation.LQ: RelaxationTerms(
        value=lambda s, up, uq: -_agreement(s, up, uq).log(),
        pull=lambda s, up, uq: _agreement(s, up, uq).reciprocal(),
        stay=lambda s, up, uq: _agreement(s, up, uq).reciprocal(),
        normalized=False,
        surrogate=Surrogate.LOG_BARRIER,
    ),
    # -ln cos(p, q)
    Relaxation.CD: RelaxationTerms(
        value=lambda s, up, uq: _squared_norms(up, uq).log() / 2 - s.clamp_min(_TINY).log(),
        pull=lambda s, up, uq: s.clamp_min(_TINY).reciprocal(),
        stay=lambda s, up, uq: torch.ones_like(s),
        normalized=True,
        surrogate=Surrogate.LOG_QUADRATIC,
    ),
}


def impurity(p: Tensor) -> Tensor:
    """Return ``sum p(1-p)`` over the classes: (B, K, ...) float -> (B, ...) float in 0..1-1/K."""
    return (p - p * p).sum(CLASS_DIM)


def relaxation_value(name: str, p: Tensor, q: Tensor) -> Tensor:
    """Return P(p, q).

    Parameters
    ----------
    name : str
        One of :class:`~napari_softseg.options.Relaxation`.
    p, q : (B, K, ...) float tensors
        Distributions over the K classes.

    Returns
    -------
    (B, ...) float tensor, >= 0; the logarithmic ones are large at different corners.

    Notes
    -----
    Zhang & Boykov 2025, table 1.
    """
    return RELAXATIONS[Relaxation.named(name)].value((p * q).sum(CLASS_DIM), impurity(p), impurity(q))


def relaxation_gradient(name: str, p: Tensor, q: Tensor) -> Tensor:
    """Return dP/dp, exact along the simplex (a constant over the classes may be missing).

    Parameters and shapes as in :func:`relaxation_value`; returns the shape of `p`.
    """
    terms = RELAXATIONS[Relaxation.named(name)]
    s, up, uq = (p * q).sum(CLASS_DIM), impurity(p), impurity(q)
    gradient = -terms.pull(s, up, uq).unsqueeze(CLASS_DIM) * q
    if terms.stay is not None:
        stay = terms.stay(s, up, uq)
        gradient = gradient + (stay / (1 - up) if terms.normalized else stay).unsqueeze(CLASS_DIM) * p
    return gradient


def wide_type(x: Tensor) -> torch.dtype:
    """Return the widest floating type of the device of `x`: Apple's MPS has no float64."""
    return torch.float32 if x.device.type == "mps" else torch.float64
