"""Images, scribbles and unaries from files: PNG, JPEG, TIFF and ``.npy``.

Pillow reads PNG and JPEG because it keeps the indices of palette images, which is
where VOC-style scribbles hold their classes; tifffile reads TIFF because it
keeps dtype, axes and metadata. A file is recognised by its first bytes, never by
its name. Nothing is unpickled. A damaged file is refused as a whole, never half-read.

The orientation flag of a photo (EXIF) is not applied: pixels come as they are stored,
the way napari shows them, so scribbles painted there stay on the pixels they were
painted on.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from napari_softseg.errors import InputError, unreadable

Array = npt.NDArray[Any]

READABLE = "PNG, JPEG, WebP, BMP, TIFF or .npy"
MAX_COLORS = 4
"""A longer last axis of scribbles holds columns rather than colours."""
MAX_LEADING_CHANNELS = 32
"""A longer first axis is a stack of planes rather than channels."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_DAMAGE = ("page offset", "value offset", "corrupted", "failed to reshape")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_NPY_MAGIC = b"\x93NUMPY"
_pillow_limit = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What a file holds, before it is taken as an image or as scribbles."""

    array: Array
    axes: str = ""
    """tifffile's axis letters; empty where the format has none."""
    palette: Array | None = None
    """(N, 3) colours the array indexes, or None."""
    has_alpha: bool = False


def read_image(path: str | os.PathLike[str], *, volume: bool = False) -> Array:
    """Read an image.

    Parameters
    ----------
    path
        PNG, JPEG, WebP, BMP, TIFF or ``.npy`` file. Palette colours are looked up,
        alpha is dropped, the EXIF orientation is not applied.
    volume
        Whether a stack of planes is expected; then (D, H, W) or (D, H, W, C) is returned.

    Returns
    -------
    ndarray
        (H, W) or (H, W, C) in the file's own dtype (booleans as uint8 0 and 255).
        A (C, H, W) file becomes (H, W, C) when its axes say so, or, where they say
        nothing, when the first axis is the shortest and has at most 32 entries; a
        last axis of at most 4 entries, or the shortest, is taken as channels first.

    Raises
    ------
    InputError
        If the file is missing, unreadable, empty, damaged, or an unexpected stack of planes.
    """
    pixels = _read(Path(path))
    array = pixels.array
    if pixels.palette is not None:
        array = pixels.palette[array]
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    if not volume:
        array = _channels_last(array, pixels.axes, Path(path))
    elif array.ndim == 4 and "C" in pixels.axes:
        array = np.moveaxis(array, pixels.axes.index("C"), -1)
    if pixels.has_alpha:
        array = array[..., :-1]
    return array[..., 0] if array.ndim == 3 + volume and array.shape[-1] == 1 else array


def read_scribbles(path: str | os.PathLike[str]) -> Array:
    """Read scribbles: one class value per pixel.

    Parameters
    ----------
    path
        Palette or grey PNG (of a palette image the indices are taken, not the
        colours), TIFF, or ``.npy``. Colour files pass only if all their channels
        are equal.

    Returns
    -------
    ndarray
        (H, W) integers in the file's own dtype; (D, H, W) from a stack of planes.

    Raises
    ------
    InputError
        If the file cannot be read as for `read_image`, or holds colours or
        fractions instead of class values.
    """
    path = Path(path)
    pixels = _read(path)
    array = pixels.array
    if array.ndim == 3 and not _is_stack(pixels):
        array = _channels_last(array, pixels.axes, path)
        if pixels.has_alpha and (array[..., -1] == _opaque(array.dtype)).all():
            array = array[..., :-1]
        if (array != array[..., :1]).any():
            raise InputError(
                f"Expected one class value per pixel in {path}, but it has {array.shape[2]} colour channels; "
                "save the scribbles as an indexed (palette) or grey PNG."
            )
        array = array[..., 0]
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.round(array)) & (np.abs(array) < 2**31)
        if not whole.all():
            raise InputError(
                f"Expected whole class values in {path}, but it holds {array[~whole].flat[0]:g}; "
                "save the scribbles as integers."
            )
        return array.astype(np.int64)
    return array


def read_unary(path: str | os.PathLike[str]) -> Array:
    """Read a distribution per pixel, (K, H, W) or (K, D, H, W) floats, from a ``.npy`` or TIFF file.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold floats with three axes, or four for a volume.
    """
    pixels = _read(Path(path))
    if pixels.array.ndim not in (3, 4) or pixels.array.dtype.kind != "f":
        raise InputError(
            f"Expected (K, H, W) floats in {path}, but it holds {pixels.array.dtype} of shape "
            f"{pixels.array.shape}; give one probability per class and pixel."
        )
    return pixels.array


def _read(path: Path) -> _Pixels:
    """Decode `path` whole, or raise InputError."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise unreadable(path, error) from None
    if not head:
        raise InputError(f"{path} is empty (0 bytes); save it again.")
    # Decoders raise nearly anything on damaged bytes (struct.error, zlib.error, SyntaxError, ...).
    try:
        if head.startswith(_TIFF_MAGIC):
            pixels = _read_tiff(path)
        elif head.startswith(_NPY_MAGIC):
            pixels = _read_npy(path)
        else:
            pixels = _read_pillow(path, head)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} cannot be read: damaged, or not {READABLE} ({text}).") from None
    if pixels.array.dtype.kind not in "buif":
        raise InputError(f"Expected numbers in {path}, but it holds {pixels.array.dtype}.")
    if not pixels.array.size:
        raise InputError(f"{path} holds no pixels: its shape is {pixels.array.shape}.")
    return pixels


def _read_pillow(path: Path, head: bytes) -> _Pixels:
    if head.startswith(_PNG_MAGIC) and head[24] == 16 and head[25] in (2, 4, 6):
        # Pillow would cut 16-bit colour down to 8 bits.
        return _Pixels(imagecodecs.png_decode(path.read_bytes()), has_alpha=head[25] != 2)
    with _without_pixel_limit(path) as image:
        image.load()
        if image.mode == "P":
            alpha_free = image.getpalette("RGB") or []
            palette = np.zeros((256, 3), np.uint8)
            palette.flat[: len(alpha_free)] = alpha_free
            return _Pixels(np.array(image), palette=palette)
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            return _Pixels(np.array(image.convert("RGB")))
        if image.mode == "PA":
            return _Pixels(np.array(image.convert("RGBA")), has_alpha=True)
        return _Pixels(np.array(image), has_alpha=image.mode in ("LA", "RGBA"))


@contextmanager
def _without_pixel_limit(path: Path) -> Iterator[Image.Image]:
    """Open with Pillow; scientific images may be larger than its limit against web uploads."""
    with _pillow_limit:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            image = Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP"))
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def _read_tiff(path: Path) -> _Pixels:
    with _checked_tiff(path) as tif:
        series, page = tif.series[0], tif.pages.first
        return _Pixels(series.asarray(), series.axes, _palette(page), _has_alpha(page, series))


def open_tiff(path: Path) -> tuple[Any, str] | None:
    """Return a TIFF's first series, read only where it is sliced (its finest level), and its axis letters.

    None if its pixels are no plain values (a palette, alpha): then only `read_image` reads it.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    import zarr

    try:
        with _checked_tiff(path) as tif:
            series, page = tif.series[0], tif.pages.first
            if _palette(page) is not None or _has_alpha(page, series):
                return None
            if series.dataoffset is not None:  # one run of bytes, which zarr would read whole
                return tifffile.memmap(path, mode="r"), series.axes
            axes = series.axes
        store = tifffile.imread(path, aszarr=True, level=0)
        array = zarr.open_array(store, mode="r")
        weakref.finalize(array, store.close)
        return array, axes
    except (tifffile.TiffFileError, IndexError) as error:
        raise InputError(f"{path} cannot be read: damaged, or no TIFF ({error}).") from None


@contextmanager
def _checked_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF and raise InputError if pixels are missing."""
    size = path.stat().st_size
    with _tifffile_complaints() as complaints, tifffile.TiffFile(path) as tif:
        for page in tif.series[0].pages:
            # tifffile fills strips that lie past the end with zeros; a cut file is no image.
            segments = [] if page is None else zip(page.dataoffsets, page.databytecounts, strict=True)
            if complaints or max((start + n for start, n in segments), default=size + 1) > size:
                raise InputError(f"{path} is cut short: pixels are missing; copy or save it again.")
        yield tif


def _palette(page: Any) -> Array | None:
    if page.colormap is None or page.photometric != tifffile.PHOTOMETRIC.PALETTE:
        return None
    palette: Array = (page.colormap.T >> 8).astype(np.uint8)
    return palette


def _has_alpha(page: Any, series: Any) -> bool:
    return any(extra in (1, 2) for extra in page.extrasamples) and series.axes.endswith("S")


class _Complaints(logging.Handler):
    """Collects what tifffile logs in this thread about missing parts of a file."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread = threading.get_ident()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.thread == self.thread and any(sign in text for sign in _TIFF_DAMAGE):
            self.found.append(text)


@contextmanager
def _tifffile_complaints() -> Iterator[list[str]]:
    """Catch what tifffile only logs: it drops the pages and tags that a cut file lost."""
    handler = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield handler.found
    finally:
        logger.removeHandler(handler)


def _read_npy(path: Path) -> _Pixels:
    # Mapped first: that checks the size and refuses Python objects before anything is allocated.
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return _Pixels(np.array(mapped))


def _channels_last(array: Array, axes: str, path: Path) -> Array:
    """Return (H, W) or (H, W, C), or raise InputError for stacks."""
    return np.moveaxis(array, 0, -1) if plane_axes(array.shape, axes, path) == "cyx" else array


def _is_stack(pixels: _Pixels) -> bool:
    """Return whether three axes are planes, rows and columns: they say so, or the last holds no colours."""
    if "C" in pixels.axes or "S" in pixels.axes or len(pixels.array) == 1:
        return False
    return pixels.axes in ("ZYX", "TYX") or pixels.array.shape[2] > MAX_COLORS


def plane_axes(shape: tuple[int, ...], axes: str, path: Path) -> str:
    """Return ``yx``, ``yxc`` or ``cyx``: what the axes of one plane mean.

    Parameters
    ----------
    shape
        Shape of the stored array.
    axes
        tifffile's axis letters; empty where the file says nothing.
    path
        Named in the message.

    Raises
    ------
    InputError
        If the array is a stack of planes.
    """
    if len(shape) == 2:
        return "yx"
    if len(shape) == 3 and axes not in ("ZYX", "TYX"):
        if axes in ("CYX", "SYX"):
            return "cyx"
        if axes in ("YXC", "YXS") or shape[2] <= 4 or shape[2] < min(shape[:2]):
            return "yxc"
        if shape[0] <= MAX_LEADING_CHANNELS and shape[0] < min(shape[1:]):
            return "cyx"
    named = f" ({axes})" if axes else ""
    raise InputError(
        f"Expected one plane, (H, W) or (H, W, C), in {path}, but its shape is {tuple(shape)}{named}; "
        "save one plane of it."
    )


def _opaque(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0
