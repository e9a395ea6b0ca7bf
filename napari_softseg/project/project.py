"""The project folder: images, strokes, soft labels and models of one task, safe at any moment.

::

    project.json    classes, images, the value without a stroke, settings
    images/         copies of the images; others are references to files elsewhere
    scribbles/      NAME.png: class value per pixel, in the colours of the classes (TIFF is read as well)
    soft_labels/    NAME.tif: (K, H, W) float32, and their mean entropy
    models/         runs of training
    snapshots/      what each run was trained on
    removed/        strokes and copies of images that were taken out

Every file is written beside its place, flushed and renamed, so that whatever kills the program leaves the
old one or the new one. An image is listed in ``project.json`` only once its file is there, and its strokes
are written only after that: no file of ours is ever one that the project does not know.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.files import read_image, read_scribbles
from napari_softseg.project import manifest as manifests
from napari_softseg.project import relocation, snapshots, soft_labels
from napari_softseg.project.fingerprint import file_stamp, take_fingerprint
from napari_softseg.project.image_files import checked_strokes, image_suffix, store_image, write_index_png
from napari_softseg.project.image_status import ImageStatus, StatusReader
from napari_softseg.project.lock import ProjectLock
from napari_softseg.project.manifest import Manifest, ProjectClass, ProjectImage
from napari_softseg.project.paths import checked_name, inside
from napari_softseg.project.writing import writing
from napari_softseg.saving import replacing

FOLDERS = ("images", "scribbles", "soft_labels", "models")
LATER_FOLDERS = ("snapshots", "removed")
"""Made when there is something to put there."""
SWEPT = ("images", "scribbles", "soft_labels")
"""Where only the project writes, which cleans up after a program that was killed."""
_SCRIBBLE_EXTENSIONS = (".png", ".tif", ".tiff")


class Project:
    """A project folder that is open; `create_project` and `open_project` make it.

    One process writes to a folder at a time, from any of its threads; any number may read it. Use it as a
    context manager, or `close` it.
    """

    def __init__(self, path: Path, manifest: Manifest, read_only: str, lock: ProjectLock | None) -> None:
        self.path = path
        self.read_only = read_only
        """Why nothing may be written; empty if it may."""
        self._manifest = manifest
        self._lock = lock
        self._guard = threading.RLock()
        self._stamp = _stamp(path)
        self._status = StatusReader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to the folder; from here on it is only read. Closing twice does nothing more."""
        with self._guard:
            if self._lock is not None:
                self.read_only = "it was closed"
                self._lock.release()
                self._lock = None

    @property
    def manifest(self) -> Manifest:
        """What ``project.json`` says."""
        return self._manifest

    @property
    def names(self) -> list[str]:
        """Of the images, in the order they were added."""
        return [image.name for image in self._manifest.images]

    def add_image(
        self,
        source: str | os.PathLike[str] | npt.NDArray[Any],
        *,
        name: str | None = None,
        scribbles: npt.NDArray[Any] | None = None,
        copy: bool = True,
    ) -> ProjectImage:
        """Add an image, perhaps with strokes.

        Parameters
        ----------
        source
            An image file, or the pixels themselves: (H, W) or (H, W, C).
        name
            Its name in the project; None for the file's name without extension.
        scribbles
            (H, W) class values.
        copy
            Whether to copy the file; else the project refers to it where it lies.

        Raises
        ------
        InputError
            If the image cannot be read, the name is taken or no name, the strokes do not fit, or nothing
            may be written.
        """
        file = None if isinstance(source, np.ndarray) else Path(source)
        pixels = source if isinstance(source, np.ndarray) else read_image(source)
        if name is None:
            if file is None:
                raise InputError("Pixels without a file need a name in the project; pass name.")
            name = file.stem.removesuffix(".ome")
        checked_name(name)
        if pixels.ndim not in (2, 3):
            raise InputError(f"Expected an image of shape (H, W) or (H, W, C), but got {pixels.shape}.")
        size = (pixels.shape[0], pixels.shape[1])
        referenced = file is not None and not copy
        if file is not None and referenced:
            image = ProjectImage(name, size, str(file.resolve()), referenced=True)
        else:
            suffix = image_suffix(pixels) if file is None else file.suffix.lower()
            image = ProjectImage(name, size, f"images/{name}{suffix}")
        with self._changing():
            changed = replace(self._manifest, images=(*self._manifest.images, image))  # refuses a name twice
            strokes = None if scribbles is None else checked_strokes(image, scribbles, self._manifest)
            if strokes is not None and self.scribbles_path(name) is not None:
                raise InputError(
                    f"{self.scribbles_path(name)} is there already; move it away or choose another name."
                )
            path = Path(image.path) if referenced else inside(self.path, image.path)
            if not referenced:
                store_image(path, file, pixels)
            with writing(self.path / manifests.FILE):
                image = replace(image, fingerprint=take_fingerprint(path))
            self._write(relocation.with_image(changed, image))
            if strokes is not None:
                self._store_strokes(name, strokes)
        return image

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

    def relocate(self, name: str, path: str | os.PathLike[str]) -> str:
        """Take the file at `path` for an image whose file is gone or changed; its strokes stay.

        An image that was copied into the project is copied again, a reference refers to `path` from now on.

        Returns
        -------
        str
            What differs from the file that was added, in one line; empty if nothing does.

        Raises
        ------
        InputError
            If the file cannot be read, has another size, or nothing may be written.
        """
        with self._changing():
            image, remark = relocation.relocated(self._manifest.image(name), self.path, Path(path))
            self._write(relocation.with_image(self._manifest, image))
        return remark

    def status(self, name: str) -> ImageStatus:
        """Return strokes, share labelled, entropy and problem of an image; InputError if there is none.

        Reads only files that changed since the last time, but reads them whole: not for the window's thread.
        """
        return self._status.status(self, name)

    def scribbles_path(self, name: str) -> Path | None:
        """Return the file of an image's strokes, or None if nothing was painted yet."""
        candidates = (inside(self.path, f"scribbles/{name}{suffix}") for suffix in _SCRIBBLE_EXTENSIONS)
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

    def write_scribbles(self, name: str, scribbles: npt.NDArray[Any]) -> Path:
        """Write the strokes of an image, whole or not at all, and return the file.

        Parameters
        ----------
        name
            Of the image.
        scribbles
            (H, W) class values.

        Raises
        ------
        InputError
            If they do not fit the image or the classes, or cannot be written.
        """
        with self._changing():
            strokes = checked_strokes(self._manifest.image(name), scribbles, self._manifest)
            return self._store_strokes(name, strokes)

    def soft_labels_path(self, name: str) -> Path:
        """Return where the soft labels of an image are, or will be."""
        return inside(self.path, f"soft_labels/{self._manifest.image(name).name}.tif")

    def write_soft_labels(self, name: str, probabilities: npt.NDArray[np.float32]) -> Path:
        """Write (K, H, W) float32 soft labels, channels in the order of the classes, and return the file.

        Raises
        ------
        InputError
            If the shape does not fit, or they cannot be written.
        """
        with self._changing():
            classes = {one.value: one.name for one in self._manifest.classes}
            expected = (len(classes), *self._manifest.image(name).size)
            if probabilities.shape != expected:
                raise InputError(
                    f"Expected soft labels of shape (K, H, W) = {expected} for {name!r}, "
                    f"but got {probabilities.shape}."
                )
            path = self.soft_labels_path(name)
            with writing(path), replacing(path) as (temporary,):
                soft_labels.write_soft_labels(temporary, probabilities, classes)
            return path

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

    def change(
        self,
        *,
        classes: Sequence[ProjectClass] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Replace the classes or the settings.

        Raises
        ------
        InputError
            If the classes cannot be, or nothing may be written. Strokes of a class that went away stay in
            their files, and are refused when read; `remove_class` erases them.
        """
        with self._changing():
            now = self._manifest
            self._write(
                replace(
                    now,
                    classes=now.classes if classes is None else tuple(classes),
                    settings=now.settings if settings is None else dict(settings),
                )
            )

    def save_as(self, path: str | os.PathLike[str]) -> Project:
        """Copy the project to a folder that does not exist yet, or is empty, and return it opened.

        All but the snapshots is copied. This one stays open.

        Raises
        ------
        InputError
            If the folder holds something, or a file cannot be read or written; then nothing is left behind.
        """
        target = Path(path)
        with self._guard:
            self._require_there()
            snapshots.copy_files(self, target)
            lock = ProjectLock(target)
            return Project(target, self._manifest, lock.acquire(), lock)

    def snapshot(self, path: str | os.PathLike[str]) -> Path:
        """Write a project with the strokes of this moment to a new folder, and return it.

        It refers to the images and is never changed again: what training reads while painting goes on.

        Raises
        ------
        InputError
            If the folder holds something or cannot be written.
        """
        with self._guard:
            self._require_there()
            snapshots.write_snapshot(self, Path(path))
        return Path(path)

    def _write(self, manifest: Manifest) -> None:
        path = self.path / manifests.FILE
        with writing(path):
            manifests.write_manifest(path, manifest)
        self._manifest, self._stamp = manifest, _stamp(self.path)

    def _store_strokes(self, name: str, strokes: npt.NDArray[np.uint8]) -> Path:
        path = inside(self.path, f"scribbles/{name}.png")
        with writing(path), replacing(path) as (temporary,):
            write_index_png(temporary, strokes, self._manifest.classes)
        for suffix in _SCRIBBLE_EXTENSIONS[1:]:  # strokes that came as TIFF are superseded
            path.with_name(name + suffix).unlink(missing_ok=True)
        return path

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one thread write at a time, and only to the folder that was opened."""
        with self._guard:
            if self.read_only:
                raise InputError(f"Nothing can be written to {self.path}: {self.read_only}.")
            self._require_there()
            if _stamp(self.path) != self._stamp:
                if manifests.read_manifest(self.path / manifests.FILE) != self._manifest:
                    raise InputError(
                        f"Nothing can be written to {self.path}: another program changed its "
                        f"{manifests.FILE}; close the project and open it again."
                    )
                self._stamp = _stamp(self.path)
            yield

    def _require_there(self) -> None:
        if not (self.path / manifests.FILE).is_file():
            raise InputError(
                f"The project {self.path} is gone: it was deleted or moved, or its disk is away; "
                "put it back, or keep your strokes in another project."
            )


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        return file_stamp(folder / manifests.FILE)
    except OSError:
        return None
