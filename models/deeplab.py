"""DeepLabV3+ (Chen et al. 2018, "Encoder-decoder with atrous separable convolution") on torchvision's parts.

The decoder is the one of the paper's ancestor code: plain 3x3 convolutions of 256 channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_softseg.models.backbones import LOW_LEVEL_STRIDE, Features
from napari_softseg.models.config import ModelConfig
from napari_softseg.models.torchvision_import import torchvision

ATROUS_RATES = (6, 12, 18)
"""At output stride 16; doubled at 8, so that they reach as far."""
WIDTH = 256
LOW_LEVEL_WIDTH = 48
DECODER_REACH = 16
"""Pixels around a logit beyond which the decoder's two convolutions and the interpolation do not look."""
LAST_LAYER = "decoder.4"
"""Name of the convolution that has a channel per class."""
RECIPE_DROPOUT = 0.5
SECOND_DROPOUT_SHARE = 0.2


class DeepLabV3Plus(nn.Module):
    """Image to one logit per class and pixel.

    Parameters
    ----------
    config
        What to build.
    network
        torchvision's classification network to take the backbone from, see
        :func:`~napari_softseg.models.backbones.classification_network`. Its layers are taken, not copied.

    Attributes
    ----------
    config
        As given.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        # Not among the saved tensors: the configuration holds them.
        for name, values in (("mean", config.mean), ("std", config.std)):
            statistic = torch.tensor(values, device="cpu")[:, None, None]
            self.register_buffer(name, statistic, persistent=False)
        self.backbone = Features(network, config.in_channels, config.output_stride)
        rates = [rate * 16 // config.output_stride for rate in ATROUS_RATES]
        aspp = torchvision("models.segmentation.deeplabv3").ASPP
        self.aspp: nn.Module = aspp(self.backbone.high_channels, rates, WIDTH)
        self.low_level = _layer(self.backbone.low_channels, LOW_LEVEL_WIDTH, 1)
        self.decoder = nn.Sequential(
            _layer(WIDTH + LOW_LEVEL_WIDTH, WIDTH, 3),
            nn.Dropout(RECIPE_DROPOUT),
            _layer(WIDTH, WIDTH, 3),
            nn.Dropout(RECIPE_DROPOUT * SECOND_DROPOUT_SHARE),
            nn.Conv2d(WIDTH, config.n_classes, 1),
        )
        for module in self._head_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        _scale_dropout(self, config.dropout / RECIPE_DROPOUT)
        _accept_single_values(self)

    def forward(self, images: Tensor, inside: tuple[slice, slice] | None = None) -> Tensor:
        """Return logits.

        Parameters
        ----------
        images
            (B, C, H, W) float32 in grey values of 0..255, any H and W from 1. The network normalises
            them itself.
        inside
            Rows and columns whose logits are wanted. The decoder, which takes most of the time of a small
            backbone, then works for these alone; what they come to is the same.

        Returns
        -------
        Tensor
            (B, K, H, W) float32, or only the rows and columns `inside`; under autocast too.
        """
        low, high = self.backbone((images - self.mean) / self.std)
        high = self.aspp(high)
        if inside is None:
            return self._decoded(low, high, images.shape[-2:])
        stride = self.config.output_stride
        starts, ends = [], []
        for axis, part in enumerate(inside, start=2):
            first = max(0, part.start - DECODER_REACH) // stride * stride
            last = min(images.shape[axis], part.stop + DECODER_REACH)
            low = _cut(low, axis, first, last, LOW_LEVEL_STRIDE)
            high = _cut(high, axis, first, last + stride, stride)  # interpolation wants one more
            starts.append(part.start - first)
            ends.append(part.stop - first)
        return self._decoded(low, high, (ends[0], ends[1]))[:, :, starts[0] :, starts[1] :]

    def _decoded(self, low: Tensor, high: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
        high = _enlarge(high, self.config.output_stride // LOW_LEVEL_STRIDE, low.shape[-2:])
        logits = self.decoder(torch.cat([high, self.low_level(low)], 1))
        return _enlarge(logits.float(), LOW_LEVEL_STRIDE, size)

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that mostly come pretrained: learning rate x 1."""
        return self.backbone.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of ASPP and decoder, which start from random: learning rate x 10."""
        return chain(self.aspp.parameters(), self.low_level.parameters(), self.decoder.parameters())

    @property
    def image_pooling(self) -> nn.Module:
        """The branch of ASPP that sees the mean over the whole image."""
        *_, pooling = self.aspp.get_submodule("convs").children()
        return pooling

    def _head_modules(self) -> Iterator[nn.Module]:
        return chain(self.aspp.modules(), self.low_level.modules(), self.decoder.modules())


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm2d that takes one value per channel in training, by the running statistics.

    Image pooling gives such input for a batch of one image, and a statistic of one value is none.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        """Normalise (B, N, H, W)."""
        if not self.training or input.shape[0] * input.shape[2] * input.shape[3] > 1:
            return super().forward(input)
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


def _layer(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def _cut(features: Tensor, axis: int, first: int, last: int, stride: int) -> Tensor:
    """Return the features that are centred on the pixels from `first`, a multiple of `stride`, to below `last`."""
    start = first // stride
    return features.narrow(axis, start, min(-(-last // stride), features.shape[axis]) - start)


def _enlarge(features: Tensor, factor: int, size: tuple[int, int] | torch.Size) -> Tensor:
    """Interpolate (B, N, h, w) to (B, N, *size) such that feature (i, j) stays on pixel (i * factor, j * factor).

    That is where strided convolutions take it from. Interpolation by size alone would stretch maps of
    sizes that the stride does not divide, and move all by half a stride. Behind the last feature there
    is a copy of it.
    """
    features = torch.cat([features, features[:, :, -1:]], 2)
    features = torch.cat([features, features[:, :, :, -1:]], 3)
    whole = [(n - 1) * factor + 1 for n in features.shape[-2:]]
    enlarged = functional.interpolate(features, size=whole, mode="bilinear", align_corners=True)
    return enlarged.narrow(2, 0, size[0]).narrow(3, 0, size[1])


def _scale_dropout(module: nn.Module, scale: float) -> None:
    kinds = (nn.Dropout, torchvision("ops").StochasticDepth)
    for part in module.modules():
        if isinstance(part, kinds):
            part.p *= scale


def _accept_single_values(module: nn.Module) -> None:
    """Turn every BatchNorm2d below `module`, torchvision's own too, into `BatchNorm`; they differ in forward alone."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = BatchNorm
