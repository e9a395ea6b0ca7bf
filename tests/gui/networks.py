"""A small network that tells warm from cold colours, made in a second instead of trained."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from napari_softseg.models import DeepLabV3Plus, ModelConfig, build_model, save_model
from tests.gui.conftest import two_halves


def save_color_network(
    path: Path, names: tuple[str, ...] = ("warm", "cold"), values: tuple[int, ...] | None = None
) -> Path:
    """Write a network of random features whose last layer is fitted: its first class is where red outweighs blue.

    Any class beyond the second is never likely.
    """
    torch.manual_seed(0)
    config = ModelConfig(
        class_values=values or tuple(range(1, len(names) + 1)),
        class_names=names,
        backbone="mobilenet_v3_small",
    )
    model = build_model(config, "none")
    images = _halves(12)
    _set_statistics(model, images)
    _fit_last_layer(model, images)
    save_model(path, model, {})
    return path


def _halves(count: int) -> Tensor:
    """Return (B, 3, 96, 128) pictures of two colours, the warm one left, right, above or below."""
    pictures = []
    for number in range(count):
        cut = 20 + 8 * number
        picture = np.roll(two_halves((128, 128), seed=number), cut, axis=1)
        pictures.append(np.rot90(picture, number)[:96].copy())
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()


def _set_statistics(model: DeepLabV3Plus, images: Tensor) -> None:
    """Give all features a spread of about 1, which in a new network fades from layer to layer."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    model.eval()


def _fit_last_layer(model: DeepLabV3Plus, images: Tensor) -> None:
    last = model.decoder[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    found: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0]))
    with torch.no_grad():
        model(images)
        hook.remove()
        features = found[0].movedim(1, -1).flatten(0, 2).double().numpy()
        warm = (images[:, 0] > images[:, 2])[:, ::4, ::4].flatten().numpy() * 8.0 - 4.0
        design = np.c_[features, np.ones(len(features))]
        weights = np.linalg.solve(design.T @ design + 10 * np.eye(design.shape[1]), design.T @ warm)
        last.weight.zero_()
        last.bias.fill_(-9.0)
        for channel, sign in ((0, 1), (1, -1)):
            last.weight[channel, :, 0, 0] = sign * torch.from_numpy(weights[:-1]).float()
            last.bias[channel] = sign * float(weights[-1])
