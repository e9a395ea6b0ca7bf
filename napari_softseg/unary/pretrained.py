"""What a network trained on ImageNet sees of a pixel: the features of its first layers, on the classifier's grid.

A few strokes say little; features that a million photos have taught tell textures and parts of objects apart
that colours and derivatives do not. The first layers see 29 pixels far, so an image is looked at tile by tile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.errors import InputError
from napari_softseg.models.backbones import FirstLayers
from napari_softseg.models.config import IMAGENET_MEAN, IMAGENET_STD, Backbone, for_channels
from napari_softseg.models.weights import pretrained_network
from napari_softseg.unary.features import rounded

BACKBONE = Backbone.MOBILENET_V2

_COARSEST = FirstLayers.STRIDES[-1]
_LOOK_UP = 0.05
"""Seconds between two looks at whether to stop."""
_TILE, _CONTEXT = 256, 40
"""Pixels; multiples of the coarsest stride. The context is what a tile's outermost features see beyond it."""


class PretrainedFeatures:
    """The first layers of the backbone, for images of one number of channels.

    Parameters
    ----------
    weights : str
        ``imagenet`` (downloaded once) or a file of the backbone's weights.
    channels : int
        C. The first layer is adapted to it (:func:`~napari_softseg.models.backbones.adapt_channels`).

    Raises
    ------
    InputError
        If the weights cannot be had, are damaged, or do not fit; says what to do.
    """

    def __init__(self, weights: str, channels: int) -> None:
        if weights != "imagenet" and not Path(weights).is_file():
            raise InputError(f"Expected weights to be imagenet or a file, but there is no file {weights}.")
        layers = FirstLayers(pretrained_network(BACKBONE, weights), channels).eval().requires_grad_(False)
        self._layers = layers.to(memory_format=torch.channels_last)  # a third faster
        self._mean, self._std = (
            torch.tensor(for_channels(values, channels))[:, None, None]
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        with torch.inference_mode():
            maps = self._layers(torch.zeros(1, channels, 1, 1))
        self.count: int = sum(m.shape[1] for m in maps)
        """F, features of a pixel."""

    def features(
        self, image: npt.NDArray[np.float32], step: int, origin: tuple[int, int], pool: Executor
    ) -> Tensor:
        """Return the features of an image on the classifier's grid.

        Parameters
        ----------
        image : (H, W, C) float32 array
            Intensities in 0..255.
        step : int
            1, or 2 for every second pixel.
        origin : (int, int)
            Row and column of the image's first pixel in the image that it is a block of; multiples of the step.
        pool : Executor
            Does the work, tile by tile.

        Returns
        -------
        (F, ceil(H / step), ceil(W / step)) float32 Tensor
        """
        size = image.shape[:2]
        found = torch.empty(self.count, *(-(-n // step) for n in size))
        spans = (_spans(n, step, first % _COARSEST) for n, first in zip(size, origin, strict=True))
        done = [pool.submit(self._look, image, found, *tile) for tile in product(*spans)]
        for tile in done:
            tile.result()
        return found

    def _look(self, image: npt.NDArray[np.float32], found: Tensor, rows: _Span, columns: _Span) -> None:
        with torch.inference_mode():
            pixels = torch.from_numpy(image[np.ix_(rows.pixels, columns.pixels)]).movedim(-1, 0)
            maps = self._layers(((pixels - self._mean) / self._std)[None])
            parts = [
                _sampled(features[0], rows.places / stride, columns.places / stride)
                for features, stride in zip(maps, FirstLayers.STRIDES, strict=True)
            ]
            found[:, rows.cells, columns.cells] = rounded(torch.cat(parts))


@dataclass(frozen=True, slots=True)
class _Span:
    """A tile along one axis."""

    pixels: npt.NDArray[np.int64]
    """What the network sees: the tile's pixels and those around it, in the image."""
    cells: slice
    """Of the grid."""
    places: Tensor
    """Centres of these cells, in pixels from the first of `pixels`."""


def _spans(length: int, step: int, shift: int) -> Iterator[_Span]:
    """Yield the tiles of `length` pixels.

    Every tile starts on one of the coarsest features of the whole image, so that all see the same. A block of an
    image may begin between two of these, `shift` pixels behind one: then its first pixel is repeated so often.
    """
    for start in range(0, length + shift, _TILE):
        stop = min(start + _TILE, length + shift)
        first = max(0, start - _CONTEXT)
        pixels = np.arange(first, min(stop + _CONTEXT, length + shift)) - shift
        cells = slice(max(0, start - shift) // step, -(-(stop - shift) // step))
        places = torch.arange(cells.start, cells.stop) * step + (step - 1) / 2 + shift - first
        yield _Span(pixels.clip(0), cells, places)


def _sampled(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (C, h, w): features (C, m, n) between their centres, linearly; beyond the last ones, those."""
    return _between(_between(features, rows, 1), columns, 2)


def _between(features: Tensor, places: Tensor, axis: int) -> Tensor:
    last = features.shape[axis] - 1
    places = places.clamp(0, last)
    before = places.floor().long()
    share = (places - before).reshape([-1 if a == axis else 1 for a in range(3)])
    after = (before + 1).clamp(max=last)
    return torch.lerp(features.index_select(axis, before), features.index_select(axis, after), share)


_loads: dict[tuple[Any, ...], Future[PretrainedFeatures]] = {}
_LOADS = threading.Lock()
_KEPT = 4
"""Networks, of a third of a megabyte each."""


def pretrained_features(
    weights: str, channels: int, stop: threading.Event | None = None
) -> PretrainedFeatures | None:
    """Return the network of these weights, loaded once; None where `stop` is set first.

    A download goes on behind a stop, for the next who asks. What failed is tried again.

    Raises
    ------
    InputError
        See :class:`PretrainedFeatures`.
    """
    key = _key(weights, channels)
    with _LOADS:
        load = _loads.get(key)
        if load is None or (load.done() and load.exception() is not None):
            while len(_loads) >= _KEPT:
                del _loads[next(iter(_loads))]
            load = _loads[key] = Future()
            # a thread that nobody waits for at the end of the program
            threading.Thread(target=_load, args=(load, weights, channels), daemon=True).start()
    while not wait([load], timeout=_LOOK_UP).done:
        if stop is not None and stop.is_set():
            return None
    return load.result()


def is_loaded(weights: str, channels: int) -> bool:
    """Return whether :func:`pretrained_features` answers at once."""
    load = _loads.get(_key(weights, channels))
    return load is not None and load.done() and load.exception() is None


def _load(load: Future[PretrainedFeatures], weights: str, channels: int) -> None:
    try:
        load.set_result(PretrainedFeatures(weights, channels))
    except Exception as error:  # noqa: BLE001 - whoever waits gets it
        load.set_exception(error)


def _key(weights: str, channels: int) -> tuple[Any, ...]:
    """Return what tells a network from another: a file that was written anew is another."""
    try:
        found = Path(weights).stat()
    except OSError:
        return weights, channels
    return weights, channels, found.st_mtime_ns, found.st_size
