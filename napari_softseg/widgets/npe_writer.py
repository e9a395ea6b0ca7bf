"""Soft labels saved by File > Save Selected Layers, as probabilities instead of colours."""

from pathlib import Path
from typing import Any

import napari
from napari.utils.notifications import show_info

from napari_softseg.errors import InputError
from napari_softseg.project.writing import writing
from napari_softseg.saving import replacing, write_soft_tiff
from napari_softseg.widgets.planes import plane_pixel_size
from napari_softseg.widgets.tags import SOFT_LABELS, TAG, UNCERTAINTY, image_id
from napari_softseg.widgets.workspace import Workspace

LayerData = tuple[Any, dict[str, Any], str]


def write_soft_labels(path: str, layers: list[LayerData]) -> list[str]:
    """Write the probabilities that a result layer shows, of the plane that was solved last.

    Of a stack only these are in memory: the file says which plane it is, and so does a message.

    Parameters
    ----------
    path
        File to write: (K, H, W) float32 TIFF, with values and names of the classes, and the pixel size.
    layers
        The layer *soft labels* or *uncertainty*; strokes beside it are passed over.

    Raises
    ------
    InputError
        If it is another layer, its image was not solved last, or the file cannot be written.
    """
    meta = next(meta for _, meta, kind in layers if kind == "image")
    tag = meta.get("metadata", {}).get(TAG, {})
    viewer = napari.current_viewer()
    if tag.get("role") not in (SOFT_LABELS, UNCERTAINTY) or viewer is None:
        raise InputError(
            f"Only the layer {SOFT_LABELS!r} holds soft labels; choose it, or save without .soft.tif."
        )
    workspace = Workspace.of(viewer)
    result, image = workspace.loop.result, workspace.session.image
    if result is None or image is None or not result.job.image_id == tag.get("image_id") == image_id(image):
        raise InputError("These soft labels are of another image than was solved last: solve it, then save.")
    solution, classes, plane = result.solution, workspace.session.classes, result.job.plane
    named = {
        value: classes[value].name if value in classes else f"class {value}" for value in solution.classes
    }
    extra = {"plane": plane.text} if plane.text else {}
    target = Path(path)
    with writing(target), replacing(target) as (temporary,):
        write_soft_tiff(temporary, solution.probabilities, named, extra, plane_pixel_size(image, plane))
    if plane.text:
        show_info(f"{target.name} holds the soft labels of {plane.text}, the one that was solved last.")
    return [path]
