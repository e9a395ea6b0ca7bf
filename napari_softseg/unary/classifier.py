"""The default unary: a pixel classifier fitted on the strokes.

Extremely randomised trees (Geurts et al., 2006) on colour and derivatives at four scales, then averaged
within the image's regions. It runs after every stroke, so images above a certain size are classified
at every second pixel, and the strokes are thinned.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from sklearn.tree import ExtraTreeClassifier
from torch import Tensor

from napari_softseg.unary.features import color_planes, enlarge, halve, pixel_features, rounded
from napari_softseg.unary.smoothing import smooth_within_edges

FLOOR = 0.02
"""Share of the uniform distribution mixed in, so that no class is ever ruled out."""

REGION_REACH, REGION_CONTRAST = 20.0, 30.0
"""Averaging of the colours, which gives the trees the colour of a pixel's region as well; in grid pixels
and in colour jumps summed over planes of 0..100 (:mod:`napari_softseg.unary.smoothing`)."""

VOTE_REACH, VOTE_CONTRAST = 80.0, 15.0
"""Averaging of the trees' votes, in the same units: far, and sharp at edges."""

_TREES = 50
_MAX_SAMPLES_PER_CLASS = 1000
_HALVE_ABOVE = 300 * 300
_CHUNK = 16_384


def classify_strokes(
    image: npt.NDArray[np.float32],
    seeds: npt.NDArray[np.int64],
    n_classes: int,
    *,
    stop: threading.Event | None = None,
) -> npt.NDArray[np.float32]:
    """Return the class distribution of every pixel as a classifier fitted on the strokes sees it.

    Parameters
    ----------
    image : (H, W, C) float32 array
        Intensities in 0..255; three channels are taken as sRGB.
    seeds : (H, W) int64 array
        Class index 0..n_classes-1 on strokes, -1 elsewhere; at least two classes have a stroke.
    n_classes : int
        K; a class without a stroke gets the floor only.
    stop : threading.Event, optional
        Set it from another thread to end early with the uniform distribution.

    Returns
    -------
    (K, H, W) float32 array
        Positive, sums to 1 over K at every pixel. The same input gives exactly the same output.
    """
    stop = stop or threading.Event()
    planes = color_planes(image)
    step = 2 if seeds.size > _HALVE_ABOVE else 1
    if step == 2:
        planes = halve(planes)
    pooled = smooth_within_edges(planes, planes, reach=REGION_REACH, contrast=REGION_CONTRAST)
    features = torch.cat([pixel_features(planes), rounded(pooled)])
    cells, classes = _samples(seeds, step, n_classes)
    scores = None if stop.is_set() else _tree_votes(features, cells, classes, n_classes, stop)
    if scores is None:
        return np.full((n_classes, *seeds.shape), 1 / n_classes, dtype=np.float32)
    scores = smooth_within_edges(scores, planes, reach=VOTE_REACH, contrast=VOTE_CONTRAST)
    if step == 2:
        height, width = seeds.shape
        scores = enlarge(scores, [2 * n for n in scores.shape[1:]])[:, :height, :width]
    sigma = (1 - FLOOR) * scores + FLOOR / n_classes
    result: npt.NDArray[np.float32] = (sigma / sigma.sum(0)).numpy()
    return result


def _samples(
    seeds: npt.NDArray[np.int64], step: int, n_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return flat grid indices and classes of the strokes, evenly thinned to the cap per class."""
    grid_width = -(-seeds.shape[1] // step)
    cells, classes = [], []
    for k in range(n_classes):
        rows, columns = np.nonzero(seeds == k)
        found = np.unique((rows // step) * grid_width + columns // step)
        kept = np.linspace(0, found.size - 1, min(found.size, _MAX_SAMPLES_PER_CLASS)).astype(np.int64)
        cells.append(found[kept])
        classes.append(np.full(kept.size, k, dtype=np.int64))
    return np.concatenate(cells), np.concatenate(classes)


def _tree_votes(
    features: Tensor,
    cells: npt.NDArray[np.int64],
    classes: npt.NDArray[np.int64],
    n_classes: int,
    stop: threading.Event,
) -> Tensor | None:
    """Return (K, H, W) float32 votes of trees fitted on the cells, or None when stopped."""
    columns = features.flatten(1).T.contiguous().numpy()
    samples = columns[cells]
    present, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    balanced = classes.size / counts[numbers]
    votes = np.zeros((columns.shape[0], present.size), dtype=np.float32)

    def fit(number: int) -> ExtraTreeClassifier:
        tree = ExtraTreeClassifier(max_features="sqrt", random_state=number)
        return tree.fit(samples, numbers, sample_weight=balanced)

    def predict(start: int) -> None:
        part = slice(start, start + _CHUNK)
        for tree in trees:
            if not stop.is_set():
                votes[part] += tree.predict_proba(columns[part], check_input=False)

    # Single trees in our own threads: scikit-learn's forest swaps the process's warning filters from its
    # threads, and adds up votes in the order they arrive, so that the last bits would differ between runs.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        trees = list(pool.map(fit, range(_TREES)))
        list(pool.map(predict, range(0, columns.shape[0], _CHUNK)))
    if stop.is_set():
        return None
    scores = torch.zeros(n_classes, *features.shape[1:])
    scores[present] = torch.from_numpy(votes).T.reshape(-1, *features.shape[1:]) / _TREES
    return scores
