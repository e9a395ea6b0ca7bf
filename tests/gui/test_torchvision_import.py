"""torchvision brings Triton in, whose LLVM and that of a window's OpenGL crash if loaded carelessly."""

import subprocess
import sys

CODE = """
import napari
import torch
from napari_softseg.models import ModelConfig, build_model

viewer = napari.Viewer()
viewer.window._qt_window.repaint()
model = build_model(ModelConfig(class_values=(1, 2), class_names=("a", "b")))
assert model.eval()(torch.zeros(1, 3, 20, 20)).shape == (1, 2, 20, 20)
viewer.close()
"""


def test_a_network_is_built_beside_an_open_window() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
