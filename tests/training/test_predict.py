"""Prediction: one pass is the network itself, and tiles give what one pass gives."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_softseg.blocks.source import as_plane
from napari_softseg.blocks.tiling import Window
from napari_softseg.errors import InputError
from napari_softseg.models import DeepLabV3Plus
from napari_softseg.solver.intensity import AS_IT_IS, to_intensity
from napari_softseg.training.predict import TiledNetwork, predict_image, predict_intensities
from tests.training.networks import direct, little_memory, random_image, random_network

SIZE = (155, 140)  # no multiples of anything


@pytest.fixture(scope="module")
def model() -> DeepLabV3Plus:
    return random_network()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return random_image((*SIZE, 3))


def test_one_pass_is_the_network(model: DeepLabV3Plus, image: np.ndarray) -> None:
    found = predict_image(model, image, device="cpu")
    assert found.shape == (3, *SIZE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, direct(model, image), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    assert found.std(axis=(1, 2)).min() > 0.03  # or else the tests below could not fail


@pytest.mark.parametrize(
    ("dtype", "channels"), [(np.uint16, 1), (np.uint16, 5), (np.float32, 3), (np.bool_, 1), (np.int16, 2)]
)
def test_any_dtype_and_channels(dtype: type, channels: int) -> None:
    pixels = random_image((40, 50, channels))
    given: Any = {"f": pixels / 255, "b": pixels > 127}.get(np.dtype(dtype).kind, pixels * 100.0).astype(
        dtype
    )
    network = random_network(channels)
    expected = direct(network, to_intensity(given))
    given = given[..., 0] if channels == 1 else given
    np.testing.assert_allclose(predict_image(network, given, device="cpu"), expected, atol=1e-5)


def test_intensities_are_taken_as_they_are(model: DeepLabV3Plus, image: np.ndarray) -> None:
    dark = (image / 4).astype(np.float32)
    np.testing.assert_allclose(predict_intensities(model, dark, device="cpu"), direct(model, dark), atol=1e-6)
    assert np.abs(predict_image(model, dark, device="cpu") - direct(model, dark)).max() > 0.01


def _in_tiles(
    model: DeepLabV3Plus, image: np.ndarray, tile: int, halo: int, pools: list[torch.Tensor] | None = None
) -> np.ndarray:
    """Predict in tiles, also where the image would fit into one pass."""
    plane = as_plane(image)
    network = TiledNetwork(model, plane, AS_IT_IS, torch.device("cpu"), tile, halo, pools=pools)
    with network.ready():
        return network.probabilities(Window(0, plane.size[0], 0, plane.size[1]))


@pytest.mark.parametrize("tile", [64, 96, 160])
def test_tiles_that_see_everything_give_what_one_pass_gives(
    tile: int, model: DeepLabV3Plus, image: np.ndarray
) -> None:
    np.testing.assert_allclose(_in_tiles(model, image, tile, 160), direct(model, image), atol=1e-5)


def test_the_more_tiles_see_the_closer_they_come(model: DeepLabV3Plus, image: np.ndarray) -> None:
    whole = direct(model, image)
    off = [float(np.abs(_in_tiles(model, image, 64, halo) - whole).mean()) for halo in (0, 32, 96)]
    assert off[0] > 2 * off[1] > 4 * off[2] > 1e-4
    np.testing.assert_allclose(_in_tiles(model, image, 64, 32).sum(axis=0), 1, atol=1e-5)


def _pooled(network: DeepLabV3Plus, image: np.ndarray) -> list[torch.Tensor]:
    """Return what the network pools when it sees the image in one piece."""
    found: list[torch.Tensor] = []
    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.AdaptiveAvgPool2d):
                hooks.callback(
                    module.register_forward_hook(lambda _module, _inputs, mean: found.append(mean[0])).remove
                )
        direct(network, image)
    return found


@pytest.mark.parametrize(("backbone", "exact"), [("mobilenet_v2", 1), ("mobilenet_v3_small", 2)])
def test_pools_are_those_of_the_whole_image(backbone: str, exact: int, image: np.ndarray) -> None:
    network = random_network(backbone=backbone, output_stride=8)
    whole, tile = _pooled(network, image), _pooled(network, image[:64, :64])
    tiled = TiledNetwork(network, as_plane(image), AS_IT_IS, torch.device("cpu"), 64, 128)
    with tiled.ready():
        steps = list(tiled.iter_pools())
    assert steps == [(number, 9) for number in range(9)]
    assert tiled.pools is not None
    assert [mean.shape for mean in tiled.pools] == [mean.shape for mean in whole]
    for expected, found, part in list(zip(whole, tiled.pools, tile, strict=True))[:exact]:
        assert (found - expected).abs().mean() < 0.01 * (part - expected).abs().mean()


def test_what_is_pooled_decides_in_every_tile(model: DeepLabV3Plus, image: np.ndarray) -> None:
    other = [100 * torch.randn(320, 1, 1, generator=torch.Generator().manual_seed(0))]
    off = np.abs(_in_tiles(model, image, 64, 128, pools=other) - direct(model, image)).max(axis=0)
    assert off.mean() > 0.1
    assert np.quantile(off, 0.01) > 0.01


def test_the_largest_image_of_one_pass(model: DeepLabV3Plus, image: np.ndarray) -> None:
    seen: list[torch.Size] = []
    handle = model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[-2:]))
    side = 64 + 32 + 2 * 16
    predict_image(model, image[:side, :side], device="cpu", tile=64, halo=16)
    predict_image(model, image[: side // 2, : 2 * side], device="cpu", tile=64, halo=16)
    assert seen == [(side, side), (side // 2, image.shape[1])]
    predict_image(model, image[: side + 1, :side], device="cpu", tile=64, halo=16)
    assert max(height * width for height, width in seen) <= side**2
    handle.remove()


@pytest.mark.parametrize("limit", [SIZE[0] * SIZE[1] - 1, 140**2])
def test_full_memory_means_smaller_tiles_and_one_warning(
    limit: int, model: DeepLabV3Plus, image: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), little_memory(model, limit) as seen:
        found = predict_image(model, image, device="cpu", halo=16)
    assert max(seen) <= limit
    assert [record.getMessage().startswith("Predicting in smaller tiles") for record in caplog.records] == [
        True
    ]
    np.testing.assert_allclose(found, _in_tiles(model, image, 64, 16), atol=1e-5)
    with (
        little_memory(model, 90**2),
        pytest.raises(InputError, match="tiles of 64 pixels and 16 around them"),
    ):
        predict_image(model, image, device="cpu", halo=16)


def test_other_errors_pass(model: DeepLabV3Plus, image: np.ndarray) -> None:
    handle = model.register_forward_pre_hook(_fail)
    with pytest.raises(RuntimeError, match="shapes"):
        predict_image(model, image, device="cpu")
    handle.remove()


def _fail(_module: nn.Module, _inputs: object) -> None:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize(
    "inside", [(0, 155, 0, 140), (0, 1, 0, 3), (154, 155, 100, 140), (50, 51, 31, 77), (33, 97, 64, 130)]
)
@pytest.mark.parametrize("stride", [8, 16])
def test_logits_of_a_part_are_those_of_the_whole(
    stride: int, inside: tuple[int, ...], image: np.ndarray
) -> None:
    network = random_network(output_stride=stride)
    planes = torch.from_numpy(image).float().permute(2, 0, 1)[None]
    rows, columns = slice(*inside[:2]), slice(*inside[2:])
    with torch.inference_mode():
        expected, found = network(planes)[:, :, rows, columns], network(planes, (rows, columns))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_network_in_training_is_left_as_it_was(image: np.ndarray) -> None:
    network = random_network().train()
    network.backbone.eval()  # frozen statistics
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    found = predict_image(network, image, device="cpu")
    assert [module.training for module in network.modules()] == modes
    assert len(set(modes)) == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    np.testing.assert_array_equal(found, predict_image(network.eval(), image, device="cpu"))


def test_a_stop_leaves_the_uniform_distribution(model: DeepLabV3Plus, image: np.ndarray) -> None:
    (stop := threading.Event()).set()
    found = predict_image(model, image, device="cpu", tile=64, halo=16, stop=stop)
    np.testing.assert_allclose(found, 1 / 3, atol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (random_image((20, 20)), "3 channels, as the model was trained on, but the image has 1 channel;"),
        (random_image((20, 20, 4)), "but the image has 4 channels;"),
        (
            np.full((20, 20, 3), np.nan),
            "400 NaN or infinite pixels, the first at row 0, column 0; replace them, for example",
        ),
        (random_image((3, 20, 20, 3)), r"\(H, W\) or \(H, W, C\)"),
        (random_image((20, 1, 3)), "2 x 2"),
    ],
)
def test_images_that_do_not_fit(pixels: np.ndarray, says: str, model: DeepLabV3Plus) -> None:
    with pytest.raises(InputError, match=says):
        predict_image(model, pixels, device="cpu")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tile": 32}, "tile to be a multiple of 16 from 64"),
        ({"tile": 100}, "got 100"),
        ({"halo": 8}, "halo"),
        ({"halo": -16}, "from 0"),
        ({"device": "tpu"}, "Unknown device 'tpu'"),
    ],
)
def test_wrong_options(wrong: dict[str, object], says: str, model: DeepLabV3Plus, image: np.ndarray) -> None:
    with pytest.raises(InputError, match=says):
        predict_image(model, image, **{"device": "cpu", **wrong})  # type: ignore[arg-type]


def test_images_are_shrunk_as_in_training(image: np.ndarray) -> None:
    network = random_network(longest=62)
    found = predict_image(network, image, device="cpu")
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    small = functional.interpolate(planes, (62, 56), mode="bilinear", antialias=True)
    expected = functional.interpolate(
        torch.from_numpy(direct(network, small[0].permute(1, 2, 0).numpy()))[None], SIZE, mode="bilinear"
    )
    np.testing.assert_allclose(found, expected[0], atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    tiny = image[:50, :60]
    np.testing.assert_allclose(predict_image(network, tiny, device="cpu"), direct(network, tiny), atol=1e-6)
