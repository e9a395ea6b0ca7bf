"""The call that is copied does on the command line what the dock does."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from tqdm import tqdm

from napari_softseg.cli import main
from napari_softseg.saving import read_class_names
from tests.gui.conftest import TIMEOUT, MakeStage, Stage, two_halves
from tests.gui.test_channels import five_channels


def copied(stage: Stage) -> list[str]:
    """Press the button and return the words of the call."""
    QApplication.clipboard().setText("")
    button = stage.dock.copy_button
    stage.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)  # type: ignore[no-untyped-call]
    stage.qtbot.waitUntil(lambda: bool(QApplication.clipboard().text()), timeout=TIMEOUT)
    return shlex.split(QApplication.clipboard().text())


def check_call(stage: Stage, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the call and compare its files with the layers."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # its thread would outlive the test
    assert words[:2] == ["napari-softseg", "solve"]
    assert main(words[1:]) == 0
    probabilities = tifffile.imread(folder / "result_soft.tif")
    shown = stage.dock.loop._last
    assert shown is not None
    np.testing.assert_allclose(probabilities, shown[1].solution.probabilities, atol=1e-5)
    names = {c.value: c.name for c in stage.dock.session.classes}
    assert read_class_names(folder / "result_soft.tif") == names


def test_an_image_in_a_file(make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a photo.png"
    Picture.fromarray(two_halves()).save(path)
    stage = make_stage()
    stage.viewer.open(str(path), plugin="napari")
    stage.start()
    stage.paint_two_classes()
    stage.dock.session.classes.rename(1, "left, red")
    stage.use_options(relaxation="lq", lambda_=12.5, eta=0.5, neighborhood="grid8", max_sweeps=50)
    stage.settle()
    words = copied(stage)
    assert str(path) in words
    assert "--lambda" in words
    assert "--bandwidth" not in words  # a default
    assert "temporary" in stage.dock.copy_button.toolTip()
    check_call(stage, words, tmp_path, monkeypatch)


PIXELS: dict[str, Any] = {
    "rgb": (two_halves(), {}),
    "channels": (five_channels(), {"rgb": False, "axis_labels": ("c", "y", "x")}),
    "float": (two_halves()[..., 0].astype(np.float32) / 99 - 1, {}),
    "stack": (np.stack([two_halves()[..., 2]] * 3).astype(np.uint16) * 99, {}),
}


@pytest.mark.parametrize("kind", PIXELS)
def test_an_image_in_no_file(
    make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pixels, options = PIXELS[kind]
    stage = make_stage(pixels, **options)
    stage.start()
    if kind == "channels":
        assert stage.scribbles.ndim == 2
    stage.paint_two_classes()
    check_call(stage, copied(stage), tmp_path, monkeypatch)


def test_too_few_strokes(stage: Stage) -> None:
    stage.dock.copy_button.click()
    assert "Paint a stroke of each class" in stage.status


def test_a_first_guess_with_weights_from_a_file(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_weights: str
) -> None:
    stage.use_options(unary="pretrained", weights=random_weights)
    stage.paint_two_classes()
    words = copied(stage)
    assert words[words.index("--unary") + 1] == "pretrained"
    assert words[words.index("--weights") + 1] == random_weights
    check_call(stage, words, tmp_path, monkeypatch)
