"""How a file is known again: by its size and time in an instant, by its content for certain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file was like. Two are equal if the content was the same, whenever it was written."""

    size: int
    """In bytes."""
    modified: int = field(compare=False)
    """Time of the last change, in nanoseconds since 1970."""
    sha256: str


def take_fingerprint(path: Path) -> Fingerprint:
    """Read a file whole and return its fingerprint; OSError if that fails."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size, modified = file_stamp(path)
    return Fingerprint(size, modified, digest)


def file_stamp(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of the last change in ns: another stamp, another file. May raise OSError."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns
