"""How good the network is just now, and pictures of what it says."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_softseg.training.crops import CropSet
from napari_softseg.training.data import AnnotatedFolder, Sample, shrink
from napari_softseg.training.metrics import Confusion
from napari_softseg.training.options import Loss, TrainOptions
from napari_softseg.training.pseudo_labels import batch_problem, most_likely, soft_labels
from napari_softseg.training.report.samples import save_samples

MOST_SCORED = 50
"""Images whose held-out strokes are scored; masks are all scored."""
PICTURED = 3
MASKS, STROKES = "masks", "held-out strokes"


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores on the masks of one folder, or else on strokes that training does not see."""

    options: TrainOptions
    class_names: Sequence[str]
    masks: AnnotatedFolder | None
    strokes: CropSet
    n_images: int
    """In the folder that is trained on."""

    def score(self, network: nn.Module, device: torch.device, stop: threading.Event) -> dict[str, Any] | None:
        """Return ``source``, ``miou``, ``iou`` per class, ``pixel_accuracy``; None if nothing can be scored.

        Images are taken whole, one by one, at one scale.
        """
        if self.masks is None and self.options.held_out == 0:
            return None
        confusion = Confusion(len(self.class_names))
        for sample in self._samples():
            if stop.is_set():
                return None
            probabilities = predict(network, sample, device)
            assert sample.truth is not None
            confusion.update(probabilities.argmax(1)[0].cpu(), sample.truth)
        if not confusion.matrix.any():
            return None
        report = confusion.report(self.class_names)
        source = STROKES if self.masks is None else MASKS
        return {"source": source, **{name: report[name] for name in ("miou", "iou", "pixel_accuracy")}}

    def _samples(self) -> Any:
        if self.masks is None:
            step = -(-self.n_images // MOST_SCORED)
            yield from (self.strokes.scored_sample(i) for i in range(0, self.n_images, step))
            return
        for index in range(len(self.masks)):
            sample = self.masks.load(index)
            yield sample if self.options.resize is None else shrink(sample, self.options.resize)


def predict(network: nn.Module, sample: Sample, device: torch.device) -> torch.Tensor:
    """Return (1, K, H, W) probabilities of a whole image; leaves the network in evaluation mode."""
    network.eval()
    with torch.inference_mode():
        probabilities: torch.Tensor = network(sample.image[None].to(device)).softmax(1)
    return probabilities


def take_pictures(
    run: Path,
    epoch: int,
    network: nn.Module,
    strokes: CropSet,
    class_values: Sequence[int],
    options: TrainOptions,
    device: torch.device,
    n_images: int,
) -> None:
    """Write what the network says of the first images, and what pseudo-labels follow from it."""
    for index in range(min(PICTURED, n_images)):
        sample = strokes.sample(index)
        predictions = predict(network, sample, device)
        pseudo = None
        if options.loss in (Loss.SELF, Loss.HARD):
            problem = batch_problem(
                sample.image[None].to(device),
                sample.seeds[None].to(device),
                sample.valid[None].to(device),
                len(class_values),
                options,
                predictions,
            )
            pseudo = soft_labels(problem, options.sweeps).labels
            if options.loss == Loss.HARD:
                pseudo = most_likely(pseudo)
        save_samples(
            run,
            epoch,
            [sample.name],
            class_values,
            images=sample.image[None],
            predictions=predictions,
            pseudo=pseudo,
            seeds=sample.seeds[None],
            truth=None if sample.truth is None else sample.truth[None],
        )
