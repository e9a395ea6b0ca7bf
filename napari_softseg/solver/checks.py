"""Everything that can be wrong with an image and its strokes, said before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.options import MAX_CLASS_VALUE


def checked_mask(mask: Any, shape: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """Return the mask as (H, W) bool, or None when it keeps every pixel."""
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


def checked_image(image: Any, mask: Any = None) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Return the image as an array (H, W) or (H, W, C) and its mask, or raise InputError."""
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise InputError(
            f"Expected an image of shape (H, W) or (H, W, C), but got {image.ndim} dimensions {image.shape}."
        )
    if image.dtype.kind not in "buif":
        raise InputError(f"Expected an image of real numbers, but got dtype {image.dtype}.")
    shape = image.shape[:2]
    if min(shape) < 2:
        raise InputError(f"Expected an image of at least 2 x 2 pixels, but got {_size(shape)}.")
    if image.ndim == 3 and image.shape[2] < 1:
        raise InputError(f"Expected an image with at least one channel, but got shape {image.shape}.")
    mask = checked_mask(mask, shape)
    if image.dtype.kind == "f":
        # beyond float32 counts as infinite: the solver works in it
        bad = ~(np.abs(image) <= np.finfo(np.float32).max)
        bad = bad.any(axis=2) if bad.ndim == 3 else bad
        if mask is not None:
            bad &= mask
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise InputError(
                f"The image has {int(bad.sum())} NaN or infinite pixels, the first at row {row}, "
                f"column {column}; replace them or leave them out with a mask."
            )
    return image, mask


def checked_seeds(
    scribbles: Any,
    shape: tuple[int, ...],
    unlabelled: int,
    classes: Sequence[int] | None = None,
    mask: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """Return seeds (H, W) int64, -1 without a stroke and else the class index, and the class values.

    Raises
    ------
    InputError
        On a wrong size or dtype, class values out of range, or strokes of fewer than two classes.
    """
    scribbles = np.asarray(scribbles)
    if scribbles.shape != shape:
        raise InputError(
            f"Image and scribbles differ in size: {_size(shape)} and {_size(scribbles.shape)}; "
            "scribbles need one value per image pixel."
        )
    if scribbles.dtype.kind == "f" and np.array_equal(scribbles, np.rint(scribbles)):
        scribbles = scribbles.astype(np.int64)
    if scribbles.dtype.kind not in "bui":
        raise InputError(f"Expected scribbles of whole numbers, but got dtype {scribbles.dtype}.")
    drawn = scribbles != unlabelled
    if mask is not None:
        drawn &= mask
    values = np.unique(scribbles[drawn])
    if values.size == 0:
        raise InputError(
            f"Found no strokes: every pixel has the unlabelled value {unlabelled}; "
            "paint at least one stroke of two classes."
        )
    if values[-1] > MAX_CLASS_VALUE or values[0] < 0:
        wrong = values[-1] if values[-1] > MAX_CLASS_VALUE else values[0]
        raise InputError(
            f"Expected class values from 0 to {MAX_CLASS_VALUE}, but the scribbles hold {wrong}."
        )
    if values.size == 1:
        raise InputError(
            f"Found strokes of one class only (value {values[0]}); "
            f"paint at least one stroke of a second class (unlabelled pixels have value {unlabelled})."
        )
    listed = tuple(int(v) for v in values) if classes is None else tuple(int(v) for v in classes)
    if list(listed) != sorted(set(listed)) or len(listed) < 2:
        raise InputError(f"Expected at least two classes in ascending order, but got {listed}.")
    if listed[0] < 0 or listed[-1] > MAX_CLASS_VALUE:
        raise InputError(f"Expected classes from 0 to {MAX_CLASS_VALUE}, but got {listed}.")
    missing = sorted({int(v) for v in values} - set(listed))
    if missing:
        raise InputError(f"The scribbles hold class {missing[0]}, which is not among the classes {listed}.")
    seeds = np.full(shape, -1, dtype=np.int64)
    for index, value in enumerate(listed):
        seeds[drawn & (scribbles == value)] = index
    return seeds, listed


def checked_unary(unary: Any, n_classes: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return a given unary as (K, H, W) float32 distributions, or raise InputError."""
    sigma = np.asarray(unary)
    expected = (n_classes, *shape)
    if sigma.shape != expected:
        raise InputError(f"Expected a unary of shape (K, H, W) = {expected}, but got {sigma.shape}.")
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
    return " x ".join(str(n) for n in shape)
