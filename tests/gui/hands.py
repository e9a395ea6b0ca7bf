"""Hands for a napari window: real mouse events on its canvas, and a pulse that feels when it blocks."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

Point = tuple[float, float]
"""World coordinates (y, x) in the visible plane."""


def canvas_of(viewer: Any) -> QWidget:
    """Return the widget that takes the mouse."""
    return viewer.window._qt_viewer.canvas.native  # type: ignore[no-any-return]


def on_canvas(viewer: Any, point: Point) -> QPointF:
    """Return where a world point is on the canvas, in its pixels."""
    view = viewer.window._qt_viewer.canvas.view
    mapped = (view.transform * view.scene.transform).map([point[1], point[0], 0, 1])
    x, y = mapped[:2] / mapped[3]
    return QPointF(float(x), float(y))


def drag(viewer: Any, points: Sequence[Point], pause: float = 0.0) -> None:
    """Drag the mouse with the left button through `points`, `pause` seconds between two moves."""
    none, left = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
    path = [on_canvas(viewer, point) for point in _dense(points)]
    _send(viewer, QEvent.Type.MouseMove, path[0], none, none)
    _send(viewer, QEvent.Type.MouseButtonPress, path[0], left, left)
    for position in path[1:]:
        _process_events(pause)
        _send(viewer, QEvent.Type.MouseMove, position, none, left)
    _send(viewer, QEvent.Type.MouseButtonRelease, path[-1], left, none)


class Pulse:
    """A 5 ms timer; the gaps between its beats are how long the event loop was blocked."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = 0.0
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)

    def start(self) -> None:
        """Forget what was measured, and measure."""
        self.gaps, self._last = [], time.perf_counter()
        self._timer.start()

    def stop(self) -> list[float]:
        """Return the gaps in seconds."""
        self._timer.stop()
        return self.gaps

    def _beat(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now


def _send(
    viewer: Any, kind: QEvent.Type, at: QPointF, button: Qt.MouseButton, buttons: Qt.MouseButton
) -> None:
    canvas = canvas_of(viewer)
    at_screen = QPointF(canvas.mapToGlobal(at.toPoint()))
    event = QMouseEvent(kind, at, at_screen, button, buttons, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(canvas, event)
    QApplication.processEvents()


def _process_events(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


def _dense(points: Sequence[Point]) -> list[Point]:
    """Fill in points between the corners, as a hand does."""
    path = [points[0]]
    for start, end in pairwise(points):
        step = np.subtract(end, start)
        path += [(start[0] + step[0] * t, start[1] + step[1] * t) for t in np.linspace(0, 1, 9)[1:]]
    return path
