"""Names of images in a project, made of what layers are called."""

import re
from collections.abc import Iterable

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')


def free_name(text: str, taken: Iterable[str]) -> str:
    """Return `text` as the name of an image, with a number behind it if it is taken.

    What file names cannot hold becomes ``_``.
    """
    stem = _FORBIDDEN.sub("_", text).strip().lstrip(".").rstrip(". ") or "image"
    used = {name.casefold() for name in taken}
    number, name = 2, stem
    while name.casefold() in used:
        name, number = f"{stem} {number}", number + 1
    return name
