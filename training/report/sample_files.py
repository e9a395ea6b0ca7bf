"""Names of the pictures in ``RUN/samples``: written by one module, found again by another.

::

    samples/NAME_image.png  NAME_scribbles.png  NAME_truth.png        once
    samples/NAME_epochNNN_pseudo.png  NAME_epochNNN_prediction.png    as training goes on
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

FOLDER = "samples"
ONCE = ("image", "scribbles", "truth")
OVER_TIME = ("pseudo", "prediction")

_UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f]')
_LONGEST = 120
"""Bytes of a name; with the endings it stays far below the 255 of common file systems."""
_PICTURE = re.compile(
    rf"(?P<name>.+)_(?:(?P<once>{'|'.join(ONCE)})|epoch(?P<epoch>\d+)_(?P<kind>{'|'.join(OVER_TIME)}))\.png",
    re.DOTALL,
)


@dataclass(slots=True)
class SampleFiles:
    """The pictures there are of one image."""

    name: str
    once: dict[str, Path] = field(default_factory=dict)
    """By "image", "scribbles", "truth"."""
    over_time: dict[int, dict[str, Path]] = field(default_factory=dict)
    """By epoch, ascending, then by "pseudo", "prediction"."""


def safe_name(name: str) -> str:
    """Return `name` as it can stand at the start of a file's name; no two names give the same."""
    safe = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    encoded = safe.encode()
    if len(encoded) <= _LONGEST:
        return safe
    return f"{encoded[: _LONGEST - 9].decode(errors='ignore')}~{zlib.crc32(name.encode()):08x}"


def picture_path(run: Path, name: str, kind: str, epoch: int | None = None) -> Path:
    """Return where a picture of the image `name` lies."""
    when = "" if epoch is None else f"_epoch{epoch:03d}"
    return run / FOLDER / f"{safe_name(name)}{when}_{kind}.png"


def find_samples(run: Path) -> list[SampleFiles]:
    """Return all pictures of a run, images in alphabetical order."""
    samples: dict[str, SampleFiles] = {}
    for path in sorted((run / FOLDER).glob("*.png")):
        found = _PICTURE.fullmatch(path.name)
        if found is None:
            continue
        sample = samples.setdefault(found["name"], SampleFiles(unquote(found["name"])))
        if found["once"]:
            sample.once[found["once"]] = path
        else:
            sample.over_time.setdefault(int(found["epoch"]), {})[found["kind"]] = path
    for sample in samples.values():
        sample.over_time = dict(sorted(sample.over_time.items()))
    return list(samples.values())
