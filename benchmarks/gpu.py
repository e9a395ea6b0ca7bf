"""The fused CUDA sweep beside the paper's solver in autograd and beside a copy of memory, on one GPU.

A training step's batch, 12 images of 513 x 513 pixels with 21 classes. ``python benchmarks/gpu.py``; where
there is no CUDA device it says so and measures nothing.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from cases import histogram_unary, papers_solver, seconds_to_energy, strokes
from common import header
from skimage import data

from napari_softseg.solver import Problem, drain, grid_edges, iter_majorize_minimize
from napari_softseg.solver.kernels import sweep_for, triton_sweep

BATCH, CLASSES, SIZE = 12, 21, 513
REPEATS = 20


def training_batch(n_classes: int, device: torch.device, **changes: str) -> Problem:
    """Return shifted copies of a photo, each with its strokes and the colour histograms of these."""
    photo = np.pad(data.astronaut(), ((0, SIZE - 512), (0, SIZE - 512), (0, 0)), mode="edge")
    seeds = strokes(n_classes, SIZE)
    sigma = histogram_unary(photo, seeds, n_classes)
    shifts = [40 * image for image in range(BATCH)]
    pixels = torch.from_numpy(np.stack([np.roll(photo, shift, (0, 1)) for shift in shifts])).movedim(-1, 1)
    return Problem(
        seeds=torch.from_numpy(np.stack([np.roll(seeds, shift, (0, 1)) for shift in shifts])).to(device),
        edges=grid_edges(pixels.float().to(device), "grid4", 9.0),
        n_classes=n_classes,
        sigma=torch.from_numpy(np.stack([np.roll(sigma, shift, (1, 2)) for shift in shifts])).to(device),
        **changes,
    )


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of `run` on the device, after two runs that do not count."""
    times = []
    for _ in range(repeats + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def against_the_paper(device: torch.device) -> None:
    problem = training_batch(CLASSES, device)
    target = float(problem.energies(papers_solver(problem)).sum())
    paper = seconds(lambda: papers_solver(problem), 1)
    seconds_to_energy(problem, target)
    ours = statistics.median(seconds_to_energy(problem, target) for _ in range(5))
    end = drain(iter_majorize_minimize(problem))
    whole = seconds(lambda: drain(iter_majorize_minimize(problem)), 5)
    print(
        "| paper, 200 steps: s | its energy | ours to that energy: ms | times sooner | ours to its end: ms ",
        end="",
    )
    print("| energy there |\n|---|---|---|---|---|---|")
    print(
        f"| {paper:.2f} | {target:.0f} | {1000 * ours:.1f} | {paper / ours:.0f} | {1000 * whole:.1f} "
        f"| {end.terms.total:.0f} |",
        flush=True,
    )


def against_a_copy(device: torch.device) -> None:
    source = torch.rand(BATCH, CLASSES, SIZE, SIZE, device=device)
    copy = 2 * source.nbytes / seconds(lambda: source.clone(), REPEATS)
    print(
        f"\nA copy of (12, 21, 513, 513) float32: {copy / 1e9:.0f} GB/s. Traffic of a sweep: five arrays of"
    )
    print("labels (point, labels, unary; new labels, new point), two of edges, one of flags, each once.\n")
    print("| P | H | K | a sweep: ms | GB/s | of a copy |\n|---|---|---|---|---|---|")
    pairs = [("cd", "cce"), ("nq", "cce"), ("cce", "cce"), ("bl", "rce"), ("lq", "cce"), ("q", "ce")]
    for relaxation, cross_entropy in pairs:
        for n_classes in (2, 5, 21):
            changes = {"relaxation": relaxation, "cross_entropy": cross_entropy}
            problem = training_batch(n_classes, device, **changes)
            state = sweep_for(problem, problem.start())
            sweep = seconds(lambda s=state: s.sweep([0.0] * BATCH), REPEATS)
            rate = problem.seeds.numel() * (5 * 4 * n_classes + 2 * 4 + 1) / sweep
            print(
                f"| {relaxation} | {cross_entropy} | {n_classes} | {1000 * sweep:.3f} | {rate / 1e9:.0f} "
                f"| {rate / copy:.0%} |",
                flush=True,
            )


def main() -> None:
    if not torch.cuda.is_available():
        print("no CUDA device: nothing measured")
        return
    device = torch.device("cuda")
    print(header("torch", "triton", "numpy"))
    print(f"- {torch.cuda.get_device_name(device)}, batch {BATCH} x {CLASSES} x {SIZE} x {SIZE}, CD + CCE\n")
    if not triton_sweep.ready(training_batch(CLASSES, device)):
        sys.exit("Triton cannot be used; the warning above says why")
    against_the_paper(device)
    against_a_copy(device)


if __name__ == "__main__":
    main()
