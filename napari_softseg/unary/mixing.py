"""One first guess from two: what a trained network says of an image, and what the strokes on it say.

The pixel classifier of the strokes is fitted on pixels that the network is sure of as well. So it knows every
class from the first correction on, and a stroke also speaks for whatever looks like what it corrects; that
is averaged with the network. benchmarks/corrections.py compares this with other ways.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from napari_softseg.unary.classifier import (
    SAMPLES_PER_CLASS,
    ImageFeatures,
    Seeds,
    StrokeClassifier,
    stroke_cells,
)

TRUST_IN_STROKES = 0.5
"""Weight of the classifier; the network has the rest."""

SURE = 0.7
"""The network is sure of a pixel where it gives a class more than this."""

SURE_SAMPLES = 300
"""Most such pixels of a class that the classifier is fitted on, evenly spaced in reading order."""

Floats = npt.NDArray[np.float32]


def network_and_strokes(
    network: Floats, features: ImageFeatures, seeds: Seeds, *, stop: threading.Event | None = None
) -> Floats:
    """Return the class distribution of every pixel.

    Parameters
    ----------
    network : (K, H, W) float32 array
        The network's distributions.
    features : ImageFeatures
        What the classifier sees of the image.
    seeds : (H, W) int64 array
        Class index 0..K-1 on strokes, -1 elsewhere. Without a stroke, the network decides alone.
    stop : threading.Event, optional
        Set it from another thread to end early, with anything.

    Returns
    -------
    (K, H, W) float32 array
        Sums to 1 over K. The same input gives exactly the same output.
    """
    if (seeds < 0).all():
        return network
    step = features.step
    on_grid = network[:, ::step, ::step].reshape(len(network), -1)
    likely = np.where(on_grid.max(0) > SURE, on_grid.argmax(0), -1)
    likely[stroke_cells(seeds >= 0, step)] = -1  # a person knows better there
    samples = []
    for k in range(len(network)):
        drawn = _evenly(stroke_cells(seeds == k, step), SAMPLES_PER_CLASS)
        sure = _evenly(np.flatnonzero(likely == k), SURE_SAMPLES)
        samples.append(features.columns[np.concatenate([drawn, sure])])
    learned = StrokeClassifier.from_samples(samples).predict(features, stop=stop)
    mixed: Floats = (1 - TRUST_IN_STROKES) * network + TRUST_IN_STROKES * learned
    return mixed


def _evenly(cells: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    return cells[np.linspace(0, cells.size - 1, min(cells.size, most)).astype(np.int64)]
