"""DeepLabV3+: shapes, alignment, normalisation, parameters, training on little."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from napari_softseg.models import Backbone, DeepLabV3Plus, ModelConfig, build_model
from napari_softseg.models.deeplab import _enlarge

TINY = "mobilenet_v3_small"


def build(**options: Any) -> DeepLabV3Plus:
    torch.manual_seed(0)
    classes = {"class_values": (1, 2, 3), "class_names": ("a", "b", "c")}
    return build_model(ModelConfig(**{**classes, "backbone": TINY, **options}))


@cache
def built(in_channels: int, output_stride: int) -> DeepLabV3Plus:
    return build(in_channels=in_channels, output_stride=output_stride)


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 2),
    channels=st.integers(1, 6),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    stride=st.sampled_from([8, 16]),
    training=st.booleans(),
)
def test_any_size_and_channels(
    batch: int, channels: int, height: int, width: int, stride: int, training: bool
) -> None:
    model = built(channels, stride).train(training)
    with torch.no_grad():
        logits = model(torch.rand(batch, channels, height, width) * 255)
    assert logits.shape == (batch, 3, height, width)
    assert logits.dtype == torch.float32
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("name", list(Backbone))
def test_every_backbone_trains_on_one_small_image(name: str) -> None:
    model = build(backbone=name)
    model(torch.rand(1, 3, 20, 17) * 255).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(torch.isfinite(parameter.grad).all()), parameter_name


def test_a_single_pixel_trains() -> None:
    model = build()
    model(torch.rand(1, 3, 1, 1) * 255).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_single_values_leave_the_running_statistics_alone() -> None:
    model = build()
    pooled = [m for m in model.aspp.modules() if isinstance(m, nn.BatchNorm2d)][4]  # behind 4 convolutions
    model(torch.rand(1, 3, 40, 40) * 255)
    assert int(pooled.num_batches_tracked or 0) == 0
    model(torch.rand(2, 3, 40, 40) * 255)
    assert int(pooled.num_batches_tracked or 0) == 1


def test_more_values_are_normalised_as_torch_does() -> None:
    model = build()
    ours = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    theirs = nn.BatchNorm2d(ours.num_features, ours.eps, ours.momentum)
    values = torch.rand(1, ours.num_features, 2, 1)
    assert torch.equal(ours(values), theirs(values))
    for name, statistic in theirs.named_buffers():
        assert torch.equal(ours.get_buffer(name), statistic)


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 9), width=st.integers(1, 9), factor=st.sampled_from([2, 4]), data=st.data())
def test_a_feature_stays_on_its_pixel(height: int, width: int, factor: int, data: st.DataObject) -> None:
    size = (
        data.draw(st.integers((height - 1) * factor + 1, height * factor)),
        data.draw(st.integers((width - 1) * factor + 1, width * factor)),
    )
    features = torch.rand(2, 3, height, width)
    enlarged = _enlarge(features, factor, size)
    assert enlarged.shape == (2, 3, *size)
    torch.testing.assert_close(enlarged[:, :, ::factor, ::factor], features)
    rows, columns = (
        np.minimum(np.arange(n) / factor, m - 1) for n, m in zip(size, (height, width), strict=True)
    )
    ramp = torch.arange(height)[:, None] * 10.0 + torch.arange(width)
    torch.testing.assert_close(
        _enlarge(ramp[None, None], factor, size)[0, 0],
        torch.from_numpy(rows[:, None] * 10 + columns).float(),
        rtol=0,
        atol=1e-4,
    )


def test_enlarging_to_the_recipes_crop_is_the_recipes_interpolation() -> None:
    features = torch.rand(1, 2, 33, 33)
    expected = functional.interpolate(features, size=(129, 129), mode="bilinear", align_corners=True)
    torch.testing.assert_close(_enlarge(features, 4, (129, 129)), expected, rtol=0, atol=1e-5)


def test_grey_values_are_normalised_inside() -> None:
    model = build(mean=(10.0, 100.0, 200.0), std=(5.0, 50.0, 100.0)).eval()
    plain = build(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 30, 30) * 255
    normalised = (images - torch.tensor([10.0, 100, 200])[:, None, None]) / torch.tensor([5.0, 50, 100])[
        :, None, None
    ]
    with torch.inference_mode():
        torch.testing.assert_close(model(images), plain(normalised), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "efficientnet_b0"])
def test_groups_hold_every_parameter_once(name: str) -> None:
    model = build(backbone=name)
    grouped = [*model.backbone_parameters(), *model.head_parameters()]
    assert len({id(p) for p in grouped}) == len(grouped)
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    assert {id(p) for p in model.backbone_parameters()} == {
        id(p) for n, p in model.named_parameters() if n.startswith("backbone.")
    }


@pytest.mark.parametrize(("stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_the_head_of_the_recipe(stride: int, rates: list[int]) -> None:
    model = build(backbone="mobilenet_v2", output_stride=stride)
    # A 1x1, three dilated ones, the one behind pooling, and the one that joins them.
    aspp = [m.dilation[0] for m in model.aspp.modules() if isinstance(m, nn.Conv2d)]
    assert aspp == [1, *rates, 1, 1]
    shapes = [tuple(m.weight.shape) for m in model.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(256, 304, 3, 3), (256, 256, 3, 3), (3, 256, 1, 1)]
    assert model.low_level[0].weight.shape == (48, 24, 1, 1)
    # 320 channels into ASPP: 1x1, 3 of 3x3, pooling's 1x1, the joining 1x1, and 6 BatchNorms of 2 x 256.
    expected = 320 * 256 * (1 + 27 + 1) + 5 * 256 * 256 + 6 * 512
    assert sum(p.numel() for p in model.aspp.parameters()) == expected


@pytest.mark.parametrize(("dropout", "expected"), [(0.5, [0.5, 0.5, 0.1]), (0.25, [0.25, 0.25, 0.05])])
def test_dropout_is_scaled(dropout: float, expected: list[float]) -> None:
    found = [m.p for m in build(dropout=dropout).modules() if isinstance(m, nn.Dropout)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_without_dropout_training_repeats(name: str) -> None:
    images = torch.rand(2, 3, 33, 33) * 255
    with torch.no_grad():
        without = build(backbone=name, dropout=0.0).train()
        assert torch.equal(without(images), without(images))
        without = build(backbone=name, dropout=0.5).train()
        assert not torch.equal(without(images), without(images))


def test_logits_are_float32_under_autocast() -> None:
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.rand(2, 3, 33, 33) * 255)
    assert logits.dtype == torch.float32
    logits.mean().backward()


def test_the_seed_decides_random_weights() -> None:
    for one, other in zip(build().parameters(), build().parameters(), strict=True):
        assert torch.equal(one, other)
