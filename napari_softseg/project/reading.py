"""What can be read of a project."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.files import read_image, read_scribbles
from napari_softseg.project import relocation, soft_labels
from napari_softseg.project.image_files import checked_strokes
from napari_softseg.project.image_status import ImageStatus, StatusReader
from napari_softseg.project.manifest import Manifest
from napari_softseg.project.paths import inside

SCRIBBLE_EXTENSIONS = (".png", ".tif", ".tiff")
"""Of strokes, the format that we write first."""


class ProjectReader:
    """The reading half of a `napari_softseg.project.Project`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self._manifest = manifest
        self._guard = threading.RLock()
        self._status = StatusReader()

    @property
    def manifest(self) -> Manifest:
        """What ``project.json`` says."""
        return self._manifest

    @property
    def names(self) -> list[str]:
        """Of the images, in the order they were added."""
        return [image.name for image in self._manifest.images]

    def image_path(self, name: str) -> Path:
        """Return where an image lies, in the project or elsewhere; InputError if there is no such image."""
        image = self._manifest.image(name)
        return Path(image.path) if image.referenced else inside(self.path, image.path)

    def read_image(self, name: str) -> npt.NDArray[Any]:
        """Return an image as `napari_softseg.files.read_image` does.

        Raises
        ------
        InputError
            If it is gone, damaged, or of another size than when it was added.
        """
        image, path = self._manifest.image(name), self.image_path(name)
        if not path.exists():
            raise InputError(f"The image {name!r} is gone: there is no {path}; put it back or relocate it.")
        pixels = read_image(path)
        if pixels.shape[:2] != image.size:
            raise InputError(
                f"{path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, but had {image.size[0]} x "
                f"{image.size[1]} when it was added to {self.path}; its strokes no longer fit."
            )
        return pixels

    def check(self, name: str) -> str:
        """Return what is wrong with the file of an image, in one line; empty if it is the one that was added.

        Instant as long as size and time of the file are the same; else the file is read.

        Raises
        ------
        InputError
            If there is no such image.
        """
        problem, checked = relocation.check(self._manifest.image(name), self.image_path(name))
        with self._guard:
            if checked.name in self.names:  # still
                self._manifest = relocation.with_image(self._manifest, checked)
        return problem

    def status(self, name: str) -> ImageStatus:
        """Return strokes, share labelled, entropy and problem of an image; InputError if there is none.

        Reads only files that changed since the last time, but reads them whole: not for the window's thread.
        """
        return self._status.status(self, name)

    def scribbles_path(self, name: str) -> Path | None:
        """Return the file of an image's strokes, or None if nothing was painted yet."""
        candidates = (inside(self.path, f"scribbles/{name}{suffix}") for suffix in SCRIBBLE_EXTENSIONS)
        return next((path for path in candidates if path.is_file()), None)

    def read_scribbles(self, name: str) -> npt.NDArray[np.uint8]:
        """Return the strokes of an image: (H, W) uint8 class values, unlabelled where nothing was painted.

        Raises
        ------
        InputError
            If the file is damaged, or does not fit the image or the classes.
        """
        image, path = self._manifest.image(name), self.scribbles_path(name)
        if path is None:
            return np.full(image.size, self._manifest.unlabelled, np.uint8)
        return checked_strokes(image, read_scribbles(path), self._manifest)

    def soft_labels_path(self, name: str) -> Path:
        """Return where the soft labels of an image are, or will be."""
        return inside(self.path, f"soft_labels/{self._manifest.image(name).name}.tif")

    def read_soft_labels(self, name: str) -> npt.NDArray[np.float32] | None:
        """Return (K, H, W) float32 soft labels, channels in the order of the classes.

        None if there are none, or only some of other classes than the project has by now.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        values = [one.value for one in self._manifest.classes]
        return soft_labels.read_soft_labels(self.soft_labels_path(name), values)
