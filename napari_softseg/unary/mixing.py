"""One first guess from two: what a trained network says of an image, and what the strokes on it say."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.solver.intensity import to_intensity
from napari_softseg.unary.classifier import Seeds, classify_strokes

TRUST_IN_STROKES = 0.5
"""Weight of the strokes' classifier beside a network's 1 - this."""


def network_and_strokes(
    network: npt.NDArray[np.float32],
    image: npt.NDArray[Any],
    seeds: Seeds,
    *,
    stop: threading.Event | None = None,
) -> npt.NDArray[np.float32]:
    """Return the class distribution of every pixel.

    The strokes' classifier knows only classes that have a stroke: it decides among those, and how much they
    have together is left to the network. With strokes of one class or none, the network decides alone.

    Parameters
    ----------
    network : (K, H, W) float32 array
        Its distribution at every pixel.
    image : (H, W) or (H, W, C) array of any real dtype
    seeds : (H, W) int64 array
        Class index 0..K-1 on strokes, -1 elsewhere.
    stop : threading.Event, optional
        Set it from another thread to end early, with anything.

    Returns
    -------
    (K, H, W) float32 array
        Sums to 1 over K.
    """
    drawn = np.unique(seeds[seeds >= 0])
    if drawn.size < 2:
        return network
    strokes = classify_strokes(to_intensity(image), np.where(seeds < 0, -1, seeds), len(network), stop=stop)
    return mixed(network, strokes, drawn)


def mixed(
    network: npt.NDArray[np.float32], strokes: npt.NDArray[np.float32], drawn: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return `network`, its shares among the classes `drawn` mixed with those of `strokes`; all (K, H, W)."""
    result = network.copy()
    theirs = strokes[drawn] / strokes[drawn].sum(0)
    ours = network[drawn]
    result[drawn] = (1 - TRUST_IN_STROKES) * ours + TRUST_IN_STROKES * ours.sum(0) * theirs
    return result
