"""One first guess from two: what a trained network says of an image, and what the strokes on it say.

The pixel classifier of the strokes is fitted on pixels that the network is sure of as well. So it knows every
class from the first correction on, and a stroke also speaks for whatever looks like what it corrects; that
is averaged with the network. benchmarks/corrections.py compares this with other ways.

Of classes that the network was never taught it knows nothing: their share of a pixel is what the classifier
says, and the rest of the pixel is shared out among the others as before.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_softseg.unary.classifier import (
    SAMPLES_PER_CLASS,
    ImageFeatures,
    Seeds,
    StrokeClassifier,
    stroke_cells,
)

TRUST_IN_STROKES = 0.75
"""Weight of the classifier; the network has the rest."""

SURE = 0.7
"""The network is sure of a pixel where it gives a class more than this."""

SURE_SAMPLES = 300
"""Most such pixels of a class that the classifier is fitted on, evenly spaced in reading order."""

CLAIMED = 0.1
"""Where classes new to the network get more than this by their strokes, its sureness counts for nothing."""

Floats = npt.NDArray[np.float32]


def network_and_strokes(
    network: Floats,
    features: ImageFeatures,
    seeds: Seeds,
    *,
    unknown: Sequence[int] | npt.NDArray[np.intp] = (),
    stop: threading.Event | None = None,
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
    unknown : sequence of int
        Indices of the classes that the network does not know: 0 in all its distributions.
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
    learned = _learned(features, seeds, likely, len(network), stop)
    strangers = np.array(unknown, dtype=np.intp)
    if np.isin(strangers, seeds).any():  # of what looks like them, the network was sure for want of a better
        theirs = learned[strangers].sum(0)[::step, ::step].ravel() > CLAIMED
        learned = _learned(features, seeds, np.where(theirs, -1, likely), len(network), stop)
    rest = 1 - learned[strangers].sum(0)
    mixed: Floats = (1 - TRUST_IN_STROKES) * rest * network + TRUST_IN_STROKES * learned
    mixed[strangers] = learned[strangers]
    return mixed


def _learned(
    features: ImageFeatures,
    seeds: Seeds,
    likely: npt.NDArray[np.int64],
    n_classes: int,
    stop: threading.Event | None,
) -> Floats:
    """Return what a classifier says that is fitted on strokes and on grid pixels the network is sure of."""
    samples = []
    for k in range(n_classes):
        drawn = _evenly(stroke_cells(seeds == k, features.step), SAMPLES_PER_CLASS)
        sure = _evenly(np.flatnonzero(likely == k), SURE_SAMPLES)
        samples.append(features.columns[np.concatenate([drawn, sure])])
    return StrokeClassifier.from_samples(samples).predict(features, stop=stop)


def _evenly(cells: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    return cells[np.linspace(0, cells.size - 1, min(cells.size, most)).astype(np.int64)]
