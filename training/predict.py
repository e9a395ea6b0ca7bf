"""A trained network's class distribution at every pixel of an image of any size.

An image too large for one pass is cut into tiles that overlap (:mod:`napari_softseg.training.tiles`); what the
network pools over the whole image is pooled over all tiles first (:mod:`napari_softseg.training.pools`). What is
left of a difference to one pass is the reach of the network beyond the halo.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.blocks.source import Plane, as_plane
from napari_softseg.blocks.tiling import Tiling, Window
from napari_softseg.errors import InputError
from napari_softseg.solver.checks import checked_pixels
from napari_softseg.solver.device import is_out_of_memory, resolve_device
from napari_softseg.solver.intensity import AS_IT_IS, IntensityRule, rule_of
from napari_softseg.training.data.augment import resized_image, shrunk_size
from napari_softseg.training.heap import trim_heap
from napari_softseg.training.pools import Pools, PoolSums, given_pools
from napari_softseg.training.tiles import BLEND, Floats, iter_blended

if TYPE_CHECKING:
    from napari_softseg.models import DeepLabV3Plus, ModelConfig

_LOG = logging.getLogger(__name__)

TILE = 960
"""Side of the square that a tile decides; with its halo it takes 1.3 GB of memory with MobileNetV2."""

HALO = 448
"""Pixels around a tile that the network sees as well. Its dilated convolutions reach 288 pixels, whatever it has
learned, and what they look at reaches further; docs/large-images.md shows what more or less would do."""

POOL_HALO = 256
"""Pixels around a part of the image that its features are computed with for the pools: MobileNetV2's depend on
245, those of larger backbones on little beyond."""

ALIGNMENT = 16
"""Tiles begin where a feature of the network is centred: at multiples of its output stride."""

SMALLEST = 64
"""Smaller tiles would save next to nothing: the halo remains."""


def predict_image(
    model: DeepLabV3Plus,
    image: npt.NDArray[Any],
    *,
    device: str = "auto",
    tile: int = TILE,
    halo: int = HALO,
    stop: threading.Event | None = None,
) -> Floats:
    """Return the class distribution of every pixel.

    Parameters
    ----------
    model : DeepLabV3Plus
        In any mode; it is moved to `device` and stays there.
    image : (H, W) or (H, W, C) array of any real dtype
        C as the model has it. Values become intensities in 0..255 as for :func:`napari_softseg.solve`.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    tile : int
        Side of the tiles, a multiple of 16 from 64 up. An image of no more pixels than a tile and all
        around it is predicted in one pass. Where a GPU's memory does not suffice, it is halved.
    halo : int
        Pixels around a tile that are predicted with it and thrown away, a multiple of 16.
    stop : threading.Event, optional
        Set it from another thread to end early, with the uniform distribution where nothing was predicted.

    Returns
    -------
    (K, H, W) float32 array
        Sums to 1 over K, in the order of ``model.config.class_values``.

    Raises
    ------
    InputError
        If the image has other channels than the model, NaN or infinite pixels, or another form.
    """
    image = checked_pixels(image)
    return _predicted(model, image, rule_of(image), device, tile, halo, stop)


def predict_intensities(
    model: DeepLabV3Plus,
    intensities: npt.NDArray[np.float32],
    *,
    device: str = "auto",
    tile: int = TILE,
    halo: int = HALO,
    stop: threading.Event | None = None,
) -> Floats:
    """Do what :func:`predict_image` does with (H, W, C) intensities in 0..255, taken as they are."""
    return _predicted(model, intensities, AS_IT_IS, device, tile, halo, stop)


def _predicted(
    model: DeepLabV3Plus,
    image: npt.NDArray[Any],
    rule: IntensityRule,
    device: str,
    tile: int,
    halo: int,
    stop: threading.Event | None,
) -> Floats:
    check_channels(image.shape, model.config)
    check_tiles(tile, halo)
    height, width = image.shape[:2]
    longest = model.config.longest
    if longest is not None and max(height, width) > longest:
        planes = torch.from_numpy(rule.apply(image)).permute(2, 0, 1)
        small = resized_image(planes, *shrunk_size(height, width, longest)).permute(1, 2, 0).numpy()
        found = _predicted(model, small, AS_IT_IS, device, tile, halo, stop)
        enlarged: Floats = resized_image(torch.from_numpy(found), height, width).numpy()
        return enlarged
    if height * width <= (tile + BLEND + 2 * halo) ** 2:
        tile = max(height, width)
    network = TiledNetwork(model, as_plane(image), rule, resolve_device(device), tile, halo, stop)
    with network.ready():
        return network.probabilities(Window(0, height, 0, width))


def check_channels(shape: tuple[int, ...], config: ModelConfig) -> None:
    """Raise InputError if an image of that shape, (H, W) or (H, W, C), has other channels than the model."""
    channels = shape[2] if len(shape) == 3 else 1
    if channels != config.in_channels:
        raise InputError(
            f"Expected {_channels(config.in_channels)}, as the model was trained on, but the image has "
            f"{_channels(channels)}; convert the image, or train a model on such images."
        )


def check_tiles(tile: int, halo: int) -> None:
    """Raise InputError if tiles of that size cannot be cut."""
    for name, value, lowest in (("tile", tile, SMALLEST), ("halo", halo, 0)):
        if value < lowest or value % ALIGNMENT:
            raise InputError(
                f"Expected {name} to be a multiple of {ALIGNMENT} from {lowest} up, but got {value}."
            )


@dataclass(slots=True)
class TiledNetwork:
    """A network and an image it is applied to, window by window.

    Parameters
    ----------
    model : DeepLabV3Plus
        The network.
    plane : Plane
        The image, in memory or not.
    rule : IntensityRule
        That of the whole image.
    device : torch.device
        Where to predict.
    tile : int
        Side of the largest part to predict at a time; becomes smaller when memory runs out.
    halo : int
        Pixels around it that are predicted as well.
    stop : threading.Event, optional
        Once it is set, everything is uniform.
    pools : list of tensors, optional
        What the network pools over the whole image. None until an image is predicted in parts.
    """

    model: DeepLabV3Plus
    plane: Plane
    rule: IntensityRule
    device: torch.device
    tile: int
    halo: int
    stop: threading.Event | None = None
    pools: Pools | None = None
    _warned: bool = field(default=False, init=False)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Have the network on the device and in evaluation mode; afterwards in the mode it was in."""
        modes = {module: module.training for module in self.model.modules()}
        self.model.to(self.device).eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training

    def probabilities(self, window: Window) -> Floats:
        """Return (K, h, w) float32: the distributions of a window, which may be the whole image.

        Its first row and column are multiples of `ALIGNMENT`.

        Raises
        ------
        InputError
            If memory does not suffice for the smallest tile.
        """
        while True:
            try:
                return self._in_tiles(window)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._halve()  # outside of the handler, so that what the failed attempt held is free

    def iter_pools(self) -> Iterator[tuple[int, int]]:
        """Find `pools`; yields how many parts of the image were looked at, and of how many."""
        while self.pools is None and not self._stopped:
            try:
                yield from self._look()
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._halve()

    def _in_tiles(self, window: Window) -> Floats:
        if max(window.height, window.width) <= self.tile + BLEND:
            return self._seen(window)
        for _ in self.iter_pools():
            pass
        result = np.empty((self.n_classes, window.height, window.width), dtype=np.float32)
        tiling = Tiling((window.height, window.width), self.tile)
        for place, values in iter_blended(lambda part: self._seen(_moved(part, window)), tiling):
            assert values is not None
            result[:, *tiling.window(*place).slices] = values
        return result

    def _seen(self, window: Window) -> Floats:
        """Return what the network says of a window when it sees it with its halo."""
        if self._stopped:
            shape = self.n_classes, window.height, window.width
            return np.full(shape, 1 / self.n_classes, dtype=np.float32)
        outer = window.widened(self.halo, self.plane.size)
        with torch.inference_mode(), given_pools(self.model, self.pools):
            logits: Tensor = self.model(self._images(outer), window.inside(outer))
            result: Floats = logits[0].softmax(0).cpu().numpy()
        del logits
        self._end_part(outer)
        return result

    def _look(self) -> Iterator[tuple[int, int]]:
        sums = PoolSums(self.model)
        halo = min(self.halo, POOL_HALO)
        tiling = Tiling(
            self.plane.size, self.tile + 2 * (self.halo - halo)
        )  # takes no more than a tile and its halo
        places = list(tiling.places())
        for number, place in enumerate(places):
            yield number, len(places)
            if self._stopped:
                return
            inner = tiling.window(*place)
            outer = inner.widened(halo, self.plane.size)
            with torch.inference_mode():
                sums.add(self._images(outer), outer, inner)
            self._end_part(outer)
        self.pools = sums.means()

    def _end_part(self, outer: Window) -> None:
        if (outer.height, outer.width) != self.plane.size:
            trim_heap()

    def _images(self, window: Window) -> Tensor:
        """Return (1, C, h, w) float32 intensities of a window, on the device."""
        pixels = self.plane.read(*window.slices)
        intensity = torch.from_numpy(self.rule.apply(pixels)).to(self.device)
        return intensity.permute(2, 0, 1).unsqueeze(0).contiguous()

    def _halve(self) -> None:
        """Make the tile smaller, and say so the first time."""
        largest = min(self.tile, max(self.plane.size))
        if largest <= SMALLEST:
            raise InputError(
                f"The memory of device {self.device} does not suffice for tiles of {largest} pixels "
                f"and {self.halo} around them; choose device cpu."
            )
        self.tile = max(SMALLEST, largest // 2 // ALIGNMENT * ALIGNMENT)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if not self._warned:
            self._warned = True
            _LOG.warning(
                "Predicting in smaller tiles, from %d pixels down: the memory of device %s does not suffice.",
                self.tile,
                self.device,
            )

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.model.config.class_values)

    @property
    def _stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()


def _moved(part: Window, window: Window) -> Window:
    """Return a part of a window, counted from its start, as a part of the image."""
    return Window(
        part.top + window.top, part.bottom + window.top, part.left + window.left, part.right + window.left
    )


def _channels(count: int) -> str:
    return f"{count} channel" + "s" * (count > 1)
