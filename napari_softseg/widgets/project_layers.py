"""The images of a project in the viewer: one set of layers, into which one image after another is put.

Layers are never removed: napari takes a tenth of a second to make one, and crashes when two go at once.
Images in colour, grey ones and ones of other channels have a set each, since a layer cannot change between
them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_softseg.pixel_size import PixelSize
from napari_softseg.widgets.classes import ClassList
from napari_softseg.widgets.planes import Plane
from napari_softseg.widgets.result_layers import RESULT_ROLES, result_layer
from napari_softseg.widgets.scribbles import color_strokes, new_scribbles, scribbles_for
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.stroke_history import StrokeHistories
from napari_softseg.widgets.tags import TAG, alignment, grid_shape, image_id, see, set_tag, tag_of

PROJECT, NAMES, STAGE = "project", "project_names", "project_stage"
"""In the tag of an image layer: the project folder; the names of its planes there; the kind of images it is
the stage for, which a scribbles layer on it has as well."""

COLOR, GREY, CHANNELS = "color", "grey", "channels"


def link(image: Image, project: Path, name: str, plane: str = "") -> None:
    """Remember which image of which project a layer, or one plane of it, shows."""
    names = tag_of(image).get(NAMES, {}) if tag_of(image).get(PROJECT) == str(project) else {}
    set_tag(image, **{PROJECT: str(project), NAMES: {**names, plane: name}})


def linked_name(image: Image, project: Path, plane: str) -> str | None:
    """Return the name that a plane of the layer has in the project, None if it is not in it."""
    tag = tag_of(image)
    return tag.get(NAMES, {}).get(plane) if tag.get(PROJECT) == str(project) else None


def linked_names(image: Image, project: Path) -> list[str]:
    """Return the names that the layer, or planes of it, have in the project."""
    tag = tag_of(image)
    return list(tag.get(NAMES, {}).values()) if tag.get(PROJECT) == str(project) else []


def relink(viewer: ViewerModel, project: Path, copy: Path) -> None:
    """Let the layers that show images of a project show those of its copy."""
    for layer in viewer.layers:
        if tag_of(layer).get(PROJECT) == str(project):
            set_tag(layer, **{PROJECT: str(copy)})


def plane_key(plane: Plane) -> str:
    """Return a plane's place as text that a layer's metadata can hold; empty for a plain 2-D image."""
    return ",".join(str(place) for place in plane.key if place is not None)


def linked_image(viewer: ViewerModel, project: Path, name: str) -> Image | None:
    """Return a person's own layer that shows this image of the project, all of it, if there is one."""
    for layer in viewer.layers:
        own = isinstance(layer, Image) and STAGE not in tag_of(layer)
        if own and linked_name(layer, project, "") == name:
            return layer
    return None


def forget_name(viewer: ViewerModel, project: Path, name: str) -> None:
    """Let no layer show this image of the project any more."""
    for layer in viewer.layers:
        names = tag_of(layer).get(NAMES, {}) if tag_of(layer).get(PROJECT) == str(project) else {}
        if name in names.values():
            set_tag(layer, **{NAMES: {plane: one for plane, one in names.items() if one != name}})


def release_layers(viewer: ViewerModel) -> None:
    """Leave all layers to the person: nothing of a project is put into them or saved from them any more."""
    for layer in viewer.layers:
        for entry in (PROJECT, NAMES, STAGE):
            layer.metadata.get(TAG, {}).pop(entry, None)


def put_on_stage(
    session: ScribbleSession,
    project: Path,
    name: str,
    pixels: npt.NDArray[Any],
    size: PixelSize | None,
    strokes: npt.NDArray[np.uint8],
    classes: ClassList,
    histories: StrokeHistories,
) -> Labels:
    """Show an image of the project with its strokes, and paint on it.

    Parameters
    ----------
    session
        Of the viewer.
    project, name
        What the layers show from now on.
    pixels
        (H, W) or (H, W, C), any dtype.
    size
        How large one is; None where nobody knows it.
    strokes
        (H, W) uint8 class values, 0 where unpainted; the layer paints into this very array.
    classes
        Of the project.
    histories
        Of its images: the one that is left goes there, that of this image comes from there.

    Returns
    -------
    napari.layers.Labels
        The scribbles layer.
    """
    viewer, left = session.viewer, session.image
    kind = GREY if pixels.ndim == 2 else COLOR if pixels.shape[2] in (3, 4) else CHANNELS
    shown = np.moveaxis(pixels, -1, 0) if kind == CHANNELS else pixels
    stage = _stage(viewer, kind)
    new_size = stage is None or stage.data.shape != shown.shape
    if stage is None:
        stage = _new_stage(viewer, kind, shown, name)
    else:
        if new_size:
            set_tag(stage, channels=None)
        stage.data = shown
        stage.name = name
        if kind != COLOR:
            stage.reset_contrast_limits()
    rescaled = _set_pixel_size(stage, size)
    before, painted = linked_name(stage, project, ""), scribbles_for(stage, viewer.layers)
    if before is not None and painted is not None:
        histories.keep(before, painted)
    link(stage, project, name)
    scribbles = _put_strokes(viewer, stage, strokes, classes)
    histories.give_back(name, scribbles)
    _scale_like(stage, scribbles)
    _empty_results(viewer, stage)
    turn_to(session, stage, left)
    if new_size or rescaled:
        viewer.reset_view()
    return scribbles


def turn_to(session: ScribbleSession, image: Image, left: Image | None) -> None:
    """Paint on an image that is in the viewer, and hide the one that is left."""
    if left is not None and left is not image:
        see(left, False)
    see(image, True)
    session.choose(image)


def replace_strokes(layer: Labels, strokes: npt.NDArray[np.uint8]) -> None:
    """Put other strokes in a layer, and forget what could be undone: it would be drawn on another image."""
    mode = layer.mode
    layer.data = strokes
    layer.editable = False  # napari's way to empty the history
    layer.editable = True
    layer.mode = mode


def _stage(viewer: ViewerModel, kind: str) -> Image | None:
    """Return our image layer for this kind of images."""
    for layer in viewer.layers:
        if isinstance(layer, Image) and tag_of(layer).get(STAGE) == kind:
            return layer
    return None


def _new_stage(viewer: ViewerModel, kind: str, shown: npt.NDArray[Any], name: str) -> Image:
    """Make an image layer; scribbles and results whose image was deleted by somebody get it."""
    stage = Image(shown, name=name, rgb=kind == COLOR)
    set_tag(stage, **{STAGE: kind})
    if kind == CHANNELS:
        set_tag(stage, channel_axis=2)
    known = {image_id(layer) for layer in viewer.layers if isinstance(layer, Image)}
    orphans = [
        layer
        for layer in viewer.layers
        if tag_of(layer).get(STAGE) == kind and tag_of(layer).get("image_id") not in known
    ]
    place = min((viewer.layers.index(layer) for layer in orphans), default=len(viewer.layers))
    for layer in orphans:
        set_tag(layer, image_id=image_id(stage))
    viewer.layers.insert(place, stage)
    return stage


def _set_pixel_size(stage: Image, size: PixelSize | None) -> bool:
    """Show an image with its pixel size; return whether that is another than before."""
    if size is None:
        size = PixelSize(1, 1)
    before = stage.scale, stage.units
    scale = (*stage.scale[:-2], size.height, size.width)
    if not np.array_equal(stage.scale, scale):  # to set it is to draw it
        stage.scale = scale
    try:
        stage.units = (*stage.units[:-2], *[size.unit or "pixel"] * 2)
    except ValueError:  # a word that napari does not know
        stage.units = (*stage.units[:-2], "pixel", "pixel")
    return not np.array_equal(before[0], scale) or before[1] != stage.units


def _scale_like(stage: Image, layer: Layer) -> None:
    """Give what lies over our image layer its pixel size."""
    place = alignment(stage)
    if not np.array_equal(layer.scale, place["scale"]):
        layer.scale = place["scale"]
    if layer.units != place["units"]:
        layer.units = place["units"]


def _put_strokes(
    viewer: ViewerModel, stage: Image, strokes: npt.NDArray[np.uint8], classes: ClassList
) -> Labels:
    layer = scribbles_for(stage, viewer.layers)
    if layer is not None:
        replace_strokes(layer, strokes)
        color_strokes(layer, classes)
        return layer
    layer = new_scribbles(stage)
    layer.data = strokes
    set_tag(layer, **{STAGE: tag_of(stage)[STAGE]})
    color_strokes(layer, classes)
    viewer.add_layer(layer)  # the session turns to it
    return layer


def _empty_results(viewer: ViewerModel, stage: Image) -> None:
    """Show nothing of the image before."""
    for role in RESULT_ROLES:
        layer = result_layer(viewer, stage, role)
        if layer is not None:
            set_tag(layer, **{STAGE: tag_of(stage)[STAGE]})  # so that it is known if its image is deleted
            _scale_like(stage, layer)
            layer.data = np.zeros((*grid_shape(stage), *layer.data.shape[layer.ndim :]), layer.data.dtype)
