"""What the list of images says about each, read again only where a file changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_softseg.errors import InputError
from napari_softseg.project.fingerprint import file_stamp
from napari_softseg.project.soft_labels import read_mean_entropy

if TYPE_CHECKING:
    from napari_softseg.project.reading import ProjectReader


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """Where the work on an image stands."""

    name: str
    strokes: dict[int, int]
    """Painted pixels of every class of the project, by class value."""
    labelled: float
    """Share of the pixels that are painted, 0..1."""
    entropy: float | None
    """Mean uncertainty of its soft labels, 0..1; None without soft labels of today's classes."""
    problem: str
    """What is wrong with its files, in one line; empty if nothing is."""


class StatusReader:
    """Reads the status of a project's images, and remembers what it counted in which file."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[tuple[int, int], dict[int, int]]] = {}

    def status(self, project: ProjectReader, name: str) -> ImageStatus:
        """Return the status of an image; InputError only if there is no such image."""
        image = project.manifest.image(name)
        values = [one.value for one in project.manifest.classes]
        problem = project.check(name)
        try:
            counted = self._counts(project, name)
            entropy = read_mean_entropy(project.soft_labels_path(name), values)
        except InputError as error:
            counted, entropy, problem = {}, None, problem or str(error)
        strokes = {value: counted.get(value, 0) for value in values}
        labelled = sum(strokes.values()) / (image.size[0] * image.size[1])
        return ImageStatus(name, strokes, labelled, entropy, problem)

    def _counts(self, project: ProjectReader, name: str) -> dict[int, int]:
        path = project.scribbles_path(name)
        if path is None:
            return {}
        try:
            stamp = file_stamp(path)
        except OSError:  # erased between the two lines
            return {}
        known = self._counted.get(name)
        if known is None or known[0] != stamp:
            counts = np.bincount(project.read_scribbles(name).ravel(), minlength=256)
            known = stamp, {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
            self._counted[name] = known
        return known[1]
