"""A trained network as the solver's first guess for an image that a person corrects by strokes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.models.classes import channels_of
from napari_softseg.models.files import load_model, model_file
from napari_softseg.solver.checks import class_seeds
from napari_softseg.solver.intensity import to_intensity
from napari_softseg.training.predict import predict_image
from napari_softseg.training.tiles import Floats
from napari_softseg.unary.classifier import ImageFeatures, grid_step
from napari_softseg.unary.mixing import network_and_strokes

KEPT_BYTES = 256 * 2**20
"""What is known of images is kept up to so much memory, of the last one in any case."""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A model file as it was at one moment."""

    path: Path
    modified_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> FileVersion:
        """Return the version of a model file, or of the best model in the folder of a run.

        Raises
        ------
        InputError
            If there is none.
        """
        file = model_file(path)
        stat = file.stat()
        return cls(file, stat.st_mtime_ns, stat.st_size)


class SeenImage:
    """What there is to know of an image whatever its strokes.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array of any real dtype
    probabilities : (K, H, W) float32 array
        What the network says of it.
    """

    def __init__(self, image: npt.NDArray[Any], probabilities: Floats) -> None:
        self.probabilities = probabilities
        self._image = image

    @cached_property
    def features(self) -> ImageFeatures:
        """What the pixel classifier sees of it; found with the first stroke."""
        return ImageFeatures(to_intensity(self._image), grid_step(*self._image.shape[:2]))

    @property
    def nbytes(self) -> int:
        """Memory that is taken, about."""
        found = self.__dict__.get("features")
        return self._image.nbytes + self.probabilities.nbytes + (0 if found is None else found.columns.nbytes)


class TrainedNetwork:
    """A network in memory, and what it said of the images it saw last.

    Parameters
    ----------
    path : Path
        A model file, or the folder of a training run: its best network.

    Raises
    ------
    InputError
        If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.version = FileVersion.of(path)  # before reading: a newer file is read again, not overlooked
        self._model = load_model(self.version.path).model
        self._seen: OrderedDict[Hashable, SeenImage] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def class_values(self) -> tuple[int, ...]:
        """In label files, one per channel."""
        return self._model.config.class_values

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per channel."""
        return self._model.config.class_names

    def look_at(
        self,
        image: npt.NDArray[Any],
        *,
        device: str = "auto",
        stop: threading.Event | None = None,
    ) -> SeenImage:
        """Return what :func:`~napari_softseg.training.predict.predict_image` says of an image, and more.

        Any thread may ask. An image that was seen before, by its pixels, is not looked at again.
        """
        key = (image.shape, image.dtype.str, blake2b(np.ascontiguousarray(image).data).digest())
        with self._lock:
            if key in self._seen:
                self._seen.move_to_end(key)
                return self._seen[key]
            seen = SeenImage(image, predict_image(self._model, image, device=device, stop=stop))
            if stop is None or not stop.is_set():
                self._seen[key] = seen
                while len(self._seen) > 1 and sum(kept.nbytes for kept in self._seen.values()) > KEPT_BYTES:
                    self._seen.popitem(last=False)
            return seen


@dataclass(frozen=True, slots=True)
class NetworkUnary:
    """A network whose channels are matched to a person's classes; equal ones guess the same.

    Attributes
    ----------
    network
        It.
    values
        The person's class values, ascending.
    channels
        The network's channel of each, -1 for one that it does not know.
    """

    network: TrainedNetwork
    values: tuple[int, ...]
    channels: tuple[int, ...]

    @classmethod
    def matching(cls, network: TrainedNetwork, classes: Mapping[int, str]) -> NetworkUnary:
        """Match by name; the person may have classes that the network does not know.

        Parameters
        ----------
        network : TrainedNetwork
        classes : mapping of int to str
            Names by class value.

        Raises
        ------
        InputError
            If the network knows a class that the person has not; the message names all that differs.
        """
        values = tuple(sorted(classes))
        return cls(network, values, channels_of(network.class_names, [classes[value] for value in values]))

    @property
    def unknown(self) -> tuple[int, ...]:
        """The values that the network does not know: their strokes alone speak for them."""
        return tuple(value for value, channel in zip(self.values, self.channels, strict=True) if channel < 0)

    def guess(
        self,
        image: npt.NDArray[Any],
        scribbles: npt.NDArray[np.integer],
        *,
        unlabelled: int = 0,
        device: str = "auto",
        stop: threading.Event | None = None,
    ) -> Floats:
        """Return the first guess (K, H, W) float32 for an image with these strokes, K as `values`.

        Parameters
        ----------
        image : (H, W) or (H, W, C) array of any real dtype
        scribbles : (H, W) array of ints
            One of `values` on strokes, `unlabelled` elsewhere.
        unlabelled : int
        device : str
            Where the network works.
        stop : threading.Event, optional
            Set it from another thread to end early, with anything.

        Raises
        ------
        InputError
            If the image has other channels than those the network was trained on.
        """
        seen = self.network.look_at(image, device=device, stop=stop)
        channels = np.array(self.channels)
        network = np.zeros((len(channels), *seen.probabilities.shape[1:]), np.float32)
        network[channels >= 0] = seen.probabilities[channels[channels >= 0]]
        seeds = class_seeds(scribbles, scribbles != unlabelled, self.values)
        if (seeds < 0).all() or (stop is not None and stop.is_set()):
            return network
        unknown = np.flatnonzero(channels < 0)
        return network_and_strokes(network, seen.features, seeds, unknown=unknown, stop=stop)
