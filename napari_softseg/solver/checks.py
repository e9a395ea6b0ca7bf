"""Everything that can be wrong with an image and its strokes, said before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.options import MAX_CLASS_VALUE

MAX_COLORS = 4
"""A last axis this short holds colours, not the columns of a volume."""

LEAVE_OUT = "replace them or leave them out with a mask"
REPLACE = "replace them, for example by the mean of the others"
"""The ways out of pixels that are no numbers, where a mask can leave them out and where none can."""


def checked_mask(mask: Any, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    """Return the mask as bool, (H, W) or (D, H, W), or None when it keeps every pixel."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise InputError(
            f"Expected a mask of size {_size(shape)} like the image, but got {_size(mask.shape)}."
        )
    mask = mask.astype(bool)
    if not mask.any():
        raise InputError("The mask leaves no pixel; it must be true (non-zero) on the pixels to use.")
    return None if mask.all() else mask


def checked_image(
    image: Any, mask: Any = None, axes: int = 2
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Return the image as an array (H, W) or (H, W, C) and its mask, or raise InputError.

    With `axes` 3 it is a volume (D, H, W) or (D, H, W, C). What a masked array hides is left out as well.
    """
    hidden = np.ma.getmask(image)
    image = np.asarray(image)
    check_image_form(image.shape, image.dtype, axes)
    mask = checked_mask(mask, image.shape[:axes])
    if hidden is not np.ma.nomask:
        shown = ~(hidden if hidden.ndim == axes else hidden.any(axis=-1))
        mask = checked_mask(shown if mask is None else shown & mask, image.shape[:axes])
    _check_finite(image, mask, axes)
    return image, mask


def checked_pixels(image: Any) -> npt.NDArray[Any]:
    """Return an image that no mask goes with as an array (H, W) or (H, W, C), or raise InputError."""
    pixels: npt.NDArray[Any] = np.asarray(image)
    check_image_form(pixels.shape, pixels.dtype)
    _check_finite(pixels, way_out=REPLACE)
    return pixels


def check_image_form(shape: tuple[int, ...], dtype: np.dtype[Any], axes: int = 2) -> None:
    """Raise InputError if no image, or volume (`axes` 3), of this shape and dtype can be solved."""
    if len(shape) not in (axes, axes + 1):
        expected = (
            "an image of shape (H, W) or (H, W, C)"
            if axes == 2
            else "a volume of shape (D, H, W) or (D, H, W, C) for scribbles of three axes"
        )
        raise InputError(f"Expected {expected}, but got {len(shape)} dimensions {shape}.")
    if dtype.kind not in "buif":
        raise InputError(f"Expected an image of real numbers, but got dtype {dtype}.")
    if min(shape[axes - 2 : axes]) < 2:
        got = _size(shape[axes - 2 : axes])
        raise InputError(f"Expected an image of at least 2 x 2 pixels, but got {got}.")
    if axes == 3 and shape[2] <= MAX_COLORS:
        raise InputError(
            f"Scribbles of shape {shape[:3]} look like the colours of an image; they need one class value per "
            f"pixel, (H, W), and those of a volume more than {MAX_COLORS} columns."
        )
    if min(shape) < 1:
        what = "channel" if axes == 2 else "plane and channel"
        raise InputError(f"Expected an image with at least one {what}, but got shape {shape}.")


def not_finite(
    image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None, axes: int = 2
) -> npt.NDArray[np.bool_] | None:
    """Return where an image, or a part of one, is NaN or infinite inside the mask; None for nowhere."""
    if image.dtype.kind != "f":
        return None
    # beyond float32 counts as infinite: the solver works in it
    bad: npt.NDArray[np.bool_] = ~(np.abs(image) <= np.finfo(np.float32).max)
    if bad.ndim > axes:
        bad = np.any(bad, axis=-1)
    if mask is not None:
        bad &= mask
    return bad if bad.any() else None


def _check_finite(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_] | None = None,
    axes: int = 2,
    way_out: str = LEAVE_OUT,
) -> None:
    """Raise InputError if an image is NaN or infinite somewhere inside the mask."""
    bad = not_finite(image, mask, axes)
    if bad is not None:
        refuse_not_finite(int(bad.sum()), *np.argwhere(bad)[0], way_out=way_out)


def refuse_not_finite(count: int, *first: int, way_out: str = LEAVE_OUT) -> NoReturn:
    """Raise InputError for pixels that are no numbers, the first at (plane,) row and column."""
    names = ("plane", "row", "column")[-len(first) :]
    place = ", ".join(f"{name} {number}" for name, number in zip(names, first, strict=True))
    raise InputError(f"The image has {count} NaN or infinite pixels, the first at {place}; {way_out}.")


def checked_seeds(
    scribbles: Any,
    shape: tuple[int, ...],
    unlabelled: int,
    classes: Sequence[int] | None = None,
    mask: npt.NDArray[np.bool_] | None = None,
    fewest: int = 2,
) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """Return seeds int64 of the image's shape, -1 without a stroke and else the class index, and the values.

    Raises
    ------
    InputError
        On a wrong size or dtype, class values out of range, or strokes of fewer than `fewest` classes.
    """
    scribbles = np.asarray(np.ma.filled(scribbles, unlabelled))
    check_scribbles_form(scribbles.shape, shape)
    drawn, values = stroke_values(scribbles, unlabelled, mask)
    listed = checked_classes(values, unlabelled, classes, fewest)
    return class_seeds(scribbles, drawn, listed), listed


def check_scribbles_form(shape: tuple[int, ...], image_shape: tuple[int, ...]) -> None:
    """Raise InputError if scribbles of this shape do not fit the image's (H, W)."""
    if shape != image_shape:
        raise InputError(
            f"Image and scribbles differ in size: {_size(image_shape)} and {_size(shape)}; "
            "scribbles need one value per image pixel."
        )


def stroke_values(
    scribbles: npt.NDArray[Any], unlabelled: int, mask: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
    """Return where scribbles, or a part of them, have a stroke, and the values there, ascending."""
    if scribbles.dtype.kind not in "buif":
        raise InputError(f"Expected scribbles of whole numbers, but got dtype {scribbles.dtype}.")
    if scribbles.dtype.kind == "f" and (fractions := scribbles != np.rint(scribbles)).any():
        raise InputError(f"Expected scribbles of whole numbers, but they hold {scribbles[fractions][0]:g}.")
    drawn: npt.NDArray[np.bool_] = scribbles != unlabelled
    if mask is not None:
        drawn &= mask
    return drawn, np.unique(scribbles[drawn])


def checked_classes(
    values: npt.NDArray[Any],
    unlabelled: int,
    classes: Sequence[int] | None = None,
    fewest: int = 2,
) -> tuple[int, ...]:
    """Return all class values, given those of the strokes, ascending, and perhaps a list of all.

    Strokes of at least `fewest` classes (0 to 2) are asked for; below 2 that list must be given.
    """
    if values.size == 0 and fewest > 0:
        raise InputError(
            f"Found no strokes: every pixel has the unlabelled value {unlabelled}; "
            "paint at least one stroke of two classes."
        )
    if values.size and (values[-1] > MAX_CLASS_VALUE or values[0] < 0):
        wrong = int(values[-1] if values[-1] > MAX_CLASS_VALUE else values[0])
        raise InputError(
            f"Expected class values from 0 to {MAX_CLASS_VALUE}, but the scribbles hold {wrong}."
        )
    if values.size == 1 and fewest > 1:
        raise InputError(
            f"Found strokes of one class only (value {int(values[0])}); "
            f"paint at least one stroke of a second class (unlabelled pixels have value {unlabelled})."
        )
    try:
        listed = tuple(map(int, values if classes is None else classes))
        whole = classes is None or listed == tuple(classes)
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"Expected classes to be whole numbers, but got {classes!r}.")
    if list(listed) != sorted(set(listed)) or len(listed) < 2:
        raise InputError(f"Expected at least two classes in ascending order, but got {listed}.")
    if listed[0] < 0 or listed[-1] > MAX_CLASS_VALUE:
        raise InputError(f"Expected classes from 0 to {MAX_CLASS_VALUE}, but got {listed}.")
    missing = sorted({int(v) for v in values} - set(listed))
    if missing:
        raise InputError(f"The scribbles hold class {missing[0]}, which is not among the classes {listed}.")
    return listed


def class_seeds(
    scribbles: npt.NDArray[Any], drawn: npt.NDArray[np.bool_], classes: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Return -1 where nothing is drawn, else the index of the scribbles' value among `classes`."""
    seeds = np.full(scribbles.shape, -1, dtype=np.int64)
    seeds[drawn] = np.searchsorted(classes, scribbles[drawn])
    return seeds


def checked_unary(unary: Any, n_classes: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return a given unary as (K, *shape) float32 distributions, or raise InputError."""
    sigma = np.asarray(unary)
    expected = (n_classes, *shape)
    if sigma.shape != expected:
        axes = "(K, H, W)" if len(shape) == 2 else "(K, D, H, W)"
        raise InputError(f"Expected a unary of shape {axes} = {expected}, but got {sigma.shape}.")
    if sigma.dtype.kind not in "buif" or not np.isfinite(sigma).all() or (sigma < 0).any():
        raise InputError(
            "Expected a unary of finite probabilities >= 0; it holds NaN, infinite or negative values."
        )
    total = sigma.sum(axis=0, dtype=np.float64)
    if (total <= 0).any():
        raise InputError("Expected a unary with a positive sum at every pixel, but some pixels are all zero.")
    result: npt.NDArray[np.float32] = (sigma / total).astype(np.float32)
    return result


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape) or "a single value"
