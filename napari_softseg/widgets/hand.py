"""The hand on the mouse: while it draws, the window belongs to it."""

from collections.abc import Iterator
from typing import Any

from napari.components import ViewerModel
from psygnal import Signal
from qtpy.QtCore import QTimer

PAUSE_MS = 500
"""A hand that holds the button but keeps still for so long waits for something."""


class Hand:
    """Knows whether somebody draws or drags on the canvas right now.

    Every move of the mouse is drawn by napari in the GUI thread. What we do meanwhile in that thread, or in
    Python in another, makes the line stutter: most of it can wait until the button is up.
    """

    began = Signal()
    """A button went down, or moves on after a pause."""
    rested = Signal()
    """The button is up, or has not moved for a while."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._pause = QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self.rested.emit)
        viewer.mouse_drag_callbacks.append(self._follow)

    @property
    def at_work(self) -> bool:
        """Whether a button is down and the mouse moves."""
        return self._pause.isActive()

    def close(self) -> None:
        """Let go of the viewer; nothing is emitted any more."""
        self._pause.stop()
        self._viewer.mouse_drag_callbacks.remove(self._follow)

    def _follow(self, _viewer: Any, event: Any) -> Iterator[None]:
        """Go along with one drag; napari asks for the next step at every event."""
        self._move()
        yield
        while event.type == "mouse_move":
            self._move()
            yield
        if self.at_work:
            self._pause.stop()
            self.rested.emit()

    def _move(self) -> None:
        rested = not self.at_work
        self._pause.start()  # napari forgets a drag whose release it does not see: this ends by itself
        if rested:
            self.began.emit()
