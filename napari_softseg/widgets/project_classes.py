"""Classes of a project and of the viewer, which may count them differently."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.project.manifest import ProjectClass
from napari_softseg.widgets.classes import ScribbleClass


def shown_classes(classes: Iterable[ProjectClass]) -> list[ScribbleClass]:
    """Return classes of a project, counted as in the viewer, for a class table."""
    return [ScribbleClass(one.value, one.name, one.color) for one in classes]


def kept_classes(classes: Iterable[ScribbleClass]) -> tuple[ProjectClass, ...]:
    """Return classes of a class table for a project; no two keep the same name."""
    kept: list[ProjectClass] = []
    names: set[str] = set()
    for one in classes:
        name = one.name if one.name not in names else f"{one.name} ({one.value})"
        names.add(name)
        kept.append(ProjectClass(one.value, name, one.color))
    return tuple(kept)


def merge_classes(
    mine: Sequence[ScribbleClass], others: Iterable[ScribbleClass]
) -> tuple[list[ScribbleClass], dict[int, int]]:
    """Take up classes that came with an image, by their names.

    Returns
    -------
    classes
        Mine, and after them those of the others that have no namesake among mine.
    values
        For every value of the others, the one it has from now on.

    Raises
    ------
    InputError
        If there are more classes than values.
    """
    merged = {one.value: one for one in mine}
    by_name = {one.name: one.value for one in mine}
    values: dict[int, int] = {}
    for one in others:
        value = by_name.pop(one.name, None)  # once: two of the others that share a name stay two
        if value is None:
            free = [one.value, *range(1, MAX_CLASS_VALUE + 1)]
            value = next((candidate for candidate in free if candidate not in merged), None)
            if value is None:
                raise InputError(
                    f"There are {MAX_CLASS_VALUE} classes already, no place for {one.name!r}: remove some first."
                )
            merged[value] = ScribbleClass(value, one.name, one.color)
        values[one.value] = value
    return [merged[value] for value in sorted(merged)], values


def translate_strokes(strokes: npt.NDArray[np.integer], values: dict[int, int]) -> npt.NDArray[np.uint8]:
    """Return strokes, any shape, with these values in place of the former ones; 0 and others stay."""
    table = np.arange(MAX_CLASS_VALUE + 1, dtype=np.uint8)
    for before, after in values.items():
        table[before] = after
    outside = int(strokes.max(initial=0))
    if outside > MAX_CLASS_VALUE:
        raise InputError(f"Expected class values up to {MAX_CLASS_VALUE} in the strokes, but got {outside}.")
    translated: npt.NDArray[np.uint8] = table[strokes]
    return translated
