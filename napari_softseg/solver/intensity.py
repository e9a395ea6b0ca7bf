"""Any image to intensities in 0..255, the unit the edge sensitivity is given in.

The rule: 8-bit values are taken as they are; booleans become 0 and 255; floats that lie in 0..1 are
multiplied by 255; everything else (16-bit, other floats) is stretched linearly so that the 0.1 and
99.9 percentiles over all channels become 0 and 255, without clipping.

Finding the rule takes the whole image, applying it any part: an image too large for memory is surveyed
piece by piece, to the same rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

_PERCENTILES = (0.1, 99.9)
_SAMPLE = 1_000_000


@dataclass(frozen=True, slots=True)
class IntensityRule:
    """``(value - low) * gain``, in float32."""

    low: float
    gain: float

    def apply(
        self, image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the image, or a part of it, as (H, W, C) float32 intensities, 0 where `mask` is False.

        Parameters
        ----------
        image : (H, W) or (H, W, C) array of any real dtype
            Finite wherever `mask` is True.
        mask : (H, W) bool array, optional
            True on real pixels.
        """
        channels = image[..., np.newaxis] if image.ndim == 2 else image
        values = channels.astype(np.float32)
        if mask is not None:
            values[~mask] = 0
        if self.low != 0:
            values -= np.float32(self.low)
        if self.gain != 1:
            values *= np.float32(self.gain)
        if mask is not None:
            values[~mask] = 0
        return values


AS_IT_IS = IntensityRule(0.0, 1.0)
ZERO_ONE = IntensityRule(0.0, 255.0)


def fixed_rule(dtype: np.dtype[Any]) -> IntensityRule | None:
    """Return the rule where the dtype alone decides it, else None: then the pixels must be surveyed."""
    return AS_IT_IS if dtype == np.uint8 else ZERO_ONE if dtype == np.bool_ else None


@dataclass(slots=True)
class IntensitySurvey:
    """Range and a regular sample of an image that is seen piece by piece.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the whole image.
    """

    shape: tuple[int, int]
    low: float = math.inf
    high: float = -math.inf
    sampled: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(
        self, piece: npt.NDArray[Any], row: int, column: int, mask: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Take in the (h, w) or (h, w, C) pixels whose first one is at `row` and `column`."""
        # percentiles need no more than a regular grid of pixels, which is the same however it is cut
        step = max(1, math.isqrt(math.prod(self.shape) // _SAMPLE))
        grid = slice(-row % step, None, step), slice(-column % step, None, step)
        inside = piece if mask is None else piece[mask]
        sample = piece[grid] if mask is None else piece[grid][mask[grid]]
        if inside.size:
            self.low, self.high = min(self.low, float(inside.min())), max(self.high, float(inside.max()))
            self.sampled.append(sample.astype(np.float32).ravel())

    def rule(self, dtype: np.dtype[Any]) -> IntensityRule:
        """Return the rule for an image of that dtype, all of whose pieces were added."""
        if dtype.kind == "f" and self.low >= 0 and self.high <= 1:
            return ZERO_ONE
        values = np.concatenate(self.sampled)
        low, high = np.percentile(values, _PERCENTILES) if values.size else (0.0, 0.0)
        if high <= low:
            low, high = self.low, self.high
        return IntensityRule(float(low), 255 / max(float(high) - float(low), 1e-30))


def to_intensity(
    image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """Return a whole image as (H, W, C) float32 intensities.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of any real dtype
        Finite wherever `mask` is True.
    mask : (H, W) bool array, optional
        True on real pixels; the others become 0.
    """
    return rule_of(image, mask).apply(image, mask)


def rule_of(image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None) -> IntensityRule:
    """Return the rule of a whole image, as `to_intensity` takes it."""
    rule = fixed_rule(image.dtype)
    if rule is None:
        survey = IntensitySurvey(image.shape[:2])
        survey.add(image, 0, 0, mask)
        rule = survey.rule(image.dtype)
    return rule
