"""The six relaxations against the facts of the paper, closed forms and autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_softseg.options import Relaxation
from napari_softseg.solver.relaxations import relaxation_gradient, relaxation_value


def labels(seed: int, n_classes: int, count: int = 200, sharpness: float = 2.0) -> Tensor:
    """Random float64 labels, (count, K)."""
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(count, n_classes, generator=generator, dtype=torch.float64)).softmax(1)


def value(name: str, p: Tensor, q: Tensor) -> Tensor:
    return relaxation_value(name, p, q)


def textbook(name: str, p: Tensor, q: Tensor) -> Tensor:
    """The formulas of table 1, written from the definitions."""
    s = (p * q).sum(1)
    quadratic = ((p - q) ** 2).sum(1) / 2
    cosine = torch.nn.functional.cosine_similarity(p, q, dim=1)
    return {
        "bl": 1 - s,
        "q": quadratic,
        "nq": 1 - cosine,
        "cce": -torch.log(s),
        "lq": -torch.log(1 - quadratic),
        "cd": -torch.log(cosine),
    }[name]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 9), sharpness=st.floats(0, 6))
@pytest.mark.parametrize("name", list(Relaxation))
def test_values_are_the_definitions(name: str, seed: int, n_classes: int, sharpness: float) -> None:
    p, q = labels(seed, n_classes, 50, sharpness), labels(seed + 1, n_classes, 50, sharpness)
    torch.testing.assert_close(value(name, p, q), textbook(name, p, q), atol=1e-9, rtol=1e-8)
    torch.testing.assert_close(value(name, p, q), value(name, q, p))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 9))
def test_identities_and_orders(seed: int, n_classes: int) -> None:
    p, q = labels(seed, n_classes), labels(seed + 1, n_classes)
    v = {str(name): value(name, p, q) for name in Relaxation}
    n, m = p.norm(dim=1), q.norm(dim=1)
    torch.testing.assert_close(v["bl"], v["q"] + (1 - n**2) / 2 + (1 - m**2) / 2)
    torch.testing.assert_close(
        v["nq"], ((p / n[:, None] - q / m[:, None]) ** 2).sum(1) / 2, atol=1e-12, rtol=1e-9
    )
    torch.testing.assert_close(v["cce"], -torch.log(1 - v["bl"]))
    torch.testing.assert_close(v["lq"], -torch.log(1 - v["q"]))
    torch.testing.assert_close(v["cd"], -torch.log(1 - v["nq"]), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(v["cd"], v["cce"] + n.log() + m.log(), atol=1e-12, rtol=1e-9)
    for lower, upper in [("q", "bl"), ("nq", "bl"), ("lq", "cce"), ("cd", "cce")]:
        assert (v[lower] <= v[upper] + 1e-12).all()


@pytest.mark.parametrize("n_classes", [2, 3, 21])
def test_vertices_and_uniform(n_classes: int) -> None:
    k = n_classes
    corners = torch.eye(k, dtype=torch.float64)
    uniform = torch.full((1, k), 1 / k, dtype=torch.float64)
    at_uniform = {
        "bl": 1 - 1 / k,
        "q": (1 - 1 / k) / 2,
        "nq": 1 - k**-0.5,
        "cce": math.log(k),
        "lq": math.log(2 * k / (k + 1)),
        "cd": math.log(k) / 2,
    }
    for name in Relaxation:
        assert value(name, corners, corners).abs().max() < 1e-12
        apart = value(name, corners[:1], corners[1:2]).item()
        # infinite in theory; finite here, but far above any other value
        assert apart == pytest.approx(1) if name in ("bl", "q", "nq") else apart > 60
        assert value(name, corners[:1], uniform).item() == pytest.approx(at_uniform[name])


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("name", list(Relaxation))
def test_gradient_is_autograds(name: str, n_classes: int) -> None:
    """Through p = softmax(l), where a constant over the classes cancels."""
    logits = torch.log(labels(3, n_classes)).requires_grad_()
    q = labels(4, n_classes)
    textbook(name, logits.softmax(1), q).sum().backward()
    p = logits.detach().softmax(1)
    gradient = relaxation_gradient(name, p, q)
    through = p * (gradient - (p * gradient).sum(1, keepdim=True))
    torch.testing.assert_close(through, logits.grad, atol=1e-10, rtol=1e-8)


def test_table_of_gradients_through_softmax() -> None:
    """The last column of the table: BL s(p-r), NQ c(rho-r), CCE p-r, CD rho-r."""
    p, q = labels(5, 4), labels(6, 4)
    s = (p * q).sum(1, keepdim=True)
    n = p.norm(dim=1, keepdim=True)
    c = s / (n * q.norm(dim=1, keepdim=True))
    r, rho = p * q / s, p * p / n**2
    expected = {"bl": s * (p - r), "nq": c * (rho - r), "cce": p - r, "cd": rho - r}
    for name, formula in expected.items():
        gradient = relaxation_gradient(name, p, q)
        torch.testing.assert_close(p * (gradient - (p * gradient).sum(1, keepdim=True)), formula)


def test_figure_1_gradients_at_opposite_saturated_labels() -> None:
    """Second-order P lose their gradient like exp(-2L); CCE and LQ keep tanh L; CD tends to 1."""
    for logit in (3.0, 5.0):
        logits = torch.tensor([[logit, -logit]], dtype=torch.float64)
        p, q = logits.softmax(1), (-logits).softmax(1)
        size: dict[str, float] = {}
        for name in Relaxation:
            g = relaxation_gradient(name, p, q)
            # logits are (x, -x): their difference counts twice
            size[name] = (p * (g - (p * g).sum(1, keepdim=True)) * torch.tensor([1.0, -1.0])).sum().item()
        for second_order in ("bl", "q", "nq"):
            assert abs(size[second_order]) < 20 * math.exp(-2 * logit)
        assert size["cce"] == pytest.approx(math.tanh(logit), rel=1e-6)
        assert size["lq"] == pytest.approx(math.tanh(logit), rel=2e-2)
        assert size["cd"] == pytest.approx(1, rel=1e-2)


def test_figure_2a_equal_soft_labels() -> None:
    """p = q = (1-t, t, 0): BL and CCE punish softness, the other four do not."""
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    p = torch.stack([1 - t, t, torch.zeros_like(t)], 1)
    highest = {str(name): value(name, p, p).max().item() for name in Relaxation}
    assert highest["bl"] == pytest.approx(0.5)
    assert highest["cce"] == pytest.approx(math.log(2))
    for name in ("q", "nq", "lq", "cd"):
        assert highest[name] == pytest.approx(0, abs=1e-12)


def test_figure_2b_hard_against_soft_among_other_classes() -> None:
    """p = (1,0,0), q = (0,t,1-t): BL and NQ stay 1, Q dips to 3/4, LQ to ln 4."""
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    q = torch.stack([torch.zeros_like(t), t, 1 - t], 1)
    p = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).expand_as(q)
    for name in ("bl", "nq"):
        torch.testing.assert_close(value(name, p, q), torch.ones_like(t))
    assert value("q", p, q).min().item() == pytest.approx(0.75)
    assert value("lq", p, q).min().item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("name", ["q", "lq"])
def test_q_and_lq_are_jointly_convex(name: str) -> None:
    p0, q0, p1, q1 = (labels(seed, 3, 2000) for seed in range(4))
    middle = value(name, (p0 + p1) / 2, (q0 + q1) / 2)
    assert (middle <= (value(name, p0, q0) + value(name, p1, q1)) / 2 + 1e-12).all()


def test_the_others_are_not_jointly_convex() -> None:
    p0, q0, p1, q1 = (labels(seed, 3, 2000) for seed in range(4))
    for name in ("bl", "nq", "cce", "cd"):
        excess = value(name, (p0 + p1) / 2, (q0 + q1) / 2) - (value(name, p0, q0) + value(name, p1, q1)) / 2
        assert excess.max() > 1e-3
