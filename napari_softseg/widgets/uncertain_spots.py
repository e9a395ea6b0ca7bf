"""Where to paint next: the places that the visible plane's labels are least sure of, largest first."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from psygnal import Signal

from napari_softseg.errors import InputError
from napari_softseg.widgets import keys
from napari_softseg.widgets.live_solver import LiveSolver
from napari_softseg.widgets.planes import Plane, visible_plane
from napari_softseg.widgets.result_layers import result_layer
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.tags import UNCERTAINTY, image_id
from napari_softseg.widgets.wanted import Place

UNSURE = 0.6
"""A pixel is uncertain above this share of the entropy of two equally likely classes."""

THINNEST = 5
"""Pixels: thinner regions are borders between things, which are uncertain everywhere."""

NOTHING = "Nothing in this plane is uncertain."


@dataclass(frozen=True, slots=True)
class Spot:
    """An uncertain region."""

    row: int
    column: int
    """Its innermost pixel."""
    pixels: int
    count: int
    """How many such regions there are."""


def find_spot(
    entropy: npt.NDArray[np.floating[Any]], n_classes: int, seen: list[tuple[int, int]]
) -> Spot | None:
    """Return the largest uncertain region without a pixel in `seen`; the largest of all once all are seen.

    Parameters
    ----------
    entropy : (H, W) float array in 0..1
        Entropy over ln K.
    n_classes : int
        K.
    seen : list of (row, column)
        Spots that were returned before.

    Returns
    -------
    Spot or None
        None where nothing is uncertain.
    """
    # slow to import, and this is not the GUI's thread
    from scipy.ndimage import binary_opening, distance_transform_edt
    from skimage.measure import label, regionprops

    unsure = entropy > UNSURE * math.log(2) / math.log(max(n_classes, 2))
    wide = binary_opening(unsure, np.ones((THINNEST, THINNEST), bool))
    labels = label(wide if wide.any() else unsure)
    regions = sorted(regionprops(labels), key=lambda region: -region.num_pixels)
    if not regions:
        return None
    known = {int(labels[at]) for at in seen}
    region = next((one for one in regions if one.label not in known), regions[0])
    depth = distance_transform_edt(np.pad(region.image, 1))[1:-1, 1:-1]
    down, across = np.unravel_index(depth.argmax(), depth.shape)
    return Spot(
        int(region.bbox[0] + down), int(region.bbox[1] + across), int(region.num_pixels), len(regions)
    )


class UncertainSpots:
    """Takes a person from one uncertain region of the visible plane to the next."""

    status_changed = Signal(str)
    """One line for people."""
    failed = Signal(object)
    """An exception that a person has to see."""

    def __init__(self, session: ScribbleSession, loop: SolveLoop) -> None:
        self._session = session
        self._loop = loop
        self._seen: list[tuple[int, int]] = []
        self._seen_in: Place | None = None
        self._finder = LiveSolver(lambda: None)
        self._finder.done.connect(self._go)
        self._finder.failed.connect(self._on_failed)
        session.key_pressed.connect(self._on_key)

    @property
    def is_idle(self) -> bool:
        """Whether the camera is where it was sent."""
        return not self._finder.busy

    def next(self) -> None:
        """Centre the camera on the largest uncertain region not visited yet; after the last, on the first."""
        image = self._session.image
        if image is None:
            return
        try:
            plane = visible_plane(image, self._session.viewer.dims)
        except InputError as error:
            self.status_changed.emit(str(error))
            return
        layer = result_layer(self._session.viewer, image, UNCERTAINTY)
        if layer is None:
            self.status_changed.emit(NOTHING)
            return
        place = image_id(image), plane.key
        if place != self._seen_in:
            self._seen_in, self._seen = place, []
        model = self._loop.model
        n_classes = len(model.values) if model is not None else len(self._loop.counts)
        entropy = np.array(layer.data[plane.index])
        self._finder.submit(partial(_find, entropy, n_classes, list(self._seen), layer, plane))

    def close(self) -> None:
        """Let go of the session, and wait for the worker to end."""
        self._session.key_pressed.disconnect(self._on_key)
        self._finder.close()

    def _on_key(self, action: str) -> None:
        if action == keys.NEXT_SPOT:
            self.next()

    def _go(self, found: tuple[Spot | None, Image, Plane]) -> None:
        spot, layer, plane = found
        if spot is None:
            self.status_changed.emit(NOTHING)
            return
        at = (spot.row, spot.column)
        if len(self._seen) >= spot.count:
            self._seen = []
        self._seen.append(at)
        rest = iter(at)
        point = [next(rest) if isinstance(axis, slice) else axis for axis in plane.index]
        dims = self._session.viewer.dims
        world = np.zeros(dims.ndim)
        world[dims.ndim - layer.ndim :] = layer.data_to_world(point)
        self._session.viewer.scene.camera.center = tuple(world[list(dims.displayed)])
        self.status_changed.emit(
            f"Uncertain: {spot.pixels} pixels, one of {spot.count} such places. N: next."
        )

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(error)


def _find(
    entropy: npt.NDArray[Any],
    n_classes: int,
    seen: list[tuple[int, int]],
    layer: Image,
    plane: Plane,
    _stop: Any,
    _report: Any,
) -> tuple[Spot | None, Image, Plane]:
    return find_spot(entropy, n_classes, seen), layer, plane
