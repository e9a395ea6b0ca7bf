"""Images and strokes as the files of a project."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.project.manifest import Manifest, ProjectClass, ProjectImage
from napari_softseg.project.writing import writing
from napari_softseg.saving import replacing, write_png


def image_suffix(pixels: npt.NDArray[Any]) -> str:
    """Return the extension of the format that keeps these pixels as they are."""
    eight_bit = pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3)
    return ".png" if eight_bit else ".tif"


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
