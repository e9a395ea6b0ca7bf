"""The two result layers of an image: made once, then written in place."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_softseg.widgets.planes import Plane
from napari_softseg.widgets.solve_job import SolveResult, View
from napari_softseg.widgets.tags import (
    SCRIBBLES,
    SOFT_LABELS,
    UNCERTAINTY,
    alignment,
    grid_shape,
    image_id,
    see,
    set_tag,
    tag_of,
)

RESULT_ROLES = (SOFT_LABELS, UNCERTAINTY)
"""The result layers, in the order they are written."""

OPACITY = 0.55
"""Of the results: colours are told apart and the image is still seen."""


def result_layer(viewer: ViewerModel, image: Image, role: str) -> Image | None:
    """Return the image's result layer of this role if it is in the viewer."""
    for layer in viewer.layers:
        tag = tag_of(layer)
        if isinstance(layer, Image) and tag.get("role") == role and tag.get("image_id") == image_id(image):
            return layer
    return None


def is_result(layer: Layer) -> bool:
    """Return whether a layer is one of our results, and so no image to paint on."""
    return tag_of(layer).get("role") in RESULT_ROLES


def clear_result(viewer: ViewerModel, image: Image, plane: Plane) -> None:
    """Empty a plane of the result layers, if there are any."""
    for role in RESULT_ROLES:
        layer = result_layer(viewer, image, role)
        if layer is not None:
            _fit(layer, image, role)
            layer.data[plane.index] = 0
            layer.refresh(extent=False)


def show_view(viewer: ViewerModel, image: Image, view: View) -> None:
    """Show the layer that this view is about, and hide the other."""
    for role in RESULT_ROLES:
        layer = result_layer(viewer, image, role)
        if layer is not None:
            see(layer, (role == UNCERTAINTY) == (view is View.UNCERTAINTY))


def hide_results(viewer: ViewerModel, image: Image) -> None:
    """Hide the image's results."""
    for role in RESULT_ROLES:
        layer = result_layer(viewer, image, role)
        if layer is not None:
            see(layer, False)


def prepare_result(viewer: ViewerModel, image: Image, view: View) -> bool:
    """Make one result layer that the image lacks; return whether there was one to make."""
    for role in RESULT_ROLES:
        if result_layer(viewer, image, role) is None:
            _add_layer(viewer, image, role, view)
            return True
    return False


def show_result(viewer: ViewerModel, image: Image, result: SolveResult, view: View) -> None:
    """Write a solved plane into the image's result layers; one that was deleted is made again."""
    for role, values in ((SOFT_LABELS, result.composite), (UNCERTAINTY, result.entropy)):
        layer = result_layer(viewer, image, role) or _add_layer(viewer, image, role, view)
        _fit(layer, image, role)
        layer.data[result.job.plane.index] = values
        layer.refresh(extent=False, highlight=False)


def _fit(layer: Image, image: Image, role: str) -> None:
    """Empty a result layer whose image has got another size, or channels, and lay it over the image again."""
    shape = _shape(image, role)
    if layer.data.shape != shape:
        layer.data = np.zeros(shape, dtype=layer.data.dtype)
        for name, value in alignment(image).items():
            setattr(layer, name, value)


def _shape(image: Image, role: str) -> tuple[int, ...]:
    return (*grid_shape(image), 4) if role == SOFT_LABELS else grid_shape(image)


def _add_layer(viewer: ViewerModel, image: Image, role: str, view: View) -> Image:
    """Put an empty result layer below the image's scribbles, and leave the selection as it was."""
    # zeros() takes memory only for the planes that are written, however long the stack
    data = np.zeros(_shape(image, role), dtype=np.uint8 if role == SOFT_LABELS else np.float32)
    looks = (
        {"rgb": True, "blending": "translucent"}
        if role == SOFT_LABELS
        else {"rgb": False, "colormap": "inferno", "contrast_limits": (0, 1), "blending": "translucent"}
    )
    visible = (role == UNCERTAINTY) == (view is View.UNCERTAINTY)
    layer = Image(data, name=role, opacity=OPACITY, visible=visible, **looks, **alignment(image))
    set_tag(layer, role=role, image_id=image_id(image))
    active = viewer.layers.selection.active
    viewer.layers.insert(_place(viewer, image, role), layer)
    if active is not None:
        viewer.layers.selection.active = active
    return layer


def _place(viewer: ViewerModel, image: Image, role: str) -> int:
    """Return the place right below the image's scribbles, uncertainty below soft labels."""
    below = {SCRIBBLES} if role == SOFT_LABELS else {SCRIBBLES, SOFT_LABELS}
    for position, layer in enumerate(viewer.layers):
        tag = tag_of(layer)
        if tag.get("role") in below and tag.get("image_id") == image_id(image):
            return position
    return len(viewer.layers)
