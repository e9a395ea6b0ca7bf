"""The three cross-entropies H(y, sigma) of the unary term (Zhang & Boykov, CVPR 2025, section 3.2).

Each comes with its value, its gradient in y, and its majoriser at the current y:
``-sum a ln y' + c.y'``, where ``a`` and ``c`` are zero (None) for some.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from napari_softseg.options import CrossEntropy
from napari_softseg.solver.relaxations import CLASS_DIM

FLOOR = 1e-6
"""Smallest probability the solvers work with: a multiplicative update cannot leave zero."""


@dataclass(frozen=True, slots=True)
class CrossEntropyTerms:
    """One H: functions of (y, sigma), both (B, K, ...) float tensors of distributions."""

    value: Callable[[Tensor, Tensor], Tensor]
    """H(y, sigma), shape (B, ...)."""
    gradient: Callable[[Tensor, Tensor], Tensor]
    """dH/dy, shape (B, K, ...)."""
    log_weight: Callable[[Tensor, Tensor], Tensor] | None
    """a / y of the majoriser, shape (B, K, ...); None for zero."""
    linear: Callable[[Tensor], Tensor] | None
    """c of the majoriser, a function of sigma only, shape (B, K, ...); None for zero."""


def _match(y: Tensor, sigma: Tensor) -> Tensor:
    return (y * sigma).sum(CLASS_DIM, keepdim=True).clamp_min(FLOOR * FLOOR)


def _negative_log(sigma: Tensor) -> Tensor:
    return -sigma.clamp_min(FLOOR).log()


CROSS_ENTROPIES: dict[CrossEntropy, CrossEntropyTerms] = {
    # -sum y ln sigma
    CrossEntropy.CE: CrossEntropyTerms(
        value=lambda y, sigma: (y * _negative_log(sigma)).sum(CLASS_DIM),
        gradient=lambda y, sigma: _negative_log(sigma),
        log_weight=None,
        linear=_negative_log,
    ),
    # -sum sigma ln y
    CrossEntropy.RCE: CrossEntropyTerms(
        value=lambda y, sigma: (sigma * _negative_log(y)).sum(CLASS_DIM),
        gradient=lambda y, sigma: -sigma / y.clamp_min(FLOOR),
        log_weight=lambda y, sigma: sigma / y.clamp_min(FLOOR),
        linear=None,
    ),
    # -ln y.sigma
    CrossEntropy.CCE: CrossEntropyTerms(
        value=lambda y, sigma: -_match(y, sigma).log().squeeze(CLASS_DIM),
        gradient=lambda y, sigma: -sigma / _match(y, sigma),
        log_weight=lambda y, sigma: sigma / _match(y, sigma),
        linear=None,
    ),
}


def cross_entropy_value(name: str, y: Tensor, sigma: Tensor) -> Tensor:
    """Return H(y, sigma).

    Parameters
    ----------
    name : str
        One of :class:`~napari_softseg.options.CrossEntropy`.
    y, sigma : (B, K, ...) float tensors
        Pseudo-label and unary, distributions over the K classes.

    Returns
    -------
    (B, ...) float tensor, >= 0.

    Notes
    -----
    Zhang & Boykov 2025, equations 9 to 11. Probabilities under 1e-6 count as 1e-6
    inside logarithms, so that one-hot labels stay finite.
    """
    return CROSS_ENTROPIES[CrossEntropy.named(name)].value(y, sigma)


def cross_entropy_gradient(name: str, y: Tensor, sigma: Tensor) -> Tensor:
    """Return dH/dy; parameters as in :func:`cross_entropy_value`, shape (B, K, ...)."""
    return CROSS_ENTROPIES[CrossEntropy.named(name)].gradient(y, sigma)
