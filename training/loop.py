"""Training as a generator of events: the command line prints them, the viewer reads them.

The recipe is the paper's (Zhang & Boykov, CVPR 2025, appendix C): strokes alone first, then strokes and
what the solver makes of the network's own predictions, solved anew for every batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_softseg.errors import InputError
from napari_softseg.training.data import (
    AnnotatedFolder,
    join_folders,
    open_annotated,
)
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.network import (
    make_network,
)
from napari_softseg.training.options import FREE, Loss, TrainOptions, as_json
from napari_softseg.training.processes import Processes
from napari_softseg.training.report.run_log import Event
from napari_softseg.training.run_folder import RunFolder
from napari_softseg.training.tensorboard import TensorBoardLog
from napari_softseg.training.trainer import Trainer, autocast_type, class_list


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended."""

    run: Path
    status: str
    best: dict[str, Any] | None
    """Epoch and mean IoU; None if nothing was scored."""
    message: str
    skipped: list[tuple[str, str]]
    """Images that could not be read, and why."""
    first: bool
    """Whether this is the first of the processes that trained together: the one that reports."""


def iter_train(
    folders: Sequence[str | Path],
    run: str | Path,
    options: TrainOptions,
    *,
    val: str | Path | None = None,
    resume: bool = False,
    strict: bool = False,
    stop: threading.Event | None = None,
) -> Generator[Event, None, TrainResult]:
    """Train one model on the images of one or more annotated folders.

    Parameters
    ----------
    folders
        Annotated folders of the same classes.
    run
        Folder for everything the run writes: settings, log, models, pictures.
    options
        Of the run.
    val
        Annotated folder with masks to score on. Without one, a share of the strokes is kept for that.
    resume
        Go on with the run in the folder, from where it was stopped or killed; a folder without one starts anew.
    strict
        Refuse folders with files that cannot be read, rather than leave these out.
    stop
        Set it from elsewhere to end after the current step, with everything saved.

    Yields
    ------
    dict
        Events, see docs/training.md; the first process's only.

    Raises
    ------
    InputError
        If the data, the run's folder or the options do not fit; nothing was written then.
    """
    stop = stop or threading.Event()
    processes = Processes(options.device)
    precision = autocast_type(options.precision, processes.device)
    annotated = join_folders([_open(folder, options, strict) for folder in folders])
    masks = None if val is None else _open_masks(val, options, annotated, strict)
    config = {
        "options": as_json(options),
        "folders": [str(Path(folder).resolve()) for folder in folders],
        "val": None if val is None else str(Path(val).resolve()),
        "processes": processes.count,
        "images": list(annotated.names),
        "classes": class_list(annotated),
    }
    loss = TrainingLoss(options, len(annotated.class_values))
    with ExitStack() as stack:
        folder = RunFolder(Path(run))
        resume = resume and folder.config_path.exists()
        torch.manual_seed(options.seed)
        # a state holds all of the network: going on needs no other weights
        network = make_network(annotated, options, begun=resume and folder.state_path.exists())
        state = None
        if processes.first:
            stack.enter_context(folder)
            if resume:
                check_same_run(folder.config(), config)
                state = folder.load_state()
                folder.forget_after(*((state.epoch, state.step) if state else (0, 0)))
            else:
                folder.create(config)
        processes.wait()
        if not processes.first and resume:
            state = folder.load_state()
        trainer = Trainer(folder, annotated, masks, options, processes, network, loss, precision)
        tensorboard = stack.enter_context(TensorBoardLog(folder.path))
        events = trainer.run(state, stop)
        began = time.perf_counter()
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                status, message = end.value
                break
            if processes.first:
                folder.append(event)
                tensorboard.add(event)
                yield event
        processes.wait()
        result = TrainResult(folder.path, status, trainer.best, message, trainer.skipped, processes.first)
        end_event = {
            "event": "end",
            "status": status,
            "best": trainer.best,
            "seconds": time.perf_counter() - began,
            "message": message,
        }
        if processes.first:
            folder.append(end_event)
            yield end_event
    return result


def check_same_run(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError if a run that goes on would be another one than it was."""
    for name, value in now["options"].items():
        if name not in FREE and then["options"].get(name) != value:
            raise InputError(
                f"The run has {name} {then['options'].get(name)}, but now it is {value}; "
                "go on with the same options, or train into another folder."
            )
    for what, value in (("val", now["val"]), ("processes", now["processes"])):
        if then.get(what) != value:
            raise InputError(
                f"The run has {what} {then.get(what)}, but now it is {value}; go on with the same, "
                "or train into another folder."
            )
    for what in ("images", "classes"):
        if then[what] != now[what]:
            changed = [str(x) for x in then[what] if x not in now[what]] or [
                str(x) for x in now[what] if x not in then[what]
            ]
            raise InputError(
                f"The {what} of the run have changed ({', '.join(changed[:3]) or 'their order'}); "
                "train into another folder, from this model with --weights RUN."
            )


def _open(path: str | Path, options: TrainOptions, strict: bool) -> AnnotatedFolder:
    return open_annotated(
        path,
        unlabelled=options.unlabelled,
        ignore=options.ignore,
        strict=strict,
        need="masks" if options.loss == Loss.FULL else "scribbles",
        length_ratio=options.length_ratio,
    )


def _open_masks(
    path: str | Path, options: TrainOptions, train: AnnotatedFolder, strict: bool
) -> AnnotatedFolder:
    masks = open_annotated(
        path,
        unlabelled=options.unlabelled,
        ignore=options.ignore,
        strict=strict,
        need="masks",
        classes=dict(zip(train.class_values, train.class_names, strict=True)),
    )
    if masks.in_channels != train.in_channels:
        raise InputError(
            f"{path} has images of {masks.in_channels} channels, but the folder to train on of "
            f"{train.in_channels}; they must agree."
        )
    return masks
