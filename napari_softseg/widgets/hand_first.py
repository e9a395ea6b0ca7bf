"""What waits while the hand draws: napari's list of layers, Python's search of all of its memory, other threads."""

import gc
import sys

from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_softseg.widgets.hand import Hand

CALM_MS = 5000
"""After the last stroke, until Python is as it was before: its solve falls into this time."""

_NEVER = 10**9

_GROWTH = 1.25
"""Of old objects since the last full collection that makes another one due, as Python has it."""

_SWITCH_S = 0.0005
"""How long the window waits for a thread that runs Python; 5 ms, Python's own choice, add up within one event."""


class HandFirst:
    """Keeps away from strokes what holds up the window and can wait.

    The list of layers is painted anew at every piece of a stroke, and Qt puts the whole window together for it once
    more. Python's collection of garbage looks at all objects that there are from time to time: with torch and
    napari loaded that takes a third of a second, in whatever thread, and all others wait. Collections of young
    objects, which are short, go on. A full one that is due by then comes as soon as it is calm: left to Python, it came
    soon after that, often with the next stroke. Threads that run Python take turns ten times as often.
    """

    def __init__(self, viewer: ViewerModel, hand: Hand) -> None:
        self._hand = hand
        self._lists: list[QWidget] = []
        self._before: tuple[int, float] | None = None
        self._old_objects = 0
        self._calm = QTimer()
        self._calm.setSingleShot(True)
        self._calm.setInterval(CALM_MS)
        self._calm.timeout.connect(self._on_calm)
        try:
            window = getattr(viewer, "__wrapped__", viewer).window._qt_window  # napari hands plugins a proxy
            self._lists = window.findChildren(QWidget, "layerList")
        except AttributeError:  # a viewer without a window, or another napari
            pass
        hand.began.connect(self._on_began)
        hand.rested.connect(self._on_rested)

    def close(self) -> None:
        """Let go of the hand: nothing waits any more."""
        self._hand.began.disconnect(self._on_began)
        self._hand.rested.disconnect(self._on_rested)
        self._calm.stop()
        self._restore_python()
        self._update_lists(True)

    def _on_began(self) -> None:
        self._calm.stop()
        self._update_lists(False)
        (young, middle, old), switch = gc.get_threshold(), sys.getswitchinterval()
        if self._before is None and switch > _SWITCH_S:  # else another viewer's hand draws, too
            self._before = old, switch
            gc.set_threshold(young, middle, _NEVER)
            sys.setswitchinterval(_SWITCH_S)

    def _on_rested(self) -> None:
        self._calm.start()
        self._update_lists(True)

    def _on_calm(self) -> None:
        self._restore_python()
        if len(gc.get_objects(generation=2)) > _GROWTH * self._old_objects:
            gc.collect()
            self._old_objects = len(gc.get_objects(generation=2))

    def _restore_python(self) -> None:
        if self._before is not None:
            old, switch = self._before
            gc.set_threshold(*gc.get_threshold()[:2], old)
            sys.setswitchinterval(switch)
            self._before = None

    def _update_lists(self, update: bool) -> None:
        for widget in self._lists:
            try:
                widget.setUpdatesEnabled(update)
            except RuntimeError:  # the window is gone already
                return
