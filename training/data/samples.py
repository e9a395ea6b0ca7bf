"""One annotated image as tensors, and several of them as a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from napari_softseg.errors import InputError

NO_CLASS = -1
"""In seeds: no stroke. In truth: unknown, left out of losses and scores."""
PADDING = 127.5
"""Intensity of pixels outside of an image."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with its strokes and, where there is one, its mask."""

    name: str
    image: Tensor
    """(C, H, W) float32 intensities, 0..255 as the solver takes them."""
    seeds: Tensor
    """(H, W) int64 class index 0..K-1, -1 without a stroke."""
    truth: Tensor | None
    """(H, W) int64 class index, -1 where it is unknown."""
    valid: Tensor
    """(H, W) bool, False on padding."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """Return the sample with all its planes changed in the same way."""
        return Sample(self.name, *_each(change, self.image, self.seeds, self.truth, self.valid))


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size, stacked."""

    images: Tensor
    """(B, C, H, W) float32 intensities, 0..255."""
    seeds: Tensor
    """(B, H, W) int64 class index, -1 without a stroke."""
    valid: Tensor
    """(B, H, W) bool, False on padding."""
    truth: Tensor | None
    """(B, H, W) int64 class index, -1 where it is unknown; None if no sample has a mask."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with all its tensors changed in the same way."""
        return Batch(*_each(change, self.images, self.seeds, self.valid, self.truth))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; smaller ones are padded below and to the right to the largest.

    Raises
    ------
    InputError
        If there are none, or they differ in their number of channels.
    """
    if not samples:
        raise InputError("Expected at least one sample in a batch, but got none.")
    channels = {sample.image.shape[0]: sample.name for sample in samples}
    if len(channels) > 1:
        (a, of_a), (b, of_b) = sorted(channels.items())[:2]
        raise InputError(f"Images of one batch need as many channels: {of_a} has {a}, but {of_b} has {b}.")
    height = max(sample.image.shape[1] for sample in samples)
    width = max(sample.image.shape[2] for sample in samples)
    padded = [pad_to(sample, height, width) for sample in samples]
    truths = [sample.truth for sample in padded]
    return Batch(
        images=torch.stack([sample.image for sample in padded]),
        seeds=torch.stack([sample.seeds for sample in padded]),
        valid=torch.stack([sample.valid for sample in padded]),
        truth=None
        if all(truth is None for truth in truths)
        else torch.stack(
            [
                torch.full_like(sample.seeds, NO_CLASS) if sample.truth is None else sample.truth
                for sample in padded
            ]
        ),
    )


def pad_to(sample: Sample, height: int, width: int, top: int = 0, left: int = 0) -> Sample:
    """Return the sample on a canvas of `height` x `width`, its first pixel at `top` and `left`."""
    rows, columns = sample.seeds.shape
    if (rows, columns) == (height, width):
        return sample
    margins = (left, width - columns - left, top, height - rows - top)
    return Sample(
        sample.name,
        pad(sample.image, margins, value=PADDING),
        pad(sample.seeds, margins, value=NO_CLASS),
        None if sample.truth is None else pad(sample.truth, margins, value=NO_CLASS),
        pad(sample.valid, margins, value=False),
    )


def _each(change: Callable[[Tensor], Tensor], *tensors: Tensor | None) -> Iterator[Any]:
    return (None if tensor is None else change(tensor) for tensor in tensors)
