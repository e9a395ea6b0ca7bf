"""How good a trained network is on images with masks.

The paper's protocol (Zhang & Boykov 2025, appendix C): every image at its own size, one by one, at one scale,
nothing done to the prediction afterwards; one confusion matrix over all pixels with truth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_softseg.errors import InputError
from napari_softseg.training.data import AnnotatedFolder
from napari_softseg.training.metrics import Confusion
from napari_softseg.training.predict import TILE, check_tiles, predict_intensities

if TYPE_CHECKING:
    from napari_softseg.models import DeepLabV3Plus, ModelConfig


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found."""

    class_names: tuple[str, ...]
    """The model's K classes, in the order of the matrix."""
    confusion: Confusion
    """Over all images that were predicted."""
    images: int
    """How many these are."""
    seconds: float
    """Wall time."""

    def report(self) -> dict[str, Any]:
        """Return all figures as JSON values; see :meth:`Confusion.report`."""
        return {
            "images": self.images,
            "pixels": int(self.confusion.matrix.sum()),
            "seconds": self.seconds,
            **self.confusion.report(self.class_names),
        }


def iter_evaluate(
    model: DeepLabV3Plus,
    folder: AnnotatedFolder,
    *,
    device: str = "auto",
    tile: int = TILE,
    stop: threading.Event | None = None,
) -> Generator[tuple[int, int], None, Evaluation]:
    """Predict all images of a folder and compare them with their masks.

    Parameters
    ----------
    model : DeepLabV3Plus
        In any mode; it is moved to `device`.
    folder : AnnotatedFolder
        Opened with ``need="masks"``.
    device, tile
        See :func:`~napari_softseg.training.predict.predict_image`.
    stop : threading.Event, optional
        Once it is set, the evaluation is that of the images so far.

    Yields
    ------
    (int, int)
        Images done, and images in all.

    Raises
    ------
    InputError
        If classes or channels of model and folder differ; the message names the difference.
    """
    began = time.perf_counter()
    check_tiles(tile, 0)
    if folder.in_channels != model.config.in_channels:
        raise InputError(
            f"{folder.path} has images of {folder.in_channels} channels, but the model was trained on "
            f"{model.config.in_channels}; convert them, or train a model on such images."
        )
    index = class_indices(model.config, folder)
    confusion = Confusion(len(model.config.class_values))
    done = 0
    for number in range(len(folder)):
        yield number, len(folder)
        if stop is not None and stop.is_set():
            break
        sample = folder.load(number)
        assert sample.truth is not None
        pixels = sample.image.permute(1, 2, 0).numpy()
        prediction = predict_intensities(model, pixels, device=device, tile=tile).argmax(axis=0)
        confusion.update(prediction, index[sample.truth])
        done += 1
    return Evaluation(model.config.class_names, confusion, done, time.perf_counter() - began)


def class_indices(config: ModelConfig, folder: AnnotatedFolder) -> Tensor:
    """Return the model's class index for each of the folder's, and at its end -1 for index -1.

    Classes are the same if value and name are. A folder that names none (and so knows only the values
    that occur) goes by the values.

    Parameters
    ----------
    config : ModelConfig
        Of the model.
    folder : AnnotatedFolder

    Returns
    -------
    (K + 1,) int64 tensor
        For the folder's K classes.

    Raises
    ------
    InputError
        If they differ; the message names the first difference.
    """
    known = dict(zip(config.class_values, config.class_names, strict=True))
    found = dict(zip(folder.class_values, folder.class_names, strict=True))
    where, hint = str(folder.path), "check its classes.txt, or say --unlabelled if values are counted from it"
    for value, name in found.items():
        if value not in known:
            listed = ", ".join(f"{v} ({n})" for v, n in known.items())
            raise InputError(f"{where} has the class {value} ({name}), but the model knows {listed}; {hint}.")
        if name != known[value] and not (_unnamed(found) or _unnamed(known)):
            raise InputError(
                f"Class value {value} is {name!r} in {where}, but {known[value]!r} for the model; {hint}."
            )
    missing = [] if _unnamed(found) else [value for value in known if value not in found]
    if missing:
        raise InputError(
            f"The model has the class {missing[0]} ({known[missing[0]]}), which {where} does not; {hint}."
        )
    order = list(known)
    return torch.tensor([*(order.index(value) for value in found), -1])


def _unnamed(classes: dict[int, str]) -> bool:
    return all(name == f"class {value}" for value, name in classes.items())
