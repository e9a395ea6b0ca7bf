"""Label files as class indices: which value means which class, and which none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.files import read_scribbles
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.training.data.polylines import Polyline, draw_polylines, read_polylines
from napari_softseg.training.data.samples import NO_CLASS
from napari_softseg.training.data.strokes import shortened_strokes

Indices = npt.NDArray[np.int64]


class LabelMismatch(InputError):
    """A label file that is whole, but cannot belong to its image or to these classes."""


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
    length_ratio: float = 1.0
    """Share of every stroke's length that is used."""

    def seeds(self, path: Path, shape: tuple[int, int]) -> Indices:
        """Return (H, W) class indices of the strokes in a file for an image of that shape, -1 elsewhere.

        Raises
        ------
        InputError
            If the file cannot be read, or does not fit the image.
        """
        index = {value: i for i, value in enumerate(self.class_values)}
        if path.suffix.lower() != ".xml":
            return shortened_strokes(_looked_up(read_labels(path), index), self.length_ratio)
        tags = {name: index[value] for value, name in zip(self.class_values, self.class_names, strict=True)}
        return draw_polylines(
            tagged_polylines(path, tags), shape, tags, unlabelled=NO_CLASS, length_ratio=self.length_ratio
        )

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
        """Raise LabelMismatch if a label file holds a value that means neither a class nor nothing."""
        left_out = {self.ignore, self.unlabelled, *(() if self.mask_values is None else mask_values)}
        for path, unknown, meaning, option in (
            (scribbles, scribble_values - {self.unlabelled}, "no stroke", "unlabelled"),
            (mask, mask_values - left_out, "an unknown class", "ignore"),
        ):
            unknown = unknown - set(self.class_values)
            if unknown:
                value, listed = min(unknown), ", ".join(map(str, self.class_values))
                counted = self.unlabelled is None and self.class_values == tuple(range(value))
                also = "; if the classes are counted from 1, say --unlabelled 0" if counted else ""
                way_out = f"if it means {meaning}, say --{option} {value}{also}"
                if not 0 <= value <= MAX_CLASS_VALUE:
                    way_out = f"label files hold 0 to {MAX_CLASS_VALUE}, so write {meaning} as one of these"
                raise LabelMismatch(
                    f"{path} holds {value}, which is not among the classes {listed}; {way_out}."
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


def tagged_polylines(path: Path, tags: Collection[str]) -> list[Polyline]:
    """Return the strokes of an XML file, or raise LabelMismatch if one is of another class than `tags`."""
    polylines = read_polylines(path)
    for polyline in polylines:
        if polyline.tag not in tags:
            raise LabelMismatch(
                f"{path} has a stroke of {polyline.tag!r}; the classes are: {', '.join(tags)}."
            )
    return polylines


def check_size(path: Path, shape: tuple[int, ...], image: Path, image_shape: tuple[int, ...]) -> None:
    """Raise LabelMismatch if a label file is of another size than its image."""
    if shape != image_shape:
        (height, width), (rows, columns) = shape, image_shape
        raise LabelMismatch(
            f"{path} has {height} x {width} pixels, but {image} has {rows} x {columns}; "
            "labels need one value per image pixel."
        )
