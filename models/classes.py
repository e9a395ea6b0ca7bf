"""Which classes of a person a network knows: by their names, whatever their values and order."""

from __future__ import annotations

from collections.abc import Sequence

from napari_softseg.errors import InputError


def channels_of(known: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Return for every wanted class the network's channel, -1 for one that it does not know.

    Parameters
    ----------
    known : sequence of str
        The network's classes, one per channel.
    wanted : sequence of str
        The classes of a project or of a scribbles layer.

    Raises
    ------
    InputError
        If the network knows a class that is not wanted; the message names all that differs.
    """
    for whose, names in (("the network", known), ("the strokes", wanted)):
        twice = next((name for name in names if list(names).count(name) > 1), None)
        if twice is not None:
            raise InputError(f"The classes of {whose} are matched by name, but {twice!r} is there twice.")
    unknown = [name for name in wanted if name not in known]
    missing = [name for name in known if name not in wanted]
    if missing:
        parts = [
            f"it does not know {_listed(unknown)}" if unknown else "",
            f"it knows {_listed(missing)}, which is not among yours",
        ]
        raise InputError(
            f"The network has other classes: {', and '.join(part for part in parts if part)}; "
            "rename the classes, or train on yours."
        )
    return tuple(known.index(name) if name in known else -1 for name in wanted)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
