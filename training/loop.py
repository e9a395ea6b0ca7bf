"""Training as a generator of events: the command line prints them, the viewer reads them.

The recipe is the paper's (Zhang & Boykov, CVPR 2025, appendix C): strokes alone first, then strokes and
what the solver makes of the network's own predictions, solved anew for every batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Generator, Mapping, Sequence
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
from napari_softseg.training.options import FREE, SECOND_STAGE, Loss, TrainOptions, as_json, train_options
from napari_softseg.training.processes import Processes
from napari_softseg.training.report.run_log import Event
from napari_softseg.training.run_folder import RunFolder, State
from napari_softseg.training.schedule import Schedule
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
    stop_after: int | None = None,
    first_stage: str | Path | None = None,
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
    stop_after
        Epochs after which to end as if stopped.
    first_stage
        Folder of another run that has come no further than the end of its first stage: begin where it
        stands. What comes of it is what training from the start would give.

    Yields
    ------
    dict
        Events, see docs/training.md; the first process's only.

    Raises
    ------
    InputError
        If the data, the run's folder, the first stage or the options do not fit; nothing was written then.
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
        "val_images": None if masks is None else list(masks.names),
        "classes": class_list(annotated),
    }
    loss = TrainingLoss(options, len(annotated.class_values))
    with ExitStack() as stack:
        folder = RunFolder(Path(run))
        resume = resume and folder.config_path.exists()
        if processes.first and not resume:
            folder.check_empty()  # before anything is loaded or locked
        branch = None
        if first_stage is not None and not resume:
            branch = _first_stage(RunFolder(Path(first_stage)), config, options, len(annotated))
        torch.manual_seed(options.seed)
        # a state holds all of the network: going on needs no other weights
        begun = branch is not None or (resume and folder.state_path.exists())
        network = make_network(annotated, options, begun=begun)
        state = branch
        if processes.first:
            stack.enter_context(folder)
            if resume:
                check_same_run(folder.config(), config)
                state = folder.load_state()
                folder.set_places(config)
                folder.forget_after(*((state.epoch, state.step) if state else (0, 0)))
            else:
                folder.create(config)
                if first_stage is not None and branch is not None:
                    folder.begin_with(RunFolder(Path(first_stage)), branch)
        processes.wait()
        if not processes.first and resume:
            state = folder.load_state()
        trainer = Trainer(folder, annotated, masks, options, processes, network, loss, precision)
        tensorboard = stack.enter_context(TensorBoardLog(folder.path))
        events = trainer.run(state, stop, stop_after)
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


def check_start(folder: str | Path, val: str | Path, options: TrainOptions) -> None:
    """Raise InputError if a folder, its masks to score on, or the weights to start from cannot be used."""
    annotated = _open(folder, options, strict=False)
    _open_masks(val, options, annotated, strict=False)
    make_network(annotated, options, begun=False)


def check_same_run(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    free: Collection[str] = FREE,
    otherwise: str = "train into another folder",
) -> None:
    """Raise InputError if a run that goes on would be another one than it was; its folders may have moved.

    Parameters
    ----------
    then, now
        Settings of a run as its folder keeps them.
    free
        Options that may differ.
    otherwise
        What the message tells people to do who do want something else.
    """
    for name, value in now["options"].items():
        if name not in free and then["options"].get(name) != value:
            raise InputError(
                f"The run has {name} {then['options'].get(name)}, but now it is {value}; "
                f"go on with the same options, or {otherwise}."
            )
    for what, differs in (
        ("val", then["val"] != now["val"] and not _moved(then, now)),
        ("processes", then.get("processes") != now["processes"]),
    ):
        if differs:
            raise InputError(
                f"The run has {what} {then.get(what)}, but now it is {now[what]}; go on with the same, "
                f"or {otherwise}."
            )
    for what, said in (("images", "images"), ("val_images", "images to score on"), ("classes", "classes")):
        before, after = then.get(what), now[what]
        if before is not None and before != after:  # older runs did not write all of it down
            changed = [str(x) for x in before if x not in after] or [str(x) for x in after if x not in before]
            raise InputError(
                f"The {said} of the run have changed ({', '.join(changed[:3]) or 'their order'}); "
                "train into another folder, from this model with --weights RUN."
            )


def _moved(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether the folder to score on can be the one it was, in another place; its images tell."""
    return (
        then["val"] is not None
        and now["val"] is not None
        and "val_images" in then  # runs of before did not write them down
        and not Path(then["val"]).exists()
    )


def _first_stage(folder: RunFolder, config: Mapping[str, Any], options: TrainOptions, n_images: int) -> State:
    """Return the state of a run whose first stage is that of a run of these settings.

    Raises
    ------
    InputError
        If it is another one, or has gone on to its second stage.
    """
    then = folder.config()
    check_same_run(
        then, config, free=(*FREE, *SECOND_STAGE), otherwise="leave out --first-stage to train from the start"
    )
    state = folder.load_state()
    if state is None or state.step == 0:
        raise InputError(f"{folder.path} has not been trained yet; train it first with --stop-after EPOCHS.")
    if options.loss == Loss.FULL:
        raise InputError("Loss full has no first stage; leave out --first-stage to train from the start.")
    schedules = [Schedule(one, n_images) for one in (train_options(**then["options"]), options)]
    end = min(schedule.warmup_epochs for schedule in schedules)
    if state.step > end * schedules[0].steps_per_epoch:
        raise InputError(
            f"{folder.path} has gone on to epoch {state.epoch + 1}, but what both runs share ends with epoch "
            f"{end}; give a run that was stopped before, with --stop-after {end}."
        )
    if schedules[0].learning_rate(state.step - 1) != schedules[1].learning_rate(state.step - 1):
        raise InputError(
            f"{folder.path} was trained at other learning rates, since it has no second stage or this run has "
            "none; leave out --first-stage to train from the start."
        )
    return state


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
