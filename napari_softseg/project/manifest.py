"""``project.json``: what it holds, read with suspicion and written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_softseg.colors import RGB, class_color
from napari_softseg.errors import InputError, unreadable
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.pixel_size import PixelSize
from napari_softseg.project.fingerprint import Fingerprint
from napari_softseg.project.paths import checked_name
from napari_softseg.saving import replacing

FILE = "project.json"
FORMAT = "napari-softseg project"
VERSION = 1


@dataclass(frozen=True, slots=True)
class ProjectClass:
    """A class that strokes can have."""

    value: int
    """Value of its strokes in scribbles, 0..255."""
    name: str
    color: RGB


@dataclass(frozen=True, slots=True)
class ProjectImage:
    """An image of the project: a file in it, or a reference to one elsewhere."""

    name: str
    """Stem of its scribbles and soft labels; unique in the project."""
    size: tuple[int, int]
    """Height and width in pixels, which its strokes must have."""
    path: str
    """From the project folder; of a reference absolute."""
    referenced: bool = False
    """Whether the image lies elsewhere, where it is read and never written."""
    fingerprint: Fingerprint | None = None
    """What the file was when it was added; None if whoever wrote the project does not say."""
    pixel_size: PixelSize | None = None
    """None where nobody knows it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that ``project.json`` says."""

    unlabelled: int
    """Value of scribbles where nothing was painted."""
    classes: tuple[ProjectClass, ...]
    """Ascending by value."""
    images: tuple[ProjectImage, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the viewer keeps: anything JSON can hold."""

    def __post_init__(self) -> None:
        """Raise InputError for classes or images that cannot be."""
        values = [one.value for one in self.classes]
        for value in [self.unlabelled, *values]:
            if not 0 <= value <= MAX_CLASS_VALUE:
                raise InputError(f"Expected class values from 0 to {MAX_CLASS_VALUE}, but got {value}.")
        if values != sorted(set(values)):
            raise InputError(f"Expected classes of different, ascending values, but got {values}.")
        if self.unlabelled in values:
            raise InputError(f"The value {self.unlabelled} cannot be a class and mean unlabelled at once.")
        names = [one.name for one in self.classes]
        lower = [image.name.casefold() for image in self.images]
        for what, all_names in (("class", names), ("image", lower)):
            twice = next((name for name in all_names if all_names.count(name) > 1), None)
            if twice is not None:
                raise InputError(f"The {what} name {twice!r} is there twice; give each its own.")

    def image(self, name: str) -> ProjectImage:
        """Return the image of that name, or raise InputError."""
        for image in self.images:
            if image.name == name:
                return image
        raise InputError(f"The project has no image named {name!r}; add it first.")


def read_manifest(path: Path) -> Manifest:
    """Read ``project.json``.

    Raises
    ------
    InputError
        If it cannot be read, is none, is damaged, or was written by a newer version of the format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, error) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it is no JSON text ({error}).") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f'{path} is no {FORMAT}: it does not say so under "format".')
    version = data.get("version")
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{path} is damaged: its version is {version!r}.")
    if version > VERSION:
        raise InputError(
            f"{path} was written by a newer napari-softseg: format version {version}, but this one knows "
            f"{VERSION}; update with pip install --upgrade napari-softseg."
        )
    try:
        return _parsed(data)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__} {error}.") from None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``project.json``, whole or not at all."""
    with replacing(path) as (temporary,):
        write_text(temporary, manifest)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they come back from the file: a copy, with lists for tuples."""
    copied: dict[str, Any] = json.loads(json.dumps(dict(settings), allow_nan=False))
    return copied


def write_text(path: Path, manifest: Manifest) -> None:
    """Write what ``project.json`` says to `path`, just so."""
    data = {
        "format": FORMAT,
        "version": VERSION,
        "unlabelled": manifest.unlabelled,
        "classes": [
            {"value": one.value, "name": one.name, "color": list(one.color)} for one in manifest.classes
        ],
        "images": [_image_entry(image) for image in manifest.images],
        "settings": dict(manifest.settings),
    }
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _image_entry(image: ProjectImage) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": image.name,
        "size": list(image.size),
        ("reference" if image.referenced else "file"): image.path,
    }
    if image.fingerprint is not None:
        entry["fingerprint"] = {
            "bytes": image.fingerprint.size,
            "modified_ns": image.fingerprint.modified,
            "sha256": image.fingerprint.sha256,
        }
    if image.pixel_size is not None:
        entry |= image.pixel_size.metadata
    return entry


def _parsed(data: dict[str, Any]) -> Manifest:
    settings = data.get("settings", {})
    if not isinstance(settings, dict):
        raise InputError("its settings are no JSON object.")
    return Manifest(
        _whole(data["unlabelled"]),
        tuple(_class(one) for one in data["classes"]),
        tuple(_image(one) for one in data["images"]),
        settings,
    )


def _class(data: dict[str, Any]) -> ProjectClass:
    value = _whole(data["value"])
    red, green, blue = (_whole(part) for part in data.get("color", class_color(value)))
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise InputError(f"class {value} has the colour {(red, green, blue)}, which is not within 0..255.")
    return ProjectClass(value, _text(data["name"]), (red, green, blue))


def _image(data: dict[str, Any]) -> ProjectImage:
    height, width = (_whole(length) for length in data["size"])
    name = checked_name(data["name"])
    if ("file" in data) == ("reference" in data):
        raise InputError(f"the image {name!r} needs either a file or a reference.")
    referenced = "reference" in data
    path = _text(data["reference" if referenced else "file"])
    return ProjectImage(
        name, (height, width), path, referenced, _fingerprint(data.get("fingerprint")), _pixel_size(data)
    )


def _fingerprint(data: dict[str, Any] | None) -> Fingerprint | None:
    if data is None:
        return None
    return Fingerprint(_whole(data["bytes"]), _whole(data["modified_ns"]), _text(data["sha256"]))


def _pixel_size(data: dict[str, Any]) -> PixelSize | None:
    if "pixel_size" not in data:
        return None
    height, width = data["pixel_size"]
    return PixelSize(float(height), float(width), str(data.get("unit", "")))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{value!r} is no whole number.")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{value!r} is no text.")
    return value
