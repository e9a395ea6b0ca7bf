"""What ilastik writes as HDF5: exported labels, and the strokes in its project files.

An export holds one array, named ``exported_data`` unless the person chose otherwise. A project (``.ilp``)
holds the strokes of image N as blocks in ``PixelClassification/LabelSets/labelsN``, each with the place it
was cut from; images are the lanes in ``Input Data/infos``. In both, ``axistags`` name the axes and 0 means
that nothing was painted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError

_MAGIC = b"\x89HDF\r\n\x1a\n"
_INFOS, _SETS, _NAMES = (
    "Input Data/infos",
    "PixelClassification/LabelSets",
    "PixelClassification/LabelNames",
)
_RANGE = re.compile(r"(\d+):(\d+)")

Labels = npt.NDArray[np.integer]


def is_hdf5(path: Path) -> bool:
    """Return whether a file starts as HDF5 does; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_labels(path: Path, image: str | None) -> tuple[Labels, dict[int, str]]:
    """Return (H, W) labels, 0 where nothing was painted, and the names of the classes by value.

    Parameters
    ----------
    path
        An export or a project of ilastik.
    image
        Whose strokes to take from a project; None if it has only one image.

    Raises
    ------
    InputError
        If the file is neither, is damaged, or holds volumes or probabilities.
    """
    try:
        with h5py.File(path, "r") as file:
            if _INFOS in file:
                return _strokes(file, path, image)
            return _exported(file, path), {}
    except InputError:
        raise
    except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read: damaged, or not written by ilastik ({text}).") from None


def _exported(file: h5py.File, path: Path) -> Labels:
    arrays: list[h5py.Dataset] = []
    file.visititems(lambda _name, one: arrays.append(one) if isinstance(one, h5py.Dataset) else None)
    if len(arrays) != 1 and "exported_data" not in file:
        raise InputError(
            f"Expected one array in {path}, but found {len(arrays)}; export labels from ilastik."
        )
    array = file["exported_data"] if "exported_data" in file else arrays[0]
    if array.dtype.kind not in "bui":
        raise InputError(
            f"{path} holds {array.dtype}, not class values; choose Labels or Simple Segmentation when exporting "
            "from ilastik."
        )
    return _plane(array[()], _axes(array), path)


def _strokes(file: h5py.File, path: Path, image: str | None) -> tuple[Labels, dict[int, str]]:
    if _SETS not in file:
        raise InputError(f"{path} holds no strokes of ilastik's Pixel Classification.")
    lane = _lane(file, path, image)
    raw = file[_INFOS][lane]["Raw Data"]
    if "shape" not in raw:
        raise InputError(f"{path} does not say how large the image is; export Labels from ilastik instead.")
    names = [_text(name) for name in file[_NAMES][()]] if _NAMES in file else []
    named = dict(enumerate(names, start=1))
    shape, axes = tuple(int(n) for n in raw["shape"][()]), _axes(raw)
    sizes = dict(zip(axes, shape, strict=True))
    labels = None
    blocks = file[_SETS].get(f"labels{int(lane.removeprefix('lane')):03d}", {})
    for block in blocks.values():
        own = _axes(block) or axes
        if labels is None:
            # one channel, however many the image has
            labels = np.zeros([1 if axis == "c" else sizes[axis] for axis in own], np.uint8)
        where = _place(_text(block.attrs["blockSlice"]))
        labels[where] = np.maximum(labels[where], block[()])
    if labels is None:
        return np.zeros((sizes["y"], sizes["x"]), np.uint8), named
    return _plane(labels, own, path), named


def _lane(file: h5py.File, path: Path, image: str | None) -> str:
    """Return the key of the image's lane."""
    lanes: dict[str, str] = {}
    for key, lane in file[_INFOS].items():
        raw = lane["Raw Data"]
        lanes[key] = _text(raw["nickname"][()]) if "nickname" in raw else _stem(_text(raw["filePath"][()]))
    if image is None and len(lanes) == 1:
        return next(iter(lanes))
    found = [key for key, name in lanes.items() if image is not None and _stem(name) == _stem(image)]
    if len(found) != 1:
        listed = ", ".join(lanes.values()) or "none"
        raise InputError(f"{path} holds strokes of these images: {listed}; {image!r} is not one of them.")
    return found[0]


def _plane(array: npt.NDArray[Any], axes: str, path: Path) -> Labels:
    """Return the rows and columns of an array whose other axes have length 1; squeezed if `axes` is empty."""
    named = np.moveaxis(array, (axes.index("y"), axes.index("x")), (0, 1)) if axes else np.squeeze(array)
    if named.ndim < 2 or named.size != named.shape[0] * named.shape[1]:
        raise InputError(
            f"Expected one plane of class values in {path}, but its shape is {array.shape} ({axes or 'no names'}); "
            "export one plane."
        )
    return named.reshape(named.shape[:2])


def _axes(array: h5py.Dataset | h5py.Group) -> str:
    """Return the letters of the axes, empty if they are not named."""
    tags = array.attrs.get("axistags", array.get("axistags") if isinstance(array, h5py.Group) else None)
    if tags is None:
        return ""
    tags = tags[()] if isinstance(tags, h5py.Dataset) else tags
    return "".join(str(axis["key"]) for axis in json.loads(_text(tags))["axes"])


def _place(text: str) -> tuple[slice, ...]:
    """Return the slices of ``[0:4,2:8,0:1]``."""
    return tuple(slice(int(start), int(stop)) for start, stop in _RANGE.findall(text))


def _text(value: Any) -> str:
    return str(value, "utf-8") if isinstance(value, bytes) else str(value)


def _stem(name: str) -> str:
    """Return the last part of a path of any system, without extension and what follows a file in HDF5."""
    return PurePosixPath(PureWindowsPath(name).name).stem.casefold()
