"""The default unary: a pixel classifier fitted on the strokes."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import ExtraTreesClassifier
from torch.nn import functional as F  # noqa: N812

from napari_softseg.unary.features import color_planes, pixel_features

MAX_SAMPLES_PER_CLASS = 1000
"""Stroke pixels used per class: more cost time and hardly help."""

FLOOR = 0.02
"""Share of the uniform distribution mixed in, so that no class is ever ruled out."""

_GRID_ABOVE = 300 * 300
"""Images with more pixels are classified on a grid of every second pixel."""


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
        Intensities in 0..255.
    seeds : (H, W) int64 array
        Class index 0..n_classes-1 on strokes, -1 elsewhere; at least two classes have a stroke.
    n_classes : int
        K; a class without a stroke gets the floor only.
    stop : threading.Event, optional
        Set it from another thread to end early with the uniform distribution.

    Returns
    -------
    (K, H, W) float32 array
        Positive, and sums to 1 over K at every pixel. The same input gives the same output.
    """
    height, width = seeds.shape
    planes = color_planes(image)
    step = 2 if height * width > _GRID_ABOVE else 1
    if step == 2:
        planes = F.avg_pool2d(planes[None], 2, ceil_mode=True, count_include_pad=False)[0]
    features = pixel_features(planes)
    grid = features.shape[-2:]
    columns = features.flatten(1).T.contiguous().numpy()
    cells, classes = _samples(seeds, step, grid[1], n_classes)
    if stop is not None and stop.is_set():
        return np.full((n_classes, height, width), 1 / n_classes, dtype=np.float32)
    trees = ExtraTreesClassifier(50, min_samples_leaf=2, class_weight="balanced", n_jobs=2, random_state=0)
    trees.fit(columns[cells], classes)
    scores = torch.zeros(n_classes, *grid)
    scores[trees.classes_] = torch.from_numpy(trees.predict_proba(columns).T.reshape(-1, *grid)).float()
    if step == 2:
        scores = F.interpolate(scores[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
        scores = scores[:, :height, :width]
    sigma: npt.NDArray[np.float32] = ((1 - FLOOR) * scores + FLOOR / n_classes).numpy()
    return sigma


def _samples(
    seeds: npt.NDArray[np.int64], step: int, grid_width: int, n_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return flat grid indices and classes of the stroke pixels, evenly thinned to the cap per class."""
    cells, classes = [], []
    for k in range(n_classes):
        rows, columns = np.nonzero(seeds == k)
        found = np.unique((rows // step) * grid_width + columns // step)
        chosen = np.linspace(0, found.size - 1, min(found.size, MAX_SAMPLES_PER_CLASS)).astype(np.int64)
        cells.append(found[chosen])
        classes.append(np.full(chosen.size, k, dtype=np.int64))
    return np.concatenate(cells), np.concatenate(classes)
