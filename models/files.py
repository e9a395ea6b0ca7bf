"""Model files: safetensors with one JSON header in their metadata. Never a pickle, which could run code."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from napari_softseg.errors import InputError
from napari_softseg.models.backbones import classification_network
from napari_softseg.models.config import ModelConfig
from napari_softseg.models.deeplab import DeepLabV3Plus
from napari_softseg.saving import replacing

FORMAT = "napari-softseg model"
VERSION = 1
ARCHITECTURE = "deeplabv3+"
KEY = "napari-softseg"
BEST = "best.safetensors"

_WAY_OUT = "copy it again, or give another model that napari-softseg train wrote"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a model file holds.

    Attributes
    ----------
    model
        In evaluation mode.
    config
        Its architecture, classes and normalisation.
    details
        What `save_model` was given besides: how it was trained.
    """

    model: DeepLabV3Plus
    config: ModelConfig
    details: dict[str, Any]


def save_model(path: str | os.PathLike[str], model: DeepLabV3Plus, details: dict[str, Any]) -> None:
    """Write a model whole or not at all: one file with everything, and its header as JSON beside it.

    Parameters
    ----------
    path
        ``NAME.safetensors``; ``NAME.json`` is for people, nothing reads it.
    model
        What to save, in any mode, on any device.
    details
        Anything JSON can hold.

    Raises
    ------
    OSError
        If it cannot be written; files that were there stay as they were.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": ARCHITECTURE,
        "config": model.config.to_json(),
        "details": details,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    data = save(tensors, {KEY: json.dumps(header, allow_nan=False)})
    with replacing(path, path.with_suffix(".json")) as (whole, readable):
        whole.write_bytes(data)
        readable.write_text(json.dumps(header, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def load_model(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> LoadedModel:
    """Read a model that `save_model` wrote, bit for bit.

    Parameters
    ----------
    path
        A model file, or the folder of a training run: its ``best.safetensors``.
    device
        Where the model goes.

    Raises
    ------
    InputError
        If it is no model file, damaged, a pickle, of a newer version or another architecture, or
        tensors are missing or wrong.
    """
    path = model_file(Path(path))
    header, tensors = _read(path)
    try:
        config = ModelConfig.from_json(header.get("config"))
    except InputError as error:
        raise InputError(f"{path} is damaged: {str(error).rstrip('.')}; {_WAY_OUT}.") from None
    with torch.device("meta"):  # nothing to fill with random numbers first
        model = DeepLabV3Plus(config, classification_network(config.backbone))
    _check_tensors(path, model.state_dict(), tensors)
    model.load_state_dict(tensors, assign=True)
    details = header.get("details")
    return LoadedModel(model.to(device).eval(), config, details if isinstance(details, dict) else {})


def is_model(path: Path) -> bool:
    """Return whether this is a file that `save_model` wrote, or a folder, of a training run that is."""
    if path.is_dir():
        return True
    try:
        with safe_open(path, framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def model_file(path: Path) -> Path:
    """Return the file itself: this one, or the best network in the folder of a training run.

    Raises
    ------
    InputError
        If there is none.
    """
    if path.is_dir():
        if not (path / BEST).is_file():
            raise InputError(
                f"There is no {BEST} in {path}; give the folder of a training run or a model file."
            )
        return path / BEST
    if not path.is_file():
        raise InputError(f"There is no model {path}; give the folder of a training run or a model file.")
    return path


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return header and tensors, the latter in memory of their own, not mapped from the file."""
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
        raise InputError(
            f"Refused to read {path}: it is a pickle, which can run code; models are .safetensors files. "
            "As first weights for training it may serve: --weights PATH."
        )
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise InputError(
            f"{path} is no model file, or is truncated or damaged ({error}); {_WAY_OUT}."
        ) from None
    return _checked_header(path, written), tensors


def _checked_header(path: Path, written: str | None) -> dict[str, Any]:
    if written is None:
        raise InputError(
            f"{path} holds tensors, but no model of napari-softseg: it says nothing of its classes; give one that "
            "napari-softseg train wrote, or these as first weights of a training with --weights PATH."
        )
    try:
        header = json.loads(written)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path} is damaged: its header cannot be read; {_WAY_OUT}.")
    version = header.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise InputError(
            f"{path} has format version {version}, this napari-softseg reads up to {VERSION}: update it."
        )
    if header.get("architecture") != ARCHITECTURE:
        raise InputError(
            f"{path} is a {header.get('architecture')}, only {ARCHITECTURE} is known; give a model that "
            "napari-softseg train wrote."
        )
    return header


def _check_tensors(path: Path, expected: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    for name in sorted(expected.keys() | given.keys()):
        if name not in given:
            raise InputError(f"{path} is damaged: the tensor {name} is missing; {_WAY_OUT}.")
        if name not in expected:
            raise InputError(f"{path} is damaged: nothing in the network is called {name}; {_WAY_OUT}.")
        want, have = expected[name], given[name]
        if want.shape != have.shape or want.dtype != have.dtype:
            raise InputError(
                f"{path} is damaged: expected {name} to be {tuple(want.shape)} {want.dtype}, "
                f"but got {tuple(have.shape)} {have.dtype}; {_WAY_OUT}."
            )
        if not have.isfinite().all():
            raise InputError(f"{path} is damaged: {name} holds NaN or infinite numbers; {_WAY_OUT}.")
