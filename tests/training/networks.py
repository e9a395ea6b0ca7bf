"""Small networks with random weights, and images for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_softseg.models import DeepLabV3Plus, ModelConfig, build_model


def random_network(channels: int = 3, values: tuple[int, ...] = (3, 7, 9), **config: Any) -> DeepLabV3Plus:
    """Return a network in evaluation mode whose random weights tell pixels apart."""
    torch.manual_seed(0)
    names = config.pop("class_names", tuple(f"class {value}" for value in values))
    model = build_model(
        ModelConfig(class_values=values, class_names=names, in_channels=channels, **config), "none"
    )
    _enliven(model, np.stack([random_image((160, 160, channels), seed) for seed in (1, 2)]))
    return model


def _enliven(model: DeepLabV3Plus, images: npt.NDArray[np.uint8]) -> None:
    """Give all features and logits a spread of about 1, which in a new network fades from layer to layer."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    planes = torch.from_numpy(images).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        model.train()(planes)
        for norm in norms:
            norm.momentum = 0.1
        last = model.eval().decoder[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        spread, mean = torch.std_mean(model(planes), (0, 2, 3))
        last.weight /= spread[:, None, None, None]
        last.bias -= mean / spread


def random_image(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return rectangles of one colour each, and noise."""
    rng = np.random.default_rng(seed)
    image = np.full(shape, 90)
    for _ in range(40):
        (top, left), size = (rng.integers(0, n) for n in shape[:2]), rng.integers(4, 60, 2)
        image[top : top + size[0], left : left + size[1]] = rng.integers(0, 256, shape[2:])
    return np.clip(image + rng.integers(-9, 10, shape), 0, 255).astype(np.uint8)


def direct(model: DeepLabV3Plus, intensity: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return what the network itself says of (H, W, C) intensities."""
    with torch.inference_mode():
        planes = torch.from_numpy(np.ascontiguousarray(intensity)).float().permute(2, 0, 1)
        result: npt.NDArray[np.float32] = model(planes[None])[0].softmax(0).numpy()
    return result


@contextmanager
def little_memory(model: nn.Module, pixels: int) -> Iterator[list[int]]:
    """Let a network fail as on a full GPU for images of more pixels; yields the pixels of those it was given."""
    seen: list[int] = []

    def check(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        area = inputs[0].shape[-2] * inputs[0].shape[-1]
        if area > pixels:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        seen.append(area)

    handle = model.register_forward_pre_hook(check)
    try:
        yield seen
    finally:
        handle.remove()
