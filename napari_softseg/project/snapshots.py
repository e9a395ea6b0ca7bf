"""A project as it is at one moment, in a folder of its own: what training reads while painting goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_softseg.errors import InputError
from napari_softseg.project import manifest as manifests
from napari_softseg.project.writing import require_empty, writing

if TYPE_CHECKING:
    from napari_softseg.project.project import Project


def write_snapshot(project: Project, target: Path) -> None:
    """Write classes, settings and strokes to `target`, and where the images are.

    Raises
    ------
    InputError
        If `target` holds something, or cannot be written; then nothing is left behind.
    """
    require_empty(target)
    images = tuple(
        replace(image, path=str(project.image_path(image.name).resolve()), referenced=True)
        for image in project.manifest.images
    )
    with _whole(target):
        (target / "scribbles").mkdir(parents=True, exist_ok=True)
        for image in images:
            strokes = project.scribbles_path(image.name)
            if strokes is not None:
                shutil.copyfile(strokes, target / "scribbles" / strokes.name)
        # last: a folder that was not finished is no project
        manifests.write_manifest(target / manifests.FILE, replace(project.manifest, images=images))


def copy_files(project: Project, target: Path) -> None:
    """Copy all of a project but its snapshots into a new folder; references stay references.

    Raises
    ------
    InputError
        If `target` holds something or lies in the project, or a file cannot be read or written; then
        nothing is left behind.
    """
    require_empty(target)
    if target.resolve().is_relative_to(project.path.resolve()):
        raise InputError(f"Cannot save {project.path} in itself: choose a folder outside, not {target}.")
    with _whole(target):
        for folder in ("images", "scribbles", "soft_labels"):
            (target / folder).mkdir(parents=True)
        for file in _files(project):
            # with their times, so that images are known to be the same
            shutil.copy2(file, target / file.relative_to(project.path))
        shutil.copytree(project.path / "models", target / "models", ignore=_of_the_moment)
        manifests.write_manifest(target / manifests.FILE, project.manifest)


@contextmanager
def _whole(target: Path) -> Iterator[None]:
    """Leave no folder behind that could not be written whole."""
    existed = target.is_dir()
    try:
        with writing(target):
            yield
    except InputError:
        shutil.rmtree(target, ignore_errors=True)
        if existed:
            target.mkdir(exist_ok=True)
        raise


def _files(project: Project) -> Iterator[Path]:
    """Return the files of all images; one that is gone is told of in the copy as it is here."""
    for image in project.manifest.images:
        files = [project.scribbles_path(image.name), project.soft_labels_path(image.name)]
        if not image.referenced:
            files.append(project.image_path(image.name))
        yield from (file for file in files if file is not None and file.is_file())


def _of_the_moment(_folder: str, names: list[str]) -> list[str]:
    """Leave out what belongs to a run that is on, not to its results."""
    return [name for name in names if name == ".lock" or name.endswith(".tmp")]
