"""A window with the scribble dock and the project dock, and hands to work in a project with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_softseg.files import read_scribbles
from napari_softseg.project import ProjectClass, create_project
from napari_softseg.widgets.project_dock import ProjectDock
from tests.gui.conftest import PLUGIN, TIMEOUT, Stage, two_halves


class ProjectStage:
    """A stage whose viewer has the project dock as well."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self.qtbot = stage.qtbot
        self.viewer = stage.viewer
        _, dock = stage.viewer.window.add_plugin_dock_widget(PLUGIN, "Project")
        self.dock: ProjectDock = dock
        self.project = dock.project
        self.failures: list[Exception] = []
        self.project.failed.connect(self.failures.append)

    @property
    def strokes(self) -> npt.NDArray[Any]:
        """What the scribbles layer shows."""
        return np.asarray(self.stage.scribbles.data)

    def on_disk(self, name: str) -> npt.NDArray[Any]:
        """Return the strokes of an image as its file has them."""
        return read_scribbles(self.folder / f"scribbles/{name}.png")

    def wait(self, until: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(until, timeout=TIMEOUT)

    def settle(self) -> None:
        """Wait until everything is written and read."""
        self.qtbot.wait(5)
        self.wait(lambda: not self.project.busy)
        self.stage.settle()
        self.wait(lambda: not self.project.busy)

    def click(self, button: Any) -> None:
        assert button.isEnabled()
        button.click()
        self.settle()

    def show(self, name: str) -> None:
        self.project.show(name)
        self.settle()
        assert self.project.current == name, self.failures

    def add_images(self, **images: npt.NDArray[Any]) -> list[Path]:
        """Write images to files beside the project, and add them to it."""
        paths = []
        for name, pixels in images.items():
            path = self.folder.parent / f"{name}{'.png' if pixels.dtype == np.uint8 else '.npy'}"
            if path.suffix == ".png":
                Image.fromarray(pixels).save(path)
            else:
                np.save(path, pixels)
            paths.append(path)
        self.project.add_files(paths)
        self.settle()
        return paths

    def question(self) -> QMessageBox:
        """Return the question that is asked."""
        self.wait(lambda: bool(self._questions()))
        return self._questions()[0]

    def answer(self, text: str) -> None:
        """Click a button of the question that is asked."""
        box = self.question()
        button = next(b for b in box.buttons() if b.text().replace("&", "") == text)
        button.click()
        self.qtbot.wait(20)
        self.settle()

    def _questions(self) -> Sequence[QMessageBox]:
        return [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox) and w.isVisible()]


def small(seed: int = 1) -> npt.NDArray[np.uint8]:
    """(64, 80, 3) uint8."""
    return two_halves((64, 80), seed)


def make_project(folder: Path) -> None:
    """Make a project of two classes and one image, `b`, without strokes."""
    classes = [ProjectClass(1, "warm", (230, 159, 0)), ProjectClass(2, "cold", (0, 114, 178))]
    with create_project(folder, classes) as project:
        project.add_image(small(1), name="b")
