"""Class colours, and soft labels as pictures. numpy alone.

The first colours are Okabe and Ito's (2008), chosen to stay apart for people with a
red-green or blue-yellow deficiency; the ones after them are darker and lighter tones
of the same directions. Class values beyond the list get evenly spread hues.
"""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import numpy.typing as npt

RGB = tuple[int, int, int]

DEFAULT_COLORS: list[RGB] = [
    (230, 159, 0),  # orange
    (0, 114, 178),  # blue
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (240, 228, 66),  # yellow
    (86, 180, 233),  # sky blue
    (213, 94, 0),  # vermilion
    (86, 30, 110),  # dark violet
    (190, 235, 190),  # pale green
    (110, 60, 20),  # brown
    (250, 200, 215),  # pale pink
    (100, 100, 100),  # grey
]
"""Colours of classes 1, 2, ...; the last one is also that of class 0."""

_GOLDEN_ANGLE = 0.618033988749895


def class_color(value: int) -> RGB:
    """Return the colour of a class value, as red, green, blue in 0..255.

    Values 1 to 12 have `DEFAULT_COLORS`; 0, which is often the background, has
    the grey at its end. No two values of 0..255 share a colour, but for 0 and 12.
    """
    if value <= len(DEFAULT_COLORS):
        return DEFAULT_COLORS[value - 1]
    hue = value * _GOLDEN_ANGLE % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.45 + 0.5 * (value % 2), (0.95, 0.7, 0.5)[value % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def soft_composite(probabilities: npt.NDArray[np.float32], colors: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Mix the class colours by probability (figure 7 of Zhang & Boykov 2025).

    Parameters
    ----------
    probabilities
        (K, H, W) floats, a distribution over the classes at every pixel.
    colors
        (K, 3) colours in 0..255, in the order of the classes.

    Returns
    -------
    ndarray
        (H, W, 4) uint8 RGBA, opaque.
    """
    n_classes, height, width = probabilities.shape
    table = np.asarray(colors, np.float32).reshape(n_classes, 3)
    mixed = probabilities.reshape(n_classes, -1).T @ table
    composite = np.full((height, width, 4), 255, np.uint8)
    composite[..., :3] = np.clip(mixed + 0.5, 0, 255).reshape(height, width, 3)
    return composite


def overlay(
    image: npt.NDArray[Any],
    probabilities: npt.NDArray[np.float32],
    colors: npt.ArrayLike,
    alpha: float = 0.5,
) -> npt.NDArray[np.uint8]:
    """Lay the soft composite over the image.

    Parameters
    ----------
    image
        (H, W) or (H, W, C) of any dtype. Of more than three channels the first three
        are shown, of two the first. 8-bit values are shown as they are, others
        stretched from their least to their largest finite value.
    probabilities, colors
        As for `soft_composite`.
    alpha
        Share of the class colours in the result, 0..1.

    Returns
    -------
    ndarray
        (H, W, 3) uint8 RGB.
    """
    planes = image if image.ndim == 3 else image[..., None]
    planes = planes[..., :3] if planes.shape[2] >= 3 else planes[..., :1]
    shown = planes.astype(np.float32)
    if image.dtype != np.uint8:
        finite = np.isfinite(shown)  # what a mask leaves out may be anything
        low, high = (
            float(shown.min(where=finite, initial=np.inf)),
            float(shown.max(where=finite, initial=-np.inf)),
        )
        shown = np.where(finite, (shown - low) * (255.0 / max(high - low, 1e-30)), 0)
    mixed = (1 - alpha) * shown + alpha * soft_composite(probabilities, colors)[..., :3]
    return (mixed + 0.5).astype(np.uint8)
