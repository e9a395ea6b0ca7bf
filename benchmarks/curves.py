"""Energy against time, drawn: every relaxation, and every way to speed one up. ``python benchmarks/curves.py``."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from unittest.mock import patch

import matplotlib as mpl
import torch
from cases import LEARNING_RATE, STEPS, papers_energy, photo_problem
from common import ROOT, header

from napari_softseg.options import Relaxation
from napari_softseg.solver import Problem, iter_gradient_descent, iter_majorize_minimize
from napari_softseg.solver.kernels import numba_sweep, sweep_for
from napari_softseg.solver.kernels.torch_sweep import TorchSweep

mpl.use("Agg")
from matplotlib import pyplot as plt

Curve = list[tuple[float, float]]


def followed(run: Generator) -> Curve:
    """Return (seconds, energy) at every report of a solver."""
    with patch.object(numba_sweep, "_BRIEF", 0):  # an image of this size would tell all of them at its end
        began = time.perf_counter()
        return [(time.perf_counter() - began, progress.energy) for progress in run]


def paper(problem: Problem) -> Curve:
    """The paper's solver in plain autograd."""
    logits, began, curve = problem.sigma.log().requires_grad_(), time.perf_counter(), []
    for _ in range(STEPS):
        energy = papers_energy(problem, logits)
        curve.append((time.perf_counter() - began, float(energy.detach())))
        (gradient,) = torch.autograd.grad(energy, logits)
        logits = (logits.detach() - LEARNING_RATE * gradient).requires_grad_()
    return curve


def sweeps(
    problem: Problem, momentum: bool, make: Callable[..., object] = sweep_for, count: int = 60
) -> Curve:
    """Bare sweeps from sigma, without a coarser start."""
    state = make(problem, problem.start().clamp_min(1e-6))
    began, curve, last, age = time.perf_counter(), [], float("inf"), 0
    for _ in range(count):
        terms, _ = state.sweep([age / (age + 3) if momentum else 0.0])
        energy = float(terms.sum())
        if energy > last:
            state.restart(torch.ones(1, dtype=torch.bool))
            age = 0
            continue
        curve.append((time.perf_counter() - began, energy))
        state.advance()
        last, age = energy, age + 1
    return curve


def draw(name: str, title: str, curves: Iterator[tuple[str, Curve]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for label, curve in curves:
        axes.plot(*zip(*curve, strict=True), label=label, marker=".", markersize=3, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="energy", title=title)
    axes.legend(fontsize=8)
    figure.savefig(ROOT / "docs" / "images" / name, dpi=130)
    plt.close(figure)


def tricks() -> Iterator[tuple[str, Curve]]:
    """Each trick alone and together, K = 5, the noisy unary."""
    problem = photo_problem(5, "histograms")
    yield "paper: autograd, 200 steps", paper(problem)
    yield "gd: the same by hand", followed(iter_gradient_descent(problem))
    yield "MM in PyTorch", sweeps(problem, False, TorchSweep, 30)
    yield "MM, fused", sweeps(problem, False)
    yield "MM, fused, momentum", sweeps(problem, True)
    yield "... and a coarser start (the default)", followed(iter_majorize_minimize(problem, tolerance=1e-4))


def relaxations() -> Iterator[tuple[str, Curve]]:
    """All six with CCE; the energies of different relaxations do not compare, their descent does."""
    for relaxation in Relaxation:
        problem = photo_problem(5, "classifier", relaxation=relaxation)
        yield relaxation.upper(), followed(iter_majorize_minimize(problem, tolerance=1e-4))


def main() -> None:
    print(header("torch", "numba"))
    numba_sweep.ready()
    draw("energy_tricks.png", "512 x 512, K = 5, CD + CCE, unary: colour histograms", tricks())
    draw("energy_relaxations.png", "512 x 512, K = 5, six relaxations with CCE", relaxations())


if __name__ == "__main__":
    main()
