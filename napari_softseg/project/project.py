"""The project folder: images, strokes, soft labels and models of one task, safe at any moment.

::

    project.json    classes, images, the value without a stroke, settings
    images/         copies of the images; others are references to files elsewhere
    scribbles/      NAME.png: class value per pixel, in the colours of the classes (TIFF is read as well)
    soft_labels/    NAME.tif: (K, H, W) float32
    models/         runs of training

Every file is written beside its place, flushed and renamed, so that whatever kills the program leaves the
old one or the new one. An image is listed in ``project.json`` only once its file is there, and its strokes
are written only after that: no file of ours is ever one that the project does not know.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.files import read_image, read_scribbles
from napari_softseg.project import manifest as manifests
from napari_softseg.project.manifest import Manifest, ProjectClass, ProjectImage
from napari_softseg.project.paths import checked_name, inside
from napari_softseg.saving import replacing, write_png, write_soft_tiff

FOLDERS = ("images", "scribbles", "soft_labels", "models")
_SCRIBBLE_EXTENSIONS = (".png", ".tif", ".tiff")


class Project:
    """A project folder that is open; `create_project` and `open_project` make it.

    One process writes to a folder at a time; any number may read it.
    """

    def __init__(self, path: Path, manifest: Manifest, read_only: str = "") -> None:
        self.path = path
        self.read_only = read_only
        """Why nothing may be written; empty if it may."""
        self._manifest = manifest

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
        self._check_writable()
        if isinstance(source, np.ndarray):
            file, pixels = None, source
        else:
            file = Path(source)
            pixels = read_image(file)
        if name is None:
            if file is None:
                raise InputError("Pixels without a file need a name in the project; pass name.")
            name = file.stem.removesuffix(".ome")
        checked_name(name)
        if pixels.ndim not in (2, 3):
            raise InputError(f"Expected an image of shape (H, W) or (H, W, C), but got {pixels.shape}.")
        height, width = pixels.shape[:2]
        if file is not None and not copy:
            image = ProjectImage(name, (height, width), str(file.resolve()), referenced=True)
        else:
            eight_bit = pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3)
            suffix = file.suffix.lower() if file is not None else ".png" if eight_bit else ".tif"
            image = ProjectImage(name, (height, width), f"images/{name}{suffix}")
        strokes = None if scribbles is None else self._checked_strokes(image, scribbles)
        changed = replace(self._manifest, images=(*self._manifest.images, image))  # refuses a name twice
        if strokes is not None and self.scribbles_path(name) is not None:
            raise InputError(
                f"{self.scribbles_path(name)} is there already; move it away or choose another name."
            )
        if not image.referenced:
            self._store_image(inside(self.path, image.path), file, pixels)
        self._write(changed)
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
            raise InputError(f"The image {name!r} is gone: there is no {path}; put it back or add it again.")
        pixels = read_image(path)
        if pixels.shape[:2] != image.size:
            raise InputError(
                f"{path} has {pixels.shape[0]} x {pixels.shape[1]} pixels, but had {image.size[0]} x "
                f"{image.size[1]} when it was added to {self.path}; its strokes no longer fit."
            )
        return pixels

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
        return self._checked_strokes(image, read_scribbles(path))

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
        self._check_writable()
        return self._store_strokes(name, self._checked_strokes(self._manifest.image(name), scribbles))

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
        self._check_writable()
        expected = (len(self._manifest.classes), *self._manifest.image(name).size)
        if probabilities.shape != expected:
            raise InputError(
                f"Expected soft labels of shape (K, H, W) = {expected} for {name!r}, but got {probabilities.shape}."
            )
        path = self.soft_labels_path(name)
        with writing(path), replacing(path) as (temporary,):
            write_soft_tiff(temporary, probabilities, {one.value: one.name for one in self._manifest.classes})
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
            their files, and are refused when read.
        """
        self._check_writable()
        now = self._manifest
        self._write(
            replace(
                now,
                classes=now.classes if classes is None else tuple(classes),
                settings=now.settings if settings is None else dict(settings),
            )
        )

    def _write(self, manifest: Manifest) -> None:
        path = self.path / manifests.FILE
        with writing(path):
            manifests.write_manifest(path, manifest)
        self._manifest = manifest

    def _store_image(self, target: Path, file: Path | None, pixels: npt.NDArray[Any]) -> None:
        with writing(target), replacing(target) as (temporary,):
            if file is not None:
                shutil.copyfile(file, temporary)
            elif target.suffix == ".png":
                write_png(temporary, pixels)
            else:
                tifffile.imwrite(
                    temporary,
                    pixels,
                    photometric="minisblack",
                    compression="zlib",
                    planarconfig=None if pixels.ndim == 2 else "contig",
                )
            # left by a program that was killed before it could list the image, or a stranger's
            if target.exists() and not filecmp.cmp(target, temporary, shallow=False):
                raise InputError(f"{target} is there already; move it away or choose another name.")

    def _store_strokes(self, name: str, strokes: npt.NDArray[np.uint8]) -> Path:
        path = inside(self.path, f"scribbles/{name}.png")
        colors = np.zeros((256, 3), np.uint8)
        for one in self._manifest.classes:
            colors[one.value] = one.color
        picture = Image.fromarray(strokes)
        picture.putpalette(colors.tobytes())
        with writing(path), replacing(path) as (temporary,):
            picture.save(temporary, format="PNG")
        for suffix in _SCRIBBLE_EXTENSIONS[1:]:  # strokes that came as TIFF are superseded
            path.with_name(name + suffix).unlink(missing_ok=True)
        return path

    def _checked_strokes(self, image: ProjectImage, scribbles: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        if scribbles.shape != image.size:
            raise InputError(
                f"Expected strokes of size {image.size[0]} x {image.size[1]} for the image {image.name!r}, but "
                f"got {' x '.join(map(str, scribbles.shape))}."
            )
        if scribbles.dtype.kind not in "bui":
            raise InputError(f"Expected strokes of whole numbers, but got dtype {scribbles.dtype}.")
        values = [one.value for one in self._manifest.classes]
        unknown = np.setdiff1d(scribbles, [self._manifest.unlabelled, *values])
        if unknown.size:
            raise InputError(
                f"The strokes of {image.name!r} hold {unknown[0]}, which is not among the classes "
                f"{', '.join(map(str, values))} of {self.path}; add the class first."
            )
        return scribbles.astype(np.uint8)

    def _check_writable(self) -> None:
        if self.read_only:
            raise InputError(f"Nothing can be written to {self.path}: {self.read_only}.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of `path` if it is gone, and say in one line what the system refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from None
