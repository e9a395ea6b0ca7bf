"""What the fused sweeps share."""

from __future__ import annotations

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.problem import Problem

TOLERANCE = 0.1
"""How well a label's sum must be one before its last correction: what remains is of second order."""


def energy_numbers(problem: Problem) -> tuple[int, int | None]:
    """Return the numbers by which kernels know P and H, their places in the enumerations; None: no unary."""
    relaxation = list(Relaxation).index(Relaxation.named(problem.relaxation))
    if problem.sigma is None:
        return relaxation, None
    return relaxation, list(CrossEntropy).index(CrossEntropy.named(problem.cross_entropy))
