"""``napari-softseg train``: annotated folders in, a trained network out."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.cli.config_file import add_config_flag
from napari_softseg.cli.events import add_events_flag
from napari_softseg.cli.option_flags import add_field_flags, given_fields
from napari_softseg.cli.running import add_progress_flag, interrupt_sets, shows_bar
from napari_softseg.errors import InputError
from napari_softseg.training.options import PRESETS, TrainOptions, train_options
from napari_softseg.training.report.run_log import CONFIG, DIVERGED, STOPPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_softseg.training.loop import TrainResult
    from napari_softseg.training.report.run_log import Event

DIVERGED_CODE = 1

DESCRIPTION = """Train a network on annotated folders: strokes first, then strokes and the solver's
soft pseudo-labels.

A folder is a project (project.json), or has images/ and scribbles/ with the same file
names, or one of the layouts of PASCAL VOC, Cityscapes and ADE20K (docs/training.md).
Several folders train one model together, or with --each one model each, in RUN/FOLDER.

RUN gets best.safetensors, last.safetensors, config.json, log.jsonl and pictures.
Ctrl-C once stops after the step, with everything saved; --resume goes on, also after
a crash (from the last whole epoch). On a CPU the network is then that of a run that
was never stopped.

On several GPUs or machines: torchrun --nproc-per-node N -m napari_softseg train ..."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "train",
        help="train a network on annotated folders",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="*", help="annotated folder (none with --resume alone)"
    )
    parser.add_argument("-o", "--output", metavar="RUN", required=True, help="folder for what is written")
    parser.add_argument("--val", metavar="FOLDER", help="folder with masks to score on")
    parser.add_argument("--each", action="store_true", help="one model per folder, in RUN/FOLDER")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN")
    parser.add_argument(
        "--stop-after", metavar="N", type=_epochs, help="stop after that epoch of --epochs; --resume goes on"
    )
    parser.add_argument(
        "--first-stage",
        metavar="RUN",
        help="begin where another run was stopped in its first stage, to try another second one",
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse folders with damaged files instead of leaving these out"
    )
    add_config_flag(parser)
    add_events_flag(parser)
    add_progress_flag(parser)
    add_field_flags(parser.add_argument_group("how to train"), TrainOptions, _shown_default)
    parser.set_defaults(run=run)


def _shown_default(spec: Field[Any]) -> tuple[str, str]:
    """Return that no flag means nothing was chosen, and the defaults of all presets."""
    assert spec.default is not MISSING
    others = [f"{name} {values[spec.name]}" for name, values in PRESETS.items() if spec.name in values]
    shown = ", ".join([str(spec.default), *others])
    return argparse.SUPPRESS, shown.replace("True", "yes").replace("False", "no").replace("None", "none")


def run(arguments: argparse.Namespace) -> int:
    """Train, and print what comes of it; see `napari_softseg.cli.main` for errors and exit codes."""
    given = given_fields(arguments, TrainOptions)
    options = train_options(**given)
    output = Path(arguments.output)
    folders = [Path(folder) for folder in arguments.folders]
    if not folders and arguments.resume:
        from napari_softseg.training.run_folder import read_config

        config = read_config(output)
        folders = [Path(folder) for folder in config["folders"]]
        begun_with = [*folders, *([Path(config["val"])] if config["val"] and not arguments.val else [])]
        arguments.val = arguments.val or config["val"]
        for folder in begun_with:
            if not folder.exists():
                raise InputError(
                    f"{folder}, which {output} was begun with, does not exist; put it back, or repeat the first "
                    "command with where it is now, and --resume."
                )
        options = train_options(**{**config["options"], **given})
    if not folders:
        raise InputError("Expected at least one annotated folder; or --resume to go on with a run.")
    jobs = [(folders, output)]
    if arguments.each:
        names = [folder.resolve().name for folder in folders]
        if len(set(names)) < len(names):
            raise InputError(f"Folders need different names with --each, but got {', '.join(names)}.")
        jobs = [([folder], output / name) for folder, name in zip(folders, names, strict=True)]
    code = 0
    stop = threading.Event()
    for job_folders, job_output in jobs:
        try:
            result = _train(job_folders, job_output, options, arguments, stop)
        except InputError as error:
            if len(jobs) == 1:
                raise
            print(f"napari-softseg: error: {job_output}: {error}", file=sys.stderr)
            code = 2
            continue
        if result.status == STOPPED and stop.is_set():
            return 130
        if result.status == DIVERGED:
            print(f"napari-softseg: error: {result.message}", file=sys.stderr)
            code = DIVERGED_CODE
    return code


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of epochs from 1, but got {text!r}")
    return int(text)


def _train(
    folders: list[Path],
    output: Path,
    options: TrainOptions,
    arguments: argparse.Namespace,
    stop: threading.Event,
) -> TrainResult:
    from napari_softseg.training.loop import iter_train

    steps = iter_train(
        folders,
        output,
        options,
        val=arguments.val,
        resume=arguments.resume,
        strict=arguments.strict,
        stop=stop,
        stop_after=arguments.stop_after,
        first_stage=arguments.first_stage,
    )
    with interrupt_sets(stop), _shown(arguments) as show:
        while True:
            try:
                show(next(steps))
            except StopIteration as end:
                result: TrainResult = end.value
                break
            except KeyboardInterrupt:
                if not (output / CONFIG).exists():
                    raise
                raise KeyboardInterrupt(f"{output} has the last whole epoch; --resume goes on.") from None
    if arguments.events is None and result.first:
        print(_summary(result))
    return result


@contextmanager
def _shown(arguments: argparse.Namespace) -> Iterator[Callable[[Event], None]]:
    """Yield what shows an event: as JSON on stdout, or as a progress bar and a line per epoch."""
    from tqdm import tqdm

    wanted = shows_bar(arguments.progress)
    with tqdm(file=sys.stderr, disable=not wanted, unit="step", leave=False) as bar:

        def show(event: Event) -> None:
            if arguments.events is not None:
                print(json.dumps(event, allow_nan=False), flush=True)
            elif event["event"] == "start":
                for warning in event["warnings"]:
                    bar.write(f"napari-softseg: {warning}", file=sys.stderr)
            elif event["event"] == "epoch":
                bar.write(_epoch_line(event), file=sys.stdout)
                sys.stdout.flush()
            if event["event"] == "start":
                bar.initial = bar.n = event["step"]
            if event["event"] == "step":
                bar.total = event["steps"]
                bar.set_postfix_str(f"loss {event['loss']:.4g}", refresh=False)
                bar.update(event["step"] - bar.n)

        yield show


def _epoch_line(event: Event) -> str:
    terms = ", ".join(f"{name} {value:.4g}" for name, value in event["terms"].items())
    line = f"epoch {event['epoch']}: loss {event['loss']:.4g} ({terms}), {event['seconds']:.1f} s"
    val = event["val"]
    if val is not None:
        line += (
            f"; mean IoU {val['miou']:.4f} on {val['source']}{', the best so far' if event['best'] else ''}"
        )
    return line


def _summary(result: TrainResult) -> str:
    lines = [f"{result.run}: {result.message}"]
    if result.best is not None:
        lines.append(f"best mean IoU {result.best['miou']:.4f}, after epoch {result.best['epoch']}")
    lines += [f"left out {name}: {why}" for name, why in result.skipped]
    return "\n".join(lines)
