"""Mean IoU and seconds per image on the gallery: ours with each unary, next to two peers, in one run.

The gallery is a folder with ``images/``, ``masks/`` (255 = ignore) and ``scribbles/`` (255 = unlabelled).
The mean IoU of an image is over the classes its mask shows.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import numpy.typing as npt
from common import ROOT, header
from skimage.feature import multiscale_basic_features
from skimage.io import imread
from skimage.segmentation import random_walker
from sklearn.ensemble import RandomForestClassifier

from napari_softseg import solve
from napari_softseg.options import DEFAULTS
from napari_softseg.solver.intensity import to_intensity
from napari_softseg.unary.classifier import classify_strokes

Array = npt.NDArray[Any]
IGNORE = 255


@dataclass(frozen=True, slots=True)
class Case:
    """One image, its truth, its strokes and the class values they show."""

    name: str
    image: Array
    truth: Array
    scribbles: Array

    @property
    def classes(self) -> Array:
        """Class values ascending."""
        return np.unique(self.scribbles[self.scribbles != IGNORE])

    @property
    def seeds(self) -> npt.NDArray[np.int64]:
        """(H, W) class index, -1 without a stroke."""
        found = np.searchsorted(self.classes, self.scribbles)
        return np.where(self.scribbles == IGNORE, -1, found).astype(np.int64)


def ours(unary: str, weights: str = DEFAULTS.weights) -> Callable[[Case], Array]:
    """Return the complete solve with default options and this unary."""
    return lambda case: (
        solve(case.image, case.scribbles, unary=unary, weights=weights, unlabelled=IGNORE).labels
    )


def classifier_alone(case: Case) -> Array:
    """Return the labels of the default unary without the solver."""
    sigma = classify_strokes(to_intensity(case.image), case.seeds, len(case.classes))
    labels: Array = case.classes[sigma.argmax(axis=0)]
    return labels


def walker(case: Case) -> Array:
    """Return scikit-image's random walker in its fastest mode, its beta at the default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = random_walker(
            case.image, case.seeds + 1, mode="cg_mg", channel_axis=-1 if case.image.ndim == 3 else None
        )
    labels: Array = case.classes[found - 1]
    return labels


def forest_features(image: Array) -> Array:
    """Return scikit-image's features, (H, W, F), set up as in its gallery of examples."""
    features: Array = multiscale_basic_features(
        image, sigma_min=1, sigma_max=16, channel_axis=-1 if image.ndim == 3 else None
    )
    return features


def forest(case: Case, features: Array | None = None) -> Array:
    """Return a random forest on scikit-image's features, set up as in its gallery of examples."""
    if features is None:
        features = forest_features(case.image)
    model = RandomForestClassifier(50, max_depth=10, max_samples=0.05, n_jobs=-1, random_state=0)
    on_strokes = case.seeds >= 0
    model.fit(features[on_strokes], case.seeds[on_strokes])
    found = model.predict(features.reshape(-1, features.shape[-1])).reshape(case.seeds.shape)
    labels: Array = case.classes[found]
    return labels


METHODS: dict[str, Callable[[Case], Array]] = {
    "ours, unary classifier": ours("classifier"),
    "ours, unary none": ours("none"),
    "our classifier alone, argmax": classifier_alone,
    "scikit-image random_walker (cg_mg)": walker,
    "random forest, scikit-image features, argmax": forest,
}


def mean_iou(labels: Array, truth: Array) -> float:
    """Return the mean over the truth's classes of intersection over union, ignored pixels left out."""
    valid = truth != IGNORE
    ious = []
    for value in np.unique(truth[valid]):
        hit, real = (labels == value) & valid, (truth == value) & valid
        ious.append((hit & real).sum() / (hit | real).sum())
    return float(mean(ious))


def read_cases(folder: Path) -> list[Case]:
    """Return all images of the gallery, in the order of their names."""
    return [
        Case(
            path.stem,
            imread(path),
            imread(folder / "masks" / f"{path.stem}.png"),
            imread(folder / "scribbles" / f"{path.stem}.png"),
        )
        for path in sorted((folder / "images").iterdir())
    ]


def main() -> int:
    """Run all methods on all images and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "gallery")
    parser.add_argument("--per-image", action="store_true", help="also print the mean IoU of every image")
    parser.add_argument("--weights", help="also with unary pretrained and these weights: imagenet or a file")
    args = parser.parse_args()
    methods = dict(METHODS)
    if args.weights:
        methods["ours, unary pretrained"] = ours("pretrained", args.weights)
    if not (args.data / "images").is_dir():
        print(f"No gallery at {args.data}: name its folder with --data.", file=sys.stderr)
        return 2
    cases = read_cases(args.data)
    print(header("napari-softseg", "torch", "scikit-learn", "scikit-image", "numpy"))
    print(f"- {len(cases)} images of {args.data.name}\n", flush=True)
    scores: dict[str, list[float]] = {}
    print("| method | mean IoU | median s per image | slowest s |\n|---|---|---|---|")
    for name, method in methods.items():
        method(cases[0])  # the first call pays for imports and compilation
        seconds, scores[name] = [], []
        for case in cases:
            began = time.perf_counter()
            labels = method(case)
            seconds.append(time.perf_counter() - began)
            scores[name].append(mean_iou(labels, case.truth))
        figures = f"{mean(scores[name]):.3f} | {median(seconds):.2f} | {max(seconds):.2f}"
        print(f"| {name} | {figures} |", flush=True)
    if args.per_image:
        print("\n| image | " + " | ".join(methods) + " |\n|---" + "|---" * len(methods) + "|")
        for i, case in enumerate(cases):
            print(f"| {case.name} | " + " | ".join(f"{scores[m][i]:.3f}" for m in methods) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
