"""``napari-softseg export``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from napari_softseg.models import ModelConfig, build_model, save_model
from tests.cli.conftest import RunProgram


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run folder."""
    torch.manual_seed(0)
    folder = tmp_path / "run"
    folder.mkdir()
    config = ModelConfig(class_values=(1, 2), class_names=("wall", "floor"))
    save_model(folder / "best.safetensors", build_model(config), {})
    return folder


def test_export(trained: Path, tmp_path: Path, run: RunProgram) -> None:
    output = trained / "out.onnx"
    output.write_text("of an earlier call")
    result = run("export", trained, "-o", output)
    assert (result.code, result.err) == (0, "")
    first, second, third = result.out.splitlines()
    assert first == f"{trained}: mobilenet_v2, classes: wall, floor"
    assert float(second.removeprefix("largest difference from PyTorch: ")) <= 1e-4
    assert third.startswith(f"wrote {output}, ")
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {"image": np.zeros((1, 3, 20, 31), np.float32)})
    assert given.shape == (1, 2, 20, 31)


def test_bad_input(trained: Path, tmp_path: Path, run: RunProgram) -> None:
    for model, output, says in (
        (tmp_path, tmp_path / "out.onnx", "There is no best.safetensors"),
        (tmp_path / "gone", tmp_path / "out.onnx", "There is no model"),
        (trained, tmp_path / "gone" / "out.onnx", "there is no folder"),
        (trained / "best.safetensors", trained / "best.safetensors", "it is one of the inputs"),
        (trained, trained / "best.safetensors", "it is one of the inputs"),
        (trained / "best.json", tmp_path / "out.onnx", "no model file"),
    ):
        result = run("export", model, "-o", output)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert says in result.err
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_model_nobody_may_read_is_one_line(tmp_path: Path, run: RunProgram) -> None:
    model = tmp_path / "m.safetensors"
    model.touch(mode=0)
    result = run("export", model, "-o", tmp_path / "m.onnx")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"napari-softseg: error: {model}: Permission denied; check who may read and write it, or choose another\n"
    )
