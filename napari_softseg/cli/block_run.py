"""``napari-softseg solve`` on an image larger than memory: block by block into an OME-Zarr group."""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.cli.class_names import named_classes
from napari_softseg.cli.events import Events, add_events_flag
from napari_softseg.cli.option_flags import chosen_options, is_unary_name
from napari_softseg.cli.running import interrupt_sets, progress_bar
from napari_softseg.errors import InputError

if TYPE_CHECKING:
    from napari_softseg.blocks.api import BlockSolution
    from napari_softseg.solver.solution import SolveProgress

_DEFAULTS = {
    "block": None,
    "halo": None,
    "memory": None,
    "workers": None,
    "scheduler": None,
    "overwrite": False,
}


def add_block_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of block runs."""
    group = parser.add_argument_group(
        "images larger than memory",
        "A folder (a zarr array or OME-Zarr) is always solved by blocks, another file with --blocks.\n"
        "OUT.zarr, an OME-Zarr group, takes the place of the three files; the same command again goes on\n"
        "where it was interrupted.",
    )
    group.add_argument("--blocks", action="store_true", help="solve block by block")
    group.add_argument(
        "--block", type=int, metavar="N", help="side of a block (default: what --memory holds)"
    )
    group.add_argument(
        "--halo", type=int, metavar="N", help="pixels solved around a block and thrown away (default: 128)"
    )
    group.add_argument("--memory", metavar="SIZE", help="most memory, such as 2GB or 8GB (default: 4 GB)")
    group.add_argument(
        "--workers", type=int, metavar="N", help="blocks at a time (default: 1, which uses all cores)"
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="dask scheduler, tcp://host:port, whose workers solve the blocks",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="start over where OUT.zarr is the result of another run"
    )
    add_events_flag(group)


def wants_blocks(arguments: argparse.Namespace) -> bool:
    """Return whether to solve by blocks; InputError where flags for that are given without it."""
    if arguments.blocks or Path(arguments.image).is_dir() or Path(arguments.scribbles).is_dir():
        return True
    for name, default in {**_DEFAULTS, "events": None}.items():
        if getattr(arguments, name) != default:
            raise InputError(f"--{name} is for solving by blocks; add --blocks.")
    return False


def run_blocks(arguments: argparse.Namespace) -> int:
    """Solve by blocks; see `napari_softseg.cli.main` for errors and exit codes."""
    from napari_softseg.blocks import iter_solve_blocks, open_image, open_scribbles, open_unary
    from napari_softseg.blocks.store import check_output
    from napari_softseg.saving import naming
    from napari_softseg.solver.solution import Status, drain

    if arguments.json and arguments.events:
        raise InputError("With --events the last line is what --json prints; leave out one of them.")
    options = chosen_options(arguments)
    out = Path(arguments.output if arguments.output.endswith(".zarr") else f"{arguments.output}.zarr")
    check_output(out)
    if is_unary_name(options["unary"]):
        unary: Any = options["unary"]
    else:
        unary = open_unary(options["unary"])
    limits = {name: getattr(arguments, name) for name in _DEFAULTS if getattr(arguments, name) is not None}
    steps = iter_solve_blocks(
        open_image(arguments.image),
        open_scribbles(arguments.scribbles),
        out,
        mask=None if arguments.mask is None else open_scribbles(arguments.mask),
        class_names=lambda classes: named_classes(list(classes), arguments.class_names),
        stop=(stop := threading.Event()),
        **limits,
        **{**options, "unary": unary},
    )
    events = Events(arguments)
    with interrupt_sets(stop), progress_bar(arguments.progress, "block") as show:

        def show_or_end(progress: SolveProgress) -> None:
            show(progress)
            events.progress(progress)
            if stop.is_set() and progress.stage != "solve":  # that stage ends by itself
                raise KeyboardInterrupt("the same command goes on from there.")

        with naming(out):
            solution = drain(steps, show_or_end)
    events("end", **_report(solution, options))
    if solution.status is Status.STOPPED:
        raise KeyboardInterrupt(
            f"{solution.done} of {solution.blocks} blocks are in {out}; the same command goes on from there."
        )
    if arguments.json:
        print(json.dumps(_report(solution, options)))
    elif not events.wanted:
        print(_summary(arguments.image, solution))
    return 0


def _report(solution: BlockSolution, options: dict[str, Any]) -> dict[str, Any]:
    height, width = solution.size
    return {
        "status": solution.status.name.lower(),
        "status_text": solution.status.value,
        "seconds": solution.seconds,
        "height": height,
        "width": width,
        "classes": list(solution.classes),
        "blocks": solution.blocks,
        "solved_now": solution.solved,
        "block": solution.block,
        "halo": solution.halo,
        "options": options,
        "files": {"zarr": str(solution.path)},
    }


def _summary(image: str, solution: BlockSolution) -> str:
    height, width = solution.size
    found = f" ({solution.blocks - solution.solved} were there)" if solution.solved < solution.blocks else ""
    return (
        f"{image}: {width} x {height} pixels, {len(solution.classes)} classes\n"
        f"{solution.blocks} blocks of {solution.block} with a halo of {solution.halo}{found} "
        f"in {solution.seconds:.2f} s: {solution.status.value}\n"
        f"wrote {solution.path}"
    )
