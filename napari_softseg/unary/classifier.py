"""The default unary: a pixel classifier fitted on the strokes.

Extremely randomised trees (Geurts et al., 2006) on colour and derivatives at four scales, then averaged
within the image's regions. It runs after every stroke, so images above a certain size are classified
at every second pixel, and the strokes are thinned.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.tree import ExtraTreeClassifier
from torch import Tensor

from napari_softseg.threads import lone_workers
from napari_softseg.unary.features import color_planes, enlarge, halve, pixel_features, rounded
from napari_softseg.unary.smoothing import smooth_within_edges

if TYPE_CHECKING:  # the models, which the classifier alone does not need
    from napari_softseg.unary.pretrained import PretrainedFeatures

FLOOR = 0.02
"""Share of the uniform distribution mixed in, so that no class is ever ruled out."""

REGION_REACH, REGION_CONTRAST = 20.0, 30.0
"""Averaging of the colours, which gives the trees the colour of a pixel's region as well; in grid pixels
and in colour jumps summed over planes of 0..100 (:mod:`napari_softseg.unary.smoothing`)."""

VOTE_REACH, VOTE_CONTRAST = 80.0, 15.0
"""Averaging of the trees' votes, in the same units: far, and sharp at edges."""

ALIGNMENT = 4
"""Blocks of an image see the same grid as the whole when they start at multiples of this many pixels."""

_TREES = 50
_FIRST_TREES, _SURE = 16, 0.97
"""Where so many trees agree in so large a share, the others are not asked."""

SAMPLES_PER_CLASS = 1000
"""Most grid pixels of a class's strokes that the trees are fitted on, evenly spaced in reading order."""

_SAMPLES_PER_TREE = 250
"""Of every class."""
_HALVE_ABOVE = 300 * 300
_CHUNK = 16_384
_KEEP_UP_TO = 3 * 2048 * 2048
"""Features are kept for images of at most so many values: about 40 bytes a pixel, 110 with a network's."""

Seeds = npt.NDArray[np.int64]


def grid_step(height: int, width: int) -> int:
    """Return 2 where an image is so large that every second pixel is classified, else 1.

    A decision about the whole image: all of its blocks take the same step.
    """
    return 2 if height * width > _HALVE_ABOVE else 1


class ImageFeatures:
    """What the classifier sees of an image; depends on no stroke, so it serves until the image changes.

    Parameters
    ----------
    image : (H, W, C) float32 array
        Intensities in 0..255; three channels are taken as sRGB.
    step : int
        1, or 2 to classify every second pixel (:func:`grid_step` of the whole image).
    network : PretrainedFeatures, optional
        Its features stand beside the classifier's own.
    origin : (int, int)
        Row and column of the image's first pixel in the image that it is a block of.
    """

    def __init__(
        self,
        image: npt.NDArray[np.float32],
        step: int,
        network: PretrainedFeatures | None = None,
        origin: tuple[int, int] = (0, 0),
    ) -> None:
        self.size: tuple[int, int] = image.shape[:2]
        self.step = step
        with lone_workers(min(2, torch.get_num_threads())) as pool:
            self.planes = pool.submit(_grid_planes, image, step).result()
            """(C, h, w) float32 colours on the grid."""
            pooled = pool.submit(
                smooth_within_edges, self.planes, self.planes, reach=REGION_REACH, contrast=REGION_CONTRAST
            )
            local = pool.submit(pixel_features, self.planes)
            learned = () if network is None else (network.features(image, step, origin, pool),)
            self.columns = pool.submit(_columns, local.result(), pooled.result(), *learned).result()
            """(h * w, F) float32: the features of every grid pixel."""


def _grid_planes(image: npt.NDArray[np.float32], step: int) -> Tensor:
    planes = color_planes(image)
    return halve(planes) if step == 2 else planes


def _columns(local: Tensor, pooled: Tensor, *learned: Tensor) -> npt.NDArray[np.float32]:
    parts = [local, rounded(pooled), *learned]
    columns = np.empty((local[0].numel(), sum(map(len, parts))), dtype=np.float32)
    end = 0
    for part in parts:
        begin, end = end, end + len(part)
        columns[:, begin:end] = part.flatten(1).T.numpy()
    return columns


@dataclass(frozen=True, slots=True)
class StrokeClassifier:
    """Trees fitted on strokes; :meth:`predict` takes any image, or block of an image, of the same kind."""

    n_classes: int
    present: npt.NDArray[np.int64]
    """Class indices that have a stroke, ascending."""
    trees: list[ExtraTreeClassifier]

    @classmethod
    def fit(cls, patches: Iterable[tuple[ImageFeatures, Seeds]], n_classes: int) -> StrokeClassifier:
        """Return a classifier fitted on the strokes of one or more patches, read one at a time.

        Parameters
        ----------
        patches : iterable of (ImageFeatures, (H, W) int64 array)
            All of one grid step. The seeds are the class index 0..n_classes-1 on strokes, -1 elsewhere;
            where patches overlap, seeds belong in one of them only. At least one stroke in all.
        n_classes : int
            K; a class without a stroke gets the floor only.
        """
        found: list[list[npt.NDArray[np.float32]]] = [[] for _ in range(n_classes)]
        for features, seeds in patches:
            for k in range(n_classes):
                cells = thinned(stroke_cells(seeds == k, features.step))
                found[k].append(features.columns[cells])
        return cls.from_samples([thinned(np.concatenate(parts)) for parts in found])

    @classmethod
    def from_samples(
        cls, samples: Sequence[npt.NDArray[np.float32]], *, trees: int = _TREES
    ) -> StrokeClassifier:
        """Return a classifier fitted on (n, F) feature rows, one array per class; not all are empty."""
        present = np.array([k for k, part in enumerate(samples) if len(part)])

        def grown(number: int) -> ExtraTreeClassifier:
            # each tree sees every n-th sample: as good a vote from many small trees as from large ones
            steps = [-(-len(samples[k]) // _SAMPLES_PER_TREE) for k in present]
            parts = [samples[k][number % step :: step] for k, step in zip(present, steps, strict=True)]
            if 2 * present.size > sum(map(len, parts)):
                # scikit-learn warns of so many classes; every row twice grows the same tree
                parts = [np.repeat(part, 2, axis=0) for part in parts]
            counts = [len(part) for part in parts]
            tree = ExtraTreeClassifier(max_features="sqrt", random_state=number)
            return tree.fit(
                np.concatenate(parts),
                np.repeat(np.arange(present.size), counts),
                sample_weight=np.repeat(sum(counts) / np.array(counts), counts),
                check_input=False,
            )

        # Single trees in our own threads: scikit-learn's forest swaps the process's warning filters from
        # its threads, and adds up votes in the order they arrive, so that the last bits would differ.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return cls(len(samples), present, list(pool.map(grown, range(trees))))

    def predict(
        self, features: ImageFeatures, *, stop: threading.Event | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the (K, H, W) float32 class distribution of every pixel: positive, sums to 1 over K.

        The same input gives exactly the same output; `stop` ends early with the uniform distribution.
        """
        stop = stop or threading.Event()
        height, width = features.size
        scores = self._votes(features, stop)
        if stop.is_set():
            return np.full((self.n_classes, height, width), 1 / self.n_classes, dtype=np.float32)
        with lone_workers(1) as pool:
            return pool.submit(self._distributions, scores, features).result()

    def votes(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the trees' mean votes for the classes `present`, (n, classes), on (n, F) feature rows."""
        return _votes_of(self.trees, rows, threading.Event()) / np.float32(len(self.trees))

    def _distributions(self, scores: Tensor, features: ImageFeatures) -> npt.NDArray[np.float32]:
        height, width = features.size
        scores = smooth_within_edges(scores, features.planes, reach=VOTE_REACH, contrast=VOTE_CONTRAST)
        sigma = (1 - FLOOR) * scores + FLOOR / self.n_classes
        sigma = sigma / sigma.sum(0)
        if features.step == 2:
            sigma = enlarge(sigma, [2 * n for n in sigma.shape[1:]])[:, :height, :width].contiguous()
        result: npt.NDArray[np.float32] = sigma.numpy()
        return result

    def _votes(self, features: ImageFeatures, stop: threading.Event) -> Tensor:
        """Return the (K, h, w) float32 mean of the trees' votes on the grid."""
        columns = features.columns
        votes = np.zeros((columns.shape[0], self.present.size), dtype=np.float32)

        def add(start: int) -> None:
            part = columns[start : start + _CHUNK]
            first = _votes_of(self.trees[:_FIRST_TREES], part, stop)
            unsure = np.flatnonzero(first.max(1) < _SURE * _FIRST_TREES)
            total = first * np.float32(_TREES / _FIRST_TREES)
            total[unsure] = first[unsure] + _votes_of(self.trees[_FIRST_TREES:], part[unsure], stop)
            votes[start : start + _CHUNK] = total

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(add, range(0, columns.shape[0], _CHUNK)))
        grid = features.planes.shape[1:]
        scores = torch.zeros(self.n_classes, *grid)
        scores[self.present] = torch.from_numpy(votes).T.reshape(-1, *grid) / _TREES
        return scores


def _votes_of(
    trees: list[ExtraTreeClassifier], columns: npt.NDArray[np.float32], stop: threading.Event
) -> npt.NDArray[np.float32]:
    """Return the sum of the trees' votes, (n, classes) float32."""
    votes = np.zeros((columns.shape[0], trees[0].n_classes_), dtype=np.float32)
    for tree in trees:
        if not stop.is_set():
            votes += tree.tree_.predict(columns)  # without the checks, which cost as much on a chunk
    return votes


def classify_strokes(
    image: npt.NDArray[np.float32],
    seeds: Seeds,
    n_classes: int,
    *,
    network: PretrainedFeatures | None = None,
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
    network : PretrainedFeatures, optional
        Its features stand beside the classifier's own.
    stop : threading.Event, optional
        Set it from another thread to end early with the uniform distribution.

    Returns
    -------
    (K, H, W) float32 array
        Positive, sums to 1 over K at every pixel. The same input gives exactly the same output.
    """
    if stop is not None and stop.is_set():
        return np.full((n_classes, *seeds.shape), 1 / n_classes, dtype=np.float32)
    features = features_of(image, network)
    return StrokeClassifier.fit([(features, seeds)], n_classes).predict(features, stop=stop)


def classify_planes(
    volume: npt.NDArray[np.float32],
    seeds: Seeds,
    n_classes: int,
    *,
    network: PretrainedFeatures | None = None,
    stop: threading.Event | None = None,
) -> npt.NDArray[np.float32]:
    """Do what :func:`classify_strokes` does for a volume: one classifier, fitted on all planes with strokes.

    Parameters
    ----------
    volume : (D, H, W, C) float32 array
    seeds : (D, H, W) int64 array
    n_classes : int
    network : PretrainedFeatures, optional
    stop : threading.Event, optional

    Returns
    -------
    (K, D, H, W) float32 array
    """
    stop = stop or threading.Event()
    result = np.full((n_classes, *seeds.shape), 1 / n_classes, dtype=np.float32)
    if stop.is_set():
        return result
    step = grid_step(*seeds.shape[1:])
    drawn = np.flatnonzero((seeds >= 0).any((1, 2)))
    patches = ((ImageFeatures(volume[plane], step, network), seeds[plane]) for plane in drawn)
    classifier = StrokeClassifier.fit(patches, n_classes)
    for number, plane in enumerate(volume):
        if not stop.is_set():
            result[:, number] = classifier.predict(ImageFeatures(plane, step, network), stop=stop)
    return result


_last: list[tuple[npt.NDArray[np.float32], PretrainedFeatures | None, ImageFeatures]] = []


def features_of(image: npt.NDArray[np.float32], network: PretrainedFeatures | None = None) -> ImageFeatures:
    """Return the image's features; those of the last image are kept, for its next stroke."""
    for known, by, features in _last:
        if by is network and np.array_equal(known, image):
            return features
    features = ImageFeatures(image, grid_step(*image.shape[:2]), network)
    if image.size <= _KEEP_UP_TO:
        _last[:] = [(image.copy(), network, features)]
    return features


def stroke_cells(painted: npt.NDArray[np.bool_], step: int) -> npt.NDArray[np.int64]:
    """Return the flat indices, ascending, of the grid pixels that a class's strokes touch."""
    rows, columns = np.nonzero(painted)
    return np.unique((rows // step) * -(-painted.shape[1] // step) + columns // step)


def thinned(found: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the cap per class of the rows, evenly spaced."""
    count = min(found.shape[0], SAMPLES_PER_CLASS)
    return found[np.linspace(0, found.shape[0] - 1, count).astype(np.int64)]
