"""Whether another round of strokes and training is worth it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from napari_softseg.runs.state import RunState

GAIN = 0.01
"""A point of mean IoU: less than that in `PATIENCE` rounds is no gain."""
PATIENCE = 2


def round_scores(states: Iterable[RunState]) -> list[tuple[str, float]]:
    """Return name and best mean IoU of every run that was scored, in their order."""
    return [(state.name, state.best["miou"]) for state in states if state.best is not None]


def stop_hint(scores: Sequence[float]) -> str:
    """Return a line for people once rounds no longer gain, else nothing.

    Parameters
    ----------
    scores
        Best mean IoU of every round, in their order.
    """
    if len(scores) <= PATIENCE:
        return ""
    gain = max(scores[-PATIENCE:]) - max(scores[:-PATIENCE])
    if gain >= GAIN:
        return ""
    return "The last two rounds gained less than 1 point: this may be as good as it gets."
