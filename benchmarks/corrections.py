"""How a network and a person's corrections make one first guess best: mean IoU against strokes, method by method.

A person sees what the solver makes of the network's guess, and paints one stroke after another in the largest
region that is wrong. Every method gets the strokes that its own mistakes ask for. Images and masks (255 =
ignore) lie in a folder with ``images/`` and ``masks/``, the values those of the model's classes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from annotator import largest_region, stroke_along
from common import header
from gallery import IGNORE, mean_iou
from skimage.io import imread

from napari_softseg import solve
from napari_softseg.solver.intensity import to_intensity
from napari_softseg.training.first_guess import TrainedNetwork
from napari_softseg.unary.classifier import ImageFeatures, StrokeClassifier, grid_step
from napari_softseg.unary.mixing import network_and_strokes

Array = npt.NDArray[Any]
Guess = Callable[[Array, ImageFeatures, Array], Array]
"""Of the network's distributions, the image's features and the seeds."""


def network_alone(network: Array, _features: ImageFeatures, _seeds: Array) -> Array:
    """Strokes are seeds of the solver, nothing more."""
    return network


def among_drawn(combine: Callable[[Array, Array], Array]) -> Guess:
    """Return how network and classifier are combined, among the classes that have a stroke."""

    def guess(network: Array, features: ImageFeatures, seeds: Array) -> Array:
        drawn = np.unique(seeds[seeds >= 0])
        if drawn.size < 2:
            return network
        strokes = StrokeClassifier.fit([(features, seeds)], len(network)).predict(features)[drawn]
        share = network[drawn].sum(0)
        both = combine(network[drawn] / share, strokes / strokes.sum(0))
        result = network.copy()
        result[drawn] = share * both / both.sum(0)
        return result

    return guess


def classifier_alone(network: Array, features: ImageFeatures, seeds: Array) -> Array:
    """Take the strokes' classifier as soon as two classes have a stroke."""
    if np.unique(seeds[seeds >= 0]).size < 2:
        return network
    return StrokeClassifier.fit([(features, seeds)], len(network)).predict(features)


METHODS: dict[str, Guess] = {
    "network alone": network_alone,
    "classifier alone": classifier_alone,
    "average, 1/4 classifier": among_drawn(lambda network, strokes: 0.75 * network + 0.25 * strokes),
    "average, 1/2 classifier": among_drawn(lambda network, strokes: 0.5 * network + 0.5 * strokes),
    "product": among_drawn(lambda network, strokes: np.maximum(network, 1e-3) * np.maximum(strokes, 1e-3)),
    "classifier taught by both": network_and_strokes,
}
"""The last one is the package's own."""


def correct(image: Array, truth: Array, network: Array, method: Guess, strokes: int) -> list[float]:
    """Return the mean IoU after 0, 1, 2, ... strokes."""
    features = ImageFeatures(to_intensity(image), grid_step(*truth.shape))
    scribbles, classes, scores = np.full_like(truth, IGNORE), range(len(network)), list[float]()
    while len(scores) <= strokes:
        seeds = np.where(scribbles == IGNORE, -1, scribbles.astype(np.int64))
        guess = method(network, features, seeds)
        labels = solve(image, scribbles, unary=guess, classes=classes, unlabelled=IGNORE).labels
        scores.append(mean_iou(labels, truth))
        wrong = {value: largest_region((truth == value) & (labels != value)) for value in classes}
        sizes = {value: region.sum() for value, region in wrong.items() if region is not None}
        if not sizes:
            return scores + [scores[-1]] * (strokes + 1 - len(scores))
        value = max(sizes, key=sizes.__getitem__)
        region = wrong[value]
        assert region is not None
        scribbles[stroke_along(region)] = value
    return scores


def main() -> int:
    """Print a row per method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="a RUN folder or model file whose classes are 0, 1, 2, ...")
    parser.add_argument("folder", type=Path, help="with images/ and masks/")
    parser.add_argument("--images", type=int, default=6, help="how many, evenly spaced")
    parser.add_argument("--strokes", type=int, default=12)
    parser.add_argument("--only", default="", help="methods whose name contains this")
    arguments = parser.parse_args()
    print(header("torch", "scikit-learn"), flush=True)
    network = TrainedNetwork(arguments.model)
    masks = sorted((arguments.folder / "masks").iterdir())
    chosen = masks[:: max(1, len(masks) // arguments.images)][: arguments.images]
    shown = [n for n in (0, 1, 2, 4, 8, 12, 16, 24, 32) if n <= arguments.strokes]
    print(f"{len(chosen)} images, mean IoU after so many strokes\n")
    print(f"| first guess | {' | '.join(map(str, shown))} |\n|---{'|---' * len(shown)}|")
    for name, method in METHODS.items():
        if arguments.only in name:
            curves = []
            for mask in chosen:
                image = imread(next((arguments.folder / "images").glob(f"{mask.stem}.*")))
                seen = network.look_at(image).probabilities
                curves.append(correct(image, imread(mask), seen, method, arguments.strokes))
            means = np.mean(curves, axis=0)
            print(f"| {name} | {' | '.join(f'{means[n]:.3f}' for n in shown)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
