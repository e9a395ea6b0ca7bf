"""The classes a person paints: number, name and colour, without any view."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from psygnal import Signal

from napari_softseg.colors import class_color
from napari_softseg.errors import InputError
from napari_softseg.options import MAX_CLASS_VALUE

Rgb = tuple[int, int, int]

FEWEST_CLASSES = 2
"""A segmentation needs two classes to tell apart."""


@dataclass(frozen=True, slots=True)
class ScribbleClass:
    """One class of the scribbles."""

    value: int
    """Value of its strokes in the scribbles layer, 1..255."""
    name: str
    color: Rgb


class ClassList:
    """The classes in ascending order of their value.

    A class that was removed is remembered, so that undoing the removal of its
    strokes brings back its name and colour as well.
    """

    changed = Signal()
    """A class came, went, or changed its name or colour."""

    def __init__(self) -> None:
        self._classes: dict[int, ScribbleClass] = {}
        self._removed: dict[int, ScribbleClass] = {}

    def __iter__(self) -> Iterator[ScribbleClass]:
        return iter(self._classes.values())

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, value: object) -> bool:
        return value in self._classes

    def __getitem__(self, value: int) -> ScribbleClass:
        return self._classes[value]

    @property
    def values(self) -> tuple[int, ...]:
        """Class values, ascending."""
        return tuple(self._classes)

    def reset(self, classes: Iterable[ScribbleClass] = ()) -> None:
        """Replace all classes, adding unnamed ones until there are two to tell apart."""
        self._removed = {}
        self._replace({c.value: c for c in classes})
        while len(self) < FEWEST_CLASSES:
            self.add()

    def take(self, classes: Iterable[ScribbleClass], keep: Iterable[int]) -> None:
        """Take over these classes; of the others those of the values `keep` stay.

        The rest comes back, with name and colour, as soon as a stroke of it is seen.
        """
        taken = {entry.value: entry for entry in classes}
        kept = {value: self._classes[value] for value in keep if value in self._classes}
        self._removed |= self._classes
        self._replace(kept | taken)
        while len(self) < FEWEST_CLASSES:
            self.add()

    def add(self) -> ScribbleClass:
        """Add a class with the smallest free value.

        Raises
        ------
        InputError
            If every value up to 255 is taken.
        """
        free = next((v for v in range(1, MAX_CLASS_VALUE + 1) if v not in self._classes), None)
        if free is None:
            raise InputError(f"There are {MAX_CLASS_VALUE} classes already: remove one first.")
        self.restore([free])
        return self._classes[free]

    def restore(self, values: Iterable[int]) -> None:
        """Make sure these values have a class, each with its former name and colour if it had one."""
        missing = {v: self._removed.pop(v, _default_class(v)) for v in values if v not in self._classes}
        if missing:
            self._replace(self._classes | missing)

    def remove(self, value: int) -> None:
        """Remove a class.

        Raises
        ------
        InputError
            If fewer than two classes would be left.
        """
        if len(self) <= FEWEST_CLASSES:
            raise InputError(
                f"At least {FEWEST_CLASSES} classes are needed: add another before removing this."
            )
        self._removed[value] = self._classes[value]
        self._replace({v: c for v, c in self._classes.items() if v != value})

    def rename(self, value: int, name: str) -> None:
        """Give a class a name; an empty one gives back the default."""
        name = name.strip() or _default_class(value).name
        self._replace(self._classes | {value: replace(self._classes[value], name=name)})

    def recolor(self, value: int, color: Rgb) -> None:
        """Give a class a colour, RGB 0..255."""
        self._replace(self._classes | {value: replace(self._classes[value], color=color)})

    def after(self, value: int, step: int) -> int:
        """Return the class value `step` places after `value`, around the end."""
        values = self.values
        return values[(values.index(value) + step) % len(values)] if value in values else values[0]

    def to_metadata(self) -> dict[str, dict[str, Any]]:
        """Return plain data that a layer's metadata and a JSON file can hold."""
        return {str(c.value): {"name": c.name, "color": list(c.color)} for c in self}

    def _replace(self, classes: dict[int, ScribbleClass]) -> None:
        ordered = dict(sorted(classes.items()))
        if ordered != self._classes:
            self._classes = ordered
            self.changed.emit()


def classes_from_metadata(stored: Mapping[Any, Any]) -> list[ScribbleClass]:
    """Read ``{value: name}`` or ``{value: {"name":, "color":}}``; anything missing takes its default."""
    classes = []
    for key, entry in stored.items():
        default = _default_class(int(key))
        if isinstance(entry, Mapping):
            red, green, blue = entry.get("color", default.color)
            name, color = entry.get("name", default.name), (int(red), int(green), int(blue))
        else:
            name, color = str(entry), default.color
        classes.append(ScribbleClass(default.value, name, color))
    return classes


def _default_class(value: int) -> ScribbleClass:
    return ScribbleClass(value, f"class {value}", class_color(value))
