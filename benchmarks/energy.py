"""Time and energy of the default solver beside the paper's, written in plain torch autograd.

One 512 x 512 photo, CD + CCE, K = 2, 5, 21, the same unary for both. ``python benchmarks/energy.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from common import header
from skimage import data
from skimage.draw import line_nd

from napari_softseg.solver import Problem, drain, grid_edges, iter_majorize_minimize
from napari_softseg.unary.classifier import classify_strokes

STEPS, LEARNING_RATE = 200, 0.075
REPEATS = 3


def strokes(n_classes: int, size: int) -> np.ndarray:
    """Return seeds (size, size): two random short strokes of every class, five pixels wide."""
    rng = np.random.default_rng(n_classes)
    seeds = np.full((size, size), -1, dtype=np.int64)
    for k in [*range(n_classes)] * 2:
        start = rng.integers(20, size - 20, 2)
        end = np.clip(start + rng.integers(-60, 60, 2), 3, size - 4)
        for row, column in np.transpose(line_nd(start, end, endpoint=True)):
            seeds[row - 2 : row + 3, column - 2 : column + 3] = k
    return seeds


def histogram_unary(image: np.ndarray, seeds: np.ndarray, n_classes: int) -> np.ndarray:
    """Return confident and noisy probabilities: 8 x 8 x 8 colour histograms of each class's strokes."""
    bins = (image // 32).astype(np.int64) @ np.array([64, 8, 1])
    counts = np.stack([np.bincount(bins[seeds == k], minlength=512) + 0.01 for k in range(n_classes)])
    likelihood = (counts / counts.sum(1, keepdims=True))[:, bins]
    return (likelihood / likelihood.sum(0)).astype(np.float32)


def papers_solver(problem: Problem) -> torch.Tensor:
    """Zhang & Boykov's solver as one writes it: softmax, seeds reset, autograd, plain steps."""
    sigma, free = problem.sigma, problem.free.unsqueeze(1)
    w_right, w_down = problem.edges[(0, 1)][..., :, :-1], problem.edges[(1, 0)][..., :-1, :]
    logits = sigma.log().requires_grad_()
    for _ in range(STEPS):
        y = torch.where(free, logits.softmax(1), problem.fixed_labels)
        unary = -((y * sigma).sum(1).log() * free[:, 0]).sum()
        norm = y.square().sum(1).sqrt()
        right = (y[..., :-1] * y[..., 1:]).sum(1) / (norm[..., :-1] * norm[..., 1:])
        down = (y[..., :-1, :] * y[..., 1:, :]).sum(1) / (norm[..., :-1, :] * norm[..., 1:, :])
        # 1e-30: 0 * ln 0 on the edges between seeds of different classes
        pairwise = (
            -(w_right * right.clamp_min(1e-30).log()).sum() - (w_down * down.clamp_min(1e-30).log()).sum()
        )
        energy = problem.eta * unary + problem.lambda_ * pairwise
        (gradient,) = torch.autograd.grad(energy, logits)
        logits = (logits.detach() - LEARNING_RATE * gradient).requires_grad_()
    return torch.where(free, logits.detach().softmax(1), problem.fixed_labels)


def timed(run: Callable[[], torch.Tensor], repeats: int) -> tuple[float, torch.Tensor]:
    """Return the median seconds of `repeats` runs, and the last result."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 5, 21])
    arguments = parser.parse_args()
    image = data.astronaut()
    size = image.shape[0]
    pixels = torch.from_numpy(image).float().movedim(-1, 0)[None]
    print(header("torch", "numpy", "scikit-learn"))
    print("- 512 x 512 photo, CD + CCE, eta 0.3, lambda 6; ours: median of 3 runs")
    print()
    print("| K | unary | paper: energy | paper: s | ours: energy | ours: sweeps | ours: s | times sooner |")
    print("|---|---|---|---|---|---|---|---|")
    for n_classes in arguments.classes:
        seeds = strokes(n_classes, size)
        unaries = {
            "classifier": classify_strokes(image.astype(np.float32), seeds, n_classes),
            "histograms": histogram_unary(image, seeds, n_classes),
        }
        for name, sigma in unaries.items():
            problem = Problem(
                seeds=torch.from_numpy(seeds)[None],
                edges=grid_edges(pixels, "grid4", 9.0),
                n_classes=n_classes,
                sigma=torch.from_numpy(sigma)[None],
            )
            paper, theirs = timed(lambda p=problem: papers_solver(p), 1)
            sweeps = drain(iter_majorize_minimize(problem)).sweeps
            mine, ours = timed(lambda p=problem: drain(iter_majorize_minimize(p)).labels, REPEATS)
            print(
                f"| {n_classes} | {name} | {problem.energy_terms(theirs).total:.0f} | {paper:.2f} "
                f"| {problem.energy_terms(ours).total:.0f} | {sweeps} | {mine:.2f} | {paper / mine:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
