"""Nearness decides between classes that look alike, and keeps out of it where looks tell them apart."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_softseg import solve
from napari_softseg.unary import nearness as module
from napari_softseg.unary.classifier import FLOOR, classify_strokes, features_of, stroke_cells
from napari_softseg.unary.nearness import Nearness, looks_and_nearness, nearness

Image = npt.NDArray[np.float32]
Seeds = npt.NDArray[np.int64]


def near_of(image: Image, seeds: Seeds, n_classes: int) -> Nearness:
    """Return what the places say, the samples taken as for an image that is classified at every pixel."""
    features = features_of(image)
    assert features.step == 1
    cells = [stroke_cells(seeds == k, 1) for k in range(n_classes)]
    places = [np.stack(np.divmod(part, seeds.shape[1]), axis=1) for part in cells]
    return nearness(image, seeds, [features.columns[part] for part in cells], places)


def two_strokes(height: int = 60, width: int = 120) -> Seeds:
    """Class 0 drawn down at a sixth of the width, class 1 at five sixths."""
    seeds = np.full((height, width), -1, np.int64)
    seeds[10 : height - 10, width // 6] = 0
    seeds[10 : height - 10, width * 5 // 6] = 1
    return seeds


def noise(height: int = 60, width: int = 120) -> Image:
    return np.random.default_rng(0).normal(120, 5, (height, width, 3)).astype(np.float32)


def test_the_nearer_stroke_decides_where_classes_look_alike() -> None:
    image, seeds = noise(), two_strokes()
    looks, both = classify_strokes(image, seeds, 2), looks_and_nearness(image, seeds, 2)
    assert both[0, :, :50].mean() > looks[0, :, :50].mean() + 0.05
    assert both[1, :, 70:].mean() > looks[1, :, 70:].mean() + 0.05
    labels = solve(np.full((60, 120), 100, np.uint8), np.where(seeds < 0, 0, seeds + 1)).labels
    assert (labels[:, :50] == 1).mean() > 0.95
    assert (labels[:, 70:] == 2).mean() > 0.95


def test_nearness_keeps_out_of_it_where_looks_tell_the_classes_apart() -> None:
    seeds, image = two_strokes(), noise()
    image[:, 60:80] -= 80  # looks like class 1, is nearer to class 1
    image[:, 40:50] -= 80  # looks like class 1, is nearer to class 0
    image[:, 95:105] -= 80
    assert near_of(image, seeds, 2).share < 0.02
    np.testing.assert_allclose(
        looks_and_nearness(image, seeds, 2), classify_strokes(image, seeds, 2), atol=0.02
    )


def test_the_less_the_classifier_is_trusted_the_fewer_strokes_there_are() -> None:
    image, one = noise(), two_strokes()
    many = one.copy()
    many[20:24] = many[36:40] = -1  # the same lines, each in three strokes
    shares = [near_of(image, seeds, 2).share for seeds in (one, many)]
    assert 0.15 < shares[0] < 0.35  # a mere guess is right in half of all cases: (1 - 1/2) / 2
    assert shares[1] < 0.7 * shares[0]


def test_edges_hold_classes_back() -> None:
    image, seeds = np.full((60, 128, 1), 100, np.float32), np.full((60, 128), -1, np.int64)
    seeds[10:50, 8], seeds[10:50, 40] = 0, 1
    assert near_of(image, seeds, 2).labels[0, 30, 28] < 0.45
    image[:, 32:] = 200
    labels = near_of(image, seeds, 2).labels[0]
    assert labels[30, 28] > 0.6  # nearer to class 1, but on this side of the edge
    assert labels[30, 33] < 0.1


def test_far_from_all_strokes_nearness_says_nothing() -> None:
    image, seeds = np.full((60, 128, 1), 100, np.float32), np.full((60, 128), -1, np.int64)
    seeds[10:50, 8], seeds[10:50, 40] = 0, 1
    labels = near_of(image, seeds, 2).labels[1]
    assert labels[30, 45] > 0.8
    np.testing.assert_allclose(labels[:, 110:], 0.5, atol=0.02)


def test_strokes_are_found_in_cells_of_several_pixels() -> None:
    image, seeds = noise(270, 260), np.full((270, 260), -1, np.int64)
    seeds[5, 3:9], seeds[260:268, 255] = 0, 1
    near = near_of(image, seeds, 2)
    assert (near.cell, near.labels.shape) == (3, (2, 90, 87))
    assert near.labels[0, 1, 1] == 1
    assert near.labels[1, 88, 85] == 1


def test_a_part_of_an_image_is_mixed_as_in_the_whole() -> None:
    rng = np.random.default_rng(1)
    near = Nearness(0.3, rng.dirichlet(np.ones(3), (9, 11)).astype(np.float32).transpose(2, 0, 1).copy(), 7)
    sigma = rng.dirichlet(np.ones(3), (63, 77)).astype(np.float32).transpose(2, 0, 1).copy()
    rows, columns = slice(21, 55), slice(40, 77)
    whole = near.mixed(sigma, slice(0, 63), slice(0, 77))
    part = near.mixed(sigma[:, rows, columns].copy(), rows, columns)
    assert np.array_equal(part, whole[:, rows, columns])
    np.testing.assert_allclose(whole.sum(0), 1, atol=1e-5)
    at_a_middle = (whole - 0.7 * sigma)[:, 10, 17] / 0.3
    np.testing.assert_allclose(at_a_middle, near.labels[:, 1, 2], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(2, 150),
    channels=st.sampled_from([1, 3, 5]),
    drawn=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_distribution_for_any_size(height: int, width: int, channels: int, drawn: int, seed: int) -> None:
    """One class more than is drawn; many have a single pixel, which has no other half."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 255, (height, width, channels)).astype(np.float32)
    seeds = np.full(height * width, -1, np.int64)
    places = rng.choice(seeds.size, min(seeds.size, drawn + seed % 20), replace=False)
    seeds[places] = np.arange(places.size) % drawn
    sigma = looks_and_nearness(image, seeds.reshape(height, width), drawn + 1)
    assert sigma.shape == (drawn + 1, height, width)
    assert sigma.dtype == np.float32
    assert sigma.min() >= 0.49 * FLOOR / (drawn + 1)
    np.testing.assert_allclose(sigma.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(sigma, looks_and_nearness(image, seeds.reshape(height, width), drawn + 1))


def test_in_large_images_the_classifier_decides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 60 * 120 - 1)
    image, seeds = noise(), two_strokes()
    assert np.array_equal(looks_and_nearness(image, seeds, 2), classify_strokes(image, seeds, 2))


def test_stop_ends_early() -> None:
    stop = threading.Event()
    stop.set()
    sigma = looks_and_nearness(noise(), two_strokes(), 2, stop=stop)
    np.testing.assert_allclose(sigma, 0.5)


def test_a_class_whose_strokes_are_outnumbered_in_every_cell_keeps_its_places() -> None:
    image, seeds = noise(256, 256), np.full((256, 256), -1, np.int64)
    image[:, 128:] += 60
    seeds[100, 100], seeds[100, 101] = 0, 1  # cells are of 2 x 2 pixels
    seeds[10:20, 200] = 2
    near = near_of(image, seeds, 3)
    assert near.share == 0
    np.testing.assert_array_equal(looks_and_nearness(image, seeds, 3), classify_strokes(image, seeds, 3))


def test_dots_of_a_pixel_leave_looks_the_chance_of_a_guess() -> None:
    image, seeds = noise(), np.full((60, 120), -1, np.int64)
    seeds[30, 20], seeds[30, 100] = 0, 1
    assert near_of(image, seeds, 2).share == pytest.approx((1 - 1 / 2) / (1 + 1))
    seeds[20:40, 20] = 0  # that a long stroke foretells itself says nothing of the dot
    assert near_of(image, seeds, 2).share > (1 - (1 + 1 / 2) / 2) / (1 + 1)
