"""Network and strokes make one guess: strokes reach what looks alike, and nothing else is unlearned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from napari_softseg.unary.classifier import ImageFeatures
from napari_softseg.unary.mixing import network_and_strokes

COLORS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


@pytest.fixture(scope="module")
def image() -> npt.NDArray[np.float32]:
    """(40, 160, 3): four stripes, red, green, blue and green again."""
    picture = np.repeat(np.array([COLORS[k] for k in (0, 1, 2, 1)], np.float32), 40, axis=0)
    noise = np.random.default_rng(0).normal(0, 6, (40, 160, 3))
    return np.clip(picture + noise, 0, 255).astype(np.float32)


def network_that_mistakes_green(sure: float = 0.9) -> npt.NDArray[np.float32]:
    """It takes the red and both green stripes for class 0, and knows the blue one."""
    network = np.full((3, 40, 160), (1 - sure) / 2, np.float32)
    network[0] = sure
    network[:, :, 80:120] = np.array([(1 - sure) / 2, (1 - sure) / 2, sure], np.float32)[:, None, None]
    return network


def guess(image: npt.NDArray[np.float32], strokes: dict[int, tuple[slice, slice]]) -> npt.NDArray[np.float32]:
    seeds = np.full((40, 160), -1, np.int64)
    for k, part in strokes.items():
        seeds[part] = k
    result = network_and_strokes(network_that_mistakes_green(), ImageFeatures(image, 1), seeds)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)
    return result


def test_without_strokes_the_network_decides_alone(image: npt.NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(guess(image, {}), network_that_mistakes_green())


def test_a_stroke_of_one_class_speaks_for_what_looks_alike(image: npt.NDArray[np.float32]) -> None:
    result = guess(image, {1: (slice(15, 25), slice(45, 75))})
    before = network_that_mistakes_green()
    far_green = (slice(5, 35), slice(130, 155))
    assert result[1][far_green].mean() > before[1][far_green].mean() + 0.15
    for k, part in ((0, (slice(5, 35), slice(5, 35))), (2, (slice(5, 35), slice(85, 115)))):
        assert (result.argmax(0)[part] == k).mean() > 0.95  # neither drawn, nor forgotten


def test_a_network_sure_of_nothing_leaves_it_to_the_strokes(image: npt.NDArray[np.float32]) -> None:
    seeds = np.full((40, 160), -1, np.int64)
    seeds[15:25, 5:35], seeds[15:25, 45:75] = 0, 1
    unsure = np.full((3, 40, 160), 1 / 3, np.float32)
    result = network_and_strokes(unsure, ImageFeatures(image, 1), seeds)
    assert (result.argmax(0)[:, :38] == 0).mean() > 0.95
    assert (result.argmax(0)[:, 125:] == 1).mean() > 0.95


@pytest.mark.parametrize("step", [1, 2])
def test_odd_sizes_and_a_single_class(image: npt.NDArray[np.float32], step: int) -> None:
    part = np.ascontiguousarray(image[:37, :39])
    seeds = np.full((37, 39), -1, np.int64)
    seeds[10:20, 10:20] = 0
    network = np.zeros((3, 37, 39), np.float32)
    network[0] = 1
    result = network_and_strokes(network, ImageFeatures(part, step), seeds)
    assert (result.argmax(0) == 0).all()


def test_a_class_new_to_the_network_is_where_its_strokes_say(image: npt.NDArray[np.float32]) -> None:
    """It was taught red and blue only, and takes green for red; one green stripe has a stroke, the other none."""
    network = network_that_mistakes_green()
    network[0] += network[1]
    network[1] = 0
    seeds = np.full((40, 160), -1, np.int64)
    seeds[15:25, 45:75] = 1
    result = network_and_strokes(network, ImageFeatures(image, 1), seeds, unknown=[1])
    np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)
    likely = result.argmax(0)
    assert result[1][5:35, 130:155].mean() > 0.3
    for k, columns in ((0, (5, 35)), (1, (45, 75)), (2, (85, 115))):
        assert (likely[5:35, slice(*columns)] == k).mean() > 0.95
    taught = network_and_strokes(network, ImageFeatures(image, 1), seeds)
    # were it one that the network knows, and never sees
    assert taught[1][5:35, 45:75].mean() < result[1][5:35, 45:75].mean() - 0.2
