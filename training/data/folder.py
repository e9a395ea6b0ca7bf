"""A folder of annotated images: what is in it, and one image at a time as tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from napari_softseg.errors import InputError
from napari_softseg.files import read_image
from napari_softseg.solver.checks import REPLACE, not_finite
from napari_softseg.solver.intensity import to_intensity
from napari_softseg.training.data.label_files import Indices, LabelRules, check_size, read_labels
from napari_softseg.training.data.layouts import Entry
from napari_softseg.training.data.samples import NO_CLASS, Sample


@dataclass(frozen=True, slots=True)
class AnnotatedFolder:
    """Annotated images of one or several folders; their pixels are read when asked for."""

    path: Path
    entries: tuple[Entry, ...]
    rules: tuple[LabelRules, ...]
    """Of each entry."""
    in_channels: int
    skipped: list[tuple[str, str]]
    """Images left out, each with the reason."""
    warnings: list[str]
    """What is no error but should be seen: classes without a stroke."""

    @property
    def names(self) -> list[str]:
        """Of the images, without their extensions."""
        return [entry.name for entry in self.entries]

    @property
    def class_values(self) -> tuple[int, ...]:
        """Values of the classes in label files, ascending; class index 0 is the first."""
        return self.rules[0].class_values

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the values."""
        return self.rules[0].class_names

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, index: int) -> Sample:
        """Read a whole image with its strokes and its mask.

        Raises
        ------
        InputError
            If a file is gone or was damaged since the folder was opened.
        """
        entry, rules = self.entries[index], self.rules[index]
        image, seeds, truth = read_entry(entry, rules)
        planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
        return Sample(
            entry.name,
            planes,
            torch.full(image.shape[:2], NO_CLASS) if seeds is None else torch.from_numpy(seeds),
            None if truth is None else torch.from_numpy(truth),
            torch.ones(image.shape[:2], dtype=torch.bool),
        )


def read_entry(
    entry: Entry, rules: LabelRules
) -> tuple[npt.NDArray[np.float32], Indices | None, Indices | None]:
    """Read (H, W, C) float32 intensities, and (H, W) class indices of the strokes and of the mask.

    Raises
    ------
    InputError
        If a file cannot be read, or they do not fit together.
    """
    pixels = read_image(entry.image)
    if not_finite(pixels) is not None:
        raise InputError(f"{entry.image} has NaN or infinite pixels; {REPLACE}.")
    image = to_intensity(pixels)
    seeds = truth = None
    if entry.scribbles is not None:
        seeds = rules.seeds(entry.scribbles, image.shape[:2])
        check_size(entry.scribbles, seeds.shape, entry.image, image.shape[:2])
    if entry.mask is not None:
        values = read_labels(entry.mask)
        check_size(entry.mask, values.shape, entry.image, image.shape[:2])
        truth = rules.truth(values)
    return image, seeds, truth


def join_folders(folders: Sequence[AnnotatedFolder]) -> AnnotatedFolder:
    """Return the images of several folders as those of one; its path is that of the first.

    Names that occur twice get their folder's name in front.

    Raises
    ------
    InputError
        If there is no folder, or they differ in their classes or channels; the difference is named.
    """
    if not folders:
        raise InputError("Expected at least one annotated folder, but got none.")
    first = folders[0]
    for other in folders[1:]:
        _check_same_classes(first, other)
        if other.in_channels != first.in_channels:
            raise InputError(
                f"{first.path} has images of {first.in_channels} channels, but {other.path} of "
                f"{other.in_channels}; train them apart, or convert one."
            )
    taken = Counter(name for folder in folders for name in folder.names)
    return AnnotatedFolder(
        first.path,
        tuple(
            replace(entry, name=f"{folder.path.name}/{entry.name}") if taken[entry.name] > 1 else entry
            for folder in folders
            for entry in folder.entries
        ),
        tuple(rules for folder in folders for rules in folder.rules),
        first.in_channels,
        [(f"{folder.path.name}/{name}", why) for folder in folders for name, why in folder.skipped],
        [f"{folder.path}: {warning}" for folder in folders for warning in folder.warnings],
    )


def _check_same_classes(first: AnnotatedFolder, other: AnnotatedFolder) -> None:
    ours = dict(zip(first.class_values, first.class_names, strict=True))
    theirs = dict(zip(other.class_values, other.class_names, strict=True))
    for value in sorted(ours.keys() | theirs.keys()):
        if ours.get(value) != theirs.get(value):
            raise InputError(
                f"Folders differ in their classes: value {value} is {_named(ours, value)} in {first.path}, but "
                f"{_named(theirs, value)} in {other.path}; give both the same classes, or train them apart."
            )


def _named(classes: dict[int, str], value: int) -> str:
    return repr(classes[value]) if value in classes else "no class"
