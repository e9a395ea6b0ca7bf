"""Random problems, and the check that a fused sweep does what the reference in PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.solver.kernels import Sweep
from napari_softseg.solver.kernels.torch_sweep import TorchSweep
from napari_softseg.solver.neighborhood import Edges, grid_edges
from napari_softseg.solver.problem import Problem

PAIRS = [(p, h) for p in Relaxation for h in CrossEntropy]
TOLERANCE = 1e-3
"""Largest difference of a label after one sweep from float64; stated in docs/solver.md."""


def random_problem(
    seed: int, shape: tuple[int, int], n_classes: int, batch: int = 1, **changes: Any
) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    image = 60 * torch.rand(batch, 3, *shape, generator=generator)
    seeds = torch.full((batch, *shape), -1)
    stroke = torch.rand(batch, *shape, generator=generator) < 0.05
    seeds[stroke] = torch.randint(n_classes, (int(stroke.sum()),), generator=generator)
    edges = changes.pop("edges", None) or grid_edges(image, changes.pop("neighborhood", "grid4"), 9.0)
    sigma = (3 * torch.randn(batch, n_classes, *shape, generator=generator)).softmax(1)
    return Problem(**{"seeds": seeds, "edges": edges, "n_classes": n_classes, "sigma": sigma, **changes})


def far_edges(height: int, width: int) -> Edges:
    """Return random weights of near and of far edges, some of them downwards to the left."""
    generator = torch.Generator().manual_seed(3)
    edges = {}
    for dy, dx in ((0, 1), (1, 0), (7, -23), (3, 40), (0, 65)):
        weight = torch.zeros(1, height, width)
        rows, columns = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        weight[0, rows, columns] = torch.rand(weight[0, rows, columns].shape, generator=generator)
        edges[dy, dx] = weight
    return edges


def random_labels(problem: Problem, seed: int, sharpness: float = 4.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(problem.seeds), problem.n_classes, *problem.seeds.shape[1:])
    y = (sharpness * torch.randn(shape, generator=generator)).softmax(1)
    return problem.constrain(y.clamp_min(1e-6))


def cropped_problem() -> tuple[Problem, Tensor]:
    """Return the left part of an image, as wide as a padded row of labels can be, its right side held."""
    whole = random_problem(13, (9, 70), 3, neighborhood="grid8")
    inner = torch.zeros(1, 9, 48, dtype=torch.bool)
    inner[..., :44] = True
    held = random_labels(whole, 14)[..., :48]
    cropped = whole.crop(slice(None), slice(0, 48), inner, held)
    return cropped, cropped.constrain(held)


def check_sweeps(
    fuse: Callable[[Problem, Tensor, float], Sweep],
    problem: Problem,
    start: Tensor,
    momenta: tuple[float, ...] = (0.9, 0.0),
) -> None:
    """The sweep that `fuse` makes does from `start` what the reference does in float64, sweep for sweep."""
    reference: Sweep = TorchSweep(problem.to(torch.device("cpu"), torch.float64), start.double().cpu())
    fused = fuse(problem, start, 1e-5)
    for number, momentum in enumerate(momenta):
        ahead = [momentum] * len(start)
        expected, expected_moved = reference.sweep(ahead)
        terms, moved = fused.sweep(ahead)
        # after a sweep from float32's labels: those of many alike classes differ where float64 breaks the tie
        rtol = 3e-4 if number else 2e-5
        torch.testing.assert_close(terms.cpu(), expected, rtol=rtol, atol=2e-3)
        torch.testing.assert_close(moved.cpu(), expected_moved, rtol=1e-3, atol=2e-3 * start.shape[-1])
        reference.advance()
        fused.advance()
        labels = fused.labels().cpu().double()
        torch.testing.assert_close(labels, reference.labels(), rtol=0, atol=TOLERANCE)
    assert torch.equal(fused.labels()[:, 0][~problem.free], start[:, 0][~problem.free])
