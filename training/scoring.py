"""How good the network is just now, and pictures of what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_softseg.models import DeepLabV3Plus
from napari_softseg.training.crops import CropSet
from napari_softseg.training.data import AnnotatedFolder, Sample, shrink
from napari_softseg.training.data.augment import resized_image
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.metrics import Confusion
from napari_softseg.training.options import Loss
from napari_softseg.training.predict import predict_intensities
from napari_softseg.training.report.samples import LONGEST_SIDE, save_samples

MOST_SCORED = 50
"""Images whose held-out strokes are scored; masks are all scored."""
PICTURED = 3
MASKS, STROKES = "masks", "held-out strokes"


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores on the masks of one folder, or else on strokes that training does not see."""

    class_names: Sequence[str]
    masks: AnnotatedFolder | None
    strokes: CropSet

    def score(
        self, network: DeepLabV3Plus, device: torch.device, stop: threading.Event
    ) -> dict[str, Any] | None:
        """Return ``source``, ``miou``, ``iou`` per class, ``pixel_accuracy``; None if nothing can be scored.

        The protocol is that of :mod:`napari_softseg.training.evaluate`.
        """
        if self.masks is None and self.strokes.held_out == 0:
            return None
        confusion = Confusion(len(self.class_names))
        for sample in self._samples():
            if stop.is_set():
                return None
            assert sample.truth is not None
            confusion.update(predict(network, sample, device).argmax(0), sample.truth)
        if not confusion.matrix.any():
            return None
        report = confusion.report(self.class_names)
        source = STROKES if self.masks is None else MASKS
        return {"source": source, **{name: report[name] for name in ("miou", "iou", "pixel_accuracy")}}

    def _samples(self) -> Iterator[Sample]:
        if self.masks is not None:
            yield from map(self.masks.load, range(len(self.masks)))
            return
        step = -(-len(self.strokes) // MOST_SCORED)
        yield from map(self.strokes.scored_sample, range(0, len(self.strokes), step))


def predict(network: DeepLabV3Plus, sample: Sample, device: torch.device) -> Tensor:
    """Return (K, H, W) probabilities of a whole image, on the CPU."""
    pixels = sample.image.permute(1, 2, 0).numpy()
    return torch.from_numpy(predict_intensities(network, pixels, device=str(device)))


def take_pictures(
    run: Path,
    epoch: int,
    network: DeepLabV3Plus,
    strokes: CropSet,
    loss: TrainingLoss,
    device: torch.device,
) -> None:
    """Write what the network says of the first images, and what pseudo-labels follow from it."""
    for index in range(min(PICTURED, len(strokes))):
        sample = strokes.sample(index)
        predictions = predict(network, sample, device)[None]
        small = shrink(sample, 2 * LONGEST_SIDE)  # the pictures are no larger, and pseudo-labels cost memory
        pseudo = None
        if loss.options.loss in (Loss.SELF, Loss.HARD):
            sigma = resized_image(predictions, *small.seeds.shape)
            parts = (sigma, small.image[None], small.seeds[None], small.valid[None])
            pseudo, _ = loss.pseudo_labels(*(part.to(device) for part in parts))
        save_samples(
            run,
            epoch,
            [sample.name],
            network.config.class_values,
            images=sample.image[None],
            predictions=predictions,
            pseudo=pseudo,
            seeds=sample.seeds[None],
            truth=None if sample.truth is None else sample.truth[None],
        )
