"""How our layers are known again after they were renamed, reordered or reloaded."""

from typing import Any

from napari.layers import Layer

TAG = "napari_softseg"
"""Key in a layer's metadata; below it lie ``role``, ``image_id`` and, for scribbles, ``classes``."""

SCRIBBLES, SOFT_LABELS, UNCERTAINTY = "scribbles", "soft labels", "uncertainty"
"""The roles a layer can have; each is also the first name of its layer."""


def tag_of(layer: Layer) -> dict[str, Any]:
    """Return our part of the layer's metadata, empty for a layer that is not ours."""
    tag = layer.metadata.get(TAG)
    return tag if isinstance(tag, dict) else {}


def set_tag(layer: Layer, **entries: Any) -> None:
    """Add entries to our part of the layer's metadata."""
    layer.metadata[TAG] = tag_of(layer) | entries


def image_id(image: Layer) -> str:
    """Return what links scribbles and results to their image."""
    return str(image.unique_id)


def alignment(image: Layer) -> dict[str, Any]:
    """Return the constructor arguments that lay another layer exactly over `image`."""
    return {
        "scale": image.scale,
        "translate": image.translate,
        "rotate": image.rotate,
        "shear": image.shear,
        "affine": image.affine,
        "units": image.units,
        "axis_labels": image.axis_labels,
    }


def grid_shape(image: Layer) -> tuple[int, ...]:
    """Return the image's shape in pixels, without the colour axis."""
    return tuple(int(n) for n in image.data.shape[: image.ndim])
