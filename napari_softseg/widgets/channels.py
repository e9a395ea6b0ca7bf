"""Channels of an image: along which axis they lie, and which of them the solver sees.

The colours of an RGB layer lie along its last axis. Of any other layer a person says which axis
holds channels; it becomes the first one (a view, nothing is copied), because only then does napari
show rows and columns, with a slider for the channels. Both choices are kept with the layer.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image

from napari_softseg.errors import InputError
from napari_softseg.widgets.planes import Plane
from napari_softseg.widgets.tags import first_grid_axis, set_tag, tag_of

AXIS_NAMES = ("c", "ch", "channel", "channels")
"""Labels, in lower case, by which an axis says that it holds channels."""


def channel_axis(image: Image) -> int | None:
    """Return where the axis that now comes first was before, or None if no axis holds channels.

    The colours of an RGB layer are no axis of the layer.
    """
    return tag_of(image).get("channel_axis")


def possible_axes(image: Image) -> list[tuple[int, str]]:
    """Return the axes that could hold channels, counted as the data came, each with a text for people."""
    if image.rgb or image.multiscale or image.ndim < 3:
        return []
    order = list(range(image.ndim))
    moved = channel_axis(image)
    if moved is not None:
        order.insert(moved, order.pop(0))
    return [(axis, _axis_text(image, at, axis)) for axis, at in enumerate(order)]


def likely_axis(image: Image) -> int | None:
    """Return the axis whose label says that it holds channels, or None."""
    labels = [str(label).lower() for label in image.axis_labels]
    found = [axis for axis, _ in possible_axes(image) if labels[axis] in AXIS_NAMES]
    return found[0] if found and channel_axis(image) is None else None


def set_channel_axis(image: Image, axis: int | None) -> None:
    """Say which axis holds channels, counted as the data came; None for none.

    Raises
    ------
    InputError
        If the image cannot be turned so that its channels come first.
    """
    moved = channel_axis(image)
    if axis == moved:
        return
    if moved is not None:
        _turn(image, 0, moved)
    set_tag(image, channels=None)
    tag_of(image).pop("channel_axis", None)
    if axis is not None:
        _turn(image, axis, 0)
        set_tag(image, channel_axis=axis)


def channel_names(image: Image) -> tuple[str, ...]:
    """Return a name for every channel; an image without any has none."""
    if image.rgb:
        return tuple("RGBA"[: image.data.shape[-1]])
    return tuple(str(number) for number in range(int(image.data.shape[0]))) if first_grid_axis(image) else ()


def seen_channels(image: Image) -> tuple[int, ...]:
    """Return the channels that the solver sees: all but alpha, unless a person chose others."""
    chosen = tag_of(image).get("channels")
    return chosen or tuple(number for number, name in enumerate(channel_names(image)) if name != "A")


def see_channels(image: Image, channels: Iterable[int]) -> None:
    """Let the solver see these channels only.

    Raises
    ------
    InputError
        If there is none among them, or one that the image lacks.
    """
    chosen, count = tuple(sorted(set(channels))), len(channel_names(image))
    if not chosen:
        raise InputError(f"No channel of {image.name!r} is left to solve with: choose at least one.")
    if not 0 <= chosen[0] <= chosen[-1] < count:
        raise InputError(f"Expected channels from 0 to {count - 1} of {image.name!r}, but got {chosen}.")
    set_tag(image, channels=chosen)


def channels_text(image: Image) -> str:
    """Return what the solver sees, for people: ``"R, G, B"``, ``"all 5"`` or ``"0, 2"``."""
    names, seen = channel_names(image), seen_channels(image)
    if len(seen) == len(names) > 3:
        return f"all {len(names)}"
    return ", ".join(names[number] for number in seen)


def plane_pixels(image: Image, plane: Plane) -> npt.NDArray[Any]:
    """Return a copy of a plane as the solver sees it: (H, W), or (H, W, C) of the seen channels.

    These are the layer's values as they are: its contrast limits play no part.
    """
    if not channel_names(image):
        return np.array(image.data[plane.index])
    seen = seen_channels(image)
    if image.rgb:
        values = np.asarray(image.data[plane.index])
        planes = [values[..., number] for number in seen]
        if len(seen) == values.shape[-1]:
            return np.array(values)
    else:
        planes = [np.asarray(image.data[(number, *plane.index)]) for number in seen]
    if len(planes) == 1:
        return np.array(planes[0])
    # channel by channel: ten times as fast as an index or np.stack, and this runs after every stroke
    pixels = np.empty((*planes[0].shape, len(planes)), planes[0].dtype)
    for place, one in enumerate(planes):
        pixels[..., place] = one
    return pixels


def _turn(image: Image, source: int, target: int) -> None:
    """Move an axis of the layer, with all that belongs to it."""
    if source == target:
        return
    order = list(range(image.ndim))
    order.insert(target, order.pop(source))
    plain = np.allclose(image.rotate, np.eye(image.ndim)) and not np.any(image.shear)
    if not plain or not np.allclose(image.affine.affine_matrix, np.eye(image.ndim + 1)):
        raise InputError(
            f"{image.name!r} is rotated or sheared, so its axes cannot change places: "
            "open it with its channels along the first axis."
        )
    if not hasattr(image.data, "transpose"):
        raise InputError(
            f"The axes of {image.name!r} ({type(image.data).__name__}) cannot change places: "
            "open it with its channels along the first axis."
        )
    labels, units = image.axis_labels, image.units
    scale, translate = image.scale[order], image.translate[order]
    image.data = image.data.transpose(order)
    image.scale, image.translate = scale, translate
    if not all(str(label).startswith(("axis ", "-")) for label in labels):
        image.axis_labels = tuple(labels[at] for at in order)
    image.units = tuple(units[at] for at in order)


def _axis_text(image: Image, at: int, axis: int) -> str:
    label = str(image.axis_labels[at])
    own = "" if label.removeprefix("axis ").lstrip("-").isdigit() else f" ({label})"
    place = {0: "first", 1: "2nd", 2: "3rd"}.get(axis, f"{axis + 1}th")
    return f"{'last' if axis == image.ndim - 1 else place}{own}: {int(image.data.shape[at])}"
