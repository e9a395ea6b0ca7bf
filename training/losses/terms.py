"""The terms of the losses of Zhang & Boykov (CVPR 2025, equations 3, 4 and 6), as sums over pixels or edges.

Functions of the network's logits (B, K, H, W), float; sigma is their softmax. Each returns a scalar that has
a graph even where it sums over nothing. None divides by anything: see training_loss.py.

Formulas of P and H are the solver's. Where these keep probabilities off zero, gradients fade: P below an
overlap ``p.q`` of 1e-30, H where a *pseudo-label* is below 1e-6 (the solver's labels are not, hard ones
are: rce then counts ln 1e-6 for ln 0). However small sigma is, H keeps its gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES
from napari_softseg.solver.gradient_descent import logit_gradient
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.relaxations import CLASS_DIM, wide_type


def labelled(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return ``-sum ln sigma_i[label_i]`` over labelled pixels: partial cross-entropy on strokes, full on masks.

    Parameters
    ----------
    logits : (B, K, H, W) float tensor
    labels : (B, H, W) int64 tensor
        Class index, -1 on pixels that do not count.
    weights : (K,) float tensor, optional
        What a pixel of each class counts; 1 without.
    """
    return F.cross_entropy(logits, labels, weights, ignore_index=-1, reduction="sum")


def entropy(logits: Tensor, free: Tensor) -> Tensor:
    """Return the sum of the entropies of sigma, in nats, over the pixels where `free` (B, H, W) is true."""
    log_sigma = logits.log_softmax(CLASS_DIM)
    return -torch.where(free, (log_sigma.exp() * log_sigma).sum(CLASS_DIM), 0.0).sum()


def self_labelling(logits: Tensor, labels: Tensor, cross_entropy: str, free: Tensor) -> Tensor:
    """Return ``sum H(y_i, sigma_i)`` over free pixels.

    Parameters
    ----------
    logits : (B, K, H, W) float tensor
    labels : (B, K, H, W) float tensor
        Pseudo-labels y, distributions; no gradient flows into them.
    cross_entropy : str
        H: ce, rce or cce.
    free : (B, H, W) bool tensor
        Pixels that count.
    """
    labels = labels.detach()
    name = CrossEntropy.named(cross_entropy)
    if name is CrossEntropy.CE:
        # the same -sum y ln sigma, from logits: without the floor under sigma, below which nothing would pull
        value = F.cross_entropy(logits, labels, reduction="none")
    else:
        value = CROSS_ENTROPIES[name].value(labels, logits.softmax(CLASS_DIM))
    return torch.where(free, value, 0.0).sum()


def potts(logits: Tensor, problem: Problem) -> Tensor:
    """Return ``lambda * sum w_ij P(sigma_i, sigma_j)`` over the edges of `problem`.

    The problem must have neither seeds nor sigma (nothing is fixed here: edges between two strokes count as
    well). Its own gradient is used, so that no graph is kept for the edges.

    Raises
    ------
    RuntimeError
        On a second derivative, which is not there.
    """
    if Relaxation.named(problem.relaxation) is Relaxation.LQ:
        # its gradient between certain neighbours that disagree hangs on 1 - sigma: float32 has none of it
        # left at logits 10 apart, float64 at 30
        wide = wide_type(logits)
        problem, logits = problem.to(logits.device, wide), logits.to(wide)
    result: Tensor = _Potts.apply(logits, problem)
    return result


class _Potts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, problem: Problem) -> Tensor:
        sigma = logits.softmax(CLASS_DIM)
        pairwise = problem.pairwise(sigma)
        ctx.save_for_backward(logit_gradient(problem, sigma, pairwise))
        return (problem.lambda_ * pairwise.energy.sum()).to(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None
