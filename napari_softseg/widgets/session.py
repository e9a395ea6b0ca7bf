"""One person painting one image: keeps image, scribbles and classes together, without a view."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from psygnal import Signal

from napari_softseg.errors import InputError
from napari_softseg.widgets import channels
from napari_softseg.widgets.classes import ClassList
from napari_softseg.widgets.hand import Hand
from napari_softseg.widgets.keys import bind_keys, unbind_keys
from napari_softseg.widgets.planes import require_plane_image
from napari_softseg.widgets.result_layers import hide_results, is_result
from napari_softseg.widgets.scribbles import (
    adopt,
    color_strokes,
    erase_class,
    is_scribbles,
    new_scribbles,
    retire,
    scribbles_for,
)
from napari_softseg.widgets.tags import grid_shape, see, set_tag


class ScribbleSession:
    """The image being painted on, its scribbles layer and its classes.

    Layers may be renamed, reordered or deleted at any moment: ask for
    :attr:`image` and :attr:`scribbles` anew every time.
    """

    layers_changed = Signal()
    """The images in the viewer, the chosen one or its scribbles changed."""
    image_chosen = Signal()
    """Another image is painted on now; what lies over the one before is hidden."""
    touched = Signal()
    """Strokes, pixels or the visible plane may have changed."""
    class_selected = Signal()
    """The brush paints another class now."""
    results_removed = Signal()
    """A result layer was deleted by somebody."""
    key_pressed = Signal(str)
    """A key of ours was pressed on the canvas; the name of what it stands for."""

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.classes = ClassList()
        self.hand = Hand(viewer)
        self.image_version = 0
        self._image: Image | None = None
        self._scribbles: Labels | None = None
        self._links = [
            (viewer.layers.events.inserted, self._on_inserted),
            (viewer.layers.events.removed, self._on_removed),
            (viewer.layers.events.renamed, self._on_renamed),
            (viewer.dims.events.current_step, self._on_touched),
            (viewer.dims.events.order, self._on_touched),
            (viewer.dims.events.ndisplay, self._on_touched),
        ]
        for emitter, slot in self._links:
            emitter.connect(slot)
        self.classes.changed.connect(self._on_classes_changed)
        painted = [image for image in self.images if scribbles_for(image, viewer.layers) is not None]
        self.choose(next(iter(painted or reversed(self.images)), None))

    @property
    def images(self) -> list[Image]:
        """The images to choose from, bottom to top."""
        return [layer for layer in self.viewer.layers if isinstance(layer, Image) and not is_result(layer)]

    @property
    def image(self) -> Image | None:
        """The image being painted on."""
        return self._image if self._image in self.viewer.layers else None

    @property
    def scribbles(self) -> Labels | None:
        """The scribbles layer of the image."""
        return self._scribbles if self._scribbles in self.viewer.layers else None

    @property
    def selected_class(self) -> int | None:
        """Value of the class the brush paints."""
        return None if self.scribbles is None else int(self.scribbles.selected_label)

    def choose(self, image: Image | None) -> None:
        """Paint on this image from now on, with its own scribbles and results if it has any."""
        if image is self._image:
            return
        if self._image is not None and image is not None:
            self._hide_belongings()  # so that two images do not cover each other
        self._detach()
        if self._image is not None:
            self._image.events.data.disconnect(self._on_pixels)
        self._image = image
        if image is not None:
            image.events.data.connect(self._on_pixels)
            self._attach(scribbles_for(image, self.viewer.layers))
            self.image_chosen.emit()
        else:
            self.classes.reset()  # an emptied viewer begins anew
        self._on_pixels()
        self.layers_changed.emit()

    def start(self) -> None:
        """Make a scribbles layer for the image, or return to the one it has, brush in hand.

        Raises
        ------
        InputError
            If there is no image, or this one cannot be painted on.
        """
        image = self.image
        if image is None:
            raise InputError("There is no image to paint on: open one, or File > Open Sample.")
        require_plane_image(image)
        if self.scribbles is None and (axis := channels.likely_axis(image)) is not None:
            self.set_channel_axis(axis)
        scribbles = self.scribbles
        if scribbles is None or tuple(scribbles.data.shape) != grid_shape(image):
            self._detach()
            new = new_scribbles(image)
            set_tag(new, classes=self.classes.to_metadata())  # those of the image before
            self.viewer.add_layer(new)  # _on_inserted attaches it
        else:
            self._take_brush(scribbles)

    def set_channel_axis(self, axis: int | None) -> None:
        """Say which axis of the image holds channels, counted as its data came; None for none.

        Strokes stay where they are, one layer of them for all channels; the layer of before is kept, hidden.

        Raises
        ------
        InputError
            If there is no image, or its channels cannot come first.
        """
        image = self.image
        if image is None:
            raise InputError("There is no image to choose channels of: open one, or File > Open Sample.")
        before = channels.channel_axis(image)
        if axis == before:
            return
        first_length, first_place = image.data.shape[0], self.viewer.dims.current_step[-image.ndim]
        channels.set_channel_axis(image, axis)
        self.viewer.dims.order = tuple(range(self.viewer.dims.ndim))
        old = self.scribbles
        if old is not None:
            self._detach()
            strokes = np.asarray(old.data)
            if before is not None:
                spread = np.zeros((first_length, *strokes.shape), strokes.dtype)
                spread[first_place] = strokes
                strokes = np.moveaxis(spread, 0, before)
            if axis is not None:
                strokes = strokes.max(axis=axis)
            new = new_scribbles(image, np.ascontiguousarray(strokes))
            set_tag(new, classes=self.classes.to_metadata())
            retire(old)
            self.viewer.add_layer(new)  # _on_inserted attaches it
        self._on_pixels()
        self.layers_changed.emit()

    def see_channels(self, seen: Iterable[int]) -> None:
        """Let the solver see these channels of the image only.

        Raises
        ------
        InputError
            If there is no image, or none of its channels is among them.
        """
        if self.image is None:
            raise InputError("There is no image to choose channels of: open one, or File > Open Sample.")
        channels.see_channels(self.image, seen)
        self._on_pixels()
        self.layers_changed.emit()

    def select_class(self, value: int) -> None:
        """Let the brush paint this class."""
        if self.scribbles is not None and value in self.classes:
            self.scribbles.selected_label = value

    def step_class(self, step: int) -> None:
        """Let the brush paint the class `step` places further down the table."""
        if self.selected_class is not None:
            self.select_class(self.classes.after(self.selected_class, step))

    def remove_class(self, value: int) -> None:
        """Remove a class and its strokes; undo on the scribbles layer brings both back.

        Raises
        ------
        InputError
            If fewer than two classes would be left.
        """
        self.classes.remove(value)
        if self.scribbles is not None:
            erase_class(self.scribbles, value)
            if self.selected_class == value:
                self.select_class(self.classes.values[0])

    def close(self) -> None:
        """Let go of the viewer: no event reaches this session any more."""
        self.hand.close()
        self._detach()
        if self._image is not None:
            self._image.events.data.disconnect(self._on_pixels)
            self._image = None
        for emitter, slot in self._links:
            emitter.disconnect(slot)
        self._links = []

    def _attach(self, layer: Labels | None) -> None:
        """Work on this scribbles layer, which lies over the image."""
        if layer is None or self._image is None:
            return
        self._scribbles = layer
        # Read the layer before the list's event writes the classes back to it.
        self.classes.reset(adopt(layer, self._image))
        color_strokes(layer, self.classes)
        for emitter in (layer.events.paint, layer.events.set_data, layer.events.data):
            emitter.connect(self._on_touched)
        layer.events.selected_label.connect(self._on_selected)
        bind_keys(layer, self)
        self._take_brush(layer)

    def _take_brush(self, layer: Labels) -> None:
        if int(layer.selected_label) not in self.classes:
            layer.selected_label = self.classes.values[0]
        self.viewer.layers.selection.active = layer
        see(layer, True)  # before the mode: napari takes the brush away with every change of visibility
        layer.mode = "paint"

    def _detach(self) -> None:
        layer, self._scribbles = self._scribbles, None
        if layer is None:
            return
        for emitter in (layer.events.paint, layer.events.set_data, layer.events.data):
            emitter.disconnect(self._on_touched)
        layer.events.selected_label.disconnect(self._on_selected)
        unbind_keys(layer)

    def _hide_belongings(self) -> None:
        if self.scribbles is not None:
            see(self.scribbles, False)
        if self._image is not None:  # also of one that was deleted
            hide_results(self.viewer, self._image)

    def _on_inserted(self, event: Any) -> None:
        layer: Layer = event.value
        if isinstance(layer, Image) and not is_result(layer) and self.image is None:
            self.choose(layer)
        elif is_scribbles(layer):
            self._on_scribbles_inserted(layer)
        self.layers_changed.emit()

    def _on_scribbles_inserted(self, layer: Labels) -> None:
        """Turn to strokes that came in with an image of theirs: a sample, or our own new layer."""
        image = next((i for i in reversed(self.images) if scribbles_for(i, [layer]) is layer), None)
        if image is None:
            return
        if image is not self._image:
            self.choose(image)
        elif self.scribbles is None:
            self._attach(layer)
            self.touched.emit()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._scribbles:
            self._detach()
            if self.image is not None:  # a duplicate takes the place of the original
                self._attach(scribbles_for(self.image, self.viewer.layers))
        elif event.value is self._image:
            self.choose(next(reversed(self.images), None))
        elif is_result(event.value):
            self.results_removed.emit()
        self.touched.emit()
        self.layers_changed.emit()

    def _on_renamed(self, _event: Any) -> None:
        self.layers_changed.emit()

    def _on_touched(self, _event: Any = None) -> None:
        self.touched.emit()

    def _on_pixels(self, _event: Any = None) -> None:
        self.image_version += 1
        self.touched.emit()

    def _on_selected(self, _event: Any) -> None:
        self.class_selected.emit()

    def _on_classes_changed(self) -> None:
        if self.scribbles is not None:
            color_strokes(self.scribbles, self.classes)
        self.touched.emit()
