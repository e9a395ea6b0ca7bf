"""Any image to intensities in 0..255, the unit the edge sensitivity is given in.

The rule: 8-bit values are taken as they are; booleans become 0 and 255; floats that lie in 0..1 are
multiplied by 255; everything else (16-bit, other floats) is stretched linearly so that the 0.1 and
99.9 percentiles over all channels become 0 and 255, without clipping.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_PERCENTILES = (0.1, 99.9)
_SAMPLE = 1_000_000


def to_intensity(
    image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """Return the image as (H, W, C) float32 intensities.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of any real dtype
        Finite wherever `mask` is True.
    mask : (H, W) bool array, optional
        True on real pixels; the others become 0.
    """
    channels = image[..., np.newaxis] if image.ndim == 2 else image
    values = channels.astype(np.float32)
    if mask is not None:
        values[~mask] = 0
    if image.dtype == np.uint8:
        return values
    inside = values if mask is None else values[mask]
    low, high = float(inside.min()), float(inside.max())
    if image.dtype == np.bool_ or (image.dtype.kind == "f" and low >= 0 and high <= 1):
        return values * np.float32(255)
    # a regular sample is enough for percentiles, and quick on large images
    flat = inside.reshape(-1)
    low, high = np.percentile(flat[:: max(1, flat.size // _SAMPLE)], _PERCENTILES)
    if high <= low:
        low, high = float(inside.min()), float(inside.max())
    scaled: npt.NDArray[np.float32] = (values - np.float32(low)) * np.float32(255 / max(high - low, 1e-30))
    if mask is not None:
        scaled[~mask] = 0
    return scaled
