"""What a network pools over the whole image, when it only ever sees tiles of it.

DeepLabV3+ looks at its features in three ways: through dilated convolutions, whose reach is limited, through
its decoder, and as their mean over the whole image (Chen et al. 2017, section 3.3). In tiles that mean is
another one in every tile, and so is the prediction. Here it is taken over all tiles first, and every tile is
then predicted with it, as in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from torch import Tensor, nn

from napari_softseg.blocks.tiling import Window

Pools = list[Tensor]
"""The mean (C, 1, 1) of every pool of a network, in the order of its modules."""


class _Seen(Exception):
    """Raised inside a forward pass when all pools were reached: the rest of the network is not needed."""


class PoolSums:
    """Sums up what every pool of a network gets to see, tile by tile.

    Exact for DeepLabV3+ on a backbone without pools of its own. Backbones with squeeze-and-excitation
    (MobileNetV3, EfficientNet) pool several times in a row, and all but the first of these pools are then
    means of what the tiles' own pools led to: close, and the same for every tile.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = _pooling(model)
        self._sums: dict[nn.Module, Tensor] = {}
        self._counts: dict[nn.Module, int] = {}

    def add(self, images: Tensor, outer: Window, inner: Window) -> None:
        """Take in one tile.

        Parameters
        ----------
        images : (1, C, h, w) float32 tensor
            The pixels of `outer`.
        outer : Window
            What the network sees.
        inner : Window
            The part of it that counts; the tiles' parts make up the image. Its first row and column are
            those of a feature.
        """
        reached: set[nn.Module] = set()

        def sum_up(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            features = inputs[0]
            rows = _feature_rows(outer.top, outer.bottom, inner.top, inner.bottom, features.shape[-2])
            columns = _feature_rows(outer.left, outer.right, inner.left, inner.right, features.shape[-1])
            part = features[0, :, rows, columns].double()
            self._sums[module] = self._sums.get(module, 0.0) + part.sum((1, 2))
            self._counts[module] = self._counts.get(module, 0) + part[0].numel()
            reached.add(module)
            if len(reached) == len(self._modules):
                raise _Seen

        with ExitStack() as hooks:
            for module in self._modules:
                hooks.callback(module.register_forward_pre_hook(sum_up).remove)
            with suppress(_Seen):
                self._model(images)

    def means(self) -> Pools:
        """Return the means over all tiles."""
        return [
            (self._sums[module] / self._counts[module]).float().reshape(-1, 1, 1) for module in self._modules
        ]


@contextmanager
def given_pools(model: nn.Module, pools: Sequence[Tensor] | None) -> Iterator[None]:
    """Let every pool of the network return the mean it is given; None leaves them as they are."""
    with ExitStack() as hooks:
        for module, mean in zip(_pooling(model) if pools else (), pools or (), strict=True):
            hooks.callback(module.register_forward_hook(_returning(mean)).remove)
        yield


def _returning(mean: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def replaced(_module: nn.Module, _inputs: tuple[Tensor, ...], pooled: Tensor) -> Tensor:
        return mean.to(pooled).expand_as(pooled)

    return replaced


def _pooling(model: nn.Module) -> list[nn.Module]:
    """Return the modules that take the mean over the whole image."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
    ]


def _feature_rows(first: int, last: int, inner_first: int, inner_last: int, count: int) -> slice:
    """Return which of `count` features between two pixel rows are centred on the inner rows."""
    stride = 1
    while -(-(last - first) // stride) > count:
        stride *= 2
    return slice((inner_first - first) // stride, -(-(inner_last - first) // stride))
