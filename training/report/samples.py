"""Small pictures of what a network and the solver make of a few images, while training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from napari_softseg.colors import class_color, soft_composite
from napari_softseg.saving import replacing, write_png
from napari_softseg.training.report.sample_files import FOLDER, picture_path

LONGEST_SIDE = 320
"""Pixels of a picture's longer side, at most."""
_DIMMED = 0.4
"""Brightness that the image keeps under its strokes."""


def save_samples(
    run: Path,
    epoch: int,
    names: Sequence[str],
    class_values: Sequence[int],
    *,
    images: Tensor,
    predictions: Tensor,
    pseudo: Tensor | None = None,
    seeds: Tensor | None = None,
    truth: Tensor | None = None,
) -> None:
    """Write pictures of a few images into ``RUN/samples``, shrunk to at most 320 pixels.

    Image, strokes and truth are written once, where they are not there yet; predictions and
    pseudo-labels as class colours mixed by probability, one file per epoch. Every file is
    written whole or not at all.

    Parameters
    ----------
    run
        Folder of the run.
    epoch
        Number that goes into the files' names.
    names
        Name of every image, B of them.
    class_values
        The K class values, which give the colours (`napari_softseg.colors.class_color`).
    images
        (B, C, H, W) floats in 0..255. Of more than three channels the first three are shown, of
        two the first.
    predictions, pseudo
        (B, K, H, W) floats, a distribution over the classes at every pixel.
    seeds, truth
        (B, H, W) integers: index of the class 0..K-1, -1 where there is none (shown black in the
        truth).

    Raises
    ------
    OSError
        If a picture cannot be written.
    """
    (run / FOLDER).mkdir(parents=True, exist_ok=True)
    colors = np.array([class_color(value) for value in class_values], np.uint8).reshape(-1, 3)
    for index, name in enumerate(names):
        shown = _rgb(images[index])
        once = {"image": shown}
        if seeds is not None:
            once["scribbles"] = _strokes(shown, seeds[index], colors)
        if truth is not None:
            once["truth"] = _mask(truth[index], colors)
        pictures = {picture_path(run, name, kind): pixels for kind, pixels in once.items()}
        pictures = {path: pixels for path, pixels in pictures.items() if not path.exists()}
        pictures[picture_path(run, name, "prediction", epoch)] = _soft(predictions[index], colors)
        if pseudo is not None:
            pictures[picture_path(run, name, "pseudo", epoch)] = _soft(pseudo[index], colors)
        with replacing(*pictures) as temporaries:
            for temporary, pixels in zip(temporaries, pictures.values(), strict=True):
                write_png(temporary, pixels)


def _factor(tensor: Tensor) -> int:
    """Return by which whole number pictures of this size are shrunk."""
    return -(-max(tensor.shape[-2:]) // LONGEST_SIDE)


def _mean_of_blocks(planes: Tensor) -> npt.NDArray[np.float32]:
    planes = planes.detach().to("cpu", torch.float32)
    pooled: npt.NDArray[np.float32] = functional.avg_pool2d(planes[None], _factor(planes), ceil_mode=True)[
        0
    ].numpy()
    return pooled


def _rgb(image: Tensor) -> npt.NDArray[np.uint8]:
    """Return (h, w, 3) of (C, H, W) floats in 0..255."""
    planes = _mean_of_blocks(image[:3] if image.shape[0] >= 3 else image[:1])
    pixels = (np.nan_to_num(planes).clip(0, 255) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))


def _soft(probabilities: Tensor, colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (h, w, 3) of (K, H, W) probabilities."""
    return np.ascontiguousarray(soft_composite(_mean_of_blocks(probabilities), colors)[..., :3])


def _strokes(
    shown: npt.NDArray[np.uint8], seeds: Tensor, colors: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Draw strokes over the dimmed image; a block with any stroke pixel is one, so that thin ones stay."""
    seeds = seeds.detach().cpu()
    index = functional.max_pool2d(seeds[None].float(), _factor(seeds), ceil_mode=True)[0].long().numpy()
    grey = (_DIMMED * shown.mean(axis=2, keepdims=True)).astype(np.uint8)
    drawn: npt.NDArray[np.uint8] = np.where((index >= 0)[..., None], colors[index], grey)
    return drawn


def _mask(truth: Tensor, colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (h, w, 3) of (H, W) class indices: the pixel in the corner of every block."""
    step = _factor(truth)
    index: npt.NDArray[np.int64] = truth.detach().cpu()[::step, ::step].numpy()
    mask: npt.NDArray[np.uint8] = np.where((index >= 0)[..., None], colors[index], np.uint8(0))
    return mask
