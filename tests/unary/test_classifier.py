"""The default unary: a distribution at every pixel, exact repeats, and the right class on easy images."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes, binary_opening
from skimage import data
from skimage.filters import gaussian, sobel
from skimage.io import imread
from skimage.segmentation import watershed

from napari_softseg.unary.classifier import (
    ALIGNMENT,
    FLOOR,
    ImageFeatures,
    StrokeClassifier,
    classify_strokes,
    grid_step,
)

Seeds = npt.NDArray[np.int64]
Image = npt.NDArray[np.float32]
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "gallery"


def random_task(height: int, width: int, channels: int, classes: int, seed: int = 0) -> tuple[Image, Seeds]:
    """Return a noise image and one-pixel strokes, at least one for two of the classes."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 255, (height, width, channels)).astype(np.float32)
    seeds = np.full(height * width, -1, dtype=np.int64)
    places = rng.choice(seeds.size, min(seeds.size, 2 * classes), replace=False)
    seeds[places] = np.arange(places.size) % classes
    return image, seeds.reshape(height, width)


def assert_distribution(sigma: npt.NDArray[np.float32], classes: int, shape: tuple[int, ...]) -> None:
    assert sigma.shape == (classes, *shape)
    assert sigma.dtype == np.float32
    assert sigma.flags.c_contiguous
    assert np.isfinite(sigma).all()
    assert sigma.min() >= 0.99 * FLOOR / classes
    np.testing.assert_allclose(sigma.sum(axis=0), 1, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    channels=st.sampled_from([1, 2, 3, 5]),
    classes=st.integers(2, 8),
    seed=st.integers(0, 1000),
)
def test_distribution_for_any_size_channels_and_classes(
    height: int, width: int, channels: int, classes: int, seed: int
) -> None:
    image, seeds = random_task(height, width, channels, classes, seed)
    assert_distribution(classify_strokes(image, seeds, classes), classes, (height, width))


@pytest.mark.parametrize("shape", [(301, 303), (1000, 101), (2, 60_000)])
def test_distribution_on_images_classified_at_every_second_pixel(shape: tuple[int, int]) -> None:
    image, seeds = random_task(*shape, channels=3, classes=3)
    assert_distribution(classify_strokes(image, seeds, 3), 3, shape)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_image_says_nothing(value: float, channels: int) -> None:
    image = np.full((40, 50, channels), value, dtype=np.float32)
    seeds = np.full((40, 50), -1, dtype=np.int64)
    seeds[5, 5:15], seeds[30, 5:45] = 0, 1
    sigma = classify_strokes(image, seeds, 2)
    assert_distribution(sigma, 2, (40, 50))
    np.testing.assert_allclose(sigma, 0.5, atol=1e-3)


def test_class_without_a_stroke_gets_the_floor() -> None:
    image, seeds = random_task(60, 60, 3, 4)
    seeds[seeds == 2] = -1
    sigma = classify_strokes(image, seeds, 4)
    np.testing.assert_allclose(sigma[2], FLOOR / 4, rtol=1e-3)


def test_hardly_more_stroke_pixels_than_classes() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (30, 40, 3)).astype(np.float32)
    seeds = np.full(1200, -1, dtype=np.int64)
    seeds[rng.choice(1200, 45, replace=False)] = np.arange(45) % 40
    sigma = classify_strokes(image, seeds.reshape(30, 40), 40)  # warnings are errors here
    assert_distribution(sigma, 40, (30, 40))


@pytest.mark.parametrize("side", [80, 400])
def test_same_input_same_bits(side: int) -> None:
    image, seeds = random_task(side, side, 3, 4)
    before, strokes = image.copy(), seeds.copy()
    first = classify_strokes(image, seeds, 4)
    assert np.array_equal(first, classify_strokes(image, seeds, 4))
    assert np.array_equal(image, before)
    assert np.array_equal(seeds, strokes)


def test_an_image_changed_in_place_is_seen_anew() -> None:
    image, seeds = textures()
    first = classify_strokes(image, seeds, 3)
    changed = image[:, ::-1].copy()
    image[:] = changed
    again = classify_strokes(image, seeds, 3)
    assert not np.array_equal(again, first)
    assert np.array_equal(again, classify_strokes(changed, seeds, 3))


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1)])
def test_numbering_of_the_classes_does_not_matter(order: tuple[int, ...]) -> None:
    image, seeds = textures()
    renumbered = np.where(seeds < 0, -1, np.asarray(order)[seeds])
    sigma, other = classify_strokes(image, seeds, 3), classify_strokes(image, renumbered, 3)
    np.testing.assert_allclose(other[list(order)], sigma, atol=1e-5)


def test_stop_returns_the_uniform_distribution_at_once() -> None:
    image, seeds = random_task(80, 80, 3, 4)
    stop = threading.Event()
    stop.set()
    np.testing.assert_array_equal(classify_strokes(image, seeds, 4, stop=stop), np.float32(0.25))


def textures() -> tuple[Image, Seeds]:
    """Return three bands of one mean grey that differ in grain alone, with a short stroke in each."""
    rng = np.random.default_rng(0)
    bands = []
    for width in (0, 1.5, 4):
        grain = gaussian(rng.normal(size=(240, 80)), width) if width else rng.normal(size=(240, 80))
        bands.append(128 + 30 * grain / grain.std())
    seeds = np.full((240, 240), -1, dtype=np.int64)
    for k in range(3):
        seeds[100:140, 80 * k + 35 : 80 * k + 40] = k
    return np.hstack(bands)[..., np.newaxis].astype(np.float32), seeds


def test_tells_textures_of_the_same_mean_apart() -> None:
    image, seeds = textures()
    truth = np.repeat([0, 1, 2], 80)[np.newaxis]
    found = classify_strokes(image, seeds, 3).argmax(axis=0)
    assert (found == truth).mean() > 0.93


def coins() -> tuple[Image, Seeds, npt.NDArray[np.bool_]]:
    """Return the coins, strokes drawn by hand on two of them and on the table, and where the coins are."""
    gray = data.coins()
    markers = np.zeros(gray.shape, dtype=int)
    markers[gray < 30], markers[gray > 150] = 1, 2
    truth = binary_opening(binary_fill_holes(watershed(sobel(gray), markers) == 2), iterations=4)
    seeds = np.full(gray.shape, -1, dtype=np.int64)
    seeds[48:60, 34:54] = 1
    seeds[110:126, 258:282] = 1
    seeds[79:82, 20:370] = 0
    seeds[150:153, 20:300] = 0
    seeds[223:226, 20:370] = 0
    return gray[..., np.newaxis].astype(np.float32), seeds, truth


def iou(found: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def test_finds_all_coins_from_strokes_on_two() -> None:
    image, seeds, truth = coins()
    assert iou(classify_strokes(image, seeds, 2)[1] > 0.5, truth) > 0.75


def test_strokes_spread_over_patches_fit_the_same_classifier() -> None:
    image, seeds, _ = coins()
    features = ImageFeatures(image, grid_step(*seeds.shape))
    upper, lower = seeds.copy(), seeds.copy()
    upper[140:], lower[:140] = -1, -1
    split = StrokeClassifier.fit([(features, upper), (features, lower)], 2)
    assert np.array_equal(split.predict(features), classify_strokes(image, seeds, 2))


def test_blocks_with_halo_answer_like_the_whole_image() -> None:
    image, seeds, _ = coins()
    height, width = seeds.shape
    step, halo, cut = grid_step(height, width), 24 * ALIGNMENT, 48 * ALIGNMENT
    parts = [slice(0, cut + halo), slice(cut - halo, width)]
    patches = [ImageFeatures(image[:, part], step) for part in parts]
    own = [seeds[:, part].copy() for part in parts]
    own[0][:, cut:], own[1][:, :halo] = -1, -1
    classifier = StrokeClassifier.fit(zip(patches, own, strict=True), 2)
    left, right = (classifier.predict(patch)[1] for patch in patches)
    joined = np.hstack([left[:, :cut], right[:, halo:]])
    whole = classify_strokes(image, seeds, 2)[1]
    assert np.abs(joined - whole).mean() < 0.02
    assert ((joined > 0.5) == (whole > 0.5)).mean() > 0.98


def test_a_few_wrong_stroke_pixels_change_little() -> None:
    image, seeds, truth = coins()
    clean = classify_strokes(image, seeds, 2)[1] > 0.5
    rng = np.random.default_rng(0)
    wrong = (rng.random(seeds.shape) < 0.05) & (seeds >= 0)
    noisy = classify_strokes(image, np.where(wrong, 1 - seeds, seeds), 2)[1] > 0.5
    assert iou(noisy, truth) > iou(clean, truth) - 0.05


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/gallery")
def test_real_strokes_on_a_real_photo() -> None:
    name = "voc_2007_000032_scribblesup"
    image = imread(REAL / "images" / f"{name}.jpg").astype(np.float32)
    scribbles, truth = (imread(REAL / kind / f"{name}.png") for kind in ("scribbles", "masks"))
    sigma = classify_strokes(image, np.where(scribbles == 255, -1, scribbles.astype(np.int64)), 3)
    known = truth != 255
    assert (sigma.argmax(axis=0) == truth)[known].mean() > 0.85


def test_the_number_of_torchs_threads_stays() -> None:
    image, seeds = random_task(40, 40, 3, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        classify_strokes(image, seeds, 2)
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
