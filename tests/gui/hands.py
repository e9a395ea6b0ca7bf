"""Hands for a napari window: real mouse events on its canvas, and a pulse that feels when it blocks."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


def drag(viewer: Any, points: Sequence[Point], pause: float = 0.0, moves: int = 8) -> None:
    """Drag the mouse with the left button, `moves` from point to point and `pause` seconds between two."""
    with button_down(viewer, points[0]) as move:
        for point in _dense(points, moves)[1:]:
            _process_events(pause)
            move(point)


@contextmanager
def button_down(viewer: Any, start: Point) -> Iterator[Callable[[Point], None]]:
    """Hold the left button down; what is yielded moves the mouse."""
    none, left = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
    at = on_canvas(viewer, start)
    _send(viewer, QEvent.Type.MouseMove, at, none, none)
    _send(viewer, QEvent.Type.MouseButtonPress, at, left, left)

    def move(point: Point) -> None:
        nonlocal at
        at = on_canvas(viewer, point)
        _send(viewer, QEvent.Type.MouseMove, at, none, left)

    try:
        yield move
    finally:
        _send(viewer, QEvent.Type.MouseButtonRelease, at, left, none)


def hover(viewer: Any, point: Point) -> None:
    """Move the mouse to a point, no button down."""
    none = Qt.MouseButton.NoButton
    _send(viewer, QEvent.Type.MouseMove, on_canvas(viewer, point), none, none)


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


def _dense(points: Sequence[Point], moves: int) -> list[Point]:
    """Fill in points between the corners, as a hand does."""
    path = [points[0]]
    for start, end in pairwise(points):
        step = np.subtract(end, start)
        path += [(start[0] + step[0] * t, start[1] + step[1] * t) for t in np.linspace(0, 1, moves + 1)[1:]]
    return path
