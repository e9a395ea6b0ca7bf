"""Images and strokes as the files of a project."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.files import read_image
from napari_softseg.project.manifest import Manifest, ProjectClass, ProjectImage
from napari_softseg.project.paths import checked_name
from napari_softseg.project.writing import writing
from napari_softseg.saving import replacing, write_png


def described(
    source: str | os.PathLike[str] | npt.NDArray[Any], name: str | None, copy: bool
) -> tuple[ProjectImage, Path | None, npt.NDArray[Any]]:
    """Return what `Project.add_image` is to add, its file if it has one, and its pixels.

    Raises
    ------
    InputError
        If the image cannot be read, or the name is none.
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
    if file is not None and not copy:
        return ProjectImage(name, size, str(file.resolve()), referenced=True), file, pixels
    eight_bit = pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3)
    suffix = file.suffix.lower() if file is not None else ".png" if eight_bit else ".tif"
    return ProjectImage(name, size, f"images/{name}{suffix}"), file, pixels


def store_image(target: Path, file: Path | None, pixels: npt.NDArray[Any]) -> None:
    """Copy `file` to `target`, or write `pixels` there if there is none.

    Raises
    ------
    InputError
        If something else is there, or it cannot be written.
    """
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


def replace_image(target: Path, file: Path) -> None:
    """Copy `file` to `target`, whatever was there; InputError if that fails."""
    with writing(target), replacing(target) as (temporary,):
        shutil.copyfile(file, temporary)


def write_index_png(path: Path, labels: npt.NDArray[np.uint8], classes: Iterable[ProjectClass]) -> None:
    """Write (H, W) uint8 class values as a palette PNG in the colours of the classes."""
    colors = np.zeros((256, 3), np.uint8)
    for one in classes:
        colors[one.value] = one.color
    picture = Image.fromarray(labels)
    picture.putpalette(colors.tobytes())
    picture.save(path, format="PNG")


def checked_strokes(
    image: ProjectImage, scribbles: npt.NDArray[Any], manifest: Manifest
) -> npt.NDArray[np.uint8]:
    """Return strokes as (H, W) uint8, or raise InputError if they fit neither the image nor the classes."""
    if scribbles.shape != image.size:
        raise InputError(
            f"Expected strokes of size {image.size[0]} x {image.size[1]} for the image {image.name!r}, but "
            f"got {' x '.join(map(str, scribbles.shape))}."
        )
    if scribbles.dtype.kind not in "bui":
        raise InputError(f"Expected strokes of whole numbers, but got dtype {scribbles.dtype}.")
    values = [one.value for one in manifest.classes]
    unknown = np.setdiff1d(_present(scribbles), [manifest.unlabelled, *values])
    if unknown.size:
        raise InputError(
            f"The strokes of {image.name!r} hold {unknown[0]}, which is not among the classes "
            f"{', '.join(map(str, values))}; add the class first."
        )
    return scribbles.astype(np.uint8)


def _present(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype == np.uint8:  # much faster than sorting, and this runs after every stroke
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)
