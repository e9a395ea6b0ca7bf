"""Class colours stay apart; soft labels become the right mixture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from skimage.color import rgb2lab

from napari_softseg.colors import DEFAULT_COLORS, class_color, overlay, soft_composite

# Machado, Oliveira & Fernandes 2009, severity 1, for linear RGB.
VISION: dict[str, npt.ArrayLike] = {
    "common": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def _as_seen(matrix: npt.ArrayLike) -> npt.NDArray[np.float64]:
    colors = np.array(DEFAULT_COLORS) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(matrix).T, 0, 1)
    back = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab: npt.NDArray[np.float64] = rgb2lab(back[None])[0]
    return lab


@pytest.mark.parametrize("kind", VISION)
def test_the_colours_stay_apart_for_all_eyes(kind: str) -> None:
    lab = _as_seen(VISION[kind])
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(len(lab))
    assert distances.min() > 12  # CIE76; 2.3 is just noticeable
    assert distances[0, 1] > 75  # most people have two classes


def test_no_two_classes_share_a_colour() -> None:
    colors = [class_color(value) for value in range(1, 256)]
    assert len(set(colors)) == 255
    assert all(0 <= channel <= 255 for color in colors for channel in color)
    assert colors[:2] == DEFAULT_COLORS[:2]
    assert class_color(0) == DEFAULT_COLORS[-1]


def test_the_composite_mixes_by_probability() -> None:
    probabilities = np.zeros((2, 1, 3), np.float32)
    probabilities[0] = [1, 0, 0.25]
    probabilities[1] = 1 - probabilities[0]
    composite = soft_composite(probabilities, [(203, 0, 100), (0, 40, 255)])
    assert composite.dtype == np.uint8
    assert composite.tolist() == [[[203, 0, 100, 255], [0, 40, 255, 255], [51, 30, 216, 255]]]


def test_the_overlay_shows_any_image() -> None:
    probabilities = np.full((2, 4, 5), 0.5, np.float32)
    ramp = np.linspace(-3, 9, 20).reshape(4, 5)
    for image in (
        ramp,
        ramp[..., None],
        np.dstack([ramp] * 2),
        np.dstack([ramp] * 5),
        (ramp + 3).astype(np.uint16),
    ):
        shown = overlay(image, probabilities, [(0, 0, 0), (0, 0, 0)], alpha=0.0)
        assert shown.shape == (4, 5, 3)
        assert shown.dtype == np.uint8
        assert shown[0, 0].tolist() == [0, 0, 0]
        assert shown[-1, -1].tolist() == [255, 255, 255]
    holed = ramp.copy()
    holed[1, 1:3] = np.nan, np.inf
    shown = overlay(holed, probabilities, [(0, 0, 0), (0, 0, 0)], alpha=0.0)
    assert shown[..., 0].ravel()[[0, 6, 7, 19]].tolist() == [0, 0, 0, 255]
    rgb = np.random.default_rng(0).integers(30, 60, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(rgb, probabilities, [(0, 0, 0), (9, 9, 9)], alpha=0.0), rgb)
    half = overlay(np.full((4, 5), 100, np.uint8), probabilities, [(0, 0, 0), (200, 100, 0)])
    assert half[0, 0].tolist() == [100, 75, 50]
