"""What waits while the hand draws: napari's list of layers, and Python's search through all of its memory."""

import gc

from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_softseg.widgets.hand import Hand

CALM_MS = 5000
"""After the last stroke, until Python may look through all of its memory again."""

_NEVER = 10**9


class HandFirst:
    """Keeps away from strokes what holds up the window and can wait.

    The list of layers is painted anew at every piece of a stroke, and Qt puts the whole window together for it once
    more. Python's collection of garbage looks at all objects that there are from time to time: with torch and
    napari loaded that takes a third of a second, in whatever thread, and all others wait. Collections of young
    objects, which are short, go on.
    """

    def __init__(self, viewer: ViewerModel, hand: Hand) -> None:
        self._hand = hand
        self._lists: list[QWidget] = []
        self._threshold: int | None = None
        self._calm = QTimer()
        self._calm.setSingleShot(True)
        self._calm.setInterval(CALM_MS)
        self._calm.timeout.connect(self._collect_again)
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
        self._collect_again()
        self._update_lists(True)

    def _on_began(self) -> None:
        self._calm.stop()
        self._update_lists(False)
        young, middle, old = gc.get_threshold()
        if self._threshold is None and old != _NEVER:  # else another viewer's hand draws, too
            self._threshold = old
            gc.set_threshold(young, middle, _NEVER)

    def _on_rested(self) -> None:
        self._calm.start()
        self._update_lists(True)

    def _collect_again(self) -> None:
        if self._threshold is not None:
            gc.set_threshold(*gc.get_threshold()[:2], self._threshold)
            self._threshold = None

    def _update_lists(self, update: bool) -> None:
        for widget in self._lists:
            try:
                widget.setUpdatesEnabled(update)
            except RuntimeError:  # the window is gone already
                return
