"""Classes as files: JSON with names and colours, or the text file that the command line reads."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_softseg.colors import class_color
from napari_softseg.errors import InputError, unreadable
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.saving import replacing
from napari_softseg.widgets.classes import Rgb, ScribbleClass

FORMAT = "napari-softseg classes"


def write_classes(path: Path, classes: Iterable[ScribbleClass]) -> None:
    """Write classes, whole or not at all: JSON, or for a name that ends in ``.txt`` ``VALUE=NAME`` lines.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    if path.suffix.lower() == ".txt":
        text = "".join(f"{entry.value}={entry.name}\n" for entry in classes)
    else:
        listed = [{"value": entry.value, "name": entry.name, "color": list(entry.color)} for entry in classes]
        text = json.dumps({"format": FORMAT, "classes": listed}, indent=1, ensure_ascii=False) + "\n"
    try:
        with replacing(path) as (temporary,):
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}; choose another place.") from None


def read_classes(path: Path) -> list[ScribbleClass]:
    """Read classes: JSON of ours, a ``project.json``, or text with ``VALUE=NAME`` or a name per line.

    Names without a value are those of 1, 2 and so on; classes without a colour have their default one.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no classes that could be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is no UTF-8 text; choose a JSON file, or text with a name per line."
        ) from None
    try:
        classes = _from_json(text) if text.lstrip().startswith("{") else _from_lines(text)
    except InputError as error:
        raise InputError(f"{path} holds no classes: {error}") from None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} holds no classes: {type(error).__name__} {error}.") from None
    values = [entry.value for entry in classes]
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has the class value {twice} twice; give each class its own.")
    if not classes:
        raise InputError(f"{path} holds no classes: it is empty.")
    return classes


def _from_json(text: str) -> list[ScribbleClass]:
    listed = json.loads(text)["classes"]
    return [_class(entry["value"], entry["name"], entry.get("color")) for entry in listed]


def _from_lines(text: str) -> list[ScribbleClass]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [line.partition("=") for line in lines]
    if all(left.strip().isdecimal() and name.strip() for left, _, name in pairs):
        return [_class(int(left), name) for left, _, name in pairs]
    return [_class(number, line) for number, line in enumerate(lines, start=1)]


def _class(value: Any, name: Any, color: Any = None) -> ScribbleClass:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_CLASS_VALUE:
        raise InputError(f"expected class values from 1 to {MAX_CLASS_VALUE}, but got {value!r}.")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"class {value} has the name {name!r}, which is no text.")
    return ScribbleClass(value, name.strip(), class_color(value) if color is None else _color(value, color))


def _color(value: int, color: Any) -> Rgb:
    red, green, blue = color
    if not all(isinstance(part, int) and 0 <= part <= 255 for part in (red, green, blue)):
        raise InputError(f"class {value} has the colour {color}, which is not within 0..255.")
    return red, green, blue
