"""The scribbles layer: made for an image, or found again, and coloured like its classes."""

import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap

from napari_softseg.widgets.classes import ClassList, ScribbleClass, classes_from_metadata
from napari_softseg.widgets.tags import SCRIBBLES, TAG, alignment, grid_shape, image_id, set_tag, tag_of

BRUSH_SHARE = 64
"""The first brush is this share of the image's shorter side: thin enough to stay inside things."""


def is_scribbles(layer: Layer) -> bool:
    """Return whether a layer holds scribbles: ours by its tag, anybody's by its name."""
    if not isinstance(layer, Labels):
        return False
    return tag_of(layer).get("role") == SCRIBBLES or layer.name.lower().startswith(SCRIBBLES)


def new_scribbles(image: Image, strokes: npt.NDArray[np.integer] | None = None) -> Labels:
    """Return a scribbles layer that lies exactly over `image`, empty or with these strokes."""
    if strokes is None:
        strokes = np.zeros(grid_shape(image), dtype=np.uint8)
    layer = Labels(strokes, name=SCRIBBLES, opacity=1.0, **alignment(image))
    set_tag(layer, role=SCRIBBLES, image_id=image_id(image))
    layer.brush_size = max(3, round(min(grid_shape(image)[-2:]) / BRUSH_SHARE))
    return layer


def scribbles_for(image: Image, layers: Iterable[Layer]) -> Labels | None:
    """Return the scribbles layer that belongs to `image`, or None.

    One that is linked to the image comes first; else one that belongs to no image
    and lies over this one, such as a sample's.
    """
    candidates = [layer for layer in layers if is_scribbles(layer)]
    for layer in candidates:
        if tag_of(layer).get("image_id") == image_id(image):
            return layer
    return next((layer for layer in candidates if _lies_over(layer, image)), None)


def retire(layer: Labels) -> None:
    """Make a scribbles layer one of nobody's: hidden, and not found again, but with all its strokes."""
    layer.metadata.pop(TAG, None)
    layer.name = f"old {SCRIBBLES}"
    layer.visible = False


def adopt(layer: Labels, image: Image) -> list[ScribbleClass]:
    """Link a scribbles layer to `image` and return the classes it was saved with."""
    set_tag(layer, role=SCRIBBLES, image_id=image_id(image))
    return classes_from_metadata(tag_of(layer).get("classes", {}))


def color_strokes(layer: Labels, classes: ClassList) -> None:
    """Give the strokes the colours of their classes, and keep the classes with the layer."""
    colors: dict[int | None, npt.NDArray[np.float32] | str] = {None: "white", 0: "transparent"}
    for entry in classes:
        colors[entry.value] = np.append(np.asarray(entry.color, dtype=np.float32) / 255, np.float32(1))
    colormap = DirectLabelColormap(color_dict=colors)
    if not _has_colors(layer, colormap):  # napari compiles a shader for each
        layer.colormap = colormap
    set_tag(layer, classes=classes.to_metadata())


def erase_class(layer: Labels, value: int) -> None:
    """Erase every stroke of a class, in all planes, as one step that undo brings back."""
    layer.data_setitem(np.nonzero(np.asarray(layer.data) == value), 0)


def stroke_counts(strokes: npt.NDArray[np.integer]) -> dict[int, int]:
    """Return the number of painted pixels of every value but 0 in `strokes`, any shape."""
    if strokes.dtype == np.uint8:  # twenty times faster than sorting, and this runs after every stroke
        counts = np.bincount(strokes.ravel(), minlength=1)
        found = np.flatnonzero(counts)
        return {int(v): int(counts[v]) for v in found if v != 0}
    values, numbers = np.unique(strokes, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, numbers, strict=True) if v != 0}


def stroke_checksum(strokes: npt.NDArray[np.integer]) -> int:
    """Return what tells `strokes`, any shape, from others."""
    kind = repr((strokes.shape, strokes.dtype.str)).encode()
    return zlib.crc32(strokes.tobytes(), zlib.crc32(kind))


def _has_colors(layer: Labels, after: DirectLabelColormap) -> bool:
    before = layer.colormap
    return (
        isinstance(before, DirectLabelColormap)
        and before.color_dict.keys() == after.color_dict.keys()
        and all(np.array_equal(before.color_dict[value], color) for value, color in after.color_dict.items())
    )


def _lies_over(layer: Labels, image: Image) -> bool:
    """Return whether an unlinked layer has the image's pixels and place."""
    return (
        "image_id" not in tag_of(layer)
        and tuple(layer.data.shape) == grid_shape(image)
        and np.allclose(layer.scale, image.scale)
        and np.allclose(layer.translate, image.translate)
    )
