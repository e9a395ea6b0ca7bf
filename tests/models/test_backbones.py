"""Backbones beside torchvision's own networks, with the same weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from napari_softseg.errors import InputError
from napari_softseg.models.backbones import Features, adapt_channels, classification_network
from napari_softseg.models.config import Backbone
from napari_softseg.models.torchvision_import import torchvision


def network(name: str) -> nn.Module:
    """With statistics of BatchNorm that are not 0 and 1, and pools that always give 1.

    Squeeze-and-excitation pools over the whole map: over a denser map it pools something else.
    """
    torch.manual_seed(0)
    built = classification_network(name).eval()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
    return built


def torchvision_features(built: nn.Module, images: Tensor) -> Tensor:
    """What the layer behind the last features is given in a full pass through torchvision's network."""
    layers = getattr(built, "features", None)
    behind = layers[-1] if isinstance(layers, nn.Sequential) else built.get_submodule("avgpool")
    seen: list[Tensor] = []
    behind.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    built(images)
    return seen[0]


def close(given: Tensor, expected: Tensor) -> None:
    assert given.shape == expected.shape
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(given / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(Backbone))
def test_dilated_features_are_the_strided_ones_with_others_between(name: str) -> None:
    built = network(name)
    images = torch.rand(1, 3, 49, 70)
    with torch.inference_mode():
        expected = torchvision_features(copy.deepcopy(built), images)
        for stride in (32, 16, 8):
            features = Features(copy.deepcopy(built), 3, stride)
            low, high = features(images)
            step = 32 // stride
            assert low.shape == (1, features.low_channels, 13, 18)
            assert high.shape == (1, features.high_channels, -(-49 // stride), -(-70 // stride))
            close(high[:, :, ::step, ::step], expected)


def test_resnet_is_dilated_as_torchvision_dilates_it() -> None:
    ours = network("resnet50")
    theirs = torchvision().resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(1, 3, 40, 33)
    with torch.inference_mode():
        close(Features(ours, 3, 8)(images)[1], torchvision_features(theirs, images))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "efficientnet_b0"])
def test_low_level_features_are_centred_on_every_fourth_pixel(name: str) -> None:
    images = torch.rand(1, 3, 96, 96, requires_grad=True)
    low, _ = Features(network(name), 3, 16)(images)
    low[0, :, 10, 13].sum().backward()
    assert images.grad is not None
    seen = images.grad[0].abs().sum(0).nonzero()
    assert seen.min(0).values.tolist() != [0, 0]
    middle = (seen.min(0).values + seen.max(0).values) / 2
    assert middle.tolist() == [40, 52]


@pytest.mark.parametrize(
    ("name", "low", "high"), [("mobilenet_v2", 24, 320), ("resnet18", 64, 512), ("resnet101", 256, 2048)]
)
def test_channels_of_the_recipe(name: str, low: int, high: int) -> None:
    features = Features(classification_network(name), 3, 16)
    assert (features.low_channels, features.high_channels) == (low, high)


def test_a_grey_image_gives_what_its_rgb_copy_gives() -> None:
    rgb = network("mobilenet_v2")
    grey = Features(copy.deepcopy(rgb), 1, 16)
    image = torch.rand(1, 1, 30, 41)
    with torch.inference_mode():
        for given, expected in zip(grey(image), Features(rgb, 3, 16)(image.repeat(1, 3, 1, 1)), strict=True):
            close(given, expected)


def test_weights_for_other_numbers_of_channels() -> None:
    weight = torch.rand(4, 3, 5, 5)
    assert adapt_channels(weight, 3) is weight
    five = adapt_channels(weight, 5)
    for channel, rgb in enumerate((0, 1, 2, 0, 1)):
        torch.testing.assert_close(five[:, channel], weight[:, rgb] * 3 / 5)
    torch.testing.assert_close(adapt_channels(weight, 6).sum(1), weight.sum(1))


def test_a_wrong_name_lists_the_choices() -> None:
    with pytest.raises(InputError, match=r"Unknown backbone 'vgg'; choose one of: mobilenet_v2, "):
        classification_network("vgg")
