"""Class values in the viewer, where 0 always means "nothing painted", and those in a project's files.

A project may mean "unlabelled" by another value, 255 for instance, and have a class 0. Then these two values
change places, all others stay: the same swap leads there and back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.project.manifest import Manifest, ProjectClass


def swapped_value(value: int, unlabelled: int) -> int:
    """Return the value in the viewer of one in the project, or the other way round."""
    return {0: unlabelled, unlabelled: 0}.get(value, value)


def to_viewer(strokes: npt.NDArray[np.uint8], unlabelled: int) -> npt.NDArray[np.uint8]:
    """Return strokes of a project, any shape, in the viewer's values; the array itself if nothing changes."""
    if unlabelled == 0:
        return strokes
    table = np.arange(MAX_CLASS_VALUE + 1, dtype=np.uint8)
    table[[0, unlabelled]] = unlabelled, 0
    return table[strokes]


def from_viewer(strokes: npt.NDArray[Any], unlabelled: int) -> npt.NDArray[np.uint8]:
    """Return strokes of the viewer, any shape, values 0..255 of any integer type, in a project's values."""
    return to_viewer(strokes.astype(np.uint8, copy=False), unlabelled)


def classes_to_viewer(manifest: Manifest) -> list[ProjectClass]:
    """Return the classes of a project with the viewer's values, ascending by them."""
    return _swapped(list(manifest.classes), manifest.unlabelled)


def classes_from_viewer(classes: list[ProjectClass], unlabelled: int) -> list[ProjectClass]:
    """Return classes of the viewer with a project's values, ascending by them."""
    return _swapped(classes, unlabelled)


def soft_labels_to_viewer(soft: npt.NDArray[Any], manifest: Manifest) -> npt.NDArray[Any]:
    """Return (K, ...) soft labels with their channels in the order of the viewer's classes."""
    return soft[_order(manifest)]


def soft_labels_from_viewer(soft: npt.NDArray[Any], manifest: Manifest) -> npt.NDArray[Any]:
    """Return (K, ...) soft labels with their channels in the order of a project's classes."""
    return soft[np.argsort(_order(manifest))]


def _swapped(classes: list[ProjectClass], unlabelled: int) -> list[ProjectClass]:
    swapped = (replace(one, value=swapped_value(one.value, unlabelled)) for one in classes)
    return sorted(swapped, key=lambda one: one.value)


def _order(manifest: Manifest) -> npt.NDArray[np.intp]:
    """Return the project's channel for every channel of the viewer."""
    return np.argsort([swapped_value(one.value, manifest.unlabelled) for one in manifest.classes])
