"""What undo and redo can do in images of a project while others are shown in the same layer."""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_softseg.widgets.scribbles import stroke_checksum

KEPT_BYTES = 64 * 2**20
"""Of all images together; those left longest ago are forgotten first."""


@dataclass(frozen=True, slots=True, eq=False)
class _History:
    undo: "deque[Any]"
    redo: "deque[Any]"
    strokes: int
    """Checksum of the strokes that it leads back from."""
    nbytes: int


class StrokeHistories:
    """The history of every image that was shown, by its name.

    napari keeps one per layer, and has no public way to take it out or put it in.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _History] = OrderedDict()

    def keep(self, name: str, layer: Labels) -> None:
        """Keep the history of the image that a layer shows, before it shows another."""
        undo, redo = layer._undo_history, layer._redo_history
        self._kept.pop(name, None)
        if undo or redo:
            self._kept[name] = _History(
                undo, redo, stroke_checksum(np.asarray(layer.data)), _nbytes(undo) + _nbytes(redo)
            )
        while sum(history.nbytes for history in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)

    def give_back(self, name: str, layer: Labels) -> None:
        """Let undo go on where it was when the image was left, unless its strokes were changed since."""
        history = self._kept.pop(name, None)
        if history is not None and history.strokes == stroke_checksum(np.asarray(layer.data)):
            layer._undo_history, layer._redo_history = history.undo, history.redo


def _nbytes(steps: Any) -> int:
    """Return the memory of all arrays in something of sequences and arrays."""
    if isinstance(steps, np.ndarray):
        return steps.nbytes
    return sum(map(_nbytes, steps)) if isinstance(steps, (deque, list, tuple)) else 0
