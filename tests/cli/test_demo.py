"""``napari-softseg demo`` without a display: a real window on a virtual one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_softseg.cli import demo
from napari_softseg.files import read_image
from napari_softseg.samples import load_sample
from napari_softseg.saving import read_class_names
from tests.cli.conftest import Case, RunProgram


def test_the_demo_leaves_a_screenshot_and_soft_labels(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [
        sys.executable,
        "-m",
        "napari_softseg",
        "demo",
        "--sample",
        "coffee",
        "-o",
        str(tmp_path / "new"),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "new" / "screenshot.png") in done.stdout
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "coffee_labels.png",
        "coffee_overlay.png",
        "coffee_soft.tif",
        "screenshot.png",
    ]
    sample = load_sample("coffee")
    soft = tifffile.imread(tmp_path / "new" / "coffee_soft.tif")
    assert soft.shape == (5, *sample.scribbles.shape)
    assert read_class_names(tmp_path / "new" / "coffee_soft.tif") == sample.classes
    labels = read_image(tmp_path / "new" / "coffee_labels.png")
    painted = sample.scribbles > 0
    np.testing.assert_array_equal(labels[painted], sample.scribbles[painted])
    picture = read_image(tmp_path / "new" / "screenshot.png").astype(int)
    assert picture.shape[0] > 700
    # The strokes' colours are in the window: image, strokes and soft labels were drawn.
    for color in demo_colors(sample.classes):
        assert (np.abs(picture - color).sum(axis=2) < 6).sum() > 200


def demo_colors(classes: dict[int, str]) -> list[tuple[int, int, int]]:
    from napari_softseg.colors import class_color

    return [class_color(value) for value in classes]


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.mark.usefixtures("no_display")
def test_neither_display_nor_xvfb(case: Case, run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(case.folder))
    assert shutil.which("xvfb-run") is None
    result = run("demo", "-o", case.folder)
    assert result.code == 2
    assert "sudo apt-get install xvfb" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("missing", "says"),
    [({"napari"}, "needs napari"), ({"PyQt6", "PyQt5", "PySide6", "PySide2"}, "Qt binding")],
)
def test_no_napari_or_no_qt(
    missing: set[str], says: str, case: Case, run: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = importlib.util.find_spec
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name in missing else present(name))
    result = run("demo", "-o", case.folder)
    assert result.code == 2
    assert says in result.err
    assert 'pip install "napari[all]"' in result.err


@pytest.mark.usefixtures("no_display")
def test_a_folder_that_cannot_be_made(case: Case, run: RunProgram) -> None:
    result = run("demo", "-o", case.image / "folder")
    assert result.code == 2
    assert "photo.png/folder" in result.err
