"""Backbones: torchvision's classification networks, dilated instead of strided at their end.

A stride-2 convolution becomes a dense one and everything behind it dilates by 2, so that every feature
of the strided network is still computed, from the same pixels, with new ones between them (Chen et al.
2017, "Rethinking atrous convolution", section 3.1). The weights stay as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from napari_softseg.models.config import Backbone
from napari_softseg.models.torchvision_import import torchvision

LOW_LEVEL_STRIDE = 4


class Features(nn.Module):
    """A classification network without its head, giving two feature maps.

    Parameters
    ----------
    network
        One of torchvision's, see :func:`classification_network`.
    in_channels
        C. The first convolution takes over the weights of RGB, see :func:`adapt_channels`.
    output_stride
        Pixels between two features at the end: 8, 16, or 32 (the network as torchvision has it).

    Attributes
    ----------
    low_channels, high_channels
        Channels of the two maps.
    """

    def __init__(self, network: nn.Module, in_channels: int, output_stride: int) -> None:
        super().__init__()
        layers = _layers_without_head(network)
        _adapt_first(layers, in_channels)
        stride = 1
        for name, layer in layers.items():
            stride *= 2 if _strided(layer) else 1
            if stride <= LOW_LEVEL_STRIDE:
                self._low = name
        self.layers = nn.Sequential(layers)
        dilate(self.layers, output_stride)
        self.low_channels = _out_channels(layers[self._low])
        self.high_channels = _out_channels(next(reversed(layers.values())))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of normalised images.

        Parameters
        ----------
        images
            (B, C, H, W) float32.

        Returns
        -------
        tuple of Tensor
            (B, low_channels, ceil(H / 4), ceil(W / 4)) and
            (B, high_channels, ceil(H / stride), ceil(W / stride)). Feature (i, j) of either
            is centred on pixel (i * stride, j * stride).
        """
        low = features = images
        for name, layer in self.layers.named_children():
            features = layer(features)
            if name == self._low:
                low = features
        return low, features


class FirstLayers(nn.Module):
    """The first layers of a classification network as they are: a feature map at every stride 2, 4 and 8.

    Parameters
    ----------
    network
        One of torchvision's, see :func:`classification_network`.
    in_channels
        C, see :func:`adapt_channels`.
    """

    STRIDES = (2, 4, 8)

    def __init__(self, network: nn.Module, in_channels: int) -> None:
        super().__init__()
        layers = _layers_without_head(network)
        _adapt_first(layers, in_channels)
        self.stages = nn.ModuleList(nn.Sequential() for _ in self.STRIDES)
        stride = 1
        for layer in layers.values():
            stride *= 2 if _strided(layer) else 1
            if stride > self.STRIDES[-1]:
                break
            stage: Any = self.stages[self.STRIDES.index(max(stride, self.STRIDES[0]))]
            stage.append(layer)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the last features of every stride s, of normalised images (B, C, H, W) float32.

        Each is (B, channels, ceil(H / s), ceil(W / s)); feature (i, j) is centred on pixel (i * s, j * s).
        """
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


def classification_network(backbone: str) -> nn.Module:
    """Return torchvision's network of that name with random weights."""
    network: nn.Module = torchvision().get_model(Backbone.named(backbone).value, weights=None)
    return network


def classifier_prefix(network: nn.Module) -> str:
    """Return what the names of the classifier's parameters start with."""
    return "classifier." if hasattr(network, "classifier") else "fc."


def dilate(layers: nn.Module, output_stride: int) -> None:
    """Make `layers` stride no more than `output_stride`, in place.

    A strided convolution keeps its dilation: its input is still as fine as it was. Convolutions behind
    it dilate twice as much. A 1x1 shortcut beside it only loses its stride.
    """
    stride, dilation = 1, 1
    for block in _blocks(layers):
        if _strided(block) and stride < output_stride:
            stride *= 2
            continue
        behind = dilation
        for convolution in _convolutions(block):
            if convolution.stride == (2, 2):
                convolution.stride = (1, 1)
                _set_dilation(convolution, dilation)
                behind = 2 * dilation
            else:
                _set_dilation(convolution, behind)
        dilation = behind


def adapt_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Return a first convolution's RGB weights for another number of channels.

    One channel: their sum, so that a grey image gives what its RGB copy gives. Others: R, G, B, R, ...
    in turn, scaled by 3 / C, so that the layer's output keeps its size. As in timm's
    ``adapt_input_conv``.

    Parameters
    ----------
    weight
        (N, 3, h, w).
    in_channels
        C.

    Returns
    -------
    Tensor
        (N, C, h, w).
    """
    if in_channels == weight.shape[1]:
        return weight
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    turns = torch.arange(in_channels) % weight.shape[1]
    return weight[:, turns] * (weight.shape[1] / in_channels)


def _layers_without_head(network: nn.Module) -> OrderedDict[str, nn.Module]:
    """Name the layers up to the last features, without pooling, classifier and what only feeds it."""
    features = getattr(network, "features", None)
    if isinstance(features, nn.Module):
        # MobileNets and EfficientNets end in a 1x1 convolution that widens for the classifier.
        layers = OrderedDict(features.named_children())
        layers.popitem()
        return layers
    return OrderedDict((name, m) for name, m in network.named_children() if name not in ("avgpool", "fc"))


def _adapt_first(layers: Mapping[str, nn.Module], in_channels: int) -> None:
    first = next(convolution for layer in layers.values() for convolution in _convolutions(layer))
    first.weight = nn.Parameter(adapt_channels(first.weight.detach(), in_channels))
    first.in_channels = in_channels


def _blocks(layers: nn.Module) -> Iterator[nn.Module]:
    """Split into parts that stride at most once: residual blocks, single layers."""
    for layer in layers.children():
        if isinstance(layer, nn.Sequential) and any(not _is_leaf(m) for m in layer):
            yield from _blocks(layer)
        else:
            yield layer


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    return (m for m in module.modules() if isinstance(m, nn.Conv2d))


def _strided(module: nn.Module) -> bool:
    return any(m.stride in (2, (2, 2)) for m in module.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d))


def _set_dilation(convolution: nn.Conv2d, dilation: int) -> None:
    reach = convolution.kernel_size[0] // 2 * dilation
    convolution.dilation, convolution.padding = (dilation, dilation), (reach, reach)


def _out_channels(module: nn.Module) -> int:
    return list(_convolutions(module))[-1].out_channels
