"""The canvas is drawn anew only where it has changed, and never much of it at once if that takes long."""

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QObject, QTimer

from napari_softseg.widgets.canvas_changes import Box, CanvasChanges, regions

MARGIN = 3
"""Pixels of the canvas around a box: the line of the brush's circle is smooth, and lies half outside."""

SLOW = 0.02
"""Seconds that a drawing of everything may take until it is on the screen; above, what can wait comes in strips."""

STRIPS = 6
"""Over the canvas, one per turn of the event loop."""

PAUSE_MS = 5
"""Between two drawings, for whatever else waits."""

NOWHERE: Box = (-MARGIN, -MARGIN, -MARGIN, -MARGIN)


class PartialDrawing:
    """Keeps what a move of the mouse costs independent of the size of the canvas and the number of layers.

    napari draws all layers over the whole canvas at every move: with OpenGL in software, that takes most of the
    time of a stroke. Here the canvas keeps what was drawn before, and only where it has changed it is drawn over.
    A new result changes it everywhere: where drawing is slow, strip after strip. After anything else, and where
    napari's canvas is not what it was in napari 0.9, all is drawn as ever.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._changes: CanvasChanges | None = None
        self._strips: list[Box] = []
        """Those left to draw."""
        self._slow = False
        self._waiting = False
        """Whether nothing is drawn until the next turn of the event loop."""
        self._for_screen = False
        """Whether what is drawn next goes to the screen; else somebody takes a picture, and wants all of it."""
        self._began: float | None = None
        """When a drawing of everything began that is not on the screen yet."""
        self._next = QTimer()
        self._next.setSingleShot(True)
        self._next.setInterval(PAUSE_MS)
        try:
            own = getattr(viewer, "__wrapped__", viewer)  # napari hands plugins a proxy
            canvas = own.window._qt_viewer.canvas
            self._scene, self._native = canvas._scene_canvas, canvas.native
            self._draw, self._behavior = self._native.paintGL, self._native.UpdateBehavior
            self._changes = CanvasChanges(own)
        except AttributeError:  # a viewer without a window, or another napari
            return
        self._next.timeout.connect(self._go_on)
        # Qt keeps what was drawn, so that a part can be drawn over it
        self._native.setUpdateBehavior(self._behavior.PartialUpdate)
        self._native.paintGL = self._paint
        self._paints = _PaintEvents(self._on_paint_event)
        self._native.installEventFilter(self._paints)
        self._native.frameSwapped.connect(self._on_screen)

    def wait(self) -> None:
        """Draw in the next turn of the event loop: what happens now, such as turning to another image, takes long."""
        if self._changes is not None and self._slow:
            self._waiting = True
            self._next.start()

    def close(self) -> None:
        """Let go of the viewer: all is drawn as ever."""
        if self._changes is None:
            return
        self._next.stop()
        self._changes.close()
        self._changes = None
        del self._native.paintGL
        try:
            self._native.removeEventFilter(self._paints)
            self._native.frameSwapped.disconnect(self._on_screen)
            self._native.setUpdateBehavior(self._behavior.NoPartialUpdate)
            self._native.update()
        except RuntimeError:  # the window is gone already
            return

    def _go_on(self) -> None:
        self._waiting = False
        if self._changes is not None:
            self._changes.ask()

    def _on_paint_event(self) -> None:
        self._for_screen = True

    def _paint(self) -> None:
        """Draw what has changed; Qt calls it in the place of the canvas' own method."""
        assert self._changes is not None
        for_screen, self._for_screen = self._for_screen, False
        if for_screen and self._waiting:
            return  # what was drawn before stays
        changes = self._changes.take()
        if changes.anything or not for_screen or (changes.pixels and not self._slow):
            self._strips = []
            self._began = time.perf_counter() if for_screen else None
            self._draw()
            return
        self._began = None
        if changes.pixels:
            self._strips = self._all_strips()
        boxes = list(regions(changes.boxes))
        if self._strips and not boxes:  # else the mouse goes first
            boxes.append(self._strips.pop())
        if self._strips:
            self._next.start()
        for box in boxes or [NOWHERE]:  # vispy asks Qt for a drawing again only after it has made one
            self._draw_box(box)

    def _draw_box(self, box: Box) -> None:
        context = self._scene.context
        context.set_scissor(*self._on_framebuffer(box))
        context.set_state(scissor_test=True)
        try:
            self._draw()
        finally:
            context.set_state(scissor_test=False)
            context.flush()

    def _on_framebuffer(self, box: Box) -> tuple[int, int, int, int]:
        """Return a box as OpenGL has it: left, bottom, width and height in its pixels, from the bottom left."""
        scale, size = self._scene.pixel_scale, self._scene.physical_size
        left, top = np.floor((np.array(box[:2]) - MARGIN) * scale).clip(0, size).astype(int)
        right, bottom = np.ceil((np.array(box[2:]) + MARGIN) * scale).clip(0, size).astype(int)
        return int(left), int(size[1] - bottom), int(right - left), int(bottom - top)

    def _all_strips(self) -> list[Box]:
        """Return strips over the canvas, the first to draw last."""
        width, height = self._scene.size
        edges = np.linspace(height, 0, STRIPS + 1)
        return [(0.0, float(top), float(width), float(bottom)) for bottom, top in pairwise(edges)]

    def _on_screen(self) -> None:
        """Learn how long it takes to draw everything."""
        if self._began is not None:
            self._slow = time.perf_counter() - self._began > SLOW
            self._began = None


class _PaintEvents(QObject):
    """Tells when a widget is about to be painted on the screen."""

    def __init__(self, slot: Callable[[], None]) -> None:
        super().__init__()
        self._slot = slot

    def eventFilter(self, _widget: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Paint:
            self._slot()
        return False
