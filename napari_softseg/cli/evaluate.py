"""``napari-softseg evaluate``: a trained network against masks."""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
from typing import TYPE_CHECKING, Any

from napari_softseg.cli.config_file import add_config_flag
from napari_softseg.cli.running import add_progress_flag, counting_bar, interrupt_sets
from napari_softseg.errors import InputError

if TYPE_CHECKING:
    from napari_softseg.training.evaluate import Evaluation

DESCRIPTION = """Predict the images of a folder and compare them with its masks.

Every image at its own size, one by one, at one scale; all pixels of all images in one
confusion matrix. Pixels without truth are left out. Classes of model and folder
must be the same by value and name."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "evaluate",
        help="compare a trained network with masks",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="folder of a training run, or a model file (.safetensors)"
    )
    parser.add_argument("folder", metavar="FOLDER", help="annotated folder with masks")
    parser.add_argument(
        "--unlabelled",
        metavar="N",
        type=int,
        help="value without a stroke in FOLDER's scribbles, from which its class values are counted\n"
        "(default: what the folder says)",
    )
    parser.add_argument(
        "--ignore", metavar="N", type=int, default=255, help="value that masks leave out (default: 255)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--tile", metavar="N", type=int, help="side of the tiles of large images")
    parser.add_argument(
        "--strict", action="store_true", help="refuse damaged images instead of skipping them"
    )
    add_config_flag(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_progress_flag(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, predict, compare; see `napari_softseg.cli.main` for errors and exit codes."""
    from napari_softseg.models import load_model
    from napari_softseg.solver.device import resolve_device
    from napari_softseg.training.data import open_annotated
    from napari_softseg.training.evaluate import iter_evaluate
    from napari_softseg.training.predict import TILE

    resolve_device(arguments.device)
    loaded = load_model(arguments.model)
    folder = open_annotated(
        arguments.folder,
        unlabelled=arguments.unlabelled,
        ignore=arguments.ignore,
        strict=arguments.strict,
        need="masks",
    )
    stop = threading.Event()
    tile = TILE if arguments.tile is None else arguments.tile
    steps = iter_evaluate(loaded.model, folder, device=arguments.device, tile=tile, stop=stop)
    with interrupt_sets(stop), counting_bar(arguments.progress, "image") as show:
        while True:
            try:
                show(*next(steps))
            except StopIteration as end:
                result: Evaluation = end.value
                break
    if stop.is_set() and result.images < len(folder):
        raise KeyboardInterrupt(f"{result.images} of {len(folder)} images were compared, which says nothing.")
    if not result.confusion.matrix.any():
        raise InputError(
            f"Found no pixel with a class in the masks of {arguments.folder}: all hold {arguments.ignore}, "
            "which --ignore leaves out."
        )
    if arguments.json:
        about = {"model": arguments.model, "folder": arguments.folder}
        skipped = [{"name": name, "why": why} for name, why in folder.skipped]
        print(json.dumps({**about, **result.report(), "skipped": skipped}, allow_nan=False))
        return 0
    print(_table(result))
    for name, why in folder.skipped:
        print(f"skipped {name}: {why}", file=sys.stderr)
    return 0


def _table(result: Evaluation) -> str:
    """Return a line per class and one for all."""
    confusion, names = result.confusion, result.class_names
    pixels = confusion.matrix.sum()
    width = max(5, *map(len, names))
    lines = [f"{'class':<{width}}     IoU  accuracy  share of pixels  most often taken for"]
    for k, name in enumerate(names):
        row = confusion.matrix[k].copy()
        count, row[k] = row.sum(), 0
        taken = f"{names[row.argmax()]} ({row.max() / count:.0%})" if row.any() else ""
        lines.append(
            f"{name:<{width}}  {_share(confusion.iou[k])}  {_share(confusion.class_accuracy[k]):>8}  "
            f"{count / max(pixels, 1):>15.2%}  {taken}".rstrip()
        )
    return "\n".join(
        [
            *lines,
            f"{'mean':<{width}}  {_share(confusion.miou)}",
            f"pixel accuracy {_share(confusion.pixel_accuracy).strip()}; {result.images} images, "
            f"{pixels} pixels, {result.seconds:.1f} s",
        ]
    )


def _share(value: float) -> str:
    return "     -" if math.isnan(value) else f"{value:.4f}"
