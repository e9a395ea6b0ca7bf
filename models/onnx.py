"""Export to ONNX, for programs without PyTorch."""

from __future__ import annotations

import copy
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_softseg.errors import InputError
from napari_softseg.models.deeplab import DeepLabV3Plus
from napari_softseg.saving import replacing

TOLERANCE = 1e-4
CHECKED_SHAPES = ((2, 70, 91), (1, 1, 1), (1, 33, 16))
"""Batch, height, width: the first is also what the network is traced with."""
INSTALL = "pip install onnx onnxruntime onnxscript"


class _Probabilities(nn.Module):
    """What the exported network computes."""

    def __init__(self, model: DeepLabV3Plus) -> None:
        super().__init__()
        # A copy: the caller's model stays in its mode and on its device.
        self.model = copy.deepcopy(model).cpu().eval()
        part: Any
        for part in self.model.modules():
            if hasattr(part, "inplace"):
                part.inplace = False  # traced in a third less time

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image)
        return logits.softmax(1)


def export_onnx(model: DeepLabV3Plus, path: str | os.PathLike[str]) -> float | None:
    """Write a network as one ONNX file, whole or not at all, after comparing it with PyTorch.

    Its input is ``image``, (batch, C, height, width) float32 in grey values of 0..255, its output
    ``probabilities``, (batch, K, height, width) float32: the softmax, which is what people and the soft
    labels of this package mean by a prediction. Batch and size are free. The metadata holds
    ``class_values`` and ``class_names`` as JSON lists, in channel order.

    Parameters
    ----------
    model
        In any mode, on any device; it stays as it is.
    path
        File to write.

    Returns
    -------
    float or None
        The largest difference of a probability from PyTorch's over `CHECKED_SHAPES`; None if
        onnxruntime is not installed.

    Raises
    ------
    InputError
        If the packages for it are not installed, or onnxruntime's result differs by more than
        `TOLERANCE`.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(f"Cannot export to ONNX without {' and '.join(missing)}: {INSTALL}.")
    network = _Probabilities(model).eval()
    program = torch.onnx.export(
        network,
        (_noise(model, *CHECKED_SHAPES[0]),),
        dynamo=True,
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_shapes={"image": {0: "batch", 2: "height", 3: "width"}},
        verbose=False,
    )
    assert program is not None  # it is one unless a path is given
    config = model.config
    program.model.metadata_props.update(
        class_values=json.dumps(config.class_values),
        class_names=json.dumps(config.class_names),
        longest=json.dumps(config.longest),
        input="image: (batch, channels, height, width) float32, grey values of 0..255",
    )
    with replacing(Path(path)) as (temporary,):
        program.save(temporary, external_data=False)
        difference = None if find_spec("onnxruntime") is None else _largest_difference(temporary, network)
        if difference is not None and not difference <= TOLERANCE:
            raise InputError(
                f"{path} was not written: onnxruntime's probabilities differ by {difference:.2g} from PyTorch's; "
                "update onnx, onnxscript and onnxruntime."
            )
    return difference


def _largest_difference(path: Path, network: _Probabilities) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest = 0.0
    for shape in CHECKED_SHAPES:
        image = _noise(network.model, *shape)
        (result,) = session.run(["probabilities"], {"image": image.numpy()})
        with torch.inference_mode():
            expected = network(image)
        largest = max(largest, float((torch.from_numpy(result) - expected).abs().max()))
    return largest


def _noise(model: DeepLabV3Plus, batch: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, model.config.in_channels, height, width, generator=generator) * 255
