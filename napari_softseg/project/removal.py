"""What was taken out of a project, so that it can be brought back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_softseg.project.manifest import ProjectClass, ProjectImage
from napari_softseg.project.paths import inside
from napari_softseg.project.reading import SCRIBBLE_EXTENSIONS


@dataclass(frozen=True, slots=True)
class RemovedClass:
    """A class, and where its strokes were."""

    removed: ProjectClass
    strokes: Mapping[str, npt.NDArray[np.intp]]
    """By image: the pixels, counted along the rows."""

    @property
    def painted(self) -> int:
        """Number of pixels that were erased."""
        return sum(len(pixels) for pixels in self.strokes.values())


@dataclass(frozen=True, slots=True)
class RemovedImage:
    """An image, and where its files are now."""

    image: ProjectImage
    position: int
    """In the list of images."""
    folder: Path
    """Holds its strokes, soft labels and copy."""


def removed_files(project: Path, removed: RemovedImage) -> list[tuple[Path, Path]]:
    """Return where files of an image are while it is in the project, and while it is not."""
    name = removed.image.name
    files = [f"scribbles/{name}{suffix}" for suffix in SCRIBBLE_EXTENSIONS]
    files.append(f"soft_labels/{name}.tif")
    if not removed.image.referenced:
        files.append(removed.image.path)
    return [(inside(project, file), removed.folder / file) for file in files]


def move_files(files: list[tuple[Path, Path]]) -> None:
    """Rename all (from, to), or none and raise OSError."""
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            moved.append((source, target))
    except OSError:
        for source, target in moved:
            with suppress(OSError):
                target.rename(source)
        raise


def free_folder(parent: Path, name: str) -> Path:
    """Return a folder of this name, or with a number behind it, that is not there yet."""
    number, folder = 2, parent / name
    while folder.exists():
        number, folder = number + 1, parent / f"{name}-{number}"
    return folder
