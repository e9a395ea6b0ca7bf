"""Features: the right colours, and equivariance to what should not matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from skimage.data import astronaut

from napari_softseg.unary.features import SCALES, color_planes, pixel_features


def test_three_channels_become_lab() -> None:
    image = astronaut()[::4, ::4]
    expected = np.moveaxis(rgb2lab(image), -1, 0)
    np.testing.assert_allclose(color_planes(image.astype(np.float32)).numpy(), expected, atol=0.05)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_stay(channels: int) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (7, 9, channels)).astype(np.float32)
    np.testing.assert_allclose(color_planes(image).numpy(), np.moveaxis(image, -1, 0) / 2.55, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 30), (3, 200), (65, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_count_and_size(size: tuple[int, int], channels: int) -> None:
    found = pixel_features(torch.rand(channels, *size, generator=torch.Generator().manual_seed(0)))
    assert found.shape == (channels + len(SCALES) * (2 * channels + 2), *size)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    "turn",
    [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2)],
    ids=["left-right", "up-down", "transposed"],
)
def test_turning_the_image_turns_the_features(turn: Callable[[torch.Tensor], torch.Tensor]) -> None:
    planes = 100 * torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pixel_features(turn(planes)), turn(pixel_features(planes)), atol=0.02, rtol=0)


def test_rounding_noise_is_no_feature() -> None:
    found = pixel_features(color_planes(np.full((50, 60, 3), 128, dtype=np.float32)))
    assert torch.equal(found, found[:, :1, :1].expand_as(found))


def test_brightness_leaves_the_derivatives_alone() -> None:
    planes = 100 * torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(0))
    derivatives = [1 + 4 * i + j for i in range(len(SCALES)) for j in (1, 2, 3)]
    torch.testing.assert_close(
        pixel_features(planes + 50)[derivatives], pixel_features(planes)[derivatives], atol=0.02, rtol=0
    )


def test_a_bright_line_is_a_ridge_and_not_a_valley() -> None:
    planes = torch.zeros(1, 41, 41)
    planes[0, 20] = 100
    larger, smaller = pixel_features(planes)[3:5, 20, 20]
    assert smaller < -10
    assert abs(larger) < 0.02
