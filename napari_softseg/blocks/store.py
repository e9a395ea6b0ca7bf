"""The result on disk: one OME-Zarr group that grows block by block, and knows which blocks are done.

``OUT.zarr`` is an OME-Zarr 0.5 image with a channel per class, the probabilities as uint8 (255 is 1: the
rounding, 0.002, is below what the solver leaves open, and a quarter of float32). Its ``labels/classes`` is the
label image. A block is one shard, a single file, in each; zarr puts files in place by renaming, so there are
whole blocks only. The array ``done`` gets its entry after both, so what it says is on disk is on disk.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from napari_softseg.blocks.tiling import CHUNK, Tiling, Window
from napari_softseg.colors import class_color
from napari_softseg.errors import InputError

LABEL_GROUP = "labels/classes"
SOFT, LABELS, DONE = "0", f"{LABEL_GROUP}/0", "done"
SCALE = 255
"""Stored value of probability 1."""

UNDONE, CONVERGED, SWEEP_LIMIT = 0, 1, 2
"""Entries of the array ``done``."""

_KEY = "napari-softseg"


@dataclass(frozen=True, slots=True)
class BlockStore:
    """A result being written, or complete.

    Parameters
    ----------
    path : Path
        Folder of the group.
    classes : tuple of int
        Class values in channel order.
    """

    path: Path
    classes: tuple[int, ...]

    def array(self, name: str) -> zarr.Array[Any]:
        """Return the array SOFT, LABELS or DONE."""
        found = zarr.open_group(self.path, mode="r+")[name]
        assert isinstance(found, zarr.Array)
        return found

    def done(self) -> npt.NDArray[np.uint8]:
        """Return how every block of the grid ended; 0 where it is still to do."""
        return np.asarray(self.array(DONE)[:])

    def write(self, place: tuple[int, int], window: Window, y: npt.NDArray[np.float32], ended: int) -> None:
        """Write one block: its probabilities (K, h, w), its labels, and that it is done."""
        values = np.asarray(self.classes, dtype=np.uint8)
        self.array(SOFT)[:, *window.slices] = np.rint(y * SCALE).astype(np.uint8)
        self.array(LABELS)[window.slices] = values[y.argmax(axis=0)]
        self.array(DONE)[place] = ended


def open_store(
    path: Path,
    tiling: Tiling,
    names: Mapping[int, str],
    identity: Mapping[str, Any],
    spacing: tuple[float, float],
    unit: str | None,
    overwrite: bool,
) -> BlockStore:
    """Return the store at `path`: a new one, or the one an earlier run of the same solve left there.

    Parameters
    ----------
    path : Path
        Folder to make or go on with.
    tiling : Tiling
        The blocks.
    names : mapping
        Class values, ascending, and their names.
    identity : mapping
        All that decides the result; flat, JSON values.
    spacing, unit
        Of the image's pixels.
    overwrite : bool
        Start over where another result of ours is in the way.

    Raises
    ------
    InputError
        If something else is at `path`, or the result of other input or options.
    OSError
        If it cannot be written.
    """
    wanted = {**identity, "block": tiling.block, "classes": list(names)}
    check_output(path)
    if path.exists():
        found = _identity(path)
        if found is None:
            raise InputError(f"{path} exists and is no result of this program; choose another name.")
        if not overwrite:
            _refuse_other(path, found, wanted)
            return BlockStore(path, tuple(names))
    # made beside, then renamed: whatever is at `path` is complete
    temporary = path.with_name(f".{uuid.uuid4().hex}.zarr")
    try:
        _create(temporary, tiling, names, wanted, spacing, unit)
        if path.exists():
            old = path.with_name(f".{uuid.uuid4().hex}.zarr")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return BlockStore(path, tuple(names))


def check_output(path: Path) -> None:
    """Raise InputError if no folder can be made at `path`."""
    if not path.parent.is_dir():
        raise InputError(f"Cannot write {path}: there is no folder {path.parent}; make it first.")
    if path.exists() and not path.is_dir():
        raise InputError(f"Cannot write {path}: it is a file; choose another name.")
    probe = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"Cannot write {path}: {why}; choose another folder.") from None


def _identity(path: Path) -> dict[str, Any] | None:
    try:
        group = zarr.open_group(path, mode="r")
    except (FileNotFoundError, KeyError, ValueError):
        return None
    found = group.attrs.asdict().get(_KEY)
    return found if isinstance(found, dict) else None


def _refuse_other(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = [key for key in (*wanted, *found) if found.get(key) != wanted.get(key)]
    if not different:
        return
    key = different[0]
    was, now = found.get(key), wanted.get(key)
    values = "another" if isinstance(now, str) and len(now) == 32 else f"{was} there, {now} now"
    raise InputError(
        f"{path} was begun with a different {key} ({values}); take the same, another output, "
        "or overwrite it (--overwrite)."
    )


def _create(
    path: Path,
    tiling: Tiling,
    names: Mapping[int, str],
    identity: Mapping[str, Any],
    spacing: tuple[float, float],
    unit: str | None,
) -> None:
    block = tiling.block
    chunk = CHUNK if block % CHUNK == 0 else block
    count = len(names)
    space = [{"name": n, "type": "space", **({"unit": unit} if unit else {})} for n in "yx"]
    colors = {value: class_color(value) for value in names}

    group = zarr.create_group(path, zarr_format=3)
    group.create_array(
        SOFT, shape=(count, *tiling.size), chunks=(1, chunk, chunk), shards=(count, block, block), dtype="u1"
    )
    group.create_array(LABELS, shape=tiling.size, chunks=(chunk, chunk), shards=(block, block), dtype="u1")
    group.create_array(DONE, shape=tiling.grid, chunks=(1, 1), dtype="u1")
    channels = [
        {
            "label": name,
            "color": "{:02X}{:02X}{:02X}".format(*colors[value]),
            "window": {"min": 0, "max": SCALE, "start": 0, "end": SCALE},
            "active": True,
        }
        for value, name in names.items()
    ]
    axes = [{"name": "c", "type": "channel"}, *space]
    group.update_attributes(
        {
            "ome": {
                "version": "0.5",
                "multiscales": [_multiscales(axes, [1.0, *spacing])],
                "omero": {"channels": channels},
            },
            _KEY: dict(identity),
        }
    )
    group["labels"].update_attributes({"ome": {"version": "0.5", "labels": ["classes"]}})
    group[LABEL_GROUP].update_attributes(
        {
            "ome": {
                "version": "0.5",
                "multiscales": [_multiscales(space, list(spacing))],
                "image-label": {
                    "colors": [{"label-value": v, "rgba": [*colors[v], 255]} for v in names],
                    "properties": [{"label-value": v, "name": name} for v, name in names.items()],
                    "source": {"image": "../../"},
                },
            }
        }
    )


def _multiscales(axes: Sequence[Mapping[str, Any]], scale: Sequence[float]) -> dict[str, Any]:
    transformation = {"type": "scale", "scale": list(scale)}
    return {
        "name": "soft labels" if len(axes) == 3 else "classes",
        "axes": list(axes),
        "datasets": [{"path": "0", "coordinateTransformations": [transformation]}],
    }
