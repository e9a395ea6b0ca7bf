"""Triton and Mesa's software OpenGL each bring an LLVM; in one process they crash if loaded carelessly."""

import subprocess
import sys

CODE = """
import sys
import napari
from napari_softseg.solver.kernels.triton_sweep import kernels

viewer = napari.Viewer()
viewer.window._qt_window.repaint()
flags = sys.getdlopenflags()
kernels()
assert sys.getdlopenflags() == flags
viewer.close()
"""


def test_triton_is_loaded_beside_an_open_window() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
