"""Before and while a project is written to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_softseg.errors import InputError
from napari_softseg.project.manifest import FILE


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of `path` if it is gone, and say in one line what the system refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except shutil.Error as error:  # a list of (from, to, why)
        raise InputError(f"Cannot write {path}: {error.args[0][0][2]}.") from None
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from None


def require_empty(folder: Path) -> None:
    """Raise InputError if `folder` is something other than an empty folder or nothing."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise InputError(f"Cannot make a project in {folder}: {error.strerror or error}.") from None
    if taken:
        what = "is a project already; open it" if (folder / FILE).exists() else "is not empty"
        raise InputError(f"Cannot make a project in {folder}: it {what}, or choose another folder.")
