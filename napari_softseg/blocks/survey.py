"""One look at the whole image and its strokes: what every block must know, and what is wrong.

It reads bands of full width, one at a time, so its memory does not grow with the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.blocks.source import Plane
from napari_softseg.blocks.tiling import SMALLEST, Tiling, Window
from napari_softseg.errors import InputError
from napari_softseg.solver.checks import (
    check_image_form,
    check_scribbles_form,
    checked_classes,
    class_seeds,
    not_finite,
    refuse_not_finite,
    stroke_values,
)
from napari_softseg.solver.intensity import IntensityRule, IntensitySurvey, fixed_rule
from napari_softseg.solver.solution import SolveProgress
from napari_softseg.unary.classifier import (
    ALIGNMENT,
    SAMPLES_PER_CLASS,
    ImageFeatures,
    Seeds,
    StrokeClassifier,
    stroke_cells,
)
from napari_softseg.unary.nearness import MOST_PIXELS, Nearness, nearness
from napari_softseg.unary.pretrained import PretrainedFeatures

_BAND_BYTES = 32_000_000
_BAND_ROWS = 512

_MARGIN = 256
"""Pixels around strokes after which the features on them are as in the whole image (they are rounded)."""

_PROBES, _PROBE = 4, 64
"""The image is told from another by windows of 64 x 64 pixels, on a 4 x 4 grid."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is solved, as planes of one size."""

    image: Plane
    scribbles: Plane
    mask: Plane | None
    unlabelled: int

    def check(self) -> None:
        """Raise InputError if shapes or dtypes do not fit together."""
        if self.scribbles.channels is not None:
            raise InputError(
                f"Blocks are cut from one plane, but the scribbles have shape {self.scribbles.shape}; "
                "solve a volume plane by plane, or in one piece."
            )
        check_image_form(self.image.shape, self.image.dtype)
        check_scribbles_form(self.scribbles.shape, self.image.size)
        if self.mask is not None and self.mask.shape != self.image.size:
            raise InputError(
                f"Expected a mask of size {self.image.size[0]} x {self.image.size[1]} like the image, "
                f"but got {self.mask.shape}."
            )

    def valid(self, window: Window) -> npt.NDArray[np.bool_] | None:
        """Return True on real pixels of a window; None without a mask."""
        if self.mask is None:
            return None
        inside: npt.NDArray[np.bool_] = self.mask.read(*window.slices) != 0
        return inside

    def seeds(self, window: Window, classes: tuple[int, ...]) -> Seeds:
        """Return the class indices of a window's strokes, -1 elsewhere."""
        strokes = self.scribbles.read(*window.slices)
        drawn, _ = stroke_values(strokes, self.unlabelled, self.valid(window))
        return class_seeds(strokes, drawn, classes)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the look at the whole image found."""

    classes: tuple[int, ...]
    """All class values, ascending."""
    rule: IntensityRule
    counts: dict[int, list[int]]
    """For every class value with strokes, in how many grid cells of each band."""
    hashes: dict[str, str]
    """Fingerprints of image, scribbles and mask."""


def iter_survey(
    inputs: Inputs, step: int, classes: Sequence[int] | None = None
) -> Generator[SolveProgress, None, Survey]:
    """Check image and strokes and find what all blocks must know; yields progress.

    Raises
    ------
    InputError
        On NaN or infinite pixels, wrong scribbles, too few classes, an empty mask.
    """
    inputs.check()
    rule = fixed_rule(inputs.image.dtype)
    intensities = IntensitySurvey(inputs.image.size)
    strokes_hash, mask_hash = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    bands = list(_bands(inputs))
    counts: dict[int, list[int]] = {}
    bad_pixels, first_bad = 0, (0, 0)
    mask_empty = True
    for number, band in enumerate(bands):
        yield SolveProgress("survey", number, len(bands))
        valid = inputs.valid(band)
        mask_empty = mask_empty and valid is not None and not valid.any()
        if valid is not None:
            mask_hash.update(np.packbits(valid).tobytes())
        strokes = inputs.scribbles.read(*band.slices)
        drawn, values = stroke_values(strokes, inputs.unlabelled, valid)
        strokes_hash.update(np.flatnonzero(drawn).tobytes() + strokes[drawn].astype(np.int64).tobytes())
        for value in values:
            cells = stroke_cells(drawn & (strokes == value), step)
            counts.setdefault(int(value), [0] * len(bands))[number] = len(cells)
        if rule is None:
            pixels = inputs.image.read(*band.slices)
            bad = not_finite(pixels, valid)
            if bad is None:
                intensities.add(pixels, band.top, band.left, valid)
            else:
                row, column = np.argwhere(bad)[0]
                first_bad = first_bad if bad_pixels else (band.top + int(row), int(column))
                bad_pixels += int(bad.sum())
    if bad_pixels:
        refuse_not_finite(bad_pixels, *first_bad)
    if mask_empty:
        raise InputError("The mask leaves no pixel; it must be true (non-zero) on the pixels to use.")
    return Survey(
        classes=checked_classes(np.array(sorted(counts)), inputs.unlabelled, classes),
        rule=rule or intensities.rule(inputs.image.dtype),
        counts=counts,
        hashes={
            "image": image_hash(inputs.image),
            "scribbles": strokes_hash.hexdigest(),
            "mask": "" if inputs.mask is None else mask_hash.hexdigest(),
        },
    )


def iter_fit(
    inputs: Inputs,
    survey: Survey,
    step: int,
    tiling: Tiling,
    halo: int,
    network: PretrainedFeatures | None = None,
) -> Generator[SolveProgress, None, tuple[StrokeClassifier, Nearness | None]]:
    """Fit the classifier on the strokes of the whole image, and find what is near to them; yields progress.

    It is fitted on the same grid cells as if the image came in one piece, and on the same features: trees
    that split a little differently would differ everywhere, not only at the seams. Patches of the image,
    no larger than a block with its halo, are read one at a time. Nearness looks at all of a small image at once;
    in others it counts for nothing (None).
    """
    side = max(SMALLEST, tiling.block + 2 * halo - 2 * _MARGIN)
    chosen = [np.zeros((0, 2), dtype=np.int64) for _ in survey.classes]
    for value in survey.counts:
        chosen[survey.classes.index(value)] = _chosen_cells(inputs, survey, value, step)
    cells = np.concatenate(chosen)
    rows: npt.NDArray[np.float32] | None = None
    places, patch_of = np.unique(cells // side, axis=0, return_inverse=True)
    for number in range(len(places)):
        yield SolveProgress("unary", number, len(places))
        here = patch_of == number
        (top, left), (bottom, right) = cells[here].min(axis=0), cells[here].max(axis=0) + 1
        around = Window(*_aligned(top, bottom), *_aligned(left, right)).widened(_MARGIN, tiling.size)
        pixels = inputs.image.read(*around.slices)
        intensity = survey.rule.apply(pixels, inputs.valid(around))
        features = ImageFeatures(intensity, step, network, (around.top, around.left))
        if rows is None:
            rows = np.empty((len(cells), features.columns.shape[1]), dtype=np.float32)
        inside = (cells[here] - [around.top, around.left]) // step
        rows[here] = features.columns[inside[:, 0] * -(-around.width // step) + inside[:, 1]]
    assert rows is not None
    ends = np.cumsum([len(part) for part in chosen])
    samples = np.split(rows, ends[:-1])
    classifier = StrokeClassifier.from_samples(samples)
    height, width = tiling.size
    if height * width > MOST_PIXELS:
        return classifier, None
    whole = Window(0, height, 0, width)
    intensity = survey.rule.apply(inputs.image.read(*whole.slices), inputs.valid(whole))
    seeds = inputs.seeds(whole, survey.classes)
    return classifier, nearness(intensity, seeds, samples, [part // step for part in chosen])


def _chosen_cells(inputs: Inputs, survey: Survey, value: int, step: int) -> npt.NDArray[np.int64]:
    """Return (n, 2): row and column of the evenly spaced grid cells of one class that trees are fitted on."""
    starts = np.concatenate([[0], np.cumsum(survey.counts[value])])
    ranks = np.linspace(0, starts[-1] - 1, min(int(starts[-1]), SAMPLES_PER_CLASS)).astype(np.int64)
    across = -(-inputs.image.size[1] // step)
    found = []
    for number, band in enumerate(_bands(inputs)):
        here = ranks[(ranks >= starts[number]) & (ranks < starts[number + 1])] - starts[number]
        if here.size:
            strokes = inputs.scribbles.read(*band.slices)
            drawn, _ = stroke_values(strokes, inputs.unlabelled, inputs.valid(band))
            cells = stroke_cells(drawn & (strokes == value), step)[here]
            found.append(np.stack([cells // across * step + band.top, cells % across * step], axis=1))
    return np.concatenate(found)


def _aligned(first: Any, last: Any) -> tuple[int, int]:
    """Return the span from `first` to `last`, extended to the classifier's grid."""
    return int(first) // ALIGNMENT * ALIGNMENT, -(-int(last) // ALIGNMENT) * ALIGNMENT


def _bands(inputs: Inputs) -> Iterator[Window]:
    height, width = inputs.image.size
    pixel = inputs.image.dtype.itemsize * (inputs.image.channels or 1) + inputs.scribbles.dtype.itemsize
    rows = max(4, min(_BAND_ROWS, _BAND_BYTES // (pixel * width)) // 4 * 4)
    for top in range(0, height, rows):
        yield Window(top, min(top + rows, height), 0, width)


def image_hash(image: Plane) -> str:
    """Return what tells an image from another: a hash of its shape, its dtype and some of its pixels."""
    found = hashlib.md5(f"{image.shape} {image.dtype.str}".encode(), usedforsecurity=False)
    for row in range(_PROBES):
        for column in range(_PROBES):
            top, left = (n * i // _PROBES for n, i in zip(image.size, (row, column), strict=True))
            found.update(image.read(slice(top, top + _PROBE), slice(left, left + _PROBE)).tobytes())
    return found.hexdigest()
