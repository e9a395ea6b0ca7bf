"""How our layers are known again after they were renamed, reordered or reloaded."""

from typing import Any

import numpy as np
from napari.layers import Layer

TAG = "napari_softseg"
"""Key in a layer's metadata; below it lie ``role``, ``image_id`` and, for scribbles, ``classes``; for images
``channel_axis`` and ``channels`` (see :mod:`napari_softseg.widgets.channels`)."""

SCRIBBLES, SOFT_LABELS, UNCERTAINTY = "scribbles", "soft labels", "uncertainty"
"""The roles a layer can have; each is also the first name of its layer."""


def tag_of(layer: Layer) -> dict[str, Any]:
    """Return our part of the layer's metadata, empty for a layer that is not ours."""
    tag = layer.metadata.get(TAG)
    return tag if isinstance(tag, dict) else {}


def set_tag(layer: Layer, **entries: Any) -> None:
    """Add entries to our part of the layer's metadata."""
    layer.metadata[TAG] = tag_of(layer) | entries


def see(layer: Layer, visible: bool) -> None:
    """Show or hide a layer, unless it is so already: napari would arrange and draw all layers anew."""
    if layer.visible != visible:
        layer.visible = visible


def image_id(image: Layer) -> str:
    """Return what links scribbles and results to their image."""
    return str(image.unique_id)


def first_grid_axis(image: Layer) -> int:
    """Return 1 if the image's first axis holds channels rather than places, else 0."""
    return int("channel_axis" in tag_of(image))


def alignment(image: Layer) -> dict[str, Any]:
    """Return the constructor arguments that lay another layer exactly over `image`, without its channels."""
    first = first_grid_axis(image)
    return {
        "scale": image.scale[first:],
        "translate": image.translate[first:],
        "rotate": np.asarray(image.rotate)[first:, first:],
        # the upper triangle, row by row: an axis less is its first row less
        "shear": np.asarray(image.shear)[first * (image.ndim - 1) :],
        "affine": np.asarray(image.affine.affine_matrix)[first:, first:],
        "units": image.units[first:],
        "axis_labels": image.axis_labels[first:],
    }


def grid_shape(image: Layer) -> tuple[int, ...]:
    """Return the image's shape in pixels, without colours and channels."""
    return tuple(int(n) for n in image.data.shape[first_grid_axis(image) : image.ndim])
