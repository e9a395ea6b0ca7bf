"""Plain folders: ``images/``, ``scribbles/``, ``masks/`` and ``classes.txt``, partners by their stems."""

from __future__ import annotations

from pathlib import Path

from napari_softseg.errors import InputError, unreadable
from napari_softseg.training.data.layouts import Layout, by_stem, pair

LOOKED_FOR = "images/ with scribbles/ or masks/ beside it"


def plain_layout(path: Path) -> Layout | None:
    """Return the files of a plain folder, or None if `path` is none.

    ``classes.txt``, in the folder or in the one above, has a class per line: names in the order of the
    values, or ``VALUE=NAME``.
    """
    if not (path / "images").is_dir() or not any((path / part).is_dir() for part in ("scribbles", "masks")):
        return None
    images, scribbles, masks = (by_stem(path / part) for part in ("images", "scribbles", "masks"))
    strays = [
        (name, f"{file} has no image of the same stem in {path / 'images'}")
        for labels in (scribbles, masks)
        for name, file in labels.items()
        if name not in images
    ]
    classes, names = read_class_list(path)
    return Layout(
        path=path,
        entries=pair(images, scribbles, masks),
        classes=classes,
        names=names,
        strays=tuple(strays),
    )


def read_class_list(path: Path) -> tuple[dict[int, str] | None, tuple[str, ...]]:
    """Return the classes of ``classes.txt`` by value, or only their names in order; None, () without one.

    Raises
    ------
    InputError
        If the file cannot be read, names a class twice or gives a value twice.
    """
    file = next((f for f in (path / "classes.txt", path.parent / "classes.txt") if f.is_file()), None)
    if file is None:
        return None, ()
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise unreadable(file, error) from None
    except UnicodeDecodeError:
        raise InputError(f"{file} cannot be read as UTF-8 text; write one class name per line.") from None
    lines = [line for line in lines if line]
    pairs = [line.partition("=") for line in lines]
    names = [right.strip() if right else left for left, _, right in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{file} names the class {twice!r} twice; give every class its own name.")
    if not all(right for _, _, right in pairs) and not any(
        left.strip().isdecimal() and right for left, _, right in pairs
    ):
        return None, tuple(lines)
    try:
        by_value = {int(left): right.strip() for left, _, right in pairs}
    except ValueError:
        by_value = {0: ""}
    if not all(by_value.values()):
        raise InputError(f"{file} mixes VALUE=NAME with other lines; write the value before every =.")
    if len(by_value) < len(pairs):
        raise InputError(f"{file} gives one value to two classes; give every class its own value.")
    return dict(sorted(by_value.items())), ()
