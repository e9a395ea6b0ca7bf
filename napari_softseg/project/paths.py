"""Names and paths that stay inside a project folder, whoever wrote them into its file."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from napari_softseg.errors import InputError

_NO_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^\.|^\s|[\s.]$|^$')
"""What Windows or Linux does not take in a file name, and what would hide it."""


def inside(folder: Path, relative: str) -> Path:
    """Return the path of a file in the project folder.

    Parameters
    ----------
    folder
        The project folder.
    relative
        Path of the file from there, with ``/`` between its parts.

    Raises
    ------
    InputError
        If the path is absolute, has a ``..``, or leaves the folder by a symbolic link.
    """
    posix, windows = PurePosixPath(relative), PureWindowsPath(relative)
    leaves = posix.is_absolute() or windows.anchor or ".." in posix.parts or ".." in windows.parts
    path = folder / relative
    if not relative or "\0" in relative or leaves or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"The path {relative!r} leaves the project folder {folder}; it is not followed.")
    return path


def checked_name(name: object) -> str:
    """Return a name that can be the stem of a file on every system, or raise InputError."""
    if not isinstance(name, str) or _NO_NAME.search(name):
        raise InputError(
            f'{name!r} cannot name an image of a project: no empty name, no / \\ : * ? " < > |, '
            "no dot in front, no dot or space at the end."
        )
    return name
