"""What a preset makes of a few annotated images, option by option: mean IoU on images nobody annotated.

For every subset some images of a folder with strokes and masks are drawn at random and their strokes trained on.
Scored is the last network, with masks: on other images of the same folder, to choose options by, and with
``--val`` on a second folder, to report. ``python benchmarks/few_images.py camvid/train --val camvid/val
-o few``; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from common import header

from napari_softseg.models import load_model
from napari_softseg.solver import drain
from napari_softseg.training.data import AnnotatedFolder, open_annotated
from napari_softseg.training.evaluate import iter_evaluate
from napari_softseg.training.loop import iter_train
from napari_softseg.training.options import train_options
from napari_softseg.training.report.run_log import FINISHED, read_run
from napari_softseg.training.trainer import LAST

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "strokes alone": {"loss": "pce"},
    "lr 0.0025": {"lr": 0.0025},
    "class balance 10": {"class_balance": 10.0},
}

OTHERS = 16
"""Images of the annotated folder that are scored on, at least."""


def part_of(folder: Path, names: Collection[str], labels: str, into: Path) -> Path:
    """Copy some images and their labels, scribbles or masks, into a folder of their own."""
    for kind in ("images", labels):
        (into / kind).mkdir(parents=True, exist_ok=True)
        for file in (folder / kind).iterdir():
            if file.stem in names:
                shutil.copy(file, into / kind)
    classes = next(
        place / "classes.txt" for place in (folder, folder.parent) if (place / "classes.txt").exists()
    )
    shutil.copy(classes, into)
    return into


def subset(folder: Path, out: Path, images: int, number: int) -> tuple[Path, Path]:
    """Return a folder of random images with strokes, and one of others with masks."""
    names = sorted(path.stem for path in (folder / "scribbles").iterdir())
    few = set(np.random.default_rng(number).choice(names, images, replace=False))
    rest = [name for name in names if name not in few]
    step = max(1, len(rest) // OTHERS)
    others = rest[step // 2 :: step]
    return (
        part_of(folder, few, "scribbles", out / f"strokes_{images}_{number}"),
        part_of(folder, others, "masks", out / f"masks_{images}_{number}"),
    )


def trained(few: Path, run: Path, given: dict[str, Any]) -> Path:
    """Return the run, after training what is not done of it."""
    if not run.exists() or read_run(run).status != FINISHED:
        drain(iter_train([few], run, train_options(**given), resume=run.exists()))
    return run


def score(model: Path, masks: AnnotatedFolder) -> float:
    """Return mean IoU in %; it is kept beside the model."""
    kept = model.with_name(f"{model.stem}_{masks.path.parent.name}_{masks.path.name}.json")
    if not kept.exists():
        report = drain(iter_evaluate(load_model(model).model, masks)).report()
        kept.write_text(json.dumps(report))
    return 100 * float(json.loads(kept.read_bytes())["miou"])


def row(name: str, scores: list[tuple[float, ...]]) -> str:
    """Return a line of the table: every score over the subsets, mean first."""
    cells = []
    for values in zip(*scores, strict=True):
        each = " / ".join(f"{value:.1f}" for value in values)
        cells.append(f"**{statistics.mean(values):.1f}** ({each})")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    """Print a row per variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="annotated, with images/, scribbles/ and masks/")
    parser.add_argument("--val", type=Path, help="another one, with images/ and masks/")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for runs and scores")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--images", type=int, default=5, help="annotated ones")
    parser.add_argument("--subsets", type=int, default=3, help="as many times others, each with its own seed")
    parser.add_argument("--unlabelled", type=int, default=255)
    parser.add_argument("--only", default="", help="variants whose name contains this")
    arguments = parser.parse_args()
    print(header("torch", "torchvision", "numba"), flush=True)
    print(f"- {arguments.images} images, preset {arguments.preset}, mean IoU (%), mean over subsets (each)\n")
    print(f"| | other images |{' second folder |' * bool(arguments.val)}")
    print(f"|---|---|{'---|' * bool(arguments.val)}", flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, changes in VARIANTS.items():
        if arguments.only not in name:
            continue
        scores = []
        for number in range(arguments.subsets):
            few, others = subset(arguments.folder, arguments.output, arguments.images, number)
            given = {
                "preset": arguments.preset,
                "weights": arguments.weights,
                "unlabelled": arguments.unlabelled,
                "early_stop": None,  # the networks that are compared have had as many steps
                "seed": number,
                **changes,
            }
            run = arguments.output / f"{name.replace(' ', '_')}_{arguments.images}_{number}"
            trained(few, run, given)
            folders = [others, arguments.val] if arguments.val else [others]
            scores.append(tuple(score(run / LAST, open_annotated(part, need="masks")) for part in folders))
        print(row(name, scores), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
