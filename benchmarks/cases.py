"""What the solver benchmarks have in common: images, strokes, unaries, the paper's solver, clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from skimage import data
from skimage.draw import line_nd

from napari_softseg.solver import Problem, grid_edges, iter_majorize_minimize
from napari_softseg.unary.classifier import classify_strokes

STEPS, LEARNING_RATE = 200, 0.075

Result = TypeVar("Result")


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


def papers_energy(problem: Problem, logits: torch.Tensor) -> torch.Tensor:
    """CD + CCE on the 4-grid as one writes it: softmax, seeds reset."""
    sigma, free = problem.sigma, problem.free.unsqueeze(1)
    w_right, w_down = problem.edges[(0, 1)][..., :, :-1], problem.edges[(1, 0)][..., :-1, :]
    y = torch.where(free, logits.softmax(1), problem.fixed_labels)
    unary = -((y * sigma).sum(1).log() * free[:, 0]).sum()
    norm = y.square().sum(1).sqrt()
    right = (y[..., :-1] * y[..., 1:]).sum(1) / (norm[..., :-1] * norm[..., 1:])
    down = (y[..., :-1, :] * y[..., 1:, :]).sum(1) / (norm[..., :-1, :] * norm[..., 1:, :])
    # 1e-30: 0 * ln 0 on the edges between seeds of different classes
    pairwise = -(w_right * right.clamp_min(1e-30).log()).sum() - (w_down * down.clamp_min(1e-30).log()).sum()
    return problem.eta * unary + problem.lambda_ * pairwise


def papers_solver(problem: Problem) -> torch.Tensor:
    """Zhang & Boykov's solver: autograd, plain steps."""
    logits = problem.sigma.log().requires_grad_()
    for _ in range(STEPS):
        (gradient,) = torch.autograd.grad(papers_energy(problem, logits), logits)
        logits = (logits.detach() - LEARNING_RATE * gradient).requires_grad_()
    return problem.constrain(logits.detach().softmax(1))


def photo_problem(n_classes: int, unary: str, tiles: int = 1, **changes: object) -> Problem:
    """Return the problem of a 512 x 512 photo, or of `tiles` x `tiles` copies of it side by side.

    `unary` is "classifier" or "histograms".
    """
    image, seeds = data.astronaut(), strokes(n_classes, 512)
    if unary == "classifier":
        sigma = classify_strokes(image.astype(np.float32), seeds, n_classes)
    else:
        sigma = histogram_unary(image, seeds, n_classes)
    image, seeds = np.tile(image, (tiles, tiles, 1)), np.tile(seeds, (tiles, tiles))
    pixels = torch.from_numpy(image).float().movedim(-1, 0)[None].contiguous()
    return Problem(
        seeds=torch.from_numpy(seeds)[None],
        edges=grid_edges(pixels, "grid4", 9.0),
        n_classes=n_classes,
        sigma=torch.from_numpy(np.tile(sigma, (1, tiles, tiles)))[None],
        **changes,
    )


def timed(run: Callable[[], Result], repeats: int = 1) -> tuple[float, Result]:
    """Return the median seconds of `repeats` runs, and the last result."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result


def seconds_to_energy(problem: Problem, target: float) -> float:
    """Return how long the solver, as it is by default, takes until its labels' energy is no higher than `target`.

    The energy it reports is that of labels it has; infinite where it ends above.
    """
    began = time.perf_counter()
    run = iter_majorize_minimize(problem)
    while True:
        try:
            energy = next(run).energy
        except StopIteration as end:
            return time.perf_counter() - began if end.value.terms.total <= target else float("inf")
        if energy <= target:
            return time.perf_counter() - began
