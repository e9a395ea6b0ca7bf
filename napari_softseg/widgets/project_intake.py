"""What comes into a project: the image that is open in the viewer, and strokes of other programs."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image

from napari_softseg.errors import InputError
from napari_softseg.project import Project, import_labels
from napari_softseg.widgets.channels import channel_axis
from napari_softseg.widgets.classes import classes_from_metadata
from napari_softseg.widgets.open_project import OpenProject
from napari_softseg.widgets.planes import Plane, require_plane_image, visible_plane
from napari_softseg.widgets.project_classes import merge_classes, translate_strokes
from napari_softseg.widgets.project_layers import linked_name, plane_key, replace_strokes
from napari_softseg.widgets.project_names import free_name
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.stroke_keeper import Strokes, read_strokes


@dataclass(frozen=True, slots=True, eq=False)
class OpenImage:
    """A plane that is painted on, on its way into a project."""

    name: str
    """Which it will have there."""
    image: Image
    plane: Plane
    pixels: npt.NDArray[Any]
    """(H, W) or (H, W, C), all channels but alpha."""
    strokes: Strokes | None
    """(H, W), None without a scribbles layer."""


def take_open_image(session: ScribbleSession, now: OpenProject) -> OpenImage:
    """Copy what is painted on; its classes are counted as in the project from now on, which gets new ones.

    Raises
    ------
    InputError
        If there is no image, or it is in the project already.
    """
    image, layer = session.image, session.scribbles
    if image is None:
        raise InputError("There is no image to add: open one, or File > Open Sample.")
    require_plane_image(image)
    plane = visible_plane(image, session.viewer.dims)
    known = linked_name(image, now.project.path, plane_key(plane))
    if known is not None:
        raise InputError(f"{image.name!r} is in the project already, as {known!r}.")
    name = free_name(f"{image.name} {plane.text}".strip(), now.project.names)
    strokes = None
    if layer is not None:
        if now.project.names:
            classes, values = merge_classes(now.keeper.classes.classes, session.classes)
            if any(before != after for before, after in values.items()):
                replace_strokes(layer, translate_strokes(np.asarray(layer.data), values))
            session.classes.reset(classes)
        now.keeper.classes.replace(session.classes)
        strokes = np.array(layer.data[plane.index], np.uint8)
    return OpenImage(name, image, plane, _all_channels(image, plane), strokes)


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """Strokes of another program for an image of a project."""

    image: str
    strokes: Strokes
    """(H, W), counted as in their file; 0 where nothing is painted."""
    names: dict[int, str]
    """Of its classes, as far as the file says."""
    stored: Strokes
    """(H, W), what the image had on disk."""


def import_strokes(now: OpenProject, paths: Iterable[Path], current: str | None) -> None:
    """Paint strokes from files over the images of the same name; a single one may be for the current image.

    Raises
    ------
    InputError
        If it is not clear which image a file is for. What is wrong with a file is told by `failed`.
    """
    paths = list(paths)
    targets = []
    for path in paths:
        target = _image_for(path, now.project.names) or (current if len(paths) == 1 else None)
        if target is None:
            raise InputError(
                f"The project has no image for {path.name}: name it like its image, or open that image first."
            )
        targets.append(target)
    for path, target in zip(paths, targets, strict=True):
        now.slow.run(partial(_import, now.project, path, target), partial(_paint, now))


def _import(project: Project, path: Path, image: str) -> Imported:
    strokes, names = import_labels(path, image=image if path.suffix == ".ilp" else None)
    stored = read_strokes(project, image)
    if strokes.shape != stored.shape:
        raise InputError(
            f"{path} has {strokes.shape[0]} x {strokes.shape[1]} pixels, but the image {image!r} has "
            f"{stored.shape[0]} x {stored.shape[1]}."
        )
    return Imported(image, strokes, names, stored)


def _paint(now: OpenProject, imported: Imported) -> None:
    mine = now.keeper.classes.classes
    named = {one.value: one.name for one in mine} | imported.names
    values = [int(value) for value in np.unique(imported.strokes) if value]
    others = classes_from_metadata({value: named.get(value, {}) for value in values})
    classes, translation = merge_classes(mine, others)
    now.keeper.classes.replace(classes)
    now.keeper.paint(imported.image, translate_strokes(imported.strokes, translation), imported.stored)
    now.slow.told.emit(f"Strokes for {imported.image!r} are imported.")


def _image_for(path: Path, names: Iterable[str]) -> str | None:
    """Return the image whose name the file's begins with; the longest if there are several."""
    stem = path.stem.removesuffix(".ome")
    fitting = [name for name in names if stem == name or stem.startswith((f"{name}_", f"{name}-"))]
    return max(fitting, key=len, default=None)


def _all_channels(image: Image, plane: Plane) -> npt.NDArray[Any]:
    """Return a copy of a plane with all its channels but alpha: (H, W) or (H, W, C)."""
    if channel_axis(image) is not None:
        return np.ascontiguousarray(np.moveaxis(image.data[(slice(None), *plane.index)], 0, -1))
    pixels = np.array(image.data[plane.index])
    return pixels[..., :3] if image.rgb else pixels
