"""The paper's solver, exactly: gradient descent on label logits (Zhang & Boykov, CVPR 2025, App. C).

``y = softmax(l)``, l starts at the network's logits (ln sigma; zero without a unary), seeds are
reset to their class before every step, learning rate 0.075, 200 steps.
"""

from __future__ import annotations

import threading
from collections.abc import Generator

import torch
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES
from napari_softseg.solver.majorize_minimize import Minimum
from napari_softseg.solver.problem import Pairwise, Problem
from napari_softseg.solver.relaxations import CLASS_DIM, RELAXATIONS
from napari_softseg.solver.solution import SolveProgress, Status

LEARNING_RATE = 0.075
"""The paper's; the stability limit for CD at lambda 6 is near 0.083."""


def iter_gradient_descent(
    problem: Problem, *, steps: int = 200, stop: threading.Event | None = None
) -> Generator[SolveProgress, None, Minimum]:
    """Run `steps` steps of plain gradient descent; yields and returns as the default solver does."""
    logits = torch.zeros_like(problem.fixed_labels) if problem.sigma is None else problem.sigma.log()
    y = problem.constrain(logits.softmax(CLASS_DIM))
    for step in range(steps):
        if stop is not None and stop.is_set():
            return Minimum(y, step, Status.STOPPED, problem.energy_terms(y))
        pairwise = problem.pairwise(y)
        yield SolveProgress(
            "solve",
            step,
            steps,
            float((problem.eta * problem.unary_energy(y) + problem.lambda_ * pairwise.energy).sum()),
        )
        logits = logits - LEARNING_RATE * logit_gradient(problem, y, pairwise)
        y = problem.constrain(logits.softmax(CLASS_DIM))
    return Minimum(y, steps, Status.COMPLETED, problem.energy_terms(y))


def logit_gradient(problem: Problem, y: Tensor, pairwise: Pairwise | None = None) -> Tensor:
    """Return dE/dl, (B, K, H, W), at ``y = softmax(l)``; zero on seeds and padding."""
    pairwise = pairwise or problem.pairwise(y)
    stay = pairwise.stay.unsqueeze(CLASS_DIM)
    if RELAXATIONS[Relaxation.named(problem.relaxation)].normalized:
        stay = stay / (y * y).sum(CLASS_DIM, keepdim=True)
    gradient = problem.lambda_ * (stay * y - pairwise.pull)
    if problem.sigma is not None:
        unary = CROSS_ENTROPIES[CrossEntropy.named(problem.cross_entropy)]
        gradient = gradient + problem.eta * unary.gradient(y, problem.sigma)
    gradient = y * (gradient - (y * gradient).sum(CLASS_DIM, keepdim=True))
    return torch.where(problem.free.unsqueeze(CLASS_DIM), gradient, 0.0)
