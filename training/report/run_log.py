"""What a RUN folder tells: its log read back, whatever state the run is in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_softseg.errors import InputError

Event = dict[str, Any]
"""One line of the log; see docs/training.md."""

LOG = "log.jsonl"
CONFIG = "config.json"
FINISHED, STOPPED, DIVERGED = "finished", "stopped", "diverged"
"""How a run can end."""
NAN = math.nan


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores after an epoch, shares of 1."""

    source: str
    """"masks" or "held-out strokes"."""
    miou: float
    pixel_accuracy: float
    iou: dict[str, float]
    """By class name; NaN where the class does not occur."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch; NaN stands for a number that is none."""

    number: int
    loss: float
    terms: dict[str, float]
    val: Validation | None
    seconds: float
    best: bool


@dataclass(slots=True)
class RunLog:
    """A run as far as it has come."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    classes: list[tuple[int, str]] = field(default_factory=list)
    """Value and name."""
    device: str = ""
    images: int | None = None
    val_images: int | None = None
    planned_epochs: int | None = None
    epochs: list[Epoch] = field(default_factory=list)
    """Ascending; of one that was trained twice, the later."""
    steps: list[tuple[int, float]] = field(default_factory=list)
    """Step and loss, of those that were logged."""
    planned_steps: int | None = None
    eta: float | None = None
    """Seconds left by the last step."""
    starts: int = 0
    """How often training began or went on."""
    status: str | None = None
    """As the last end says; None if the run is on, or was killed."""
    message: str = ""
    unreadable: int = 0
    """Lines of the log that are no events."""

    @property
    def best(self) -> Epoch | None:
        """The epoch of the best validated score; the last of equals, as the loop keeps it."""
        scored = [
            epoch for epoch in self.epochs if epoch.val is not None and epoch.val.miou == epoch.val.miou
        ]
        return max(reversed(scored), key=lambda epoch: epoch.val.miou, default=None)  # type: ignore[union-attr]

    @property
    def last(self) -> Epoch | None:
        """The last epoch that was validated."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.val is not None), None)

    @property
    def seconds(self) -> float:
        """Time of all epochs that count."""
        return sum(epoch.seconds for epoch in self.epochs if math.isfinite(epoch.seconds))


def check_run(path: Path) -> None:
    """Raise InputError if `path` is no RUN folder."""
    if not path.is_dir():
        raise InputError(f"{path} is no folder of a training run; give the folder after train -o.")
    if not any((path / name).is_file() for name in (LOG, CONFIG)):
        raise InputError(f"{path} holds no training run: neither {LOG} nor {CONFIG} is in it.")


def read_run(path: Path) -> RunLog:
    """Read a RUN folder: a finished run, or one that is on, stopped, killed or diverged.

    A line of the log that is no event (torn by a full disk or a kill) is left out and counted.

    Raises
    ------
    InputError
        If `path` is no RUN folder.
    """
    check_run(path)
    config_file = path / CONFIG
    run = RunLog(path)
    if config_file.is_file():
        _take_config(run, config_file)
    for event in _lines(path):
        try:
            take(run, event)
        except (ValueError, KeyError, TypeError):
            run.unreadable += 1
    return run


def read_events(path: Path) -> list[Event]:
    """Return the events in the log of a RUN folder, without lines that are none; [] without a log."""
    return [event for event in _lines(path) if "event" in event]


def _lines(path: Path) -> Iterator[Event]:
    """Yield an object per line of the log, an empty one for a line that is torn."""
    log = path / LOG
    for line in log.read_bytes().splitlines() if log.is_file() else ():
        if line.strip():
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            yield event if isinstance(event, dict) else {}


def _take_config(run: RunLog, path: Path) -> None:
    try:
        config = json.loads(path.read_bytes())
        run.options = dict(config["options"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}); the run was not begun properly."
        ) from None


def take(run: RunLog, event: Mapping[str, Any]) -> None:
    """Add one event of the log."""
    kind = event["event"]
    if kind == "start":
        run.options = dict(event["options"])
        run.classes = [(int(one["value"]), str(one["name"])) for one in event["classes"]]
        run.device = str(event["device"])
        run.images, run.val_images = event["images"], event["val_images"]
        run.planned_epochs, run.planned_steps = event["epochs"], event["steps"]
        run.starts += 1
        run.status, run.message = None, ""
    elif kind == "step":
        step = int(event["step"])
        while run.steps and run.steps[-1][0] >= step:  # repeated after an interruption
            run.steps.pop()
        run.steps.append((step, _number(event["loss"])))
        run.eta = event.get("eta_s")
    elif kind == "epoch":
        epoch = Epoch(
            number=int(event["epoch"]),
            loss=_number(event["loss"]),
            terms={str(name): _number(value) for name, value in event["terms"].items()},
            val=_validation(event["val"]),
            seconds=_number(event["seconds"]),
            best=bool(event["best"]),
        )
        run.epochs = [*(one for one in run.epochs if one.number < epoch.number), epoch]
    elif kind == "end":
        run.status, run.message = str(event["status"]), str(event.get("message") or "")


def _validation(val: Mapping[str, Any] | None) -> Validation | None:
    if val is None:
        return None
    return Validation(
        source=str(val["source"]),
        miou=_number(val["miou"]),
        pixel_accuracy=_number(val["pixel_accuracy"]),
        iou={str(name): _number(value) for name, value in val["iou"].items()},
    )


def _number(value: Any) -> float:
    """Return a float; NaN for null and whatever is not finite."""
    number = NAN if value is None else float(value)
    return number if math.isfinite(number) else NAN
