"""Where a network's first weights come from: ImageNet, a file, a trained model, nowhere."""

from __future__ import annotations

import pickle
import socket
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from napari_softseg.errors import InputError
from napari_softseg.models.backbones import classification_network, classifier_prefix
from napari_softseg.models.config import Backbone, ModelConfig
from napari_softseg.models.deeplab import LAST_LAYER, DeepLabV3Plus
from napari_softseg.models.files import LoadedModel, is_model, load_model
from napari_softseg.models.torchvision_import import torchvision

SHOWN_NAMES = 3
_PATIENCE = 30.0
"""Seconds that a download waits for a server that says nothing."""

_DOWNLOADS = threading.Lock()
"""One at a time: nobody fetches what another is fetching, and the time to wait is a setting of the process."""

DAMAGED = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError)
"""What torch raises for files that are cut off, no weights, or cannot be downloaded."""


def build_model(
    config: ModelConfig, weights: str | Path = "none", *, progress: bool = False
) -> DeepLabV3Plus:
    """Return a new network in training mode.

    Parameters
    ----------
    config
        What to build.
    weights
        ``none``: random, from torch's global generator. ``imagenet``: torchvision's first ImageNet
        weights for the backbone (IMAGENET1K_V1, those of the paper), downloaded once and checked
        against their checksum. A file of a classification network of torchvision (.pth, .pt or
        .safetensors): the same from there. A model file or the folder of a training run: that whole
        network, of its last layer the classes of the same name.
    progress
        Whether a download shows a bar on stderr.

    Raises
    ------
    InputError
        If the weights cannot be had, are damaged, or do not fit the backbone; says what to do.
    """
    if str(weights) == "none":
        return DeepLabV3Plus(config, classification_network(config.backbone))
    if str(weights) != "imagenet" and is_model(Path(weights)):
        model = DeepLabV3Plus(config, classification_network(config.backbone))
        _take_over(model, load_model(weights), str(weights))
        return model
    return DeepLabV3Plus(config, pretrained_network(config.backbone, weights, progress=progress))


def pretrained_network(backbone: str, weights: str | Path, *, progress: bool = False) -> nn.Module:
    """Return a classification network of torchvision with weights; its classifier's are random.

    Parameters
    ----------
    backbone
        Its name, one of :class:`Backbone`.
    weights
        ``imagenet``, or a file of a classification network; see :func:`build_model`.
    progress
        Whether a download shows a bar on stderr.

    Raises
    ------
    InputError
        If the weights cannot be had, are damaged, or do not fit the backbone; says what to do.
    """
    network = classification_network(backbone)
    if str(weights) == "imagenet":
        _fill(network, _download(backbone, progress), backbone, f"ImageNet weights for {backbone}")
    else:
        _fill(network, read_tensors(Path(weights)), backbone, str(weights))
    return network


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a .safetensors file or of a .pth that holds nothing else.

    Raises
    ------
    InputError
        If there is no such file, it is damaged, or it holds anything but named tensors.
    """
    if not path.is_file():
        raise InputError(f"Expected weights to be none, imagenet or a file, but there is no file {path}.")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch thinks of other pickles, before it refuses them
        try:
            if path.suffix == ".safetensors":
                return load(file.read())
            tensors: Any = torch.load(file, map_location="cpu", weights_only=True)
        except (SafetensorError, *DAMAGED) as error:
            raise InputError(
                f"Cannot use {path}: damaged, truncated, or more than named tensors ({_reason(error)}); "
                "give a .safetensors file or a .pth state dict."
            ) from None
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"Cannot use {path}: expected a state dict, tensors by name, and nothing else.")
    return dict(tensors)


def _download(backbone: str, progress: bool) -> dict[str, Tensor]:
    wanted = torchvision().get_model_weights(Backbone.named(backbone).value).IMAGENET1K_V1
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(wanted.url).name)
    way_out = f"download {wanted.url} elsewhere and give the file as weights (--weights PATH), or put it at {cached}"
    try:
        with _DOWNLOADS:
            if not cached.exists():
                _fetch(wanted.url, cached, progress)
        tensors: dict[str, Tensor] = torch.load(cached, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        if isinstance(error, HTTPError):
            error.close()
        if cached.exists():
            way_out = f"remove {cached} to have it downloaded again, or {way_out}"
        raise InputError(
            f"Cannot get the ImageNet weights of {backbone} ({_reason(error)}): {way_out}."
        ) from None
    return tensors


def _fetch(url: str, cached: Path, progress: bool) -> None:
    """Download a file whose name holds the beginning of its hash, and check that; torch would wait for ever."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        torch.hub.download_url_to_file(url, str(cached), cached.stem.rpartition("-")[2], progress)
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "nothing else is unpickled"  # torch's own text tells how to run the code in it
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _fill(network: nn.Module, given: Mapping[str, Tensor], backbone: str, source: str) -> None:
    """Copy `given` into all of a classification network but its classifier, or say what differs."""
    own = network.state_dict()
    classifier = classifier_prefix(network)
    # Files older than this counter of BatchNorm lack it.
    counters = {name for name in own if name.endswith(".num_batches_tracked")}
    needed = {name for name in own if not name.startswith(classifier)}
    found = {name for name in given if not name.startswith(classifier)}
    complaints = [
        _named("lacks", sorted(needed - found - counters)),
        _named("has besides", sorted(found - needed)),
        _named(
            "has of another shape",
            [
                f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
                for name in sorted(needed & found)
                if given[name].shape != own[name].shape
            ],
        ),
    ]
    if said := "; ".join(filter(None, complaints)):
        raise InputError(
            f"{source} does not fit the backbone: it {said}. "
            f"Give weights of {backbone}, or choose the backbone it was made for."
        )
    network.load_state_dict({name: given[name] for name in needed & found}, strict=False)


def _take_over(model: DeepLabV3Plus, given: LoadedModel, source: str) -> None:
    """Copy a trained network; its last layer only for classes of the same name, the others stay random."""
    for what in ("backbone", "in_channels", "mean", "std"):
        ours, theirs = getattr(model.config, what), getattr(given.config, what)
        if ours != theirs:
            raise InputError(
                f"{source} is a model with {what} {theirs}, but {ours} is wanted; make them the same."
            )
    own, tensors = model.state_dict(), given.model.state_dict()
    names = given.config.class_names
    for name in (f"{LAST_LAYER}.weight", f"{LAST_LAYER}.bias"):
        rows = [
            tensors[name][names.index(class_name)] if class_name in names else own[name][k]
            for k, class_name in enumerate(model.config.class_names)
        ]
        tensors[name] = torch.stack(rows)
    model.load_state_dict(tensors)


def _named(verb: str, names: list[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"{verb} {', '.join(names[:SHOWN_NAMES])}{rest}"
