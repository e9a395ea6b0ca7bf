"""What the place of a pixel says beside its looks: classes that look alike are told apart by whose strokes are near.

On a small copy of the image the classes spread from the strokes as a random walker's do, and its edges hold them back.
The sweeps end long before all is settled, so that far from all strokes nearness says nothing. How much of the first
guess it makes is decided by the strokes: `share = (1 - r) / (1 + n)`, where n is the number of
strokes per class, and r the chance that the right class has of a classifier that is fitted on one half of every
class's strokes and asked about the other half (Stone, "Cross-validatory choice and assessment of statistical
predictions", 1974). Where looks tell the classes apart, r is near 1 and the classifier decides alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import label
from torch.nn import functional as F

from napari_softseg.options import DEFAULTS, Neighborhood, Relaxation
from napari_softseg.solver.majorize_minimize import iter_majorize_minimize
from napari_softseg.solver.neighborhood import grid_edges
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.solution import drain
from napari_softseg.unary.classifier import Seeds, StrokeClassifier, features_of, stroke_cells, thinned

if TYPE_CHECKING:
    from napari_softseg.unary.pretrained import PretrainedFeatures

MOST_PIXELS = 2048 * 2048
"""In larger images most pixels have no stroke that is near, and the classifier decides alone."""

_CELLS = 128
"""Most cells on the longer side of the small copy: nearness has no details, and so it costs little."""

_TREES = 4
"""Of each of the two classifiers that only say how far to trust the large one."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Nearness:
    """What the places of the strokes say of an image, and how much it counts."""

    share: float
    """Of the first guess, 0..1."""
    labels: Floats
    """(K, h, w) class distributions of the small copy's cells."""
    cell: int
    """Side of a cell in pixels."""

    def mixed(self, sigma: Floats, rows: slice, columns: slice) -> Floats:
        """Return the classifier's `sigma`, (K, H, W) of these rows and columns of the image, with its share."""
        if self.share == 0:
            return sigma
        small = torch.from_numpy(self.labels)
        # linear interpolation, the same in any part of the image
        for axis, part in ((1, rows), (2, columns)):
            at = (torch.arange(part.start, part.stop) + 0.5) / self.cell - 0.5
            at = at.clamp(0, small.shape[axis] - 1)
            below = at.long()
            above = (below + 1).clamp(max=small.shape[axis] - 1)
            weight = (at - below).reshape(-1, *[1] * (2 - axis))
            small = torch.lerp(small.index_select(axis, below), small.index_select(axis, above), weight)
        result: Floats = torch.lerp(torch.from_numpy(sigma), small, self.share).numpy()
        return result


def looks_and_nearness(
    image: Floats,
    seeds: Seeds,
    n_classes: int,
    *,
    network: PretrainedFeatures | None = None,
    stop: threading.Event | None = None,
) -> Floats:
    """Return the first guess: what :func:`~napari_softseg.unary.classifier.classify_strokes` does, with nearness.

    Returns
    -------
    (K, H, W) float32 array
        Positive, sums to 1 over K at every pixel. The same input gives exactly the same output.
    """
    if stop is not None and stop.is_set():
        return np.full((n_classes, *seeds.shape), 1 / n_classes, dtype=np.float32)
    features = features_of(image, network)
    cells = [thinned(stroke_cells(seeds == k, features.step)) for k in range(n_classes)]
    samples = [features.columns[part] for part in cells]
    sigma = StrokeClassifier.from_samples(samples).predict(features, stop=stop)
    if seeds.size > MOST_PIXELS or (stop is not None and stop.is_set()):
        return sigma
    across = -(-seeds.shape[1] // features.step)
    places = [np.stack(np.divmod(part, across), axis=1) for part in cells]
    near = nearness(image, seeds, samples, places, stop=stop)
    return near.mixed(sigma, slice(0, seeds.shape[0]), slice(0, seeds.shape[1]))


def nearness(
    image: Floats,
    seeds: Seeds,
    samples: Sequence[Floats],
    places: Sequence[npt.NDArray[np.int64]],
    *,
    stop: threading.Event | None = None,
) -> Nearness:
    """Return what the places of the strokes say.

    Parameters
    ----------
    image : (H, W, C) float32 array
        Intensities in 0..255.
    seeds : (H, W) int64 array
        Class index 0..K-1 on strokes, -1 elsewhere; at least two classes have a stroke.
    samples, places : (n, F) float32 and (n, 2) int64 arrays, one for each of the K classes
        The features that the classifier is fitted on, and the row and column of each.
    stop : threading.Event, optional
        Set it from another thread to end early, with anything.

    Returns
    -------
    Nearness
        The same input gives exactly the same output.
    """
    cell = -(-max(seeds.shape) // _CELLS)
    small = _majority(seeds, len(samples), cell)
    strokes = sum(label(small == k, np.ones((3, 3)))[1] for k in range(len(samples)))
    drawn = sum(len(part) > 0 for part in samples)
    # one of its strokes may be outnumbered in every cell that it touches: others would spread over its places
    if len(np.unique(small[small >= 0])) < drawn:
        return Nearness(0.0, np.full((len(samples), *small.shape), 1 / len(samples), np.float32), cell)
    share = (1 - _reliability(samples, places)) / (1 + strokes / drawn)
    return Nearness(share, _spread(image, small, len(samples), cell, stop), cell)


def _reliability(samples: Sequence[Floats], places: Sequence[npt.NDArray[np.int64]]) -> float:
    """Return the chance of the right class on one half of the strokes where the other is known, mean over classes.

    For a class that can only be known or asked about, such as a dot of a pixel, that of a guess.
    """
    in_first = [_first_half(part) for part in places]
    chances: list[list[float]] = [[] for _ in samples]
    for known in (True, False):
        fitted = [part[half == known] for part, half in zip(samples, in_first, strict=True)]
        if sum(len(part) > 0 for part in fitted) < 2:  # nothing to choose from
            continue
        classifier = StrokeClassifier.from_samples(fitted, trees=_TREES)
        for column, k in enumerate(classifier.present):
            asked = samples[k][in_first[k] != known]
            if len(asked):
                chances[k].append(float(classifier.votes(asked)[:, column].mean()))
    drawn = [found for found, part in zip(chances, samples, strict=True) if len(part)]
    return float(np.mean([np.mean(found) if found else 1 / len(drawn) for found in drawn]))


def _first_half(places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which of the places (n, 2) lie before the middle one, along the direction in which they spread most."""
    away = places - places.mean(axis=0) if len(places) else places.astype(np.float64)
    (down, both), (_, across) = away.T @ away
    angle = np.arctan2(2 * both, down - across) / 2
    order = np.argsort(away @ [np.cos(angle), np.sin(angle)], kind="stable")
    first = np.zeros(len(places), dtype=bool)
    first[order[: -(-len(places) // 2)]] = True
    return first


def _majority(seeds: Seeds, n_classes: int, cell: int) -> Seeds:
    """Return the class with most stroke pixels in every cell, -1 where there are none."""
    height, width = (-(-n // cell) for n in seeds.shape)
    rows, columns = np.nonzero(seeds >= 0)
    at = (rows // cell * width + columns // cell) * n_classes + seeds[rows, columns]
    counts = np.bincount(at, minlength=height * width * n_classes).reshape(height, width, n_classes)
    return np.where(counts.any(axis=2), counts.argmax(axis=2), -1)


def _spread(image: Floats, seeds: Seeds, n_classes: int, cell: int, stop: threading.Event | None) -> Floats:
    """Return how far the classes came, (K, h, w), on the image averaged within cells: relaxation q, no unary."""
    planes = torch.from_numpy(image).movedim(-1, 0)[None]
    small = F.avg_pool2d(planes, cell, ceil_mode=True, count_include_pad=False).contiguous()
    problem = Problem(
        seeds=torch.from_numpy(seeds)[None],
        edges=grid_edges(small, Neighborhood.GRID4, DEFAULTS.bandwidth),
        n_classes=n_classes,
        relaxation=Relaxation.Q,
    )
    labels: Floats = drain(iter_majorize_minimize(problem, stop=stop)).labels[0].numpy()
    return labels
