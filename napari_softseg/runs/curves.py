"""The numbers of a run that are drawn: losses by step, scores by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from napari_softseg.training.report.run_log import Event


@dataclass(slots=True)
class Curves:
    """Grows with the events of a run."""

    terms: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    """By name of the term of the loss: steps and values."""
    scores: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    """By what is scored: epochs and values, 0..1."""
    scored_on: str = ""
    """"masks" or "held-out strokes"."""

    def take(self, events: Iterable[Event]) -> None:
        """Add events of a log; others than steps and scored epochs are left out."""
        for event in events:
            if event["event"] == "step":
                for name, value in event["terms"].items():
                    _put(self.terms, name, event["step"], value)
            elif event["event"] == "epoch" and event["val"]:
                self.scored_on = event["val"]["source"]
                _put(self.scores, "IoU", event["epoch"], event["val"]["miou"])
                _put(self.scores, "accuracy", event["epoch"], event["val"]["pixel_accuracy"])

    def copy(self) -> Curves:
        """Return a copy that does not grow with this one."""
        return Curves(_copied(self.terms), _copied(self.scores), self.scored_on)


def _put(curves: dict[str, tuple[list[int], list[float]]], name: str, x: int, y: float | None) -> None:
    xs, ys = curves.setdefault(name, ([], []))
    xs.append(x)
    ys.append(math.nan if y is None else y)


def _copied(curves: dict[str, tuple[list[int], list[float]]]) -> dict[str, tuple[list[int], list[float]]]:
    return {name: (list(xs), list(ys)) for name, (xs, ys) in curves.items()}
