"""A project folder, or its ``project.json``, dropped on the window or opened by File > Open."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari

from napari_softseg.errors import InputError
from napari_softseg.project import open_project
from napari_softseg.project.manifest import FILE
from napari_softseg.project.opening import project_folder
from napari_softseg.project.viewer_values import classes_to_viewer, to_viewer
from napari_softseg.widgets.open_dock import PROJECT, open_dock
from napari_softseg.widgets.open_project import CURRENT
from napari_softseg.widgets.tags import SCRIBBLES, TAG
from napari_softseg.widgets.workspace import Workspace

LayerData = tuple[Any, ...]


def project_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return what opens `path` if that is a project, else None."""
    return None if _project_folder(path) is None else read_project


def read_project(path: str | Sequence[str]) -> list[LayerData]:
    """Open a project in the dock *Project* of the current viewer.

    Returns
    -------
    list
        No layers, as the dock adds them itself. Where there is no window: the image last worked on and its
        strokes.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    folder = _project_folder(path)
    if folder is None:
        raise InputError(f"{path} is no project: it has no {FILE}.")
    viewer = napari.current_viewer()
    if viewer is None:
        return project_layers(folder)
    open_dock(viewer, PROJECT)
    Workspace.of(viewer).project.open(folder)
    return [(None,)]


def project_layers(folder: Path) -> list[LayerData]:
    """Return the image of a project last worked on, or its first, and its strokes as layer data.

    Raises
    ------
    InputError
        If the project holds no image, or it cannot be read.
    """
    with open_project(folder, read_only=True) as project:
        if not project.names:
            raise InputError(f"The project {folder} holds no image yet.")
        last = project.manifest.settings.get(CURRENT)
        name = last if last in project.names else project.names[0]
        pixels = project.read_image(name)
        strokes = to_viewer(project.read_scribbles(name), project.manifest.unlabelled)
        classes = {
            str(one.value): {"name": one.name, "color": list(one.color)}
            for one in classes_to_viewer(project.manifest)
        }
    tag = {"role": SCRIBBLES, "classes": classes}
    return [
        (pixels, {"name": name}, "image"),
        (strokes, {"name": SCRIBBLES, "opacity": 1.0, "metadata": {TAG: tag}}, "labels"),
    ]


def _project_folder(path: str | Sequence[str]) -> Path | None:
    if not isinstance(path, str):
        if len(path) != 1:
            return None
        path = path[0]
    return project_folder(path)
