"""Random changes keep image, strokes, mask and padding on the same pixels, and repeat exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional

from napari_softseg.errors import InputError
from napari_softseg.training.data import Sample, augment, collate, sample_generator, shrink
from napari_softseg.training.data.augment import flipped
from napari_softseg.training.data.samples import PADDING

SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 2**31 - 1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random_sample(seed: int, height: int, width: int, n_classes: int = 4, drawn: float = 0.2) -> Sample:
    """Noise, with strokes that agree with the mask where there is one."""
    generator = _generator(seed)
    truth = torch.randint(-1, n_classes, (height, width), generator=generator)
    keep = torch.rand(height, width, generator=generator) < drawn
    return Sample(
        "noise",
        torch.rand(3, height, width, generator=generator) * 255,
        torch.where(keep, truth, -1),
        truth,
        torch.ones(height, width, dtype=torch.bool),
    )


def _coordinates(height: int, width: int) -> Sample:
    """An image whose two channels are the row and the column of every pixel, and labels that say the same."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    number = rows * width + columns
    return Sample(
        "coordinates",
        torch.stack([rows, columns]).float(),
        torch.where(number % 3 == 0, number, -1),
        number,
        torch.ones(height, width, dtype=torch.bool),
    )


def _same(a: Sample, b: Sample) -> bool:
    assert a.truth is not None
    assert b.truth is not None
    pairs = [(a.image, b.image), (a.seeds, b.seeds), (a.truth, b.truth), (a.valid, b.valid)]
    return a.name == b.name and all(torch.equal(x, y) for x, y in pairs)


@given(SEEDS, SIZES, SIZES)
def test_mirroring_twice_changes_nothing(seed: int, height: int, width: int) -> None:
    sample = _random_sample(seed, height, width)
    assert _same(flipped(flipped(sample)), sample)
    assert torch.equal(flipped(sample).image, functional.horizontal_flip(sample.image))
    assert torch.equal(flipped(sample).seeds, functional.horizontal_flip(sample.seeds))


@settings(deadline=None)
@given(SEEDS, SIZES, SIZES, st.integers(1, 50))
def test_without_zoom_every_pixel_keeps_its_labels(seed: int, height: int, width: int, crop: int) -> None:
    """Image and labels both name the pixel they came from: they have to name the same one."""
    out = augment(_coordinates(height, width), _generator(seed), crop=crop, scale=(1.0, 1.0), blur=0.0)
    assert out.image.shape == (2, crop, crop)
    assert out.truth is not None
    inside = out.valid
    number = out.image[0] * width + out.image[1]
    assert torch.equal(number[inside].long(), out.truth[inside])
    assert torch.equal(torch.where(out.truth % 3 == 0, out.truth, -1)[inside], out.seeds[inside])
    # padding is constant, unlabelled and not valid; and there is no more of it than has to be
    assert (out.image[:, ~inside] == PADDING).all()
    assert (out.seeds[~inside] == -1).all()
    assert (out.truth[~inside] == -1).all()
    assert int(inside.sum()) == min(crop, height) * min(crop, width)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(8, 40), st.integers(8, 40), st.floats(0.4, 2.5))
def test_zoomed_labels_stay_on_their_pixels(seed: int, height: int, width: int, zoom: float) -> None:
    """Rows and columns are linear in the position, so that a resized image of them is still exact inside."""
    sample = replace(_coordinates(height, width), seeds=torch.full((height, width), -1))
    out = augment(sample, _generator(seed), crop=24, scale=(zoom, zoom), blur=0.0)
    assert out.truth is not None
    inner = (out.truth >= 0) & out.valid
    inner[[0, -1]] = inner[:, [0, -1]] = False
    rows, columns = (out.truth // width)[inner], (out.truth % width)[inner]
    # the nearest old pixel is at most half an old pixel away; the border of the window bends the image
    near_edge = ((out.image[0] < 2) | (out.image[1] < 2))[inner] | (rows < 2) | (columns < 2)
    near_edge |= (rows > height - 3) | (columns > width - 3)
    limit = 0.5 + 1.5 / zoom
    assert ((out.image[0][inner] - rows).abs()[~near_edge] <= limit).all()
    assert ((out.image[1][inner] - columns).abs()[~near_edge] <= limit).all()


@settings(deadline=None)
@given(SEEDS, SIZES, SIZES, st.integers(1, 40), st.booleans())
def test_seeds_lie_on_the_truth_of_their_class(
    seed: int, height: int, width: int, crop: int, around: bool
) -> None:
    sample = _random_sample(seed, height, width)
    out = augment(sample, _generator(seed), crop=crop, scale=(0.3, 2.0), around_strokes=around)
    assert out.truth is not None
    drawn = out.seeds >= 0
    assert torch.equal(out.seeds[drawn], out.truth[drawn])
    assert out.valid[drawn].all()
    known = set(sample.seeds.unique().tolist())
    assert set(out.seeds.unique().tolist()) <= known | {-1}


def _shrunk_by_brute_force(seeds: Tensor, height: int, width: int) -> list[list[set[int]]]:
    """Classes that the new pixel may have, by looking at every old one: the most frequent ones in it."""
    rows, columns = seeds.shape
    votes: list[list[list[int]]] = [[[] for _ in range(width)] for _ in range(height)]
    for y in range(rows):
        for x in range(columns):
            if seeds[y, x] >= 0:
                votes[int((y + 0.5) * height / rows)][int((x + 0.5) * width / columns)].append(
                    int(seeds[y, x])
                )
    return [
        [{c for c in cell if cell.count(c) == max(map(cell.count, cell))} for cell in row] for row in votes
    ]


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.integers(2, 30), st.integers(2, 30), st.integers(1, 29), st.floats(0.02, 0.9))
def test_shrinking_loses_no_stroke(seed: int, height: int, width: int, longest: int, drawn: float) -> None:
    sample = _random_sample(seed, height, width, drawn=drawn)
    small = shrink(sample, longest)
    if longest >= max(height, width):
        assert small is sample
        return
    assert max(small.seeds.shape) == longest
    expected = _shrunk_by_brute_force(sample.seeds, *small.seeds.shape)
    for y, row in enumerate(expected):
        for x, classes in enumerate(row):
            assert int(small.seeds[y, x]) in (classes or {-1, *_at_nearest(sample, small, y, x)})


def _at_nearest(sample: Sample, small: Sample, y: int, x: int) -> set[int]:
    """Return the class at the old pixel under the centre of a new one."""
    row = int((y + 0.5) * sample.seeds.shape[0] / small.seeds.shape[0])
    column = int((x + 0.5) * sample.seeds.shape[1] / small.seeds.shape[1])
    return {int(sample.seeds[row, column])}


def test_a_line_one_pixel_wide_stays_whole_where_nearest_loses_it() -> None:
    seeds = torch.full((64, 64), -1)
    seeds[33] = 2  # not a row that nearest takes at a quarter of the size
    sample = Sample("line", torch.zeros(1, 64, 64), seeds, None, torch.ones(64, 64, dtype=torch.bool))
    nearest = functional.resize(
        seeds[None], [16, 16], interpolation=functional.InterpolationMode.NEAREST_EXACT
    )
    assert (nearest < 0).all()
    small = shrink(sample, 16)
    assert (small.seeds[8] == 2).all()
    assert (small.seeds >= 0).sum() == 16


def test_an_image_is_shrunk_as_torchvision_does() -> None:
    sample = _random_sample(0, 33, 50)
    assert torch.equal(shrink(sample, 25).image, functional.resize(sample.image, [16, 25], antialias=True))


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(20, 60), st.integers(20, 60))
def test_a_crop_around_strokes_has_one(seed: int, height: int, width: int) -> None:
    sample = _random_sample(seed, height, width, drawn=0.0)
    row, column = seed % height, seed % width
    sample.seeds[row, column] = 3
    out = augment(sample, _generator(seed), crop=8, scale=(0.5, 2.0), around_strokes=True)
    assert (out.seeds == 3).any()


def test_crops_around_strokes_reach_every_class_alike() -> None:
    """One class has a thousand times more strokes; both must be met about as often."""
    seeds = torch.full((200, 200), -1)
    seeds[:20] = 0
    seeds[150, 150] = 1
    sample = Sample("two", torch.zeros(1, 200, 200), seeds, None, torch.ones(200, 200, dtype=torch.bool))
    rare = sum(
        bool((augment(sample, _generator(i), crop=16, around_strokes=True).seeds == 1).any())
        for i in range(200)
    )
    assert 70 <= rare <= 130  # 200 fair coins leave it once in 10 000


def test_a_crop_around_strokes_without_any_lies_anywhere() -> None:
    sample = _random_sample(0, 30, 30, drawn=0.0)
    assert augment(sample, _generator(1), crop=10, around_strokes=True).image.shape == (3, 10, 10)


def test_the_choices_have_their_chances() -> None:
    sample = _coordinates(12, 12)
    flips = [
        augment(sample, _generator(i), crop=12, scale=(1, 1), blur=0).image[1, 0, 0] > 0 for i in range(300)
    ]
    assert 110 <= sum(map(bool, flips)) <= 190
    zooms = [int(augment(sample, _generator(i), crop=40, blur=0).valid.sum()) ** 0.5 / 12 for i in range(300)]
    assert min(zooms) < 0.6
    assert max(zooms) > 1.9
    assert 1.15 < np.mean(zooms) < 1.35  # uniform in 0.5..2
    noise = _random_sample(0, 12, 12)
    sharp = augment(noise, _generator(0), crop=12, scale=(1, 1), flip=0, blur=0).image
    same = [
        torch.equal(augment(noise, _generator(i), crop=12, scale=(1, 1), flip=0).image, sharp)
        for i in range(300)
    ]
    assert 110 <= sum(same) <= 190


def test_blur_is_torchvisions_and_does_not_reach_into_the_padding() -> None:
    sample = replace(_random_sample(0, 10, 10), image=torch.full((3, 10, 10), 200.0))
    out = augment(sample, _generator(0), crop=20, scale=(1, 1), blur=1.0)
    assert torch.allclose(out.image[:, out.valid], torch.tensor(200.0))
    assert (out.image[:, ~out.valid] == PADDING).all()
    noise = _random_sample(1, 20, 20)
    blurred = augment(noise, _generator(3), crop=20, scale=(1, 1), flip=0, blur=1.0).image
    fits = [
        torch.allclose(blurred, functional.gaussian_blur(noise.image, [k, k], [s / 1000, s / 1000]), atol=0.5)
        for s in range(5, 1000, 5)
        for k in (2 * int(np.ceil(3 * s / 1000)) + 1,)
    ]
    assert any(fits)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_tiny_images_can_be_blurred_and_zoomed(size: tuple[int, int]) -> None:
    for i in range(20):
        assert augment(_random_sample(i, *size), _generator(i), crop=5, blur=1.0).image.shape == (3, 5, 5)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_sample_is_a_function_of_seed_epoch_and_index(seed: int, epoch: int, index: int) -> None:
    sample = _random_sample(0, 20, 30)
    torch.manual_seed(index)  # the global generator has no say
    first = augment(sample, sample_generator(seed, epoch, index), crop=16, around_strokes=True)
    torch.manual_seed(seed)
    again = augment(sample, sample_generator(seed, epoch, index), crop=16, around_strokes=True)
    assert _same(first, again)


def test_neighbouring_epochs_and_images_draw_different_numbers() -> None:
    draws = {float(torch.rand(1, generator=sample_generator(*key))) for key in np.ndindex(4, 4, 4)}
    assert len(draws) == 64


def test_the_sample_itself_is_left_alone() -> None:
    sample, copy = _random_sample(0, 20, 30), _random_sample(0, 20, 30)
    for i in range(10):
        augment(sample, _generator(i), crop=16)
    assert _same(sample, copy)


@pytest.mark.parametrize(("crop", "scale"), [(0, (1.0, 1.0)), (8, (0.0, 1.0)), (8, (2.0, 1.0))])
def test_impossible_sizes_are_refused(crop: int, scale: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="crop and scale to be positive"):
        augment(_random_sample(0, 9, 9), _generator(0), crop=crop, scale=scale)


def test_a_batch_holds_samples_of_different_sizes() -> None:
    small, large = _random_sample(0, 3, 9), _random_sample(1, 5, 4)
    batch = collate([small, replace(large, truth=None)])
    assert batch.images.shape == (2, 3, 5, 9)
    assert batch.truth is not None
    assert torch.equal(batch.images[0, :, :3], small.image)
    assert torch.equal(batch.seeds[1, :, :4], large.seeds)
    assert batch.valid.sum(dim=(1, 2)).tolist() == [27, 20]
    assert (batch.truth[1] == -1).all()
    assert (batch.seeds[~batch.valid] == -1).all()
    assert (batch.images.movedim(1, -1)[~batch.valid] == PADDING).all()


def test_a_batch_without_masks_has_none() -> None:
    assert collate([replace(_random_sample(0, 3, 3), truth=None)]).truth is None


def test_a_batch_needs_one_number_of_channels() -> None:
    grey = replace(_random_sample(0, 3, 3), name="grey", image=torch.zeros(1, 3, 3))
    with pytest.raises(InputError, match="grey has 1, but noise has 3"):
        collate([grey, _random_sample(0, 3, 3)])
    with pytest.raises(InputError, match="at least one sample"):
        collate([])
