"""Strokes and labels that other programs wrote, as strokes of ours."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.files import read_image, read_scribbles
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.project import ilastik
from napari_softseg.project.viewer_values import to_viewer
from napari_softseg.training.data.voc import NAMES, VOID

_VOC_FOLDERS = ("SegmentationClass", "SegmentationClassAug", "pascal_2012_scribble")
_CONVPAINT = "_annotations"
"""Ends the name of what napari-convpaint exports, where 0 means nothing painted."""

Labels = npt.NDArray[np.uint8]


def import_labels(
    path: str | os.PathLike[str], *, unlabelled: int | None = None, image: str | None = None
) -> tuple[Labels, dict[int, str]]:
    """Read strokes or labels of one image that another program wrote.

    Parameters
    ----------
    path
        A PNG, TIFF or ``.npy`` file of class values, such as napari-convpaint's ``NAME_annotations.tif`` and
        ilastik's Labels or Simple Segmentation; ilastik's HDF5 exports; the strokes in an ilastik project
        (``.ilp``); masks of PASCAL VOC or in its colours.
    unlabelled
        The value that means "nothing painted", any whole number. None to find it out, where only one of 0,
        255 and a negative value is possible.
    image
        Which image's strokes to take from an ilastik project, by its name there, with or without extension;
        None if it has only one.

    Returns
    -------
    labels
        (H, W) uint8, 0 where nothing is painted. If the file has a class 0, that has the value there that
        means "nothing painted" in the file, or the largest free one.
    names
        Of the classes, by their value in `labels`; empty where the file does not say.

    Raises
    ------
    InputError
        If the file cannot be read, holds no class values or more than one plane, or it takes `unlabelled` or
        `image` to know what it means.
    """
    path = Path(path)
    names: dict[int, str] = {}
    if ilastik.is_hdf5(path):
        labels, names = ilastik.read_labels(path, image)
        unlabelled = 0 if unlabelled is None else unlabelled
    else:
        labels = _class_values(path)
        if path.parent.name in _VOC_FOLDERS:
            unlabelled = VOID if unlabelled is None else unlabelled
            names = dict(enumerate(NAMES))
        elif path.stem.endswith(_CONVPAINT) and unlabelled is None:
            unlabelled = 0
    values = np.unique(labels)
    if unlabelled is None:
        unlabelled = _found_out(values, path)
    if len(values) and values.max() > MAX_CLASS_VALUE and values.max() != unlabelled:
        raise InputError(
            f"{path} holds the value {values.max()}, but classes have values up to {MAX_CLASS_VALUE}; "
            "numbers of single objects are no classes."
        )
    return _moved(labels, values, unlabelled, names, path)


def _class_values(path: Path) -> npt.NDArray[np.integer]:
    """Return (H, W) values; of colours those that they have in PASCAL VOC."""
    try:
        labels = read_scribbles(path)
    except InputError:
        decoded = _voc_colors(path)
        if decoded is None:
            raise
        return decoded
    if labels.ndim != 2:
        raise InputError(
            f"Expected one plane in {path}, but its shape is {labels.shape}; save one plane of it."
        )
    return labels


def _voc_colors(path: Path) -> Labels | None:
    """Return the values of a colour image if all its colours are PASCAL VOC's."""
    pixels = read_image(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        return None
    packed = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    palette = voc_palette().astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    known = [*range(len(NAMES)), VOID]
    order = np.argsort(palette[known])
    place = np.searchsorted(palette[known][order], packed).clip(max=len(known) - 1)
    if (palette[known][order][place] != packed).any():
        return None
    values: Labels = np.array(known, np.uint8)[order][place]
    return values


def voc_palette() -> npt.NDArray[np.uint8]:
    """Return PASCAL VOC's (256, 3) RGB colours: the bits of the value, dealt out from the top bit down."""
    values = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((values >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return palette


def _found_out(values: npt.NDArray[np.integer], path: Path) -> int:
    """Return which of the values can mean "nothing painted", or raise InputError if several can."""
    possible = [int(value) for value in values if value in (0, MAX_CLASS_VALUE) or value < 0]
    if len(possible) > 1:
        raise InputError(
            f"{path} holds {' and '.join(map(str, possible))}: say which of them means that nothing is painted."
        )
    return possible[0] if possible else 0


def _moved(
    labels: npt.NDArray[np.integer],
    values: npt.NDArray[np.integer],
    unlabelled: int,
    names: dict[int, str],
    path: Path,
) -> tuple[Labels, dict[int, str]]:
    """Return labels and names with 0 for unlabelled, and a class 0 out of its way."""
    stray = next((int(value) for value in values if value < 0 and value != unlabelled), None)
    if stray is not None:
        raise InputError(
            f"{path} holds {stray}, which is no class; classes have values from 0 to {MAX_CLASS_VALUE}."
        )
    if 0 <= unlabelled <= MAX_CLASS_VALUE:
        swap = {0: unlabelled, unlabelled: 0}
        moved = to_viewer(labels.astype(np.uint8), unlabelled)
    else:
        taken = set(values.tolist()) | set(names)
        free = next((value for value in range(MAX_CLASS_VALUE, 0, -1) if value not in taken), None)
        if free is None:
            raise InputError(f"{path} holds more than {MAX_CLASS_VALUE} classes.")
        swap = {0: free}
        painted = labels != unlabelled
        moved = np.where(painted, np.where(labels == 0, free, labels), 0).astype(np.uint8)
    kept = {swap.get(value, value): name for value, name in names.items() if value != unlabelled}
    return moved, {value: kept[value] for value in sorted(kept)}
