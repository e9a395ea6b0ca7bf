"""Model files: whole, exact, and nothing else is taken for one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_softseg.errors import InputError
from napari_softseg.models import DeepLabV3Plus, ModelConfig, build_model, load_model, save_model

KEY = "napari-softseg"


def build(**options: Any) -> DeepLabV3Plus:
    classes = {"class_values": (1, 2, 9), "class_names": ("a", "été", "c d")}
    torch.manual_seed(0)
    model = build_model(ModelConfig(**{**classes, "backbone": "mobilenet_v3_small", **options}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
    return model


@pytest.fixture(scope="module")
def model() -> DeepLabV3Plus:
    return build()


@pytest.fixture
def saved(model: DeepLabV3Plus, tmp_path: Path) -> Path:
    save_model(tmp_path / "best.safetensors", model, {"epoch": 3, "options": {"lr": 0.1}})
    return tmp_path / "best.safetensors"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"in_channels": 5, "output_stride": 8},
        {"backbone": "resnet18", "in_channels": 1, "mean": (3.0,), "std": (0.1,), "dropout": 0.0},
        {"backbone": "efficientnet_b0", "class_values": (0, 255), "class_names": ("x", "y")},
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_a_model_comes_back_bit_for_bit(options: dict[str, Any], folder: bool, tmp_path: Path) -> None:
    model = build(**options).train()
    save_model(tmp_path / "best.safetensors", model, details := {"epoch": 3, "options": {"lr": 0.1}})
    assert model.training
    random = torch.get_rng_state()
    loaded = load_model(tmp_path if folder else tmp_path / "best.safetensors")
    assert torch.equal(torch.get_rng_state(), random)
    assert (loaded.config, loaded.details) == (model.config, details)
    own, given = model.state_dict(), loaded.model.state_dict()
    assert list(own) == list(given)
    assert all(torch.equal(own[name], given[name]) for name in own)
    assert not loaded.model.training
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())
    images = torch.rand(2, model.config.in_channels, 20, 33) * 255
    with torch.inference_mode():
        assert torch.equal(loaded.model(images), model.eval()(images))


def test_memory_format_does_not_matter(tmp_path: Path) -> None:
    model = build().to(memory_format=torch.channels_last)
    save_model(tmp_path / "m.safetensors", model, {})
    given = load_model(tmp_path / "m.safetensors").model.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in model.state_dict().items())


def test_the_header_is_in_the_file_and_beside_it(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        header = json.loads(file.metadata()[KEY])
    assert header == json.loads(saved.with_suffix(".json").read_text(encoding="utf-8"))
    assert (header["version"], header["architecture"], header["details"]["epoch"]) == (1, "deeplabv3+", 3)
    assert header["config"]["class_names"] == ["a", "été", "c d"]
    saved.with_suffix(".json").unlink()
    load_model(saved)


def test_a_loaded_model_does_not_need_its_file(saved: Path, model: DeepLabV3Plus) -> None:
    loaded = load_model(saved)
    with saved.open("r+b") as file:
        file.truncate(0)
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.model.state_dict().items())


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_no_file(tmp_path: Path) -> None:
    assert "There is no model" in refused(tmp_path / "gone.safetensors")
    assert "There is no best.safetensors" in refused(tmp_path)


def test_pickles_are_refused(model: DeepLabV3Plus, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "a.safetensors")
    torch.save(model.state_dict(), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pth"):
        assert "it is a pickle, which can run code" in refused(tmp_path / name)


def test_truncated_files(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in (0, 1, 7, 8, 100, 5000, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        assert "truncated or damaged" in refused(saved)
    saved.write_bytes(whole + b"more")
    assert "truncated or damaged" in refused(saved)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_header_is_refused_or_harmless(saved: Path, data: st.DataObject) -> None:
    whole = bytearray(saved.read_bytes())
    length = 8 + int.from_bytes(whole[:8], "little")
    # Half of the changes go where the classes and the rest of our own header are.
    ours = whole.index(b"deeplabv3+")
    place = data.draw(st.one_of(st.integers(0, length - 1), st.integers(ours - 300, ours + 600)))
    whole[place] = data.draw(st.integers(0, 255))
    changed = saved.with_name("changed.safetensors")
    changed.write_bytes(whole)
    with suppress(InputError):
        load_model(changed)


Change = Callable[[dict[str, Any], dict[str, Tensor]], None]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda header, tensors: header.update(version=2), "format version 2, this .* reads up to 1: update it"),
        (lambda header, tensors: header.pop("version"), "format version None"),
        (lambda header, tensors: header.update(format="other"), "header cannot be read"),
        (lambda header, tensors: header.update(architecture="unet"), "is a unet, only deeplabv3"),
        (lambda header, tensors: header["config"].update(backbone="vgg"), "damaged: Unknown backbone 'vgg'"),
        (lambda header, tensors: header["config"].update(class_values=[1, None, 2]), "damaged: .*class_values"),
        (lambda header, tensors: header["config"].update(class_values=3), "damaged: .*class_values"),
        (lambda header, tensors: header["config"].update(mean="abc"), "damaged: .*mean"),
        (lambda header, tensors: header["config"].update(output_stride=[8]), "damaged: .*output_stride"),
        (lambda header, tensors: header["config"].pop("std"), "damaged: .* differs in std"),
        (lambda header, tensors: header.pop("config"), "damaged: .* object, but got None"),
        (lambda header, tensors: header["config"].update(class_values=[1, 2], class_names=["a", "b"]),
         r"expected decoder.4.bias to be \(2,\) torch.float32, but got \(3,\)"),
        (lambda header, tensors: header["config"].update(in_channels=4, mean=[1] * 4, std=[1] * 4),
         r"expected backbone.layers.0.0.weight to be \(16, 4, 3, 3\)"),
        (lambda header, tensors: tensors.pop("decoder.4.bias"), "the tensor decoder.4.bias is missing"),
        (lambda header, tensors: tensors.update(extra=torch.zeros(2)), "nothing in the network is called extra"),
        (lambda header, tensors: tensors.update({"decoder.4.bias": torch.zeros(3).half()}), "torch.float16"),
        (lambda header, tensors: tensors["decoder.4.bias"].fill_(torch.nan), "decoder.4.bias holds NaN"),
    ],
)  # fmt: skip
def test_wrong_headers_and_tensors(saved: Path, change: Change, says: str) -> None:
    with safe_open(saved, framework="pt") as file:
        header = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    change(header, tensors)
    save_file(tensors, saved, {KEY: json.dumps(header)})
    with pytest.raises(InputError, match=says):
        load_model(saved)
    said = refused(saved)
    assert "\n" not in said
    assert "; " in said or "update it" in said  # the way out


def test_tensors_of_others(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert "no model of napari-softseg" in refused(tmp_path / "other.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors", {KEY: "[1"})
    assert "header cannot be read" in refused(tmp_path / "other.safetensors")


def test_what_json_cannot_hold_changes_nothing(saved: Path, model: DeepLabV3Plus) -> None:
    before = {path: path.read_bytes() for path in saved.parent.iterdir()}
    for details in ({"miou": float("nan")}, {"when": object()}):
        with pytest.raises((ValueError, TypeError)):
            save_model(saved, model, details)
    assert {path: path.read_bytes() for path in saved.parent.iterdir()} == before


def test_the_model_before_survives_a_full_disk(saved: Path) -> None:
    before = {path: path.read_bytes() for path in saved.parent.iterdir()}
    code = (
        "import resource, sys\n"
        "from napari_softseg.models import load_model, save_model\n"
        "model = load_model(sys.argv[1]).model\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    save_model(sys.argv[1], model, {})\n"
        "except OSError as error:\n    print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, saved], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert {path: path.read_bytes() for path in saved.parent.iterdir()} == before
