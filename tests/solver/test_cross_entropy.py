"""The three cross-entropies against definitions, autograd and the paper's figure 3."""

from __future__ import annotations

import math

import pytest
import torch

from napari_softseg.options import CrossEntropy
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES, cross_entropy_gradient, cross_entropy_value


def distributions(seed: int, n_classes: int = 4, count: int = 300) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, n_classes, generator=generator, dtype=torch.float64).softmax(1)


def textbook(name: str, y: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return {
        "ce": -(y * sigma.log()).sum(1),
        "rce": -(sigma * y.log()).sum(1),
        "cce": -(y * sigma).sum(1).log(),
    }[name]


@pytest.mark.parametrize("name", list(CrossEntropy))
def test_value_and_gradient(name: str) -> None:
    logits = distributions(0).log().requires_grad_()
    sigma = distributions(1)
    expected = textbook(name, logits.softmax(1), sigma)
    y = logits.detach().softmax(1)
    torch.testing.assert_close(cross_entropy_value(name, y, sigma), expected.detach())
    expected.sum().backward()
    gradient = cross_entropy_gradient(name, y, sigma)
    torch.testing.assert_close(y * (gradient - (y * gradient).sum(1, keepdim=True)), logits.grad)


def test_gradients_in_logits_as_tabulated() -> None:
    y, sigma = distributions(2), distributions(3)
    ce = cross_entropy_value("ce", y, sigma)[:, None]
    match = (y * sigma).sum(1, keepdim=True)
    expected = {"ce": y * (-sigma.log() - ce), "rce": y - sigma, "cce": y - y * sigma / match}
    for name, formula in expected.items():
        gradient = cross_entropy_gradient(name, y, sigma)
        torch.testing.assert_close(y * (gradient - (y * gradient).sum(1, keepdim=True)), formula)


def test_figure_3_at_an_undecided_label() -> None:
    """At y = (.5, .5) CE is smallest at sigma = .5; RCE and CCE are flat at ln 2."""
    s = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    sigma = torch.stack([s, 1 - s], 1)
    y = torch.full_like(sigma, 0.5)
    ce = cross_entropy_value("ce", y, sigma)
    assert ce.argmin().item() == 49
    assert ce.min().item() == pytest.approx(math.log(2))
    for name in ("rce", "cce"):
        torch.testing.assert_close(cross_entropy_value(name, y, sigma), torch.full_like(s, math.log(2)))


@pytest.mark.parametrize("name", list(CrossEntropy))
def test_one_hot_labels_stay_finite(name: str) -> None:
    corners = torch.eye(3)
    for y, sigma in [(corners, corners), (corners, corners.roll(1, 0))]:
        assert torch.isfinite(cross_entropy_value(name, y, sigma)).all()
        assert torch.isfinite(cross_entropy_gradient(name, y, sigma)).all()
    assert cross_entropy_value(name, corners, corners).abs().max() < 1e-6


@pytest.mark.parametrize("name", list(CrossEntropy))
def test_majoriser_lies_above_and_touches(name: str) -> None:
    """-sum a ln y' + c.y' minus its value at y bounds H(y') - H(y) from above."""
    terms = CROSS_ENTROPIES[CrossEntropy.named(name)]
    y, sigma = distributions(4), distributions(5)

    def bound(other: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(y), dtype=y.dtype)
        if terms.log_weight is not None:
            total = total - (y * terms.log_weight(y, sigma) * other.log()).sum(1)
        if terms.linear is not None:
            total = total + (terms.linear(sigma) * other).sum(1)
        return total

    for seed in range(6, 12):
        other = distributions(seed)
        rise = cross_entropy_value(name, other, sigma) - cross_entropy_value(name, y, sigma)
        assert (rise <= bound(other) - bound(y) + 1e-12).all()
