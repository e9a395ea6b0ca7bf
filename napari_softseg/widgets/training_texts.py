"""What the Train dock says of runs, in words."""

from collections.abc import Mapping
from typing import Any

from napari_softseg.runs import RunState, Status
from napari_softseg.runs.step_times import about
from napari_softseg.training.options import train_options


def plan_text(images: int, epochs: int, seconds: float | None) -> str:
    """Return what pressing Train would mean."""
    time = "for how long, the first epoch will tell" if seconds is None else about(seconds)
    return f"{_many(images, 'image')} with strokes, {_many(epochs, 'epoch')}: {time}."


def progress_text(state: RunState) -> str:
    """Return the words in the progress bar."""
    if state.status is Status.STARTING or state.planned_epochs is None:
        return "starting…"
    text = f"epoch {min(state.epochs + 1, state.planned_epochs)} of {state.planned_epochs}"
    return text if state.eta is None else f"{text}, {about(state.eta)} left"


def run_text(state: RunState) -> str:
    """Return how a run stands, in one or two sentences."""
    if state.status.alive:
        return f"{state.name} {'starts' if state.status is Status.STARTING else 'trains'}.{best_text(state)}"
    if state.status is Status.FINISHED:
        return f"{state.name} is finished.{best_text(state)}"
    if state.status is Status.STOPPED:
        return f"{state.name} was stopped after {state.step} of {state.steps} steps; Resume goes on.{best_text(state)}"
    return f"{state.name}: {state.last_words}"


def best_text(state: RunState) -> str:
    """Return the best score as a sentence; empty without one."""
    if state.best is None:
        return ""
    return f" Best: mean IoU {percent(state.best['miou'])} on {state.scored_on}, epoch {state.best['epoch']}."


def percent(share: float) -> str:
    """Return 0.8734 as "87.3 %", on one line."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def settings_text(options: Mapping[str, Any]) -> str:
    """Return the options of a run that differ from its preset's, one a line."""
    if not options:
        return ""
    defaults = train_options(preset=options.get("preset", "balanced"))
    given = {
        name: value
        for name, value in options.items()
        if name == "preset" or value != getattr(defaults, name, value)
    }
    return "\n".join(f"{name.rstrip('_').replace('_', '-')}: {value}" for name, value in given.items())


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
