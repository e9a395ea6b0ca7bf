"""The network of a run: built or taken over, its optimiser, its state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from napari_softseg.models import DeepLabV3Plus, ModelConfig, build_model
from napari_softseg.training.data import AnnotatedFolder
from napari_softseg.training.options import BatchNorm, TrainOptions
from napari_softseg.training.schedule import HEAD_FACTOR

SMALL_BATCH = 8
"""Batches under this many crops have poor statistics."""
_NETWORK, _MOMENTUM = "network.", "momentum."


def make_network(folder: AnnotatedFolder, options: TrainOptions, *, begun: bool) -> DeepLabV3Plus:
    """Return the network a run starts from; of one that has begun, with random weights.

    Raises
    ------
    InputError
        If the weights cannot be had or do not fit.
    """
    config = ModelConfig(
        class_values=folder.class_values,
        class_names=folder.class_names,
        in_channels=folder.in_channels,
        backbone=options.backbone,
        output_stride=options.output_stride,
        dropout=options.dropout,
        longest=options.resize,
    )
    return build_model(config, "none" if begun else options.weights, progress=True)


def make_optimiser(network: DeepLabV3Plus, options: TrainOptions) -> torch.optim.SGD:
    """Return SGD with a group for the backbone and one, ten times as fast, for the rest."""
    return torch.optim.SGD(
        [
            {"params": list(network.backbone_parameters()), "factor": 1.0},
            {"params": list(network.head_parameters()), "factor": HEAD_FACTOR},
        ],
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the backbone's learning rate; the head follows by its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def forget_momentum(optimiser: torch.optim.Optimizer) -> None:
    """Start the optimiser afresh."""
    optimiser.state.clear()


def set_training_mode(network: DeepLabV3Plus, options: TrainOptions, crops: int) -> None:
    """Put the network in training mode, batch normalisation as the options say.

    Parameters
    ----------
    network
        The network.
    options
        Of the run.
    crops
        In a batch whose statistics are taken together.
    """
    network.train()
    policy = options.batch_norm
    if policy in (BatchNorm.AUTO, BatchNorm.FEW):
        pretrained = options.weights != "none"
        if pretrained and crops < SMALL_BATCH:  # the head starts from nothing: it needs its statistics
            _freeze(network.backbone)
        if crops < SMALL_BATCH or policy == BatchNorm.FEW:
            # a value per crop: on a few of them its variance is noise, which may go to nothing and then, in
            # evaluation, be divided by
            _freeze(network.image_pooling)
    elif policy == BatchNorm.FROZEN:
        _freeze(network)


def take_statistics(network: DeepLabV3Plus, batches: Iterable[Tensor]) -> None:
    """Set the statistics of batch normalisation, where it is in training mode, to their means over batches.

    While weights change fast, the running mean of the steps' statistics lags behind: after a hundred steps on
    a few images a network can be good with the statistics of a batch, and useless with its own (Wu & Johnson
    2021, section 3). Without dropout, as the network is used. Evaluation mode follows.

    Parameters
    ----------
    network
        In training mode.
    batches
        Images (B, C, H, W), which get the same weight whatever B is.
    """
    norms = [module for module in _norms(network) if module.training]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # the mean over all batches; the first one replaces what was there
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.zero_()
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _freeze(network: nn.Module) -> None:
    for norm in _norms(network):
        norm.eval()


def _norms(network: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield module


def state_tensors(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return everything a step changes, on the CPU."""
    tensors = {f"{_NETWORK}{name}": tensor for name, tensor in network.state_dict().items()}
    for number, parameter in enumerate(_parameters(optimiser)):
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"{_MOMENTUM}{number}"] = momentum
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`state_tensors` returned."""
    network.load_state_dict(
        {name.removeprefix(_NETWORK): t for name, t in tensors.items() if name.startswith(_NETWORK)}
    )
    for number, parameter in enumerate(_parameters(optimiser)):
        if f"{_MOMENTUM}{number}" in tensors:
            momentum = tensors[f"{_MOMENTUM}{number}"].to(parameter)
            optimiser.state[parameter]["momentum_buffer"] = momentum


def _parameters(optimiser: torch.optim.Optimizer) -> Iterator[Tensor]:
    for group in optimiser.param_groups:
        yield from group["params"]
