"""``napari-softseg solve``: one image and its scribbles to soft pseudo-labels."""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.cli.block_run import add_block_flags, run_blocks, wants_blocks
from napari_softseg.cli.class_names import named_classes
from napari_softseg.cli.config_file import add_config_flag
from napari_softseg.cli.option_flags import add_option_flags, chosen_options, is_unary_name
from napari_softseg.cli.result_files import ResultFiles, write_results
from napari_softseg.cli.running import add_progress_flag, interrupt_sets, progress_bar

if TYPE_CHECKING:
    from napari_softseg.solver.solution import Solution

DESCRIPTION = """Solve soft pseudo-labels for one image from scribbles.

Writes OUT_labels.png (most likely class, the scribbles' own values), OUT_soft.tif
(float32 probabilities, a page per class, names and values in its metadata) and
OUT_overlay.png. All three are written, or none.

Scribbles that are a stack of planes make the image a volume: then OUT_labels.tif
and OUT_soft.tif are written, with a page per plane."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "solve",
        help="solve soft pseudo-labels for one image from scribbles",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "image",
        metavar="IMAGE",
        help="PNG, JPEG, WebP, BMP, TIFF, .npy, zarr or OME-Zarr, any dtype and channels",
    )
    parser.add_argument(
        "scribbles", metavar="SCRIBBLES", help="class value per pixel: palette or grey PNG, TIFF, .npy, zarr"
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="start of the output files' names"
    )
    parser.add_argument("--mask", metavar="PATH", help="non-zero on the pixels to use; others take no part")
    parser.add_argument(
        "--class-names",
        metavar="NAMES",
        help="a,b,... in ascending order of the class values, or VALUE=NAME,...,\n"
        "or a text file with one of either per line",
    )
    add_config_flag(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a summary")
    add_progress_flag(parser)
    add_option_flags(parser)
    add_block_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read, solve, write; see `napari_softseg.cli.main` for errors and exit codes."""
    if wants_blocks(arguments):
        return run_blocks(arguments)

    from napari_softseg.files import read_image, read_scribbles, read_unary

    options = chosen_options(arguments)
    from_file = not is_unary_name(options["unary"])
    inputs = [arguments.image, arguments.scribbles, arguments.mask, options["unary"] if from_file else None]
    scribbles = read_scribbles(arguments.scribbles)
    volume = scribbles.ndim == 3
    files = ResultFiles.of(arguments.output, volume=volume)
    files.check([Path(path) for path in inputs if path is not None])

    image = read_image(arguments.image, volume=volume)
    mask = None if arguments.mask is None else read_scribbles(arguments.mask) != 0
    unary = read_unary(options["unary"]) if from_file else options["unary"]

    from napari_softseg import iter_solve
    from napari_softseg.solver.solution import drain

    steps = iter_solve(
        image, scribbles, mask=mask, stop=(stop := threading.Event()), **{**options, "unary": unary}
    )
    with interrupt_sets(stop), progress_bar(arguments.progress, "sweep") as show:
        show(next(steps))  # checks all input
        drawn = scribbles != options["unlabelled"]
        values = sorted({int(value) for value in scribbles[drawn if mask is None else drawn & mask]})
        names = named_classes(values, arguments.class_names)
        solution = drain(steps, show)
        write_results(files, image, solution, names, options, stop)

    if arguments.json:
        print(json.dumps(_report(solution, names, options, files), allow_nan=False))
    else:
        print(_summary(arguments.image, solution, names, files))
    return 0


def _report(
    solution: Solution, names: dict[int, str], options: dict[str, Any], files: ResultFiles
) -> dict[str, Any]:
    labels = solution.labels
    return {
        "status": solution.status.name.lower(),
        "status_text": solution.status.value,
        "energy": solution.energy,
        "energy_unary": solution.terms.unary,
        "energy_pairwise": solution.terms.pairwise,
        "sweeps": solution.sweeps,
        "seconds": solution.seconds,
        "device": solution.device,
        **({"depth": labels.shape[0]} if labels.ndim == 3 else {}),
        "height": labels.shape[-2],
        "width": labels.shape[-1],
        "classes": [
            {"value": value, "name": names[value], "share": float((labels == value).mean())}
            for value in solution.classes
        ],
        "options": options,
        "files": {name: str(path) for name, path in files.named.items()},
    }


def _summary(image: str, solution: Solution, names: dict[int, str], files: ResultFiles) -> str:
    size = " x ".join(str(n) for n in reversed(solution.labels.shape))
    terms = solution.terms
    return (
        f"{image}: {size} pixels, classes: {', '.join(names.values())}\n"
        f"{solution.sweeps} sweeps in {solution.seconds:.2f} s on {solution.device}: {solution.status.value}\n"
        f"energy {terms.total:.6g} = unary {terms.unary:.6g} + pairwise {terms.pairwise:.6g}\n"
        f"wrote {', '.join(map(str, files.named.values()))}"
    )
