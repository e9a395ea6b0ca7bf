"""The crops a run is trained on, and the strokes it is scored on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.data import DataLoader, Dataset

from napari_softseg.training.data import (
    AnnotatedFolder,
    Batch,
    Sample,
    augment,
    collate,
    hold_out_strokes,
    sample_generator,
    shrink,
)
from napari_softseg.training.options import Crops, TrainOptions
from napari_softseg.training.schedule import Draw


class CropSet(Dataset[Sample]):
    """Random crops of a folder's images: what a draw gives depends on nothing but the draw.

    Parameters
    ----------
    folder
        Images and strokes.
    options
        Of the run.
    held_out
        Share of the strokes that crops do not show, because they are scored on.
    """

    def __init__(self, folder: AnnotatedFolder, options: TrainOptions, held_out: float) -> None:
        self._folder = folder
        self._options = options
        self.held_out = held_out

    def __getitem__(self, draw: Draw) -> Sample:
        """Return one crop."""
        options = self._options
        return augment(
            self.sample(draw.image),
            sample_generator(options.seed, draw.epoch, draw.position),
            crop=options.crop,
            scale=(options.scale_low, options.scale_high),
            flip=options.flip,
            blur=options.blur,
            around_strokes=options.crops == Crops.STROKES,
        )

    def sample(self, image: int) -> Sample:
        """Return a whole image with the strokes to train on, shrunk as the options say."""
        sample = self._folder.load(image)
        if self.held_out > 0:  # of the strokes as they were drawn: shrunk ones may touch
            sample = replace(sample, seeds=self._split(image, sample)[0])
        return sample if self._options.resize is None else shrink(sample, self._options.resize)

    def scored_sample(self, image: int) -> Sample:
        """Return a whole image at its own size, whose truth is its held-out strokes."""
        sample = self._folder.load(image)
        return replace(sample, truth=self._split(image, sample)[1])

    def __len__(self) -> int:
        return len(self._folder)

    def _split(self, image: int, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        return hold_out_strokes(sample.seeds, self.held_out, sample_generator(self._options.seed, 0, image))

    def batches(self, draws: list[list[Draw]], workers: int) -> Iterator[Batch]:
        """Return the batches of these draws, loaded by so many processes."""
        loader: DataLoader[Sample] = DataLoader(
            self,
            batch_sampler=draws,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )
        return iter(loader)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device."""
    return batch.each(lambda tensor: tensor.to(device, non_blocking=True))
