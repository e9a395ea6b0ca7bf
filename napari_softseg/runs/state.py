"""How a run stands, as far as its files and its process tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_softseg.options import Choice
from napari_softseg.training.report import run_log


class Status(Choice):
    """Where a run stands."""

    STARTING = "starting", "its process loads"
    RUNNING = "running", "it trains"
    FINISHED = run_log.FINISHED, "all epochs are done"
    STOPPED = run_log.STOPPED, "it was stopped and can go on"
    DIVERGED = run_log.DIVERGED, "the loss grew beyond all bounds"
    FAILED = "failed", "its process ended with an error"
    INTERRUPTED = "interrupted", "its process ended without a word"

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self in (Status.STARTING, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class RunState:
    """A run at one moment."""

    name: str
    path: Path
    status: Status
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of TrainOptions: all once it has begun, before that those that were chosen."""
    best: Mapping[str, Any] | None = None
    """Epoch and mean IoU; None if nothing was scored."""
    scored_on: str = ""
    """"masks" or "held-out strokes"."""
    has_model: bool = False
    """Whether there is a network to use."""
    last_words: str = ""
    """Why it ended, in one line; empty while it is on."""
    epochs: int = 0
    """Epochs that are done."""
    planned_epochs: int | None = None
    step: int = 0
    """Steps that are done."""
    steps: int | None = None
    """Of the whole run."""
    eta: float | None = None
    """Seconds left, while it is on."""
    seconds_per_step: float | None = None
    """With scoring; None before the first epoch is done."""
    images: int | None = None
    began: float = 0.0
    """Seconds since 1970."""

    @property
    def can_resume(self) -> bool:
        """Whether there is something left to do that can be gone on with."""
        return self.status in (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)
