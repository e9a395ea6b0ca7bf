"""Where weights come from, and what is said when they do not."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_softseg.errors import InputError
from napari_softseg.models import DeepLabV3Plus, ModelConfig, build_model, save_model
from napari_softseg.models.backbones import classification_network
from napari_softseg.models.torchvision_import import torchvision

PRETRAINED = Path(__file__).parents[2] / "../shared/data/weights/mobilenet_v2_imagenet.pth"
TINY = "mobilenet_v3_small"


def config(**options: Any) -> ModelConfig:
    classes = {"class_values": (1, 2, 3), "class_names": ("a", "b", "c")}
    return ModelConfig(**{**classes, "backbone": TINY, **options})


def classifier(name: str = TINY, n_classes: int = 1000) -> nn.Module:
    """One of torchvision's networks with random weights and some number of classes."""
    torch.manual_seed(1)
    network: nn.Module = torchvision().get_model(name, weights=None, num_classes=n_classes)
    return network


def same_backbone(model: DeepLabV3Plus, state: dict[str, Tensor]) -> None:
    own = model.backbone.layers.state_dict()
    prefix = "features." if any(name.startswith("features.") for name in state) else ""
    assert own
    for name, tensor in own.items():
        assert torch.equal(tensor, state[prefix + name]), name


@pytest.mark.skipif(not PRETRAINED.exists(), reason="needs the ImageNet weights of mobilenet_v2")
def test_imagenet_features_are_torchvisions() -> None:
    model = build_model(config(backbone="mobilenet_v2"), PRETRAINED).eval()
    theirs = torchvision().mobilenet_v2()
    theirs.load_state_dict(torch.load(PRETRAINED, weights_only=True))
    image = torch.rand(1, 3, 97, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = theirs.eval().features[:18]((image - mean[:, None, None]) / std[:, None, None])
        seen: list[Tensor] = []
        model.aspp.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        model(image * 255)
    torch.testing.assert_close(seen[0][:, :, ::2, ::2], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [TINY, "resnet18"])
@pytest.mark.parametrize("n_classes", [1000, 10])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_classification_network_from_a_file(name: str, n_classes: int, suffix: str, tmp_path: Path) -> None:
    state = classifier(name, n_classes).state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    same_backbone(build_model(config(backbone=name), path), state)


def test_files_without_batch_norms_counters(tmp_path: Path) -> None:
    state = classifier().state_dict()
    save_file({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "old.safetensors")
    same_backbone(build_model(config(), tmp_path / "old.safetensors"), state)


def test_the_first_layer_is_adapted_after_loading(tmp_path: Path) -> None:
    state = classifier().state_dict()
    torch.save(state, tmp_path / "weights.pth")
    model = build_model(config(in_channels=1), tmp_path / "weights.pth")
    torch.testing.assert_close(
        model.backbone.layers.get_parameter("0.0.weight"), state["features.0.0.weight"].sum(1, keepdim=True)
    )


def refused(path: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        build_model(config(**options), path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_another_network(tmp_path: Path) -> None:
    torch.save(classifier("resnet34").state_dict(), path := tmp_path / "resnet34.pth")
    message = refused(path, backbone="resnet18")
    assert "resnet34.pth does not fit the backbone" in message
    assert "has besides layer1.2.bn1.bias" in message
    message = refused(path, backbone="resnet50")
    assert "lacks layer1.0.bn3.bias, " in message
    assert "layer1.0.conv1.weight (64, 64, 3, 3) for (64, 64, 1, 1)" in message


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(classifier().state_dict(), path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged, truncated" in refused(path)
    path.write_text("hello")
    assert "damaged, truncated" in refused(path)
    for length in (0, 7, 100):
        save_file({"a": torch.zeros(99)}, whole_file := tmp_path / "whole.safetensors")
        (tmp_path / "cut.safetensors").write_bytes(whole_file.read_bytes()[:length])
        assert "damaged, truncated" in refused(tmp_path / "cut.safetensors")


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch ran",)


def test_a_pickle_with_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zip.pth").touch()
    torch.save({"a": _Runs()}, "zip.pth")
    Path("plain.pth").write_bytes(pickle.dumps(_Runs()))
    for name in ("zip.pth", "plain.pth"):
        message = refused(name)
        assert "more than named tensors (nothing else is unpickled)" in message
        assert "weights_only" not in message  # that is how to run the code
    assert not Path("ran").exists()


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": classifier().state_dict()}, tmp_path / "wrapped.pth")
    assert "expected a state dict" in refused(tmp_path / "wrapped.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "expected a state dict" in refused(tmp_path / "list.pth")
    assert "weights to be none, imagenet or a file, but there is no file" in refused(tmp_path / "gone.pth")
    assert "There is no best.safetensors" in refused(tmp_path)


@pytest.mark.parametrize("folder", [False, True])
def test_training_goes_on_from_a_model(folder: bool, tmp_path: Path) -> None:
    torch.manual_seed(2)
    first = build_model(config())
    save_model(tmp_path / "best.safetensors", first, {})
    other = config(class_values=(4, 5, 6), class_names=("c", "new", "a"), output_stride=8)
    model = build_model(other, tmp_path if folder else tmp_path / "best.safetensors")
    own, given = model.state_dict(), first.state_dict()
    for name in own.keys() - {"decoder.4.weight", "decoder.4.bias"}:
        assert torch.equal(own[name], given[name]), name
    weight = own["decoder.4.weight"]
    assert torch.equal(weight[[0, 2]], given["decoder.4.weight"][[2, 0]])
    assert not any(torch.equal(weight[1], row) for row in given["decoder.4.weight"])
    assert model.training


def test_training_cannot_go_on_from_another_network(tmp_path: Path) -> None:
    save_model(tmp_path / "best.safetensors", build_model(config()), {})
    assert "backbone mobilenet_v3_small, but resnet18 is wanted" in refused(tmp_path, backbone="resnet18")
    assert "in_channels 3, but 1 is wanted" in refused(tmp_path, in_channels=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch.hub keeps files, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_offline(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens on the discard port
    message = refused("imagenet", backbone="mobilenet_v2")
    assert "Cannot get the ImageNet weights of mobilenet_v2" in message
    assert "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth" in message
    assert "--weights PATH" in message
    assert str(cache / "mobilenet_v2-b0353104.pth") in message
    assert list(cache.iterdir()) == []
    assert capsys.readouterr().out == ""  # that is for results


def test_what_was_downloaded_before_serves_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    state = classifier("mobilenet_v2").state_dict()
    path = cache / "mobilenet_v2-b0353104.pth"
    torch.save(state, path)
    same_backbone(build_model(config(backbone="mobilenet_v2"), "imagenet"), state)
    path.write_bytes(path.read_bytes()[:5000])
    assert f"remove {path}" in refused("imagenet", backbone="mobilenet_v2")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address in the network."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_download_is_checked_and_kept(
    server: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, address = server
    state = classifier().state_dict()
    torch.save(state, folder / "weights")
    checksum = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()
    for name in (f"good-{checksum[:8]}.pth", "bad-01234567.pth"):
        (folder / name).write_bytes((folder / "weights").read_bytes())
    entry = torchvision().get_model_weights(TINY).IMAGENET1K_V1.value
    monkeypatch.setattr(type(entry), "__setattr__", object.__setattr__)  # it is frozen
    monkeypatch.setattr(type(entry), "__delattr__", object.__delattr__)

    monkeypatch.setattr(entry, "url", f"{address}/good-{checksum[:8]}.pth")
    same_backbone(build_model(config(), "imagenet", progress=True), state)
    assert "100%" in capfd.readouterr().err
    assert [path.name for path in cache.iterdir()] == [f"good-{checksum[:8]}.pth"]

    monkeypatch.setattr(entry, "url", f"{address}/bad-01234567.pth")
    assert "invalid hash value" in refused("imagenet")
    monkeypatch.setattr(entry, "url", f"{address}/gone-01234567.pth")
    assert "HTTP Error 404" in refused("imagenet")
    assert [path.name for path in cache.iterdir()] == [f"good-{checksum[:8]}.pth"]


def test_torchvision_of_another_torch(tmp_path: Path) -> None:
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    code = (
        "from napari_softseg.errors import InputError\n"
        "from napari_softseg.models.torchvision_import import torchvision\n"
        "try:\n    torchvision()\nexcept InputError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert "operator torchvision::nms does not exist" in done.stdout
    assert "pip install --force-reinstall torch torchvision --index-url" in done.stdout


def test_random_weights_are_torchvisions_start() -> None:
    torch.manual_seed(5)
    expected = classification_network(TINY).state_dict()
    torch.manual_seed(5)
    same_backbone(build_model(config()), expected)
