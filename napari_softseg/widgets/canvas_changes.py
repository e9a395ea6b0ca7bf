"""Where the canvas of napari has changed since it was drawn last."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_softseg.widgets.result_layers import is_result
from napari_softseg.widgets.scribbles import is_scribbles

Box = tuple[float, float, float, float]
"""Left, top, right and bottom on the canvas, in its own pixels."""

LOOKUP_ERRORS = AttributeError, KeyError, IndexError, TypeError, ValueError
"""Of whoever reads what napari keeps to itself, and keeps elsewhere one day; then all is drawn."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be drawn anew."""

    boxes: tuple[Box, ...] = ()
    """Places that have changed."""
    pixels: bool = False
    """Whether scribbles or results have other pixels, anywhere: it may take a few frames until all are seen."""
    anything: bool = False
    """Whether anything else may have changed, anywhere."""


class CanvasChanges:
    """Follows what asks the canvas for a drawing.

    Whatever is drawn asks the canvas for a drawing when it changes, and says what it is. So pieces of strokes and
    moves of the brush's circle, whose places are known, can be told from everything else.

    Raises AttributeError when it is made where napari's canvas is not what it was in napari 0.9: there is no
    public way to it.
    """

    def __init__(self, viewer: Any) -> None:
        """Follow the canvas of a viewer; napari's own one, not the proxy that plugins get."""
        self._viewer = viewer
        self._canvas = viewer.window._qt_viewer.canvas
        self._scene = self._canvas._scene_canvas
        self._brush = viewer.canvas.overlays._brush_circle
        self._update, self._pick = self._scene.update, self._scene._render_picking
        self._anything = True
        self._requests = 0
        """For a drawing, from whatever."""
        self._asked: Counter[int] = Counter()
        """How often each node of the scene has asked for a drawing."""
        self._explained: Counter[int] = Counter()
        """How often it did so for a piece of a stroke."""
        self._pieces: list[Box] = []
        self._moved = False
        """Whether the circle of the brush has asked."""
        self._circle: Box | None = None
        """What the brush's circle covered when all was drawn last."""
        self._empty: set[int] = set()
        """Nodes that showed nothing then."""
        self._picking = False
        self._links: tuple[tuple[Any, Callable[..., None]], ...] = (
            (viewer.layers.events, self._on_layers),
            (self._scene.events.resize, self.add_anything),
            (self._scene.events.initialize, self.add_anything),
        )
        for signal, slot in self._links:
            signal.connect(slot)
        # in the place of the methods of this one canvas
        self._scene.update, self._scene._render_picking = self._on_update, self._on_pick

    def close(self) -> None:
        """Let go of the canvas."""
        for signal, slot in self._links:
            signal.disconnect(slot)
        del self._scene.update, self._scene._render_picking

    def add_anything(self, _event: Any = None) -> None:
        """Have all drawn anew."""
        self._anything = True

    def ask(self) -> None:
        """Have a drawing made, though nothing has changed."""
        self._requests += 1
        self._canvas.native.update()  # vispy asks Qt no second time before it has drawn

    def take(self) -> Changes:
        """Return what has changed since the last call; what is asked for from now on is for the next."""
        try:
            changes = self._changes()
        except LOOKUP_ERRORS:
            changes = Changes(anything=True)
        self._anything = self._moved = False
        self._requests = 0
        self._pieces.clear()
        self._asked.clear()
        self._explained.clear()
        return changes

    def _changes(self) -> Changes:
        before, self._circle = self._circle, self._circle_now()
        empty, self._empty = self._empty, self._empty_now()
        circles = (before, self._circle) if self._moved else ()
        boxes = [*self._pieces, *(box for box in circles if box is not None)]
        unexplained = (self._asked - self._explained).keys() - (empty & self._empty)
        ours = unexplained & self._ours() if unexplained else set()
        return Changes(
            tuple(boxes),
            pixels=bool(ours),
            anything=self._anything
            or not self._requests  # the widget was uncovered, or somebody takes a picture of it
            or unexplained != ours
            or self._viewer.canvas.grid.enabled,
        )

    def _on_update(self, node: Any = None) -> None:
        """Take note of what asks for a drawing, and hand it on."""
        self._requests += 1
        try:
            if node is None:
                self._anything = True
            elif self._of_brush(node):
                self._moved = True
            elif not self._picking:
                self._asked[id(node)] += 1
        except LOOKUP_ERRORS:
            self._anything = True
        self._update(node)

    def _on_pick(self, crop: Any) -> Any:
        """Find out what the mouse is on: vispy shows other things meanwhile, and then what it showed before."""
        self._picking = True
        try:
            return self._pick(crop)
        finally:
            self._picking = False

    def _on_layers(self, event: Any) -> None:
        if event.type != "labels_update" or len(event.offset) != 2:
            return
        try:
            node = self._canvas.layer_to_visual[self._viewer.layers[event.index]].node
            box = _on_canvas(node, event.offset, event.data.shape)
        except LOOKUP_ERRORS:
            self._anything = True
        else:
            self._explained[id(node)] += 1
            self._pieces.append(box)

    def _circles(self) -> Any:
        return self._canvas._viewer_overlay_to_visual.get(self._brush, ())

    def _of_brush(self, node: Any) -> bool:
        return any(node in (circle.node, circle.box) for circle in self._circles())

    def _circle_now(self) -> Box | None:
        """Return what the circle of the brush covers; None where it is not seen."""
        for circle in self._circles():
            if circle.node.visible:
                (x, y), radius = map(float, circle.node.transform.translate[:2]), circle.overlay.size / 2
                return x - radius, y - radius, x + radius, y + radius
        return None

    def _empty_now(self) -> set[int]:
        """Return the nodes of polygons without a point and of outlines that nobody draws.

        They ask for a drawing all the same, with the class that is chosen and with every undo.
        """
        return {
            id(visual.node)
            for overlays in self._canvas._layer_overlay_to_visual.values()
            for overlay, visual in overlays.items()
            if getattr(overlay, "points", None) == [] or getattr(overlay, "active", None) is False
        }

    def _ours(self) -> set[int]:
        visuals = self._canvas.layer_to_visual.items()
        return {id(visual.node) for layer, visual in visuals if is_result(layer) or is_scribbles(layer)}


def _on_canvas(node: Any, offset: Any, shape: tuple[int, ...]) -> Box:
    """Return what a piece of a layer covers on the canvas, with a pixel of the layer around it."""
    (top, left), (height, width) = offset, shape[:2]
    corners = [(x, y) for x in (left - 1, left + width + 1) for y in (top - 1, top + height + 1)]
    mapped = node.get_transform("visual", "canvas").map(np.array(corners, dtype=float))
    at = mapped[:, :2] / mapped[:, 3:]
    (left, top), (right, bottom) = at.min(axis=0), at.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def regions(boxes: tuple[Box, ...]) -> Iterator[Box]:
    """Yield few boxes that hold all of `boxes`, and not much more."""
    found: list[Box] = []
    for box in boxes:
        for place, region in enumerate(found):
            both = _around(box, region)
            if _area(both) <= 2 * (_area(box) + _area(region)):
                found[place] = both
                break
        else:
            found.append(box)
    yield from found


def _around(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
