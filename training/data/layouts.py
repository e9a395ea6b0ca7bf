"""What the known folder layouts have in common: files of one image, found by their stems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_softseg.errors import InputError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".npy")


@dataclass(frozen=True, slots=True)
class Entry:
    """The files of one image."""

    name: str
    image: Path
    scribbles: Path | None
    mask: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of a folder, and what its layout says about their values."""

    path: Path
    entries: list[Entry]
    classes: Mapping[int, str] | None = None
    """Values and names, or None if the label files have to tell."""
    names: tuple[str, ...] = ()
    """Names in the order of the values, where no values are given with them."""
    unlabelled: int | None = None
    """Value without a stroke, or None if the layout does not fix it."""
    ignore: int | None = None
    """Value that masks leave out, or None if the layout does not fix it."""
    mask_values: Mapping[int, int] | None = None
    """Class value of each value in masks, where that is another one."""
    strays: tuple[tuple[str, str], ...] = ()
    """Files without a partner, each with what is missing."""


def stem(path: Path) -> str:
    """Return the name of a file without its extension, ``.ome.tif`` as a whole."""
    return path.stem.removesuffix(".ome")


def by_stem(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> dict[str, Path]:
    """Return the files of a folder that may be read, by their stems; empty if there is no such folder.

    Raises
    ------
    InputError
        If two files have one stem, or the folder cannot be listed.
    """
    found: dict[str, Path] = {}
    for file in files_of(folder, extensions):
        other = found.setdefault(stem(file), file)
        if other != file:
            raise InputError(
                f"{other} and {file.name} have the same stem {stem(file)!r}; rename one of them."
            )
    return found


def files_of(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> list[Path]:
    """Return the files of a folder with one of the extensions, sorted; hidden ones are left out."""
    if not folder.is_dir():
        return []
    try:
        found = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in extensions and not file.name.startswith(".") and file.is_file()
        ]
    except OSError as error:
        raise InputError(f"Cannot list {folder}: {error.strerror or error}.") from None
    return sorted(found)


def pair(images: Mapping[str, Path], scribbles: Mapping[str, Path], masks: Mapping[str, Path]) -> list[Entry]:
    """Return an entry per image, with the label files of the same stem."""
    return [Entry(name, file, scribbles.get(name), masks.get(name)) for name, file in images.items()]
