"""How soon the default solver is where others get to. ``python benchmarks/speed.py``.

All figures of a table come from one run; medians of several.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import maxflow
import numpy as np
import torch
from cases import papers_solver, photo_problem, seconds_to_energy, strokes, timed
from common import header
from skimage import data
from skimage.segmentation import random_walker

from napari_softseg import solve
from napari_softseg.solver import IncrementalSolver, Problem, drain, iter_majorize_minimize
from napari_softseg.solver.discrete import discrete_energies, solve_discrete
from napari_softseg.solver.neighborhood import edge_ends

REPEATS = 7
ROUNDS = 5


def against_the_paper() -> str:
    lines = [
        "| K | unary | paper, 200 steps: s | its energy | ours to that energy: ms | times sooner "
        "| ours to its end: ms | energy there |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n_classes in (2, 5, 21):
        for unary in ("classifier", "histograms"):
            problem = photo_problem(n_classes, unary)
            paper, labels = timed(lambda p=problem: papers_solver(p), 2)
            target = problem.energy_terms(labels).total
            seconds_to_energy(problem, target)
            there = float(np.median([seconds_to_energy(problem, target) for _ in range(REPEATS)]))
            end, minimum = timed(lambda p=problem: drain(iter_majorize_minimize(p)), REPEATS)
            lines.append(
                f"| {n_classes} | {unary} | {paper:.2f} | {target:.0f} | {1000 * there:.0f} | {paper / there:.0f} "
                f"| {1000 * end:.0f} | {minimum.terms.total:.0f} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def alpha_expansion(problem: Problem, cycles: int = 5) -> torch.Tensor:
    """Return the labels (H, W) of alpha-expansion on PyMaxflow's cuts, from the unary's best labels."""
    height, width = problem.seeds.shape[-2:]
    cost = -problem.eta * problem.sigma[0].double().log().numpy()
    seeds = problem.seeds[0].numpy()
    big = 1e9
    for k in range(problem.n_classes):
        cost[k][(seeds >= 0) & (seeds != k)] = big
    cost[:, seeds >= 0][cost[:, seeds >= 0] < big] = 0
    pixels = np.arange(height * width).reshape(height, width)
    pairs = []
    for offset, weights in problem.edges.items():
        starts, ends = edge_ends(offset, height, width)
        weight = problem.lambda_ * weights[0].double().numpy()[starts].ravel()
        pairs.append((pixels[starts].ravel(), pixels[ends].ravel(), weight))
    i, j, w = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    keep = w > 1e-9
    i, j, w = i[keep], j[keep], w[keep]
    flat_cost = cost.reshape(problem.n_classes, -1)
    labels = flat_cost.argmin(0)
    where = np.arange(labels.size)

    def energy(x: np.ndarray) -> float:
        return float(flat_cost[x, where].sum() + w[x[i] != x[j]].sum())

    best = energy(labels)
    for _ in range(cycles):
        before = best
        for alpha in range(problem.n_classes):
            # 1 takes alpha: V(0,0) = w [li != lj], V(0,1) = w [li != alpha], V(1,0) = w [lj != alpha], V(1,1) = 0
            both, stay_i, stay_j = (
                w * (labels[i] != labels[j]),
                w * (labels[i] != alpha),
                w * (labels[j] != alpha),
            )
            keep_cost, take_cost = flat_cost[labels, where].copy(), flat_cost[alpha].copy()
            np.add.at(keep_cost, i, both)
            np.add.at(take_cost, i, stay_j)
            np.add.at(take_cost, j, -stay_j)
            graph = maxflow.GraphFloat(labels.size, i.size)
            nodes = graph.add_grid_nodes(labels.size)
            # min over x of sum keep (1-x) + take x + (stay_i + stay_j - both) (1-x_i) x_j
            graph.add_edges(i, j, stay_i + stay_j - both, np.zeros_like(w))
            low = np.minimum(keep_cost, take_cost)
            graph.add_grid_tedges(nodes, take_cost - low, keep_cost - low)
            graph.maxflow()
            taken = np.where(graph.get_grid_segments(nodes), alpha, labels)
            if energy(taken) < best - 1e-9:
                labels, best = taken, energy(taken)
        if best >= before - 1e-6 * abs(before):
            break
    return torch.from_numpy(labels.reshape(height, width))


def against_peers() -> str:
    image, seeds = data.astronaut(), strokes(5, 512)
    scribbles = np.where(seeds < 0, 255, seeds).astype(np.uint8)
    lines = ["| 512 x 512, K = 5 | ms | times sooner than random_walker |", "|---|---|---|"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        walker, _ = timed(lambda: random_walker(image, seeds + 1, mode="cg_mg", channel_axis=-1), 3)
    solution = solve(image, scribbles, unlabelled=255, device="cpu")
    alone, _ = timed(
        lambda: solve(image, scribbles, unary=solution.unary, unlabelled=255, device="cpu"), REPEATS
    )
    # an image nobody has seen: the classifier keeps the features of its last image
    fresh = [np.roll(image, n, axis=1) for n in range(1, REPEATS + 1)]
    seconds = []
    for one in fresh:
        took, _ = timed(lambda one=one: solve(one, scribbles, unlabelled=255, device="cpu"))
        seconds.append(took)
    complete = float(np.median(seconds))
    again, _ = timed(lambda: solve(image, scribbles, unlabelled=255, device="cpu"), REPEATS)
    for name, took in (
        ("scikit-image random_walker, cg_mg", walker),
        ("ours, unary given: the solve alone", alone),
        ("ours, with its classifier", complete),
        ("ours, with its classifier, next stroke on the same image", again),
    ):
        lines.append(f"| {name} | {1000 * took:.0f} | {walker / took:.1f} |")
    return "\n".join(lines)


def against_cuts() -> str:
    """One thread on both sides, processor time, the least of several runs in turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = [
        "| K | unary | alpha-expansion: s | its discrete energy | ours | ms | discrete energy | above "
        "| times sooner |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for n_classes, unary in ((2, "histograms"), (5, "classifier"), (5, "histograms"), (21, "classifier")):
        problem = photo_problem(n_classes, unary)
        runs = {
            "alpha-expansion": lambda p=problem: alpha_expansion(p),
            "hard labels alone": lambda p=problem: solve_discrete(p)[0],
            "hard labels, twice": lambda p=problem: solve_discrete(p, solve_discrete(p))[0],
            "soft labels, rounded, then hard labels": lambda p=problem: solve_discrete(p, rounded(p))[0],
            "soft labels, rounded": lambda p=problem: rounded(p)[0],
        }
        for relaxation, cross_entropy in (("bl", "ce"), ("cce", "cce")):
            other = replace(problem, relaxation=relaxation, cross_entropy=cross_entropy)
            runs[f"the same with {relaxation}, {cross_entropy}"] = lambda p=other: rounded(p)[0]
        solve_discrete(problem, rounded(problem))  # compiles
        seconds, labels = dict.fromkeys(runs, float("inf")), {}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                began = time.process_time()
                labels[name] = run()
                seconds[name] = min(seconds[name], time.process_time() - began)
        energies = {
            name: float(discrete_energies(problem, found[None]).sum()) for name, found in labels.items()
        }
        cut, discrete = seconds.pop("alpha-expansion"), energies["alpha-expansion"]
        for name, took in seconds.items():
            lines.append(
                f"| {n_classes} | {unary} | {cut:.2f} | {discrete:.0f} | {name} | {1000 * took:.0f} "
                f"| {energies[name]:.0f} | {100 * (energies[name] / discrete - 1):+.2f} % | {cut / took:.1f} |"
            )
            print(lines[-1], flush=True)
    torch.set_num_threads(threads)
    return "\n".join(lines)


def rounded(problem: Problem) -> torch.Tensor:
    """Return the best classes (B, H, W) of the soft labels."""
    return drain(iter_majorize_minimize(problem)).labels.argmax(1)


def next_stroke() -> str:
    """One short stroke more, K = 4, 1024 x 1024: what a correction costs after the first solve."""
    common = photo_problem(4, "classifier", tiles=2)
    rng = np.random.default_rng(0)
    cold, warm, mass, labels = [], [], [], []
    memory = IncrementalSolver()
    drain(memory.iter_solve(common))
    seeds = common.seeds
    for _ in range(12):
        seeds = seeds.clone()
        row, column = rng.integers(20, 960, 2)
        seeds[0, row : row + 6, column : column + 40] = int(rng.integers(4))
        problem = Problem(seeds=seeds, edges=common.edges, n_classes=4, sigma=common.sigma)
        began = time.perf_counter()
        ours = drain(memory.iter_solve(problem))
        warm.append(time.perf_counter() - began)
        took, theirs = timed(lambda p=problem: drain(iter_majorize_minimize(p)), 2)
        cold.append(took)
        mass.append(float((ours.labels - theirs.labels).abs().sum(1).mean() / 2))
        labels.append(float((ours.labels.argmax(1) != theirs.labels.argmax(1)).float().mean()))
    ratios = np.array(cold) / np.array(warm)
    return "\n".join(
        [
            "| 12 strokes, 1024 x 1024, K = 4 | median | worst |",
            "|---|---|---|",
            f"| all solved: ms | {1000 * np.median(cold):.0f} | {1000 * max(cold):.0f} |",
            f"| only what changes: ms | {1000 * np.median(warm):.0f} | {1000 * max(warm):.0f} |",
            f"| times sooner | {np.median(ratios):.1f} | {ratios.min():.1f} |",
            f"| mean label mass between both | {np.median(mass):.5f} | {max(mass):.5f} |",
            f"| pixels of another label | {100 * np.median(labels):.3f} % | {100 * max(labels):.3f} % |",
        ]
    )


TABLES = {
    "Against the paper's solver": against_the_paper,
    "Against random_walker": against_peers,
    "Against alpha-expansion": against_cuts,
    "One stroke more": next_stroke,
}


def main() -> None:
    print(header("torch", "numba", "numpy", "scikit-image", "PyMaxflow"))
    for title, table in TABLES.items():
        print(f"\n### {title}\n\n{table()}", flush=True)


if __name__ == "__main__":
    main()
