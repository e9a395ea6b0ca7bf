"""How time, memory and the sweep itself scale. ``python benchmarks/scaling.py``.

Larger images are copies of one 512 x 512 photo with its strokes side by side, so that only their size differs.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from cases import photo_problem, timed
from common import header
from numba import njit

from napari_softseg.solver import drain, iter_majorize_minimize
from napari_softseg.solver.kernels.numba_sweep import NumbaSweep, ready

SIDES = {2: (256, 512, 1024, 2048, 4096), 5: (256, 512, 1024, 2048, 4096), 21: (256, 512, 1024, 2048)}
ROUNDS = 5
FAST = {"contract", "reassoc", "nsz", "arcp", "nnan", "ninf"}


def solved(n_classes: int, side: int) -> dict[str, float]:
    """Solve in this process; return seconds, sweeps and the peak of memory beyond the problem's own."""
    problem = photo_problem(n_classes, "classifier", tiles=max(1, side // 512))
    if side < 512:
        part = slice(0, side)
        problem = problem.crop(part, part, torch.ones(1, side, side, dtype=torch.bool), None)
    ready()
    # what a process has once, code, threads and caches, is there before; what making the problem left is not
    corner = slice(0, 128)
    drain(
        iter_majorize_minimize(problem.crop(corner, corner, torch.ones(1, 128, 128, dtype=torch.bool), None))
    )
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    # the peak so far belongs to making the problem: begin a new one
    with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")
    drain(iter_majorize_minimize(problem))
    peak = resident("VmHWM")
    seconds, minimum = timed(
        lambda: drain(iter_majorize_minimize(problem)), {256: 401, 512: 101, 1024: 25}.get(side, 5)
    )
    return {"seconds": seconds, "sweeps": minimum.sweeps, "bytes": peak - before}


def resident(field: str) -> int:
    """Return a figure of Linux's /proc/self/status in bytes."""
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))


def sizes() -> str:
    """Solve every size in processes of its own, in turn: a machine that others use is faster now and slower then."""
    cases = [(n_classes, side) for n_classes, sides in SIDES.items() for side in sides]
    found: dict[tuple[int, int], list[dict[str, float]]] = {case: [] for case in cases}
    for number in range(ROUNDS):
        for case in cases:
            command = [sys.executable, __file__, *map(str, case)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            found[case].append(json.loads(ran.stdout))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
    lines = [
        f"Medians of {ROUNDS} processes each, in turn.\n",
        "| K | side | s | sweeps | ns per pixel | peak: arrays of (K, H, W) float32 |",
        "|---|---|---|---|---|---|",
    ]
    for (n_classes, side), runs in found.items():
        pixels = side * side
        seconds = statistics.median(run["seconds"] for run in runs)
        peak = max(run["bytes"] for run in runs)
        lines.append(
            f"| {n_classes} | {side} | {seconds:.3f} | {runs[0]['sweeps']} | {1e9 * seconds / pixels:.0f} "
            f"| {peak / (4 * n_classes * pixels):.1f} |"
        )
    return "\n".join(lines)


# One kind of instruction each, on numbers that stay in the first-level cache.
@njit(nogil=True, error_model="numpy", fastmath=FAST)
def multiply_add(x, y, repeats):
    for _ in range(repeats):
        for i in range(x.size):
            # eight to a load and a store
            a, b = y[i], x[i]
            a, b = a * b + b, b * a + a
            a, b = a * b + b, b * a + a
            a, b = a * b + b, b * a + a
            a, b = a * b + b, b * a + a
            y[i] = a + b


@njit(nogil=True, error_model="numpy", fastmath=FAST)
def divide(x, y, repeats):
    for _ in range(repeats):
        for i in range(x.size):
            y[i] = x[i] / y[i]


@njit(nogil=True, error_model="numpy", fastmath=FAST)
def root(x, y, repeats):
    for _ in range(repeats):
        for i in range(x.size):
            y[i] = np.sqrt(y[i] + x[i])


def nanoseconds(kernel: Callable[..., None], threads: int) -> float:
    """Return the time per number of a micro-kernel on all threads at once."""
    size, repeats = 2048, 20_000

    def work(_: int) -> None:
        kernel(np.ones(size, np.float32), np.ones(size, np.float32), repeats)

    work(0)
    with ThreadPoolExecutor(threads) as pool:
        seconds, _ = timed(lambda: list(pool.map(work, range(threads))), 3)
    return 1e9 * seconds / (size * repeats * threads)


def copy_rate(arrays: list[np.ndarray], threads: int) -> float:
    """Return bytes read and written per second when arrays of the sweep's size are copied."""
    targets = [np.zeros_like(a) for a in arrays]

    def work(part: tuple[np.ndarray, np.ndarray]) -> None:
        np.copyto(*part)

    with ThreadPoolExecutor(threads) as pool:
        seconds, _ = timed(lambda: list(pool.map(work, zip(targets, arrays, strict=True))), 7)
    return 2 * sum(a.nbytes for a in arrays) / seconds


def roofline() -> str:
    """The sweep of CD + CCE against the least its arithmetic and its traffic can take, all of them in turn."""
    threads = torch.get_num_threads()
    ready()
    states = {}
    for n_classes in (2, 5, 21):
        problem = photo_problem(n_classes, "classifier", tiles=2)
        states[n_classes] = NumbaSweep(problem, problem.constrain(problem.sigma.clone()))
    pixels = problem.seeds.numel()
    costs: dict[str, list[float]] = defaultdict(list)
    sweeps: dict[int, list[float]] = defaultdict(list)
    rates: dict[int, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for micro in (multiply_add, divide, root):
            costs[micro.__name__].append(nanoseconds(micro, threads) / (8 if micro is multiply_add else 1))
        for n_classes, state in states.items():
            state.sweep([0.0])
            sweeps[n_classes].append(timed(lambda s=state: s.sweep([0.0]), 9)[0])
            sample = [np.zeros((n_classes, *problem.seeds.shape[1:]), np.float32) for _ in range(4)]
            # a copy, too, reads what it writes over
            rates[n_classes].append(1.5 * copy_rate(sample, threads))
    cost = {name: statistics.median(found) for name, found in costs.items()}
    lines = [
        f"Medians of {ROUNDS} rounds. {threads} threads; per number: "
        + ", ".join(f"{name} {value:.3f} ns" for name, value in cost.items())
        + ".\n",
        "| K | sweep: ms | arithmetic: ms | traffic: ms | larger over sweep | sum over sweep |",
        "|---|---|---|---|---|---|",
    ]
    for n_classes in states:
        seconds = statistics.median(sweeps[n_classes])
        # per pixel, counted in the kernel's source: two edges, four pulls, 1 - |y|^2, y . sigma; three logarithms;
        # Newton's method, which takes one step for nearly all pixels
        adds = n_classes * (2 + 4 + 2 + 1) + 3 * 20 + n_classes * (8 + 16)
        divisions = 2 + 2 + 2 + n_classes + 2
        arithmetic = (
            1e-9
            * pixels
            * (adds * cost["multiply_add"] + divisions * cost["divide"] + n_classes * cost["root"])
        )
        # read: point, labels, sigma; written, which reads them first: labels, point; two maps of edges, one of bytes
        moved = pixels * (4 * n_classes * (3 + 2 * 2) + 4 * 2 + 1)
        traffic = moved / statistics.median(rates[n_classes])
        lines.append(
            f"| {n_classes} | {1e3 * seconds:.1f} | {1e3 * arithmetic:.1f} | {1e3 * traffic:.1f} "
            f"| {100 * max(arithmetic, traffic) / seconds:.0f} % "
            f"| {100 * (arithmetic + traffic) / seconds:.0f} % |"
        )
    return "\n".join(lines)


TABLES = {"Size and memory": sizes, "One sweep against its roofline (1024 x 1024)": roofline}


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(solved(int(sys.argv[1]), int(sys.argv[2]))))
        return
    print(header("torch", "numba", "numpy"))
    for title, table in TABLES.items():
        print(f"\n### {title}\n\n{table()}", flush=True)


if __name__ == "__main__":
    main()
