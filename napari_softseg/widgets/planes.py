"""Which plane of a stack is on the screen: that is what gets solved."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image

from napari_softseg.errors import InputError
from napari_softseg.pixel_size import PixelSize
from napari_softseg.widgets.tags import first_grid_axis, grid_shape


@dataclass(frozen=True)
class Plane:
    """One 2-D plane of a layer of any number of dimensions."""

    index: tuple[int | slice, ...]
    """Index into the pixel grid, channels left out: full slices along the plane, else a position."""
    text: str
    """Where it is, for people: ``"plane z=3 of 20"``; empty for a plain 2-D image."""

    @property
    def key(self) -> tuple[int | None, ...]:
        """The same in a form that can be hashed."""
        return tuple(None if isinstance(i, slice) else i for i in self.index)


def require_plane_image(image: Image) -> None:
    """Raise InputError with the way out if no plane of this image can be solved."""
    if image.multiscale:
        raise InputError(
            f"{image.name!r} is a multiscale image, which cannot be painted on: "
            "open one resolution level as an image of its own."
        )
    if image.ndim < 2:
        raise InputError(f"Expected an image of at least 2 dimensions, but {image.name!r} has {image.ndim}.")
    if 0 in image.data.shape:
        raise InputError(f"{image.name!r} is empty: its shape is {tuple(image.data.shape)}.")


def visible_plane(image: Image, dims: Any) -> Plane:
    """Return the plane of `image` that the viewer shows.

    In 3-D display this is the plane that 2-D display would show at the sliders'
    positions.

    Parameters
    ----------
    image : napari.layers.Image
        An image that passed :func:`require_plane_image`.
    dims : napari.components.Dims
        The viewer's.

    Raises
    ------
    InputError
        If the sliders stand beyond the image, or the view is across an axis that
        the image lacks.
    """
    missing = dims.ndim - image.ndim  # napari aligns the last axes of layers and viewer
    displayed = sorted(axis - missing for axis in dims.order[-2:])
    first = first_grid_axis(image)
    if displayed[0] < 0:
        raise InputError(f"The view shows an axis that {image.name!r} does not have: roll the axes back.")
    if displayed[0] < first:
        raise InputError(f"The view shows the channels of {image.name!r} as rows: roll the axes back.")
    position = np.asarray(image.world_to_data(dims.point))[-image.ndim :]
    index: list[int | slice] = []
    for axis in range(first, image.ndim):
        if axis in displayed:
            index.append(slice(None))
            continue
        at, count = round(float(position[axis])), int(image.data.shape[axis])
        if not 0 <= at < count:
            raise InputError(
                f"The sliders stand at {at}, beyond {image.name!r} with its {count} planes: move them back."
            )
        index.append(at)
    return plane_at(image, tuple(index))


def plane_at(image: Image, index: tuple[int | slice, ...]) -> Plane:
    """Return the plane of this index into the image's pixel grid, channels left out."""
    first, shape = first_grid_axis(image), grid_shape(image)
    places = [
        f"{_axis_name(image, axis + first)}{at} of {shape[axis]}"
        for axis, at in enumerate(index)
        if not isinstance(at, slice)
    ]
    return Plane(index, "plane " + ", ".join(places) if places else "")


def plane_pixel_size(image: Image, plane: Plane) -> PixelSize | None:
    """Return how large a pixel of the plane is by the layer's scale; None if nobody set one."""
    axes = [axis + first_grid_axis(image) for axis, at in enumerate(plane.index) if isinstance(at, slice)]
    height, width = (abs(float(image.scale[axis])) for axis in axes)
    units = {str(image.units[axis]) for axis in axes}
    unit = "" if units == {"pixel"} or len(units) > 1 else units.pop()
    return None if not unit and (height, width) == (1, 1) else PixelSize(height, width, unit)


def _axis_name(image: Image, axis: int) -> str:
    """Return ``"z="`` for an axis with a name of its own; napari's stand-ins (-3) say nothing."""
    label = str(image.axis_labels[axis])
    return "" if label.removeprefix("axis ").lstrip("-").isdigit() else f"{label}="
