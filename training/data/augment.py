"""Random changes of a sample that keep image, strokes, mask and padding together.

Mirroring, zoom, crop and blur of the paper's training (Zhang & Boykov 2025, appendix C). All labels
go through one map from new pixels to old ones, so that strokes and mask cannot come apart.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from napari_softseg.errors import InputError
from napari_softseg.models.torchvision_import import torchvision
from napari_softseg.training.data.samples import NO_CLASS, Sample, pad_to

LARGEST_SIGMA = 1.0
"""Standard deviation of the strongest blur, in pixels."""


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """Return the random generator of one image in one epoch: the same whatever process asks, and when."""
    state = np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def augment(
    sample: Sample,
    generator: torch.Generator,
    *,
    crop: int,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: float = 0.5,
    blur: float = 0.5,
    around_strokes: bool = False,
) -> Sample:
    """Return a random square of the sample, mirrored, zoomed and blurred at random.

    Parameters
    ----------
    sample
        Of any size.
    generator
        All that is random comes from it, by a fixed number of draws.
    crop
        Side of the result, in pixels. Where the zoomed image is smaller, the rest is padding.
    scale
        Least and largest zoom; every one between them is as likely.
    flip, blur
        Chances of mirroring left to right and of a Gaussian blur of up to one pixel.
    around_strokes
        Whether the square holds a stroke, that of every class of the sample as likely; without a stroke,
        and else, it lies anywhere.

    Returns
    -------
    Sample
        (C, crop, crop) and (crop, crop). No class of strokes inside the square is lost to a zoom below 1,
        unless a pixel that holds two of them has to choose; a seed that agreed with the truth still does.

    Raises
    ------
    InputError
        If `crop` or `scale` is not positive.
    """
    if crop < 1 or not 0 < scale[0] <= scale[1]:
        raise InputError(f"Expected crop and scale to be positive, but got {crop} and {scale}.")
    mirrored, zoomed, down, across, blurred, sigma, klass, stroke = torch.rand(
        8, generator=generator, dtype=torch.float64
    ).tolist()
    zoom = scale[0] + (scale[1] - scale[0]) * zoomed
    near = _pick_seed(sample.seeds, klass, stroke) if around_strokes else None
    row, rows, high = _window(sample.seeds.shape[0], crop, zoom, down, near[0] if near else None)
    column, columns, wide = _window(sample.seeds.shape[1], crop, zoom, across, near[1] if near else None)
    changed = _resized(_cut(sample, row, column, rows, columns), high, wide)
    if mirrored < flip:
        changed = flipped(changed)
    if blurred < blur:
        changed = replace(changed, image=_blurred(changed.image, LARGEST_SIGMA * sigma))
    # the same draw that places the window in a large image places a small image in the square
    return pad_to(changed, crop, crop, int(down * (crop - high + 1)), int(across * (crop - wide + 1)))


def flipped(sample: Sample) -> Sample:
    """Return the sample mirrored left to right."""
    return sample.each(lambda plane: plane.flip(-1))


def shrink(sample: Sample, longest: int) -> Sample:
    """Return the sample with its longer side at most `longest` pixels, strokes kept as `augment` keeps them."""
    height, width = sample.seeds.shape
    return _resized(sample, *shrunk_size(height, width, longest))


def shrunk_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return height and width with the longer one at most `longest`, in the same proportion."""
    zoom = min(1.0, longest / max(height, width))
    return max(1, round(height * zoom)), max(1, round(width * zoom))


def resized_image(image: Tensor, height: int, width: int) -> Tensor:
    """Return (..., C, H, W) in another size, smoothed where it shrinks."""
    resized: Tensor = torchvision("transforms.v2.functional").resize(image, [height, width], antialias=True)
    return resized


def _window(size: int, crop: int, zoom: float, draw: float, near: int | None) -> tuple[int, int, int]:
    """Return first pixel and length of the window along one axis, and the length it is resized to."""
    length = min(size, max(1, round(crop / zoom)))
    first, last = 0, size - length
    if near is not None:
        first, last = max(first, near - length + 1), min(last, near)
    resized = crop if length < size else min(crop, max(1, round(size * zoom)))
    return first + int(draw * (last - first + 1)), length, resized


def _pick_seed(seeds: Tensor, klass: float, stroke: float) -> tuple[int, int] | None:
    """Return row and column of a seed by two numbers in 0..1, each class as likely; None without seeds."""
    classes = seeds[seeds != NO_CLASS].unique()
    if not len(classes):
        return None
    places = (seeds == classes[int(klass * len(classes))]).nonzero()
    row, column = places[int(stroke * len(places))].tolist()
    return row, column


def _cut(sample: Sample, row: int, column: int, rows: int, columns: int) -> Sample:
    window = (..., slice(row, row + rows), slice(column, column + columns))
    return sample.each(lambda plane: plane[window])


def _resized(sample: Sample, height: int, width: int) -> Sample:
    if (height, width) == tuple(sample.seeds.shape):
        return sample
    image = resized_image(sample.image, height, width)
    source = _source_pixels(sample.seeds, height, width)
    return Sample(
        sample.name,
        image,
        sample.seeds.flatten()[source],
        None if sample.truth is None else sample.truth.flatten()[source],
        sample.valid.flatten()[source],
    )


def _source_pixels(seeds: Tensor, height: int, width: int) -> Tensor:
    """Return (height, width) flat positions in `seeds` of the pixel whose labels each new pixel takes.

    That is the nearest pixel, unless one of those that shrink into the new pixel has a stroke: then it is
    one of these, of the class that has most of them. So thin strokes survive, and mask and strokes are
    read at the same place.
    """
    rows, columns = seeds.shape
    down = ((torch.arange(height) + 0.5) * rows / height).long()
    across = ((torch.arange(width) + 0.5) * columns / width).long()
    source = down[:, None] * columns + across[None, :]
    y, x = (seeds != NO_CLASS).nonzero(as_tuple=True)
    if not len(y) or (height >= rows and width >= columns):
        return source
    # by the centre of each old pixel
    cells = (2 * y + 1) * height // (2 * rows) * width + (2 * x + 1) * width // (2 * columns)
    n_classes = int(seeds.max()) + 1
    votes, vote_of, counts = torch.unique(
        cells * n_classes + seeds[y, x], return_inverse=True, return_counts=True
    )
    voters = torch.zeros_like(votes)
    voters[vote_of] = y * columns + x  # any of them: they agree
    # by cell, and in a cell by votes: the last one of a cell wins
    order = torch.argsort(counts, stable=True)
    order = order[torch.argsort(votes[order] // n_classes, stable=True)]
    won = votes[order] // n_classes
    wins = torch.cat([won[1:] != won[:-1], torch.ones(1, dtype=torch.bool)])
    source.view(-1)[won[wins]] = voters[order[wins]]
    return source


def _blurred(image: Tensor, sigma: float) -> Tensor:
    # the kernel's radius may not reach the image's size, where the mirrored border ends
    radius = [min(math.ceil(3 * sigma), side - 1) for side in (image.shape[2], image.shape[1])]
    if sigma <= 0 or max(radius) < 1:
        return image
    functional = torchvision("transforms.v2.functional")
    smooth: Tensor = functional.gaussian_blur(image, [2 * r + 1 for r in radius], [sigma, sigma])
    return smooth
