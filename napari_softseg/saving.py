"""Results as files, written whole or not at all.

Everything goes to temporary files beside the final ones, is flushed to disk, and is
renamed only when all of it is there.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.pixel_size import PixelSize

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
"""What `replacing` names its files."""


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuse outputs that cannot be written, before any work is done for them.

    Raises
    ------
    InputError
        If the folder is missing or not writable, an output is a folder, or an
        output would overwrite one of `inputs`.
    """
    for output in outputs:
        folder = output.parent
        if folder.is_file():
            raise InputError(f"Cannot write {output}: {folder} is a file; choose another folder.")
        if not folder.is_dir():
            raise InputError(f"Cannot write {output}: there is no folder {folder}; make it first.")
        if output.is_dir():
            raise InputError(f"Cannot write {output}: it is a folder; choose another name.")
        for given in inputs:
            if output.exists() and given.exists() and output.samefile(given):
                raise InputError(f"Cannot write {output}: it is one of the inputs; choose another name.")
        probe = _temporary(output)
        try:
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"Cannot write {output}: {why}; choose another folder.") from None


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Yield a temporary path beside each of `paths`; rename them all when the block ends well.

    If the block raises, the temporaries are removed and `paths` stay as they were; an OSError names a path.
    """
    temporaries = [_temporary(path) for path in paths]
    try:
        yield temporaries
        for temporary in temporaries:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
    except OSError as error:
        final = dict(zip(map(str, temporaries), paths, strict=True))
        if error.filename is None or str(error.filename) in final:
            error.filename = str(final.get(str(error.filename), paths[0]))
        raise
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file name this one, as zarr's of a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Make a folder, and what is missing above it; what is still empty when the block raises is removed."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the first that is not empty, and so all above it, stay
            for folder in made:
                folder.rmdir()
        raise


def sweep(folders: Iterable[Path]) -> None:
    """Remove the temporary files that a killed program left."""
    for folder in folders:
        with suppress(OSError):  # no such folder, or no permission: they are in nobody's way
            for path in folder.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex}.tmp")


def write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write (H, W) grey or (H, W, 3) RGB uint8 as PNG, whatever the name of `path`."""
    Image.fromarray(pixels).save(path, format="PNG")


def write_labels_tiff(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Write (D, H, W) class values as one deflated TIFF with a page per plane."""
    tifffile.imwrite(path, labels, photometric="minisblack", compression="zlib", metadata={"axes": "ZYX"})


def write_soft_tiff(
    path: Path,
    probabilities: npt.NDArray[np.float32],
    classes: Mapping[int, str],
    extra: Mapping[str, Any] | None = None,
    pixel_size: PixelSize | None = None,
) -> None:
    """Write soft labels as one deflated float32 TIFF with a page per class (and plane of a volume).

    Parameters
    ----------
    path
        File to write.
    probabilities
        (K, H, W) or (K, D, H, W) float32 in 0..1.
    classes
        The K class values in channel order, each with its name; they go into the
        metadata as ``class_values`` and ``class_names``, where `read_class_names`
        and ``tifffile.TiffFile(path).shaped_metadata[0]`` find them.
    extra
        More metadata, anything JSON can hold.
    pixel_size
        Of the image, where it is known; it goes into the TIFF's own tags and into the metadata.
    """
    tifffile.imwrite(
        path,
        probabilities,
        photometric="minisblack",
        compression="zlib",
        metadata={
            "axes": "CYX" if probabilities.ndim == 3 else "CZYX",
            "class_values": list(classes),
            "class_names": list(classes.values()),
            **({} if pixel_size is None else pixel_size.metadata),
            **(extra or {}),
        },
        **({} if pixel_size is None else pixel_size.tiff_tags),
    )


def read_class_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Return class values and names of a TIFF that `write_soft_tiff` wrote, in channel order.

    Raises
    ------
    InputError
        If the file is no such TIFF.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            metadata = json.loads(tif.pages.first.description)
        return dict(zip(metadata["class_values"], metadata["class_names"], strict=True))
    except (tifffile.TiffFileError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} holds no class names; it was not written by napari-softseg.") from None
