"""While the hand draws, the window is drawn anew only where the stroke has changed it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_softseg.widgets.hand import Hand

MARGIN = 6
"""Pixels of the canvas around what is drawn anew: the edge of the brush's circle is smooth."""

OF_A_STROKE = frozenset({"labels_update", "paint"})
"""The events of layers that a stroke alone emits: after any other, all is drawn."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom on the canvas, in its pixels."""


class StrokeDrawing:
    """Keeps what every move of a drawing mouse costs independent of the size of the canvas.

    napari draws all layers anew at every move, over the whole canvas: with OpenGL in software that takes most of
    the time of a move. Here only the pixels are touched that the stroke and the circle of the brush have changed;
    whatever else happens meanwhile, and the end of the stroke, has all drawn as ever. The status bar and the list
    of layers, for which Qt would put the window together once more at every move, wait until the hand rests.

    napari has no public way to its canvas: where it is not what it was in napari 0.9, all is drawn as ever.
    """

    def __init__(self, viewer: ViewerModel, hand: Hand) -> None:
        self._viewer, self._hand = viewer, hand
        self._whole = True
        self._changed: list[Box] = []
        self._cursor: Box | None = None
        """Where the brush's circle was drawn last."""
        self._mouse: tuple[float, float] | None = None
        self._links: list[tuple[Any, Callable[..., None]]] = []
        try:
            window = getattr(viewer, "__wrapped__", viewer).window  # napari hands plugins a proxy
            self._canvas = window._qt_viewer.canvas
            self._scene = self._canvas._scene_canvas
            self._native = self._canvas.native
            self._camera = viewer.scene.camera
            self._keep_pixels(True)
        except AttributeError:  # a viewer without a window, or another napari
            return
        draw = self._scene.events.draw
        draw.connect(self._before_draw, position="first")
        for signal, slot in (
            (self._scene.events.mouse_move, self._on_mouse_move),
            (self._scene.events.resize, self._draw_all),
            (viewer.layers.events, self._on_layers),
            (self._camera.events, self._draw_all),
            (viewer.dims.events, self._draw_all),
            (viewer.events.theme, self._draw_all),
        ):
            signal.connect(slot)
            self._links.append((signal, slot))
        self._links.append((draw, self._before_draw))
        hand.began.connect(self._on_began)
        hand.rested.connect(self._on_rested)

    def close(self) -> None:
        """Let go of the viewer: all is drawn as ever."""
        if not self._links:
            return
        self._hand.began.disconnect(self._on_began)
        self._hand.rested.disconnect(self._on_rested)
        for signal, slot in self._links:
            signal.disconnect(slot)
        self._links = []
        try:
            self._scene.context.set_state(scissor_test=False)
            self._keep_pixels(False)
            self._update_rest(True)
        except RuntimeError:  # the window is gone already
            return

    def _keep_pixels(self, keep: bool) -> None:
        """Have Qt keep what was drawn, so that a part can be drawn over it."""
        behavior = self._native.UpdateBehavior
        self._native.setUpdateBehavior(behavior.PartialUpdate if keep else behavior.NoPartialUpdate)

    def _update_rest(self, update: bool) -> None:
        """Let the rest of the window show what is new, or wait; public Qt, whatever napari has there."""
        window = self._native.window()
        rest = window.findChildren(QWidget, "layerList")  # it is painted at every event of a layer
        if isinstance(window, QMainWindow):
            rest.append(window.statusBar())
        for widget in rest:
            widget.setUpdatesEnabled(update)

    def _on_began(self) -> None:
        self._whole = True
        self._update_rest(False)

    def _on_rested(self) -> None:
        self._whole = True
        self._update_rest(True)
        self._scene.context.set_state(scissor_test=False)
        self._native.update()

    def _draw_all(self, _event: Any = None) -> None:
        self._whole = True

    def _on_mouse_move(self, event: Any) -> None:
        self._mouse = float(event.pos[0]), float(event.pos[1])

    def _on_layers(self, event: Any) -> None:
        if event.type not in OF_A_STROKE:
            self._whole = True
        elif event.type == "labels_update" and not self._whole:
            box = self._painted(event)
            if box is None:
                self._whole = True
            else:
                self._changed.append(box)

    def _painted(self, event: Any) -> Box | None:
        """Return what a piece of a stroke covers; None where that is not known."""
        layer = self._viewer.layers.selection.active
        if not isinstance(layer, Labels) or len(event.offset) != 2:
            return None
        node = self._canvas.layer_to_visual[layer].node
        top, left = event.offset
        height, width = event.data.shape[:2]
        corners = [(x, y) for x in (left - 1, left + width + 1) for y in (top - 1, top + height + 1)]
        mapped = node.get_transform("visual", "canvas").map(np.array(corners, dtype=float))
        at = mapped[:, :2] / mapped[:, 3:]
        return (*at.min(axis=0), *at.max(axis=0))

    def _circle(self) -> Box | None:
        """Return what the circle of the brush covers; None where the mouse has not been seen."""
        if self._mouse is None:
            return None
        cursor = self._viewer.cursor
        radius = cursor.size * (self._camera.zoom if cursor.scaled else 1) / 2
        x, y = self._mouse
        return x - radius, y - radius, x + radius, y + radius

    def _before_draw(self, _event: Any) -> None:
        before, self._cursor = self._cursor, self._circle()
        boxes = [*self._changed, before, self._cursor]
        whole = self._whole or not self._hand.at_work or None in boxes
        self._changed, self._whole = [], False
        context = self._scene.context
        context.set_state(scissor_test=not whole)
        if not whole:
            context.set_scissor(*self._pixels(np.array(boxes)))

    def _pixels(self, boxes: Any) -> tuple[int, int, int, int]:
        """Return what holds all boxes as OpenGL has it: in pixels of the screen, counted from the bottom left."""
        scale = self._scene.pixel_scale
        left, top = np.floor((boxes[:, :2].min(axis=0) - MARGIN) * scale).astype(int)
        right, bottom = np.ceil((boxes[:, 2:].max(axis=0) + MARGIN) * scale).astype(int)
        height = self._scene.physical_size[1]
        return int(left), int(height - bottom), int(right - left), int(bottom - top)
