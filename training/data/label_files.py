"""Label files as class indices: which value means which class, and which none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.files import read_scribbles
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.training.data.samples import NO_CLASS

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRules:
    """What the values in a folder's label files mean."""

    class_values: tuple[int, ...]
    """Ascending."""
    class_names: tuple[str, ...]
    unlabelled: int | None
    """Value without a stroke; None where there are no scribbles."""
    ignore: int
    """Value that masks leave out."""
    mask_values: Mapping[int, int] | None = None
    """Class value of each value in masks, where that is another one; values not in it are left out."""

    def seeds(self, scribbles: npt.NDArray[Any]) -> Indices:
        """Return (H, W) class indices of (H, W) scribbles, -1 without a stroke."""
        return _looked_up(scribbles, {value: i for i, value in enumerate(self.class_values)})

    def truth(self, mask: npt.NDArray[Any]) -> Indices:
        """Return (H, W) class indices of a mask's (H, W) values, -1 where it is left out."""
        index = {value: i for i, value in enumerate(self.class_values)}
        if self.mask_values is not None:
            index = {stored: index[value] for stored, value in self.mask_values.items()}
        return _looked_up(mask, index)

    def check(
        self,
        scribbles: Path | None,
        scribble_values: frozenset[int],
        mask: Path | None,
        mask_values: frozenset[int],
    ) -> None:
        """Raise InputError if a label file holds a value that means neither a class nor nothing."""
        left_out = {self.ignore, self.unlabelled, *(() if self.mask_values is None else mask_values)}
        for path, unknown, hint in (
            (scribbles, scribble_values - {self.unlabelled}, "if it means no stroke, pass it as unlabelled"),
            (mask, mask_values - left_out, "if it means an unknown class, pass it as ignore"),
        ):
            unknown = unknown - set(self.class_values)
            if unknown:
                listed = ", ".join(str(value) for value in self.class_values)
                raise InputError(
                    f"{path} holds {min(unknown)}, which is not among the classes {listed}; {hint}."
                )


def _looked_up(values: npt.NDArray[Any], index: Mapping[int, int]) -> Indices:
    table = np.full(MAX_CLASS_VALUE + 3, NO_CLASS, np.int64)
    for value, i in index.items():
        table[value] = i
    if values.dtype != np.uint8:  # all that is too large or too small meets one of the last two
        values = values.clip(-1, MAX_CLASS_VALUE + 1)
    indices: Indices = table[values]
    return indices


def read_labels(path: Path) -> npt.NDArray[Any]:
    """Return the (H, W) values of a label file.

    Raises
    ------
    InputError
        If it cannot be read, or is a stack of planes.
    """
    values = read_scribbles(path)
    if values.ndim != 2:
        raise InputError(f"Expected one plane in {path}, but its shape is {values.shape}.")
    return values


def check_size(path: Path, shape: tuple[int, ...], image: Path, image_shape: tuple[int, ...]) -> None:
    """Raise InputError if a label file is of another size than its image."""
    if shape != image_shape:
        (height, width), (rows, columns) = shape, image_shape
        raise InputError(
            f"{path} has {height} x {width} pixels, but {image} has {rows} x {columns}; "
            "labels need one value per image pixel."
        )
