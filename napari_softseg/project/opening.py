"""Make a project folder, or open one with suspicion."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.project import manifest as manifests
from napari_softseg.project.manifest import Manifest, ProjectClass
from napari_softseg.project.paths import inside
from napari_softseg.project.project import FOLDERS, Project, writing


def create_project(
    path: str | os.PathLike[str],
    classes: Sequence[ProjectClass],
    *,
    unlabelled: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Project:
    """Make a project folder.

    Parameters
    ----------
    path
        A folder that does not exist yet, or is empty.
    classes
        Ascending by value.
    unlabelled
        Value of scribbles where nothing was painted.
    settings
        What the viewer keeps: anything JSON can hold.

    Raises
    ------
    InputError
        If the folder holds something, cannot be made, or the classes cannot be.
    """
    path = Path(path)
    manifest = Manifest(unlabelled, tuple(classes), settings=dict(settings or {}))
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is a project already; open it" if (path / manifests.FILE).exists() else "is not empty"
        raise InputError(f"Cannot make a project in {path}: it {what}, or choose another folder.")
    with writing(path):
        for folder in FOLDERS:
            (path / folder).mkdir(parents=True, exist_ok=True)
        manifests.write_manifest(path / manifests.FILE, manifest)
    return Project(path, manifest)


def open_project(path: str | os.PathLike[str], *, read_only: bool = False) -> Project:
    """Open a project folder, for reading alone if asked to or if it cannot be written.

    Raises
    ------
    InputError
        If it is none, is damaged, was written by a newer version, or names a path that leaves it.
    """
    path = Path(path)
    if path.name == manifests.FILE:
        path = path.parent
    if not (path / manifests.FILE).is_file():
        raise InputError(
            f"{path} is no project: it has no {manifests.FILE}; create one or choose its folder."
        )
    manifest = manifests.read_manifest(path / manifests.FILE)
    for folder in FOLDERS:
        inside(path, folder)
    for image in manifest.images:
        if not image.referenced:
            inside(path, image.path)
        elif not Path(image.path).is_absolute():
            raise InputError(
                f"{path / manifests.FILE} refers to {image.path!r}; a reference needs an absolute path."
            )
    why = "it was opened for reading" if read_only else ""
    if not why and not os.access(path, os.W_OK | os.X_OK):
        why = "there is no permission to write in it"
    return Project(path, manifest, why)
