"""How right pseudo-labels are, by what they start from: the network's predictions, the strokes', both.

A trained model looks at every second image of a folder with strokes and masks, shrunk as for training; the solver makes
pseudo-labels of whole images with the options of preset ``balanced``. Scored are pixels without a stroke. With
``--strokes N`` an image keeps N of its strokes, drawn at random, as where a person corrects a little here and there.
``python benchmarks/pseudo_labels.py RUN/last.safetensors camvid/train --unlabelled 255``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import header
from torch import Tensor

from napari_softseg.models import load_model
from napari_softseg.training.data import Sample, open_annotated, shrink
from napari_softseg.training.data.strokes import separate_strokes
from napari_softseg.training.metrics import Confusion
from napari_softseg.training.options import train_options
from napari_softseg.training.pseudo_labels import batch_problem, soft_labels
from napari_softseg.training.scoring import predict
from napari_softseg.training.stroke_guesses import StrokeGuesses, network_and_guess


@dataclass
class Seen:
    """An image and the distributions that are known of it, (1, K, H, W) each."""

    sample: Sample
    network: Tensor
    guess: Tensor

    def both(self) -> Tensor:
        """Return what training starts from."""
        return network_and_guess(self.network, self.guess)

    def solved(self, sigma: Tensor, sweeps: int) -> Tensor:
        """Return pseudo-labels."""
        options = train_options()
        parts = (self.sample.image[None], self.sample.seeds[None], self.sample.valid[None])
        return soft_labels(batch_problem(*parts, sigma.shape[1], options, sigma), sweeps).labels


def with_strokes(sample: Sample, count: int | None, random: np.random.Generator) -> Sample:
    """Return the sample with so many of its strokes."""
    if count is None:
        return sample
    numbered = separate_strokes(sample.seeds.numpy())
    kept = random.permutation(np.arange(1, numbered.max() + 1))[:count]
    return replace(sample, seeds=torch.where(torch.from_numpy(np.isin(numbered, kept)), sample.seeds, -1))


def row(name: str, images: list[Seen], labels: Callable[[Seen], Tensor]) -> str:
    """Return a line of the table."""
    confusion = Confusion(images[0].network.shape[1])
    for seen in images:
        truth = seen.sample.truth
        assert truth is not None
        confusion.update(labels(seen)[0].argmax(0), truth.masked_fill(seen.sample.seeds >= 0, -1))
    return f"| {name} | {100 * confusion.miou:.1f} | {100 * confusion.pixel_accuracy:.1f} |"


def main() -> int:
    """Print a row for every start, before and after the solver."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path, help="annotated, with images/, scribbles/ and masks/")
    parser.add_argument("--unlabelled", type=int)
    parser.add_argument("--resize", type=int, default=240)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--strokes", type=int, help="strokes that an image keeps (all)")
    arguments = parser.parse_args()
    model, random = load_model(arguments.model).model, np.random.default_rng(0)
    folder = open_annotated(arguments.folder, unlabelled=arguments.unlabelled)
    images = []
    with TemporaryDirectory() as kept:
        guesses = StrokeGuesses(Path(kept), len(folder.class_values))
        for number in range(0, len(folder), 2):
            sample = shrink(with_strokes(folder.load(number), arguments.strokes, random), arguments.resize)
            network = predict(model, sample, torch.device("cpu"))
            images.append(Seen(sample, network[None], guesses.of(sample).float()[None]))
    print(header("torch", "numba"))
    strokes = arguments.strokes or "all"
    print(
        f"- {len(images)} images of {arguments.folder.name}, {strokes} strokes each, {arguments.sweeps} sweeps\n"
    )
    print("| | mean IoU | pixel accuracy |\n|---|---|---|")
    print(row("the network", images, lambda seen: seen.network))
    if arguments.strokes is None:
        print(row("the strokes", images, lambda seen: seen.guess))
    print(row("both", images, Seen.both))
    print(row("solved from the network", images, lambda seen: seen.solved(seen.network, arguments.sweeps)))
    print(row("solved from both", images, lambda seen: seen.solved(seen.both(), arguments.sweeps)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
