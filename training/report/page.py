"""One self-contained HTML page about a training run: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import importlib.resources
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from napari_softseg import __version__
from napari_softseg.colors import class_color
from napari_softseg.errors import InputError
from napari_softseg.saving import replacing
from napari_softseg.training.options import train_options
from napari_softseg.training.report.curves import run_curves
from napari_softseg.training.report.run_log import Epoch, RunLog, read_run
from napari_softseg.training.report.sample_files import SampleFiles, find_samples

MAX_SAMPLES = 6
MAX_EPOCHS = 6
"""Pictures in the page, so that it stays small enough to send to someone."""

_STATES = {
    "finished": "Finished",
    "stopped": "Stopped before its end",
    "diverged": "Diverged: the loss grew beyond all bounds",
    None: "Going on, or killed: the log has no end yet",
}


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A line of the table of classes; shares of 1, NaN where there is none."""

    name: str
    color: str
    best: float
    last: float


@dataclass(frozen=True, slots=True)
class Setting:
    """An option of the run."""

    name: str
    value: str
    default: str | None
    """What the preset says, where the run differs from it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Pictures of one moment: caption and address by what they show."""

    caption: str
    pictures: dict[str, str]


@dataclass(frozen=True, slots=True)
class Strip:
    """The pictures of one image."""

    name: str
    frames: list[Frame]


def write_report(run: Path, output: Path) -> None:
    """Write the page about the RUN folder `run` to `output`, whole or not at all.

    Raises
    ------
    InputError
        If `run` is no RUN folder.
    OSError
        If the page cannot be written.
    """
    html = render_report(run)
    with replacing(output) as (temporary,):
        temporary.write_text(html, encoding="utf-8")


def render_report(run: Path) -> str:
    """Return the page about the RUN folder `run`, whatever state the run is in."""
    log = read_run(run)
    template = importlib.resources.files(__package__) / "page.html.jinja"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "clock": _clock}
    samples = find_samples(run)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        log=log,
        name=run.resolve().name,
        state=_STATES.get(log.status, log.status),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
        facts=_facts(log),
        notes=_notes(log, samples),
        curves=run_curves(log),
        class_rows=_class_rows(log),
        settings=_settings(log.options),
        strips=[_strip(sample) for sample in samples[:MAX_SAMPLES]],
    )


def _facts(log: RunLog) -> list[tuple[str, str]]:
    """Return headline numbers with what they are."""
    facts = []
    for what, epoch in (("best", log.best), ("last", log.last)):
        if epoch is not None and epoch.val is not None:
            facts.append((f"mean IoU, {what} (epoch {epoch.number})", _percent(epoch.val.miou)))
    if log.last is not None and log.last.val is not None:
        facts.append(("pixel accuracy, last", _percent(log.last.val.pixel_accuracy)))
    done = log.epochs[-1].number if log.epochs else 0
    facts.append(("epochs", f"{done} of {log.planned_epochs}" if log.planned_epochs else str(done)))
    if log.epochs:
        facts.append(("loss, last epoch", _plain(log.epochs[-1].loss)))
    if log.status is None and log.eta is not None:
        facts.append(("left, by its last step", _clock(log.eta)))
    facts.append(("time in epochs", _clock(log.seconds)))
    if log.images is not None:
        facts.append(("images to train on", str(log.images)))
    if log.val_images:
        facts.append(("images to validate on", str(log.val_images)))
    if log.device:
        facts.append(("device", log.device))
    return facts


def _notes(log: RunLog, samples: Sequence[SampleFiles]) -> list[str]:
    """Return what a reader has to know about the figures."""
    notes = [log.message] if log.message and log.status != "finished" else []
    if not log.epochs:
        notes.append("No epoch has ended yet.")
    elif log.last is None:
        notes.append(
            "Nothing was validated: there are no masks, and no strokes were held out. "
            "The loss alone does not say how good the network is."
        )
    elif log.last.val is not None and log.last.val.source != "masks":
        notes.append(
            f"Scores are on {log.last.val.source}, which are few pixels and easier than whole masks."
        )
    if log.starts > 1:
        notes.append(f"Training was interrupted and went on, times: {log.starts - 1}.")
    if log.unreadable:
        notes.append(f"Lines of the log that could not be read and were left out: {log.unreadable}.")
    if len(samples) > MAX_SAMPLES:
        notes.append(f"Pictures are of the first {MAX_SAMPLES} of {len(samples)} sample images.")
    return notes


def _class_rows(log: RunLog) -> list[ClassRow]:
    """Return a row per class, in the order of the class values."""
    best, last = _iou(log.best), _iou(log.last)
    classes = [(class_color(value), name) for value, name in log.classes]
    return [
        ClassRow(
            name, "#{:02x}{:02x}{:02x}".format(*color), best.get(name, math.nan), last.get(name, math.nan)
        )
        for color, name in classes
    ]


def _iou(epoch: Epoch | None) -> dict[str, float]:
    return {} if epoch is None or epoch.val is None else epoch.val.iou


def _settings(options: Mapping[str, Any]) -> list[Setting]:
    """Return all options, with the preset's value beside those that differ from it."""
    try:
        preset = train_options(preset=options.get("preset", "balanced"))
    except InputError:  # of another version
        preset = train_options()
    settings = []
    for name, value in options.items():
        default = getattr(preset, name, value)
        settings.append(
            Setting(name.rstrip("_"), _plain(value), None if default == value else _plain(default))
        )
    return settings


def _strip(sample: SampleFiles) -> Strip:
    """Return an image's pictures, of epochs spread evenly from the first to the last."""
    epochs = list(sample.over_time)
    count = min(len(epochs), MAX_EPOCHS)
    chosen = [epochs[round(i * (len(epochs) - 1) / max(count - 1, 1))] for i in range(count)]
    frames = [Frame(kind, {kind: url}) for kind, path in sample.once.items() if (url := _data_url(path))]
    for epoch in chosen:
        pictures = {kind: url for kind, path in sample.over_time[epoch].items() if (url := _data_url(path))}
        frames.append(Frame(f"epoch {epoch}", dict(sorted(pictures.items(), reverse=True))))
    return Strip(sample.name, frames)


def _data_url(path: Path) -> str | None:
    """Return the picture as an address that holds it; None if it has gone since it was found."""
    try:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError:
        return None


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return "none" if value is None else str(value)


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )
