"""Names of classes, as given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_softseg.errors import InputError


def named_classes(values: Sequence[int], given: str | None) -> dict[int, str]:
    """Return a name for every class value.

    Parameters
    ----------
    values
        Class values, ascending.
    given
        None for ``"class 1"`` and so on, or names in the order of the values
        separated by commas, or ``VALUE=NAME`` pairs separated by commas, or the path
        of a UTF-8 text file with one of either per line.

    Raises
    ------
    InputError
        If names are missing, or there are too many.
    """
    if given is None:
        return {value: f"class {value}" for value in values}
    entries = _entries(given)
    listed = ", ".join(str(value) for value in values)
    pairs = [entry.partition("=") for entry in entries]
    if all(left.strip().isdecimal() and right.strip() for left, _, right in pairs):
        by_value = {int(left): right.strip() for left, _, right in pairs}
        missing = [value for value in values if value not in by_value]
        if missing:
            raise InputError(
                f"No name for class value {missing[0]} in --class-names {given!r}; "
                f"the scribbles have {listed}."
            )
        entries = [by_value[value] for value in values]
    if len(entries) != len(values):
        raise InputError(
            f"Expected {len(values)} class names, for the class values {listed}, but --class-names {given!r} "
            f"has {len(entries)}; give one each, or VALUE=NAME pairs."
        )
    twice = next((name for name in entries if entries.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--class-names {given!r} has {twice!r} twice; give every class its own name.")
    return dict(zip(values, entries, strict=True))


def _entries(given: str) -> list[str]:
    path = Path(given)
    if not path.is_file():
        entries = [entry.strip() for entry in given.split(",")]
    else:
        try:
            entries = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError:
            raise InputError(f"{path} is no UTF-8 text; write one class name per line.") from None
        entries = [entry.strip() for entry in entries if entry.strip()]
    if not all(entries) or not entries:
        raise InputError(f"An empty class name in --class-names {given!r}; name every class.")
    return entries
