"""One plane of an array that is too large to hold, read window by window.

Anything with a shape, a dtype and slices will do: NumPy (mapped files too), dask, zarr. Paths open
lazily: zarr arrays, OME-Zarr (its finest level), tiled or plain TIFF, ``.npy``; other files are read whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.files import open_tiff, plane_axes, read_image, read_scribbles, read_unary

_TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")


@dataclass(frozen=True, slots=True)
class Plane:
    """An array and what its axes mean.

    Parameters
    ----------
    array : array-like
        Has ``shape``, ``dtype`` and basic slicing.
    axes : str
        A letter per axis: y, x, and perhaps c; all others have length 1.
    spacing : (float, float)
        Height and width of a pixel.
    unit : str, optional
        Unit of the spacing.
    reopen : callable, optional
        Gives the plane anew; another process is sent this instead of the array.
    """

    array: Any
    axes: str
    spacing: tuple[float, float] = (1.0, 1.0)
    unit: str | None = None
    reopen: tuple[Callable[..., Plane], tuple[Any, ...]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reopen or (Plane, (self.array, self.axes, self.spacing, self.unit))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[self.axes.index("y")], self.array.shape[self.axes.index("x")]

    @property
    def channels(self) -> int | None:
        """Length of the channel axis, None without one."""
        return self.array.shape[self.axes.index("c")] if "c" in self.axes else None

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C)."""
        return self.size if self.channels is None else (*self.size, self.channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        found: np.dtype[Any] = np.dtype(self.array.dtype)
        return found

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one stored chunk, which is read as a whole however small the window."""
        chunks = getattr(self.array, "chunksize", None) or getattr(self.array, "chunks", None)
        return 0 if chunks is None else math.prod(chunks) * self.dtype.itemsize

    def read(self, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return the pixels of a window, (h, w) or (h, w, C)."""
        where = {"y": rows, "x": columns, "c": slice(None)}
        # Decoders raise nearly anything on damaged bytes, and only here are they read.
        try:
            piece = self.array[tuple(where.get(axis, 0) for axis in self.axes)]
            if hasattr(piece, "compute"):  # dask: here and now, also inside a worker of a cluster
                piece = piece.compute(scheduler="threads")
            pixels = np.asarray(piece)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"Cannot read rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop} "
                f"of the array: {type(error).__name__}: {error}; if it is damaged, copy it again."
            ) from error
        kept = [axis for axis in self.axes if axis in where]
        return pixels.transpose([kept.index(axis) for axis in "yxc" if axis in kept])


def as_plane(array: Any, axes: str | None = None) -> Plane:
    """Return an array as a plane: (H, W) or (H, W, C) unless `axes` says otherwise."""
    if isinstance(array, Plane):
        return array
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        array = np.asarray(array)
    axes = "yxc"[: len(array.shape)] if axes is None else axes
    if len(array.shape) != len(axes) or len(axes) < 2:
        raise InputError(
            f"Expected an array of shape (H, W) or (H, W, C), but got {len(array.shape)} dimensions {array.shape}."
        )
    return Plane(array, axes)


def open_image(path: str | Path) -> Plane:
    """Open an image; see the module for what is read lazily.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged, or holds a stack of planes.
    """
    return _opened(Path(path), open_image, read_image)


def open_scribbles(path: str | Path) -> Plane:
    """Open scribbles, one class value per pixel; raises InputError like `open_image`."""
    plane = _opened(Path(path), open_scribbles, read_scribbles)
    if plane.channels is not None:
        raise InputError(
            f"Expected one class value per pixel in {path}, but it has {plane.channels} channels; "
            "save the scribbles as one plane of integers."
        )
    return plane


def open_unary(path: str | Path) -> Plane:
    """Open probabilities (K, H, W); raises InputError like `open_image`."""
    path = Path(path)
    reopen = (open_unary, (path,))
    if path.is_dir():
        return _open_zarr(path, reopen)
    if path.suffix == ".npy" and path.exists():
        return Plane(np.load(path, mmap_mode="r", allow_pickle=False), "cyx", reopen=reopen)
    return Plane(read_unary(path), "cyx", reopen=reopen)


def _opened(path: Path, opener: Callable[..., Plane], read_whole: Callable[[Path], Any]) -> Plane:
    reopen = (opener, (path,))
    if path.is_dir():
        return _open_zarr(path, reopen)
    lazy: tuple[Any, str] | None = None
    if path.suffix == ".npy" and path.exists():
        try:
            lazy = np.load(path, mmap_mode="r", allow_pickle=False), ""
        except (ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read: damaged, or no .npy file ({error}).") from None
    elif path.suffix.lower() in _TIFF_SUFFIXES and path.exists():
        lazy = open_tiff(path)
    if lazy is None:
        array = read_whole(path)
        return Plane(array, "yxc"[: array.ndim], reopen=reopen)
    array, letters = lazy
    return Plane(array, plane_axes(array.shape, letters, path), reopen=reopen)


def _open_zarr(path: Path, reopen: tuple[Callable[..., Plane], tuple[Any, ...]]) -> Plane:
    import zarr
    from zarr.errors import BaseZarrError

    try:
        node = zarr.open(path, mode="r")
    except (BaseZarrError, FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is a folder without a zarr array or group in it ({error}); "
            "give the folder with zarr.json, .zarray or .zgroup in it, or copy it again."
        ) from None
    if isinstance(node, zarr.Array):
        return Plane(node, plane_axes(node.shape, "", path), reopen=reopen)
    metadata: dict[str, Any] = node.attrs.asdict()
    scales = metadata.get("ome", metadata).get("multiscales")
    if not scales:
        held = ", ".join(sorted(node.array_keys())) or "none"
        raise InputError(f"{path} is a zarr group without OME-Zarr multiscales; name an array in it: {held}.")
    try:
        return _finest_level(node, scales[0], path, reopen)
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path} has broken OME-Zarr metadata: {error!r} is missing.") from None


def _finest_level(
    group: Any, scales: Mapping[str, Any], path: Path, reopen: tuple[Callable[..., Plane], tuple[Any, ...]]
) -> Plane:
    level = scales["datasets"][0]
    array = group[level["path"]]
    entries = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales.get("axes", "tczyx")]
    axes = "".join(entry["name"] for entry in entries)
    stacked = [
        f"{name} = {length}"
        for name, length in zip(axes, array.shape, strict=False)
        if name not in "yxc" and length > 1
    ]
    if len(axes) != len(array.shape) or not {"y", "x"} <= set(axes) or stacked:
        raise InputError(
            f"Expected one plane in {path}, but its axes are {axes} and its shape is {array.shape}; "
            "save one plane of it."
        )
    spacing, unit = (1.0, 1.0), entries[axes.index("x")].get("unit")
    for transformation in level.get("coordinateTransformations", ()):
        if transformation["type"] == "scale":
            scale = transformation["scale"]
            spacing = (float(scale[axes.index("y")]), float(scale[axes.index("x")]))
    return Plane(array, axes, spacing, unit, reopen)
