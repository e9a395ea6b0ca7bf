"""The project folder of the viewer as annotated images."""

from __future__ import annotations

from pathlib import Path

from napari_softseg.project import open_project
from napari_softseg.project.manifest import FILE
from napari_softseg.training.data.layouts import Entry, Layout

LOOKED_FOR = f"{FILE} of a project"


def project_layout(path: Path) -> Layout | None:
    """Return the files of a project, or None if `path` is none."""
    if path.name != FILE and not (path / FILE).is_file():
        return None
    project = open_project(path, read_only=True)
    return Layout(
        path=project.path,
        entries=[
            Entry(name, project.image_path(name), project.scribbles_path(name), None)
            for name in project.names
        ],
        classes={one.value: one.name for one in project.manifest.classes},
        unlabelled=project.manifest.unlabelled,
    )
