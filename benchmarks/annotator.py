"""A simulated annotator: IoU against strokes and seconds, ours next to two peers, in one run.

It draws one stroke for every class, looks at the labels that a method makes of them, and adds in every round
one stroke for every class that is wrong somewhere: in its largest region with another label. Every method gets
the strokes that its own mistakes ask for. No chance is involved. Seconds are those of the processor, summed
over its cores: they hardly depend on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from common import ROOT, header
from gallery import IGNORE, Case, forest, forest_features, mean_iou, ours, walker
from scipy.ndimage import binary_opening, distance_transform_edt, label
from skimage.draw import line
from skimage.graph import MCP_Geometric
from skimage.io import imread

from napari_softseg import solve

mpl.use("Agg")
from matplotlib import pyplot as plt

Array = npt.NDArray[Any]
Labeller = Callable[[Case], Array]

WIDTH = 3
"""Of a stroke, in pixels."""
LONGEST = 1.0
"""Of a stroke, in the image's shorter side: people's strokes on the gallery's bear and aeroplane."""
ROUNDS = 10
"""After the first strokes."""
QUICK = (
    "bsds_100007",
    "chest_xray_1",
    "em_isbi2012_00",
    "monuseg_TCGA-G9",
    "potsdam_2_10",
    "voc_2007_000332",
)
"""Beginnings of the names of six images of six kinds."""


PAGE = """# How many strokes it takes

Written by `OMP_NUM_THREADS=1 python benchmarks/annotator.py --write`. A simulated annotator draws one stroke for
every class along the middle of its largest region. Then, round by round, it looks at the labels and draws one
stroke for every class that is wrong somewhere, along the middle of its largest region with another label: 3
pixels wide, at most as long as the image's shorter side (as people's are on the gallery's bear and aeroplane),
and only where the pen fits. Every method gets the strokes its own mistakes ask for, so methods that are done
earlier get fewer. Nothing is left to chance. The mean IoU of an image is over the classes of its truth.

Seconds are the processor's, summed over its cores.
"""

NETWORK_PAGE = """# How many strokes it takes with a network

Written by `OMP_NUM_THREADS=1 python benchmarks/annotator.py --model RUN --data FOLDER --write`: the annotator of
[annotator.md](annotator.md) on images that a network was not trained on. With the network there are labels before
the first stroke, so its round 0 has none, and every later round corrects; what it says is mixed with what the
strokes say, as in the viewer.
"""


def largest_region(wrong: Array) -> Array | None:
    """Return the largest connected part, (H, W) bool, in which the pen has room; None where it has nowhere."""
    parts, count = label(binary_opening(wrong, np.ones((WIDTH, WIDTH))))
    if count == 0:
        return None
    region: Array = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return region


def stroke_along(region: Array) -> Array:
    """Return (H, W) bool: a stroke along the middle of a region, from one far end to the other.

    Where it is longer than a person's, the part around the region's widest place.
    """
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]  # the image's border is one as well
    widest = depth.max()
    step = max(1, int(widest / 6))  # wide regions are looked at coarsely
    coarse = depth[step // 2 :: step, step // 2 :: step]
    inside = coarse >= min(max(WIDTH / 2, widest / 3), coarse.max())
    cost = np.where(inside, widest / np.maximum(coarse, 1e-6), -1)  # the middle is cheap, outside is barred
    middle = np.unravel_index(coarse.argmax(), coarse.shape)
    one_end = _farthest(np.where(inside, 1.0, -1), middle)
    other_end = _farthest(np.where(inside, 1.0, -1), one_end)
    path, _ = _searched(cost, one_end)
    points = np.array(path.traceback(other_end))
    points = points[_person_sized(points, coarse, LONGEST * min(region.shape) / step)] * step + step // 2
    stroke = np.zeros(region.shape, dtype=bool)
    pairs = pairwise(points) if len(points) > 1 else [(points[0], points[0])]
    for start, end in pairs:
        rows, columns = line(*start, *end)
        for down in range(-(WIDTH // 2), WIDTH // 2 + 1):
            for across in range(-(WIDTH // 2), WIDTH // 2 + 1):
                at = (
                    np.clip(rows + down, 0, region.shape[0] - 1),
                    np.clip(columns + across, 0, region.shape[1] - 1),
                )
                stroke[at] = True
    painted: Array = stroke & region
    return painted


def _searched(cost: Array, start: Any) -> tuple[MCP_Geometric, Array]:
    paths = MCP_Geometric(cost)
    return paths, paths.find_costs([tuple(start)])[0]


def _farthest(cost: Array, start: Any) -> Any:
    away = _searched(cost, start)[1]
    return np.unravel_index(np.where(np.isfinite(away), away, -1).argmax(), away.shape)


def _person_sized(points: Array, depth: Array, longest: float) -> slice:
    """Return which of the points to keep: at most that length, around the deepest."""
    steps = np.hypot(*np.diff(points, axis=0).T) if len(points) > 1 else np.zeros(0)
    along = np.concatenate([[0.0], steps.cumsum()])
    if along[-1] <= longest:
        return slice(None)
    start = along[depth[tuple(points.T)].argmax()] - longest / 2
    start = min(max(start, 0.0), along[-1] - longest)
    return slice(int(np.searchsorted(along, start)), int(np.searchsorted(along, start + longest, "right")))


def corrected(case: Case, labels: Array | None) -> tuple[Case, int]:
    """Return the case with a stroke more for every class that is wrong somewhere, and how many strokes those are."""
    scribbles, count = case.scribbles.copy(), 0
    for value in np.unique(case.truth[case.truth != IGNORE]):
        real = case.truth == value
        region = largest_region(real if labels is None else real & (labels != value))
        if region is None and labels is None:
            region = real
        if region is not None:
            scribbles[stroke_along(region)] = value
            count += 1
    return replace(case, scribbles=scribbles), count


@dataclass(frozen=True, slots=True)
class Step:
    """What a round came to."""

    strokes: int
    """Since the beginning."""
    iou: float
    seconds: float
    """The method's, since the beginning."""


def annotate(case: Case, method: Labeller, rounds: int, *, blind: bool = True) -> list[Step]:
    """Return the first strokes' step and that of every round; the last one repeats when nothing is left to draw.

    Who is not `blind` sees labels before the first stroke, and draws none where they are right.
    """
    now, strokes = replace(case, scribbles=np.full_like(case.scribbles, IGNORE)), 0
    if blind:
        now, strokes = corrected(now, None)
    steps: list[Step] = []
    seconds = 0.0
    while len(steps) <= rounds:
        began = time.process_time()
        labels = method(now)
        seconds += time.process_time() - began
        steps.append(Step(strokes, mean_iou(labels, case.truth), seconds))
        now, more = corrected(now, labels)
        if not more:
            steps += [steps[-1]] * (rounds + 1 - len(steps))
        strokes += more
    return steps


def forest_of(case: Case) -> Labeller:
    """Return the random forest with its features at hand: they depend on no stroke."""
    features = forest_features(case.image)
    return lambda now: forest(now, features)


def network_of(path: Path) -> Callable[[Case], Labeller]:
    """Return what has a trained network for its first guess; its class values must be the truth's."""
    from napari_softseg.training.first_guess import NetworkUnary, TrainedNetwork

    network = TrainedNetwork(path)
    values = network.class_values
    unary = NetworkUnary(network, values, tuple(range(len(values))))

    def labels(case: Case) -> Array:
        guess = unary.guess(case.image, case.scribbles, unlabelled=IGNORE, device="cpu")
        return solve(case.image, case.scribbles, unary=guess, classes=values, unlabelled=IGNORE).labels

    return lambda _: labels


PEER = "random_walker (cg_mg)"
METHODS: dict[str, Callable[[Case], Labeller]] = {
    "ours": lambda _: ours("classifier"),
    "ours, unary none": lambda _: ours("none"),
    PEER: lambda _: walker,
    "random forest": forest_of,
}
PRETRAINED = "ours, unary pretrained"
NETWORK = "ours, with the network"
"""What makes a labeller for an image."""

Runs = dict[str, list[list[Step]]]
"""Of every method, of every image, the steps."""


def strokes_to(steps: list[Step], target: float) -> int | None:
    """Return the strokes at the first step of at least that IoU, None where there is none."""
    return next((step.strokes for step in steps if step.iou >= target), None)


def mean_curve(runs: list[list[Step]]) -> tuple[Array, Array, Array]:
    """Return strokes, IoU and seconds of every round, each the mean over the images."""
    table = np.array([[(s.strokes, s.iou, s.seconds) for s in steps] for steps in runs])
    return tuple(table.mean(axis=0).T)


def strokes_on_mean_curve(runs: list[list[Step]], target: float) -> float | None:
    """Return the mean strokes per image at which the mean IoU reaches the target, None where it does not."""
    strokes, iou, _ = mean_curve(runs)
    reached = np.flatnonzero(iou >= target)
    if reached.size == 0:
        return None
    i = int(reached[0])
    if i == 0:
        return float(strokes[0])
    share = (target - iou[i - 1]) / (iou[i] - iou[i - 1])
    return float(strokes[i - 1] + share * (strokes[i] - strokes[i - 1]))


def report(cases: list[Case], runs: Runs, rounds: int) -> str:
    """Return the tables."""
    shown = [r for r in (0, 1, 2, 3, 5, 10) if r <= rounds]
    rows = [
        "| mean IoU after rounds | "
        + " | ".join(map(str, shown))
        + " | strokes after all | s a round, median |",
        "|---" * (len(shown) + 3) + "|",
    ]
    for name, found in runs.items():
        strokes, iou, _ = mean_curve(found)
        pairs = [pair for steps in found for pair in pairwise(steps)]
        seconds = median(later.seconds - earlier.seconds for earlier, later in pairs if later != earlier)
        ious = " | ".join(f"{iou[r]:.3f}" for r in shown)
        rows.append(f"| {name} | {ious} | {strokes[-1]:.1f} | {seconds:.2f} |")
    if PEER in runs:
        rows += ["", *_against_peer(runs)]
    rows += [
        "",
        f"| IoU after {min(5, rounds)} rounds | " + " | ".join(runs) + " |",
        "|---" * (len(runs) + 1) + "|",
    ]
    for i, case in enumerate(cases):
        after = [f"{found[i][min(5, rounds)].iou:.3f}" for found in runs.values()]
        rows.append(f"| {case.name} | " + " | ".join(after) + " |")
    return "\n".join(rows)


def _against_peer(runs: Runs) -> list[str]:
    """Return how many strokes every method takes to 90 % of the peer's last IoU, and of its own."""
    target = 0.9 * mean_curve(runs[PEER])[1][-1]
    peers = strokes_on_mean_curve(runs[PEER], target)
    each_peers = mean(_counted(steps, 0.9 * steps[-1].iou) for steps in runs[PEER])
    rows = [
        f"| strokes per image to 90 % of | {PEER}'s last mean IoU, {target:.3f} | share of its strokes "
        "| its last IoU, image by image | share | images that never get there | the method's own last mean IoU |",
        "|---" * 7 + "|",
    ]
    for name, found in runs.items():
        on_mean = strokes_on_mean_curve(found, target)
        shared = "never | -" if on_mean is None else f"{on_mean:.1f} | {on_mean / peers:.2f}"
        goals = [0.9 * steps[-1].iou for steps in runs[PEER]]
        each = mean(_counted(steps, goal) for steps, goal in zip(found, goals, strict=True))
        missed = sum(strokes_to(steps, goal) is None for steps, goal in zip(found, goals, strict=True))
        last = 0.9 * mean_curve(found)[1][-1]
        own = f"{strokes_on_mean_curve(found, last):.1f} (to {last:.3f})"
        rows.append(f"| {name} | {shared} | {each:.1f} | {each / each_peers:.2f} | {missed} | {own} |")
    return rows


def _counted(steps: list[Step], target: float) -> int:
    """Return the strokes to the target; all that were drawn where it is never reached."""
    needed = strokes_to(steps, target)
    return steps[-1].strokes if needed is None else needed


def draw(runs: Runs, path: Path) -> None:
    """Write the plot: mean IoU against mean strokes, and against mean seconds."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for name, found in runs.items():
        strokes, iou, seconds = mean_curve(found)
        panels[0].plot(strokes, iou, marker=".", label=name)
        panels[1].plot(seconds, iou, marker=".", label=name)
    panels[0].set(xlabel="strokes per image", ylabel="mean IoU")
    panels[1].set(xlabel="seconds of computing per image", xscale="log")
    panels[0].legend(fontsize=8)
    for panel in panels:
        panel.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def truths(folder: Path) -> list[Case]:
    """Return all images of a folder with ``images/`` and ``masks/``, without strokes."""
    cases = []
    for path in sorted((folder / "images").iterdir()):
        truth = imread(folder / "masks" / f"{path.stem}.png")
        cases.append(Case(path.stem, imread(path), truth, np.full_like(truth, IGNORE)))
    return cases


def kept_runs(path: Path | None) -> dict[str, dict[str, list[Step]]]:
    """Return the runs in a file, by method and image; none where there is no file."""
    if path is None or not path.exists():
        return {}
    found = json.loads(path.read_text())
    return {m: {image: [Step(*s) for s in steps] for image, steps in of.items()} for m, of in found.items()}


def main() -> int:
    """Run all methods on all images, print the tables, write the page and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "gallery")
    parser.add_argument("--quick", action="store_true", help="six images of the gallery only")
    parser.add_argument("--every", type=int, default=1, help="only every n-th image")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--model", type=Path, help="also with this network for the first guess")
    parser.add_argument("--weights", help="also with unary pretrained and these weights: imagenet or a file")
    parser.add_argument("--keep", type=Path, help="JSON file of runs: what it holds is not run again")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/annotator.md, or annotator_network.md, and its plot as well",
    )
    args = parser.parse_args()
    if not (args.data / "images").is_dir():
        print(f"No images at {args.data}: name their folder with --data.", file=sys.stderr)
        return 2
    cases = [case for case in truths(args.data) if not args.quick or case.name.startswith(QUICK)][
        :: args.every
    ]
    methods = {name: METHODS[name] for name in args.methods}
    if args.weights:
        methods[PRETRAINED] = lambda _: ours("pretrained", args.weights)
    if args.model:
        methods[NETWORK] = network_of(args.model)
    kept = kept_runs(args.keep)
    head = header("napari-softseg", "torch", "scikit-learn", "scikit-image", "numpy")
    head += (
        f"\n- {len(cases)} images of {args.data.name}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}"
    )
    runs: Runs = {}
    for name, method in methods.items():
        known = kept.setdefault(name, {})
        todo = [case for case in cases if len(known.get(case.name, ())) <= args.rounds]
        if todo:
            annotate(todo[0], method(todo[0]), 0)  # the first call pays for imports and compilation
        for case in todo:
            known[case.name] = annotate(case, method(case), args.rounds, blind=name != NETWORK)
            shown = (f"{step.strokes}:{step.iou:.3f}" for step in known[case.name])
            print(name, case.name, *shown, file=sys.stderr, flush=True)
            if args.keep:
                args.keep.write_text(
                    json.dumps({m: {i: [*map(astuple, s)] for i, s in o.items()} for m, o in kept.items()})
                )
        runs[name] = [known[case.name][: args.rounds + 1] for case in cases]
    text = f"{head}\n\n{report(cases, runs, args.rounds)}\n"
    print(text)
    if args.write:
        docs, stem = ROOT / "docs", "annotator_network" if args.model else "annotator"
        plot = f"![Mean IoU against strokes and seconds](images/{stem}.png)"
        (docs / f"{stem}.md").write_text(f"{NETWORK_PAGE if args.model else PAGE}\n{plot}\n\n{text}")
        draw(runs, docs / "images" / f"{stem}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
