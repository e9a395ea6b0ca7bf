"""What all tests share."""

import os
from pathlib import Path

import pytest

# Before napari is imported: tests neither read nor write the settings of whoever runs them.
os.environ["NAPARI_CONFIG"] = ""


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write random weights of mobilenet_v2, the same for all, whose batch normalisations have seen an image."""
    import torch  # here: most tests need none

    from napari_softseg.models.backbones import classification_network

    torch.manual_seed(0)
    network = classification_network("mobilenet_v2").train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    network(torch.randn(2, 3, 128, 128))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.fixture
def no_downloads(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave the program without a network and without any weights; return where torch.hub looks for some."""
    from napari_softseg.unary import pretrained

    home = tmp_path_factory.mktemp("torch")
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens on the discard port
    monkeypatch.setattr(pretrained, "_loads", {})
    return home / "hub" / "checkpoints"
