"""How large a pixel is in the world, and how a TIFF says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from napari_softseg.errors import InputError

_CENTIMETERS = {"nanometer": 1e-7, "micrometer": 1e-4, "millimeter": 0.1, "centimeter": 1.0, "meter": 100.0}


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Height and width of a pixel.

    Raises
    ------
    InputError
        If they are no lengths.
    """

    height: float
    width: float
    unit: str = ""
    """Such as ``"micrometer"``; empty if it is not known."""

    def __post_init__(self) -> None:
        """Raise InputError for what is no length."""
        for length in (self.height, self.width):
            if not (math.isfinite(length) and length > 0):
                raise InputError(f"Expected the height and width of a pixel to be lengths, but got {length}.")

    @property
    def tiff_tags(self) -> dict[str, Any]:
        """What `tifffile.imwrite` takes; of a unit that TIFF has no word for, only how long the sides are."""
        length = _CENTIMETERS.get(self.unit)
        unit, factor = ("NONE", 1.0) if length is None else ("CENTIMETER", length)
        return {"resolution": (1 / (self.width * factor), 1 / (self.height * factor)), "resolutionunit": unit}

    @property
    def metadata(self) -> dict[str, Any]:
        """The same as JSON says it: ``pixel_size`` (height, width) and ``unit``."""
        return {"pixel_size": [self.height, self.width], "unit": self.unit}
