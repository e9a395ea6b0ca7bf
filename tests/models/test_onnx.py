"""The exported network beside the one of PyTorch, by onnxruntime."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from napari_softseg.errors import InputError
from napari_softseg.models import DeepLabV3Plus, ModelConfig, build_model, export_onnx
from napari_softseg.models.onnx import _largest_difference, _Probabilities


@pytest.fixture(scope="module")
def model() -> DeepLabV3Plus:
    """With logits of a trained network's size, in training mode."""
    torch.manual_seed(0)
    config = ModelConfig(
        class_values=(1, 4, 9), class_names=("a", "b", "été"), in_channels=2, backbone="resnet18"
    )
    built = build_model(config)
    with torch.no_grad():
        last = built.decoder[4]
        assert isinstance(last, nn.Conv2d)
        last.weight *= 10 / built.eval()(torch.rand(1, 2, 64, 64) * 255).std()
    return built.train()


@pytest.fixture(scope="module")
def exported(model: DeepLabV3Plus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float | None]:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return path, export_onnx(model, path)


def test_any_batch_and_size(model: DeepLabV3Plus, exported: tuple[Path, float | None]) -> None:
    session = onnxruntime.InferenceSession(exported[0], providers=["CPUExecutionProvider"])
    for shape in [(1, 1, 1), (1, 5, 4), (3, 17, 64), (1, 16, 16), (2, 70, 91), (1, 129, 200)]:
        images = torch.rand(shape[0], 2, *shape[1:]) * 255
        with torch.inference_mode():
            logits = model.eval()(images)
        (given,) = session.run(None, {"image": images.numpy()})
        np.testing.assert_allclose(given, logits.softmax(1).numpy(), rtol=0, atol=1e-4)
        if shape[1] > 16:  # or the comparison would be one of thirds with thirds
            assert given.max() - given.min() > 0.5


def test_the_difference_is_reported(exported: tuple[Path, float | None]) -> None:
    assert exported[1] is not None
    assert 0 < exported[1] <= 1e-4


def test_the_model_stays_as_it_was(model: DeepLabV3Plus, exported: tuple[Path, float | None]) -> None:
    relu = next(m for m in model.train().modules() if isinstance(m, nn.ReLU))
    assert relu.inplace
    assert all(module.training for module in model.modules())


def test_one_file_that_says_what_it_takes_and_gives(exported: tuple[Path, float | None]) -> None:
    assert [path.name for path in exported[0].parent.iterdir()] == ["model.onnx"]
    read = onnx.load(exported[0])
    onnx.checker.check_model(read, full_check=True)
    metadata = {entry.key: entry.value for entry in read.metadata_props}
    assert json.loads(metadata["class_values"]) == [1, 4, 9]
    assert json.loads(metadata["class_names"]) == ["a", "b", "été"]
    sizes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (read.graph.input[0], read.graph.output[0])
    ]
    assert sizes == [["batch", 2, "height", "width"], ["batch", 3, "height", "width"]]
    assert (read.graph.input[0].name, read.graph.output[0].name) == ("image", "probabilities")


def test_another_network_would_be_noticed(model: DeepLabV3Plus, exported: tuple[Path, float | None]) -> None:
    other = _Probabilities(model).eval()
    assert isinstance(other.model.decoder[4], nn.Conv2d)
    nn.init.zeros_(other.model.decoder[4].weight)
    assert _largest_difference(exported[0], other) > 1e-2


def test_without_the_packages(model: DeepLabV3Plus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"without onnxscript: pip install onnx onnxruntime onnxscript"):
        export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
