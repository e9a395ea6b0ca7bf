"""``napari-softseg predict``: a trained network on images of any number and size."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.cli.config_file import add_config_flag
from napari_softseg.cli.events import Events, add_events_flag
from napari_softseg.cli.predict_inputs import check_apart, check_folder, found_inputs
from napari_softseg.cli.result_files import ResultFiles, write_arrays
from napari_softseg.cli.running import add_progress_flag, counting_bar, interrupt_sets, progress_bar
from napari_softseg.errors import InputError

if TYPE_CHECKING:
    from napari_softseg.blocks.source import Plane
    from napari_softseg.models import LoadedModel
    from napari_softseg.solver.solution import SolveProgress

WRITABLE = ("labels", "soft", "overlay")
MEMORY = "2 GB"

DESCRIPTION = """Predict the class of every pixel with a trained network.

Writes into the folder OUT, for every image, NAME_labels.png (most likely class, in the
values of the strokes it was trained on), NAME_soft.tif (float32 probabilities, a page
per class) and NAME_overlay.png. Images larger than memory become NAME.zarr, an
OME-Zarr group, tile by tile. Files of the same names are replaced.

Ctrl-C once stops after the image under way (after the tile, of a large one: the same
command goes on from there). Damaged images are skipped and listed at the end."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "predict",
        help="predict images with a trained network",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="folder of a training run, or a model file (.safetensors)"
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="image, zarr or OME-Zarr, or a folder of these (or with images/ in it)",
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="folder for the results")
    parser.add_argument(
        "--write",
        metavar="NAMES",
        default=",".join(WRITABLE),
        help="what to write, separated by commas (default: %(default)s)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--strict", action="store_true", help="refuse damaged images before anything is predicted"
    )
    add_config_flag(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object instead of a summary")
    add_events_flag(output)
    add_progress_flag(parser)
    group = parser.add_argument_group("large images")
    group.add_argument("--blocks", action="store_true", help="write NAME.zarr for small images, too")
    group.add_argument(
        "--memory",
        metavar="SIZE",
        default=MEMORY,
        help="most memory for the pixels of an image and its results; what takes more is\n"
        "predicted into NAME.zarr (default: %(default)s)",
    )
    group.add_argument(
        "--tile", metavar="N", type=int, help="side of the tiles, less where memory is short (default: 960)"
    )
    group.add_argument(
        "--halo", metavar="N", type=int, help="pixels around a tile that the network sees too (default: 448)"
    )
    group.add_argument(
        "--overwrite", action="store_true", help="start over where NAME.zarr is of another image or model"
    )
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for all images."""

    loaded: LoadedModel
    model: str
    folder: Path
    wanted: Sequence[str]
    device: str
    tiles: Mapping[str, Any]
    memory: int
    blocks: bool
    overwrite: bool
    progress: bool | None
    events: Events
    stop: threading.Event

    def large(self, path: Path, plane: Plane) -> bool:
        """Return whether an image goes to disk tile by tile."""
        # image, probabilities (twice while they are put together) and the pictures made from them
        per_pixel = 60 + 8 * len(self.loaded.config.class_values)
        return self.blocks or path.is_dir() or plane.size[0] * plane.size[1] * per_pixel > self.memory


def run(arguments: argparse.Namespace) -> int:
    """Load, predict, write; see `napari_softseg.cli.main` for errors and exit codes."""
    wanted = _wanted(arguments.write)
    folder = Path(arguments.output)
    inputs = found_inputs(arguments.inputs, folder)
    check_folder(folder)
    check_apart(inputs, folder)

    from napari_softseg.blocks.tiling import parsed_memory
    from napari_softseg.models import load_model
    from napari_softseg.solver.device import resolve_device
    from napari_softseg.training.predict import HALO, TILE, check_tiles

    began = time.perf_counter()
    tiles = {
        "tile": TILE if arguments.tile is None else arguments.tile,
        "halo": HALO if arguments.halo is None else arguments.halo,
    }
    check_tiles(**tiles)
    job = _Job(
        loaded=load_model(arguments.model),
        model=arguments.model,
        folder=folder,
        wanted=wanted,
        device=str(resolve_device(arguments.device)),
        tiles=tiles,
        memory=parsed_memory(arguments.memory),
        blocks=arguments.blocks,
        overwrite=arguments.overwrite,
        progress=arguments.progress,
        events=Events(arguments),
        stop=threading.Event(),
    )
    if arguments.strict:
        for path in inputs.values():
            try:
                _opened(job, path)
            except InputError as error:
                raise _naming(path, error) from None
    job.events("start", **_about(job), images=len(inputs))
    done: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    with interrupt_sets(job.stop), counting_bar(arguments.progress, "image") as show:
        for number, (name, path) in enumerate(inputs.items()):
            show(number, len(inputs))
            try:
                if job.stop.is_set():
                    raise KeyboardInterrupt
                done.append(_predict(job, name, path))
                job.events("image", **done[-1])
            except KeyboardInterrupt as interrupt:
                job.events("end", status="stopped", **_counts(done, skipped, began))
                where = f"{len(done)} of {len(inputs)} images are in {folder}."
                raise KeyboardInterrupt(str(interrupt) or where) from None
            except InputError as error:
                if arguments.strict:
                    raise _naming(path, error) from None
                skipped.append({"name": str(path), "why": str(_naming(path, error))})
                job.events("skipped", **skipped[-1])
    if not done:
        first = skipped[0]["why"]
        raise InputError(
            first if len(skipped) == 1 else f"None of {len(skipped)} images can be used: {first}"
        )
    job.events("end", status="finished", **_counts(done, skipped, began))
    if arguments.json:
        print(json.dumps(_report(job, done, skipped, time.perf_counter() - began), allow_nan=False))
    elif arguments.events is None:
        print(_summary(job, done, time.perf_counter() - began))
        for one in skipped:
            print(f"skipped {one['why']}", file=sys.stderr)
    return 0


def _wanted(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in WRITABLE:
            raise InputError(f"Unknown result {name!r} in --write; choose from: {', '.join(WRITABLE)}.")
    return [name for name in WRITABLE if name in names]


def _opened(job: _Job, path: Path) -> Plane:
    """Open an image, check it, and read it if it is going to be held in memory."""
    from napari_softseg.blocks.source import Plane, open_image
    from napari_softseg.solver.checks import checked_pixels
    from napari_softseg.training.predict import check_channels

    plane = open_image(path)
    check_channels(plane.shape, job.loaded.config)
    if job.large(path, plane):
        return plane
    everything = slice(None)
    pixels = checked_pixels(plane.read(everything, everything))
    return Plane(pixels, "yxc"[: pixels.ndim])


def _naming(path: Path, error: InputError) -> InputError:
    """Return an error that names the file it is about."""
    return error if str(path) in str(error) else InputError(f"{path}: {error}")


def _predict(job: _Job, name: str, path: Path) -> dict[str, Any]:
    """Predict and write one image; returns what was done."""
    from napari_softseg.saving import made_folder

    began = time.perf_counter()
    plane = _opened(job, path)
    with made_folder(job.folder):  # not before there is something to write
        files = _in_blocks(job, name, plane) if job.large(path, plane) else _whole(job, name, plane)
    return {
        "input": str(path),
        "height": plane.size[0],
        "width": plane.size[1],
        "seconds": time.perf_counter() - began,
        "files": {what: str(file) for what, file in files.items()},
    }


def _whole(job: _Job, name: str, plane: Plane) -> dict[str, Path]:
    import numpy as np

    from napari_softseg.saving import check_outputs
    from napari_softseg.training.predict import predict_image

    named = ResultFiles.of(str(job.folder / name)).named
    files = {what: named[what] for what in job.wanted}
    check_outputs(list(files.values()), [])
    config = job.loaded.config
    probabilities = predict_image(job.loaded.model, plane.array, device=job.device, **job.tiles)
    labels = np.asarray(config.class_values, dtype=np.uint8)[probabilities.argmax(axis=0)]
    classes = dict(zip(config.class_values, config.class_names, strict=True))
    write_arrays(files, plane.array, labels, probabilities, classes, {"model": job.model})
    return files


def _in_blocks(job: _Job, name: str, plane: Plane) -> dict[str, Path]:
    from napari_softseg.saving import naming
    from napari_softseg.solver.solution import Status, drain
    from napari_softseg.training.predict_blocks import iter_predict_blocks

    out = job.folder / f"{name}.zarr"
    steps = iter_predict_blocks(
        job.loaded.model,
        plane,
        out,
        device=job.device,
        memory=job.memory,
        overwrite=job.overwrite,
        stop=job.stop,
        **job.tiles,
    )
    with progress_bar(job.progress, "tile") as show:

        def show_and_tell(progress: SolveProgress) -> None:
            show(progress)
            job.events.progress(progress, input=name)

        with naming(out):
            solution = drain(steps, show_and_tell)
    if solution.status is Status.STOPPED:
        raise KeyboardInterrupt(
            f"{solution.done} of {solution.blocks} tiles are in {out}; the same command goes on from there."
        )
    return {"zarr": out}


def _about(job: _Job) -> dict[str, Any]:
    config = job.loaded.config
    return {
        "model": job.model,
        "device": job.device,
        "classes": [
            {"value": value, "name": name}
            for value, name in zip(config.class_values, config.class_names, strict=True)
        ],
    }


def _report(
    job: _Job, done: Sequence[Mapping[str, Any]], skipped: Sequence[Mapping[str, str]], seconds: float
) -> dict[str, Any]:
    return {**_about(job), "seconds": seconds, "images": list(done), "skipped": list(skipped)}


def _counts(done: Sequence[Any], skipped: Sequence[Any], began: float) -> dict[str, Any]:
    return {"images": len(done), "skipped": len(skipped), "seconds": time.perf_counter() - began}


def _summary(job: _Job, done: Sequence[Mapping[str, Any]], seconds: float) -> str:
    count = f"{len(done)} image" + "s" * (len(done) > 1)
    names = ", ".join(job.loaded.config.class_names)
    written = sorted({Path(file).name for file in done[0]["files"].values()})
    more = " and so on" if len(done) > 1 else ""
    return (
        f"{count} in {seconds:.1f} s on {job.device}, classes: {names}\n"
        f"wrote {', '.join(written)}{more} to {job.folder}"
    )
