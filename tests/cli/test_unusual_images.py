"""Images of five channels and 16 bits from strokes to prediction; and models that commands refuse."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from napari_softseg.models import load_model, save_model
from tests.cli.conftest import RunProgram
from tests.training.folders import TINY, write_folder
from tests.training.networks import random_image, random_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 16-bit images with five channels, of which the fourth tells the classes apart."""
    folder = write_folder(tmp_path / "five")
    rng = np.random.default_rng(0)
    for path in sorted((folder / "images").iterdir()):
        mask = np.asarray(Image.open(folder / "masks" / path.name))
        pixels = rng.integers(0, 60_000, (*mask.shape, 5)).astype(np.uint16)
        pixels[..., 3] = 5_000 + 40_000 * mask.astype(np.uint16)
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack", planarconfig="contig")
        path.unlink()
    return folder


def test_five_channels_of_16_bits_are_learned_and_predicted(
    folder: Path, tmp_path: Path, run: RunProgram
) -> None:
    options = {**TINY, "epochs": 6, "samples": 16, "batch": 4, "lr": 0.01, "batch-norm": "train"}
    options |= {"scale-low": 1, "scale-high": 1, "loss": "pce"}
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    assert run("train", folder, "-o", tmp_path / "run", "--val", folder, *flags).code == 0
    assert load_model(tmp_path / "run").config.in_channels == 5
    scored = json.loads(run("evaluate", tmp_path / "run", folder, "--json").out)
    assert scored["miou"] > 0.7
    image = folder / "images" / "0.tif"
    assert run("predict", tmp_path / "run", image, "-o", tmp_path / "out").code == 0
    labels = np.asarray(Image.open(tmp_path / "out" / "0_labels.png"))
    truth = np.asarray(Image.open(folder / "masks" / "0.png"))
    assert (labels == truth).mean() > 0.7


def test_other_channels_than_the_models(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    save_model(tmp_path / "m.safetensors", random_network(backbone="mobilenet_v3_small"), {})
    result = run("predict", tmp_path / "m.safetensors", folder / "images" / "0.tif", "-o", tmp_path / "out")
    assert result.code == 2
    assert "Expected 3 channels, as the model was trained on, but the image has 5 channels" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pickle", "it is a pickle, which can run code"),
        ("newer", "has format version 99, this napari-softseg reads up to 1: update it"),
        ("other", "is a segformer, only deeplabv3+ is known"),
        ("truncated", "is no model file, or is truncated or damaged"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "evaluate", "export"])
def test_models_that_are_none(kind: str, says: str, command: str, tmp_path: Path, run: RunProgram) -> None:
    file = tmp_path / "m.safetensors"
    save_model(file, random_network(values=(0, 1), backbone="mobilenet_v3_small"), {})
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["napari-softseg"])
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 - no mapping
    changes: dict[str, dict[str, Any]] = {"newer": {"version": 99}, "other": {"architecture": "segformer"}}
    changed = changes.get(kind)
    if changed is not None:
        save_file(tensors, file, {"napari-softseg": json.dumps({**header, **changed})})
    elif kind == "pickle":
        torch.save(tensors, file)
    else:
        file.write_bytes(file.read_bytes()[:5000])
    data = write_folder(tmp_path / "data", n_images=1)
    given: dict[str, list[Any]] = {
        "predict": [data, "-o", tmp_path / "out"],
        "evaluate": [data],
        "export": ["-o", tmp_path / "m.onnx"],
    }
    result = run(command, file, *given[command])
    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "m.onnx").exists()


def test_a_full_disk_leaves_the_prediction_before(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    save_model(tmp_path / "m.safetensors", random_network(backbone="mobilenet_v3_small"), {})
    Image.fromarray(random_image((60, 80, 3))).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "napari_softseg", "predict", str(tmp_path / "m.safetensors")]
    command += [str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(before) == 3
    failed = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files, check=False)
    assert failed.returncode == 2
    assert "File too large" in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
