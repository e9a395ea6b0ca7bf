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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.pixel_size import PixelSize
from napari_softseg.project import manifest as manifests
from napari_softseg.project import relocation, snapshots, soft_labels
from napari_softseg.project.fingerprint import take_fingerprint
from napari_softseg.project.image_files import checked_strokes, described, store_image, write_index_png
from napari_softseg.project.lock import ProjectLock
from napari_softseg.project.locked import LockedFolder
from napari_softseg.project.manifest import Manifest, ProjectClass, ProjectImage
from napari_softseg.project.paths import inside
from napari_softseg.project.reading import SCRIBBLE_EXTENSIONS
from napari_softseg.project.removal import RemovedClass, RemovedImage, free_folder, move_files, removed_files
from napari_softseg.project.writing import writing
from napari_softseg.saving import replacing

FOLDERS = ("images", "scribbles", "soft_labels", "models")
LATER_FOLDERS = ("snapshots", "removed")
"""Made when there is something to put there."""
SWEPT = ("images", "scribbles", "soft_labels")
"""Where only the project writes, which cleans up after a program that was killed."""


class Project(LockedFolder):
    """A project folder that is open; `create_project` and `open_project` make it.

    One process writes to a folder at a time, from any of its threads; any number may read it. Use it as a
    context manager, or `close` it.
    """

    def add_image(
        self,
        source: str | os.PathLike[str] | npt.NDArray[Any],
        *,
        name: str | None = None,
        scribbles: npt.NDArray[Any] | None = None,
        copy: bool = True,
        pixel_size: PixelSize | None = None,
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
        pixel_size
            Of the image, where it is known: what is exported keeps it.

        Raises
        ------
        InputError
            If the image cannot be read, the name is taken or no name, the strokes do not fit, or nothing
            may be written.
        """
        image, file, pixels = described(source, name, copy)
        name = image.name
        with self._changing():
            changed = replace(self._manifest, images=(*self._manifest.images, image))  # refuses a name twice
            strokes = None if scribbles is None else checked_strokes(image, scribbles, self._manifest)
            if strokes is not None and self.scribbles_path(name) is not None:
                raise InputError(
                    f"{self.scribbles_path(name)} is there already; move it away or choose another name."
                )
            path = Path(image.path) if image.referenced else inside(self.path, image.path)
            if not image.referenced:
                store_image(path, file, pixels)
            with writing(self.path / manifests.FILE):
                image = replace(image, fingerprint=take_fingerprint(path), pixel_size=pixel_size)
            self._write(relocation.with_image(changed, image))
            if strokes is not None:
                self._store_strokes(name, strokes)
        return image

    def relocate(self, name: str, path: str | os.PathLike[str]) -> str:
        """Take the file at `path` for an image whose file is gone or changed; its strokes stay.

        An image that was copied into the project is copied again, a reference refers to `path` from now on.
        Other references that are gone are found as well if they lie beside it, with the same name and content.

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
            changed = relocation.with_image(self._manifest, image)
            if image.referenced:
                changed = relocation.found_beside(changed, Path(image.path).parent)
            self._write(changed)
        return remark

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

    def write_soft_labels(self, name: str, probabilities: npt.NDArray[np.float32]) -> Path:
        """Write (K, H, W) float32 soft labels, channels in the order of the classes, and return the file.

        Raises
        ------
        InputError
            If the shape does not fit, or they cannot be written.
        """
        with self._changing():
            classes = {one.value: one.name for one in self._manifest.classes}
            image = self._manifest.image(name)
            expected = (len(classes), *image.size)
            if probabilities.shape != expected:
                raise InputError(
                    f"Expected soft labels of shape (K, H, W) = {expected} for {name!r}, "
                    f"but got {probabilities.shape}."
                )
            path = self.soft_labels_path(name)
        with writing(path), replacing(path) as (temporary,):  # seconds long: strokes are not held up by it
            soft_labels.write_soft_labels(temporary, probabilities, classes, image.pixel_size)
        return path

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
                    settings=now.settings if settings is None else manifests.plain(settings),
                )
            )

    def remove_class(self, value: int) -> RemovedClass:
        """Take a class out of the project and erase its strokes in all images: in all of them or in none.

        Returns
        -------
        RemovedClass
            What `restore_class` brings it back from.

        Raises
        ------
        InputError
            If there is no such class, strokes cannot be read, or nothing may be written.
        """
        with self._changing():
            now = self._manifest
            gone = next((one for one in now.classes if one.value == value), None)
            if gone is None:
                raise InputError(f"The project {self.path} has no class {value} to remove.")
            erased = {}
            for name in self.names:
                pixels = np.flatnonzero(self.read_scribbles(name) == value)
                if pixels.size:
                    erased[name] = pixels
            kept = tuple(one for one in now.classes if one.value != value)
            self._paint(replace(now, classes=kept), erased, now.unlabelled)
            return RemovedClass(gone, erased)

    def restore_class(self, removed: RemovedClass) -> None:
        """Bring back a class and its strokes, wherever nothing else was painted since.

        Raises
        ------
        InputError
            If another class has its value or name by now, or nothing may be written.
        """
        with self._changing():
            now = self._manifest
            classes = tuple(sorted((*now.classes, removed.removed), key=lambda one: one.value))
            painted = {}
            for name in set(removed.strokes).intersection(self.names):
                pixels = removed.strokes[name]
                painted[name] = pixels[self.read_scribbles(name).flat[pixels] == now.unlabelled]
            self._paint(replace(now, classes=classes), painted, removed.removed.value)

    def remove_image(self, name: str) -> RemovedImage:
        """Take an image out of the project; its strokes, soft labels and copy go to a folder in ``removed/``.

        Returns
        -------
        RemovedImage
            What `restore_image` brings it back from.

        Raises
        ------
        InputError
            If there is no such image, or nothing may be written.
        """
        with self._changing():
            now, image = self._manifest, self._manifest.image(name)
            folder = free_folder(inside(self.path, "removed"), name)
            removed = RemovedImage(image, now.images.index(image), folder)
            moves = removed_files(self.path, removed)
            self._write(replace(now, images=tuple(one for one in now.images if one.name != name)))
            try:
                with writing(folder):
                    move_files([(path, aside) for path, aside in moves if path.exists()])
            except InputError:
                self._write(now)
                raise
            return removed

    def restore_image(self, removed: RemovedImage) -> None:
        """Bring back an image that was taken out.

        Raises
        ------
        InputError
            If another image has its name by now, or nothing may be written.
        """
        with self._changing():
            images = list(self._manifest.images)
            images.insert(removed.position, removed.image)
            changed = replace(self._manifest, images=tuple(images))  # refuses a name twice
            with writing(self.path):
                moves = removed_files(self.path, removed)
                move_files([(aside, path) for path, aside in moves if aside.exists()])
            self._write(changed)

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

    def _store_strokes(self, name: str, strokes: npt.NDArray[np.uint8]) -> Path:
        path = inside(self.path, f"scribbles/{name}.png")
        with writing(path), replacing(path) as (temporary,):
            write_index_png(temporary, strokes, self._manifest.classes)
        self._supersede(name)
        return path

    def _paint(self, manifest: Manifest, pixels: Mapping[str, npt.NDArray[np.intp]], value: int) -> None:
        """Give pixels of several images a value, and write the manifest: all of it or nothing.

        The files change in an order that leaves no stroke without its class, should the program be killed.
        """
        paths = {name: inside(self.path, f"scribbles/{name}.png") for name in pixels}
        listed = self.path / manifests.FILE
        files = [listed, *paths.values()] if value != manifest.unlabelled else [*paths.values(), listed]
        with writing(listed), replacing(*files) as temporaries:
            temporary = dict(zip(files, temporaries, strict=True))
            for name, painted in pixels.items():
                strokes = self.read_scribbles(name)
                strokes.flat[painted] = value
                write_index_png(temporary[paths[name]], strokes, manifest.classes)
            manifests.write_text(temporary[listed], manifest)
        self._took_over(manifest)
        for name in pixels:
            self._supersede(name)

    def _supersede(self, name: str) -> None:
        """Remove strokes that came as TIFF, now that there are newer ones."""
        for suffix in SCRIBBLE_EXTENSIONS[1:]:
            inside(self.path, f"scribbles/{name}{suffix}").unlink(missing_ok=True)
