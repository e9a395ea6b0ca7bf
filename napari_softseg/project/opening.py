"""Make a project folder, or open one with suspicion."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.project import manifest as manifests
from napari_softseg.project.lock import ProjectLock
from napari_softseg.project.manifest import Manifest, ProjectClass
from napari_softseg.project.paths import inside
from napari_softseg.project.project import FOLDERS, LATER_FOLDERS, SWEPT, Project
from napari_softseg.project.writing import require_empty, writing
from napari_softseg.saving import sweep


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
    manifest = Manifest(unlabelled, tuple(classes), settings=manifests.plain(settings or {}))
    require_empty(path)
    with writing(path):
        for folder in FOLDERS:
            (path / folder).mkdir(parents=True, exist_ok=True)
        manifests.write_manifest(path / manifests.FILE, manifest)
    return open_project(path)


def open_project(path: str | os.PathLike[str], *, read_only: bool = False) -> Project:
    """Open a project folder, for reading alone if asked to, if it cannot be written, or if it is open already.

    Who may write holds the folder's lock until `Project.close`, or the end of the process, whatever ends it.
    ``Project.read_only`` says why nothing may be written.

    Raises
    ------
    InputError
        If it is none, is damaged, was written by a newer version, or names a path that leaves it.
    """
    folder = project_folder(path)
    if folder is None:
        raise InputError(
            f"{path} is no project: it has no {manifests.FILE}; create one or choose its folder."
        )
    path = folder
    why, lock = "it was opened for reading", None
    if not read_only:
        why, lock = _locked(path)
    try:
        manifest = manifests.read_manifest(path / manifests.FILE)
        _check_paths(path, manifest)
    except InputError:
        if lock is not None:
            lock.release()
        raise
    if lock is not None:
        sweep([path, *(path / folder for folder in SWEPT)])
    return Project(path, manifest, why, lock)


def project_folder(path: str | os.PathLike[str]) -> Path | None:
    """Return the folder of a project, given that or its ``project.json``; None if it is no project."""
    path = Path(path)
    folder = path.parent if path.name == manifests.FILE else path
    return folder if (folder / manifests.FILE).is_file() else None


def _locked(path: Path) -> tuple[str, ProjectLock | None]:
    """Return why the folder cannot be written, or its lock."""
    if not os.access(path, os.W_OK | os.X_OK):
        return "there is no permission to write in it", None
    lock = ProjectLock(path)
    why = lock.acquire()
    return why, None if why else lock


def _check_paths(path: Path, manifest: Manifest) -> None:
    for folder in (*FOLDERS, *LATER_FOLDERS):
        inside(path, folder)
    for image in manifest.images:
        if not image.referenced:
            inside(path, image.path)
        elif not Path(image.path).is_absolute():
            raise InputError(
                f"{path / manifests.FILE} refers to {image.path!r}; a reference needs an absolute path."
            )
