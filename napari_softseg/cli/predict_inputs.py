"""The images that ``napari-softseg predict`` is given, and whether their results have a place of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_softseg.cli.result_files import ResultFiles
from napari_softseg.errors import InputError

_ZARR = ("zarr.json", ".zarray", ".zgroup")


def found_inputs(given: Sequence[str], out: Path) -> dict[str, Path]:
    """Return all images by the start of their results' names.

    Parameters
    ----------
    given
        Images, and folders of images or with ``images/`` in them.
    out
        Folder for the results.

    Raises
    ------
    InputError
        If something is missing, a folder has no images, two images would have results of the same names, or
        the results would lie among the images.
    """
    from napari_softseg.training.data.layouts import stem

    found: dict[str, Path] = {}
    for text in given:
        path = Path(text)
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
        for image in _images_in(path, out) if path.is_dir() and not _is_zarr(path) else [path]:
            other = found.setdefault(stem(image), image)
            if other.resolve() != image.resolve():
                raise InputError(
                    f"{other} and {image} would both become {stem(image)}_labels.png; rename one, "
                    "or predict them into different folders."
                )
    return found


def _images_in(folder: Path, out: Path) -> list[Path]:
    from napari_softseg.files import READABLE
    from napari_softseg.training.data.layouts import files_of

    for place in (folder, folder / "images"):
        found = files_of(place)
        if place.is_dir():
            found += sorted(path for path in place.iterdir() if path.is_dir() and _is_zarr(path))
        if found:
            if out.exists() and out.samefile(place):
                raise InputError(
                    f"{out} holds the images; choose another folder, or the results would be taken for images."
                )
            return found
    raise InputError(f"Found no images in {folder}; expected {READABLE} files, or OME-Zarr.")


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in _ZARR)


def check_folder(folder: Path) -> None:
    """Raise InputError if the folder for the results, or those above it, cannot be made or written to."""
    from napari_softseg.saving import check_outputs

    if folder.exists() and not folder.is_dir():
        raise InputError(f"Cannot write to {folder}: it is a file; choose another folder.")
    probe = folder / ".probe"
    while not probe.parent.exists():
        probe = probe.parent
    check_outputs([probe], [])


def check_apart(inputs: Mapping[str, Path], folder: Path) -> None:
    """Raise InputError if a result would overwrite an input."""
    given = {path.resolve() for path in inputs.values()}
    for name in inputs:
        for result in (*ResultFiles.of(str(folder / name)).named.values(), folder / f"{name}.zarr"):
            if result.resolve() in given:
                raise InputError(f"Cannot write {result}: it is one of the inputs; choose another folder.")
