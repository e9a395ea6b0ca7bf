"""What was found out about the images of a project, as files for other programs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.project.image_files import write_index_png
from napari_softseg.project.manifest import ProjectClass, ProjectImage
from napari_softseg.project.reading import ProjectReader
from napari_softseg.project.writing import writing
from napari_softseg.saving import replacing, write_png, write_soft_tiff

Kind = Literal["labels", "soft", "masks"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, slots=True)
class Export:
    """What `export_labels` did."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    """Names of images that have no soft labels of today's classes yet."""


def export_labels(
    project: ProjectReader,
    folder: str | os.PathLike[str],
    kinds: Collection[Kind] = KINDS[:1],
    progress: Callable[[int, int, str], bool] = lambda done, total, name: True,
) -> Export:
    """Write the labels of all images that have soft labels, and ``classes.txt``.

    ::

        NAME_labels.png              the most likely class of every pixel, in the colours of the classes
        NAME_soft.tif                (K, H, W) float32 soft labels, with the pixel size where it is known
        NAME_mask_VALUE_CLASS.png    255 where the class is the most likely one, 0 elsewhere; for every class
        classes.txt                  VALUE=NAME per line

    Parameters
    ----------
    project
        The project; reading is enough.
    folder
        Where to write; made if it is not there. Files of these names are replaced.
    kinds
        What to write: ``"labels"``, ``"soft"``, ``"masks"``.
    progress
        Called before each image with their number done and in all, and the image's name; False ends the
        export there.

    Raises
    ------
    InputError
        If a kind is unknown, a file cannot be read, or nothing can be written.
    """
    unknown = next((kind for kind in kinds if kind not in KINDS), None)
    if unknown is not None or not kinds:
        raise InputError(f"Expected kinds out of {', '.join(KINDS)}, but got {unknown!r}.")
    folder = Path(folder)
    classes = project.manifest.classes
    files, left_out = [folder / "classes.txt"], []
    with writing(files[0]), replacing(files[0]) as (temporary,):
        temporary.write_text("".join(f"{one.value}={one.name}\n" for one in classes), encoding="utf-8")
    names = project.names
    for done, name in enumerate(names):
        if not progress(done, len(names), name):
            break
        soft = project.read_soft_labels(name)
        if soft is None:
            left_out.append(name)
            continue
        writers = _writers(folder, project.manifest.image(name), soft, classes, kinds)
        with writing(folder / name), replacing(*writers) as temporaries:
            for temporary, write in zip(temporaries, writers.values(), strict=True):
                write(temporary)
        files.extend(writers)
    return Export(tuple(files), tuple(left_out))


def _writers(
    folder: Path,
    image: ProjectImage,
    soft: npt.NDArray[np.float32],
    classes: Sequence[ProjectClass],
    kinds: Collection[Kind],
) -> dict[Path, Callable[[Path], None]]:
    """Return what writes the files of an image, by their paths."""
    name, values = image.name, np.array([one.value for one in classes], np.uint8)
    labels = values[soft.argmax(0)]
    writers: dict[Path, Callable[[Path], None]] = {}
    if "labels" in kinds:
        writers[folder / f"{name}_labels.png"] = partial(write_index_png, labels=labels, classes=classes)
    if "soft" in kinds:
        named = {one.value: one.name for one in classes}
        writers[folder / f"{name}_soft.tif"] = partial(
            write_soft_tiff, probabilities=soft, classes=named, pixel_size=image.pixel_size
        )
    if "masks" in kinds:
        for one in classes:
            path = folder / f"{name}_mask_{one.value}_{_UNSAFE.sub('_', one.name)}.png"
            mask = np.where(labels == one.value, np.uint8(255), np.uint8(0))
            writers[path] = partial(write_png, pixels=mask)
    return writers
