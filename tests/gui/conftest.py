"""A real napari window with real mouse and key events; a leaked widget or thread fails the test."""

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from napari import settings
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QWidget

from napari_softseg.options import SolveOptions
from napari_softseg.widgets.scribble_dock import ScribbleDock
from tests.gui.hands import canvas_of, drag

PLUGIN, WIDGET = "napari-softseg", "Scribble and solve"
TIMEOUT = 30_000
"""Milliseconds; generous, for shared machines."""

SLOW = SolveOptions(method="gd", unary="none", max_sweeps=100_000, tolerance=0.0)
"""Options whose solve does not end by itself within a test."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make only our own warnings errors.

    warnings.catch_warnings is not safe between threads: while the worker is in one, napari's
    own "ignore" in the GUI thread is lost at times, and an error would come out of nowhere.
    """
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("error:::napari_softseg"))


@pytest.fixture(autouse=True)
def no_leaks(qapp: QApplication) -> Iterator[None]:
    """Fail a test after which a top-level widget or a thread of it lives on.

    The threads of the solver's sweeps are the process's: they come when more than one is needed, and stay. So is the
    one that compiles the solver where nothing is compiled yet.
    """
    widgets_before, threads_before = qapp.topLevelWidgets(), threading.enumerate()
    yield

    def leaks() -> list[Any]:
        qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qapp.processEvents()
        threads = [
            t
            for t in threading.enumerate()
            if t not in threads_before and not t.name.startswith(("softseg-sweep", "softseg-compile"))
        ]
        return threads + [w for w in qapp.topLevelWidgets() if w not in widgets_before]

    if leaks():
        gc.collect()
    assert not leaks()


@pytest.fixture(autouse=True)
def own_preferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither read nor write the preferences of whoever runs the tests."""
    monkeypatch.setattr(settings, "_CFG_PATH", str(tmp_path / "napari" / "settings.yaml"))
    settings._clear_plugin_settings_cache()
    yield
    settings._clear_plugin_settings_cache()


class Stage:
    """The viewer, the dock, and hands to use them with."""

    def __init__(self, viewer: Any, qtbot: QtBot) -> None:
        self.viewer = viewer
        self.qtbot = qtbot
        self.dock_widget, self.dock = self.open_dock()

    def open_dock(self) -> tuple[QWidget, ScribbleDock]:
        return self.viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)  # type: ignore[no-any-return]

    def close_dock(self) -> None:
        """Click the x of the dock."""
        self.dock_widget.destroyOnClose()  # type: ignore[attr-defined]
        del self.dock, self.dock_widget
        self.qtbot.wait(50)

    @property
    def canvas(self) -> QWidget:
        return canvas_of(self.viewer)

    @property
    def scribbles(self) -> Labels:
        layer = self.dock.session.scribbles
        assert layer is not None
        return layer

    @property
    def soft(self) -> Image:
        return self.viewer.layers["soft labels"]

    @property
    def entropy(self) -> Image:
        return self.viewer.layers["uncertainty"]

    @property
    def status(self) -> str:
        return self.dock.status.text()

    @property
    def notifications(self) -> list[str]:
        return [str(record.message) for record in notification_manager.records]

    def start(self) -> None:
        self.dock.start_button.click()
        self.settle()

    def use_options(self, **options: Any) -> None:
        self.dock.form.set_options(SolveOptions(**options))

    def settle(self) -> None:
        """Wait until everything asked for is solved and drawn."""
        self.qtbot.wait(1)
        self.qtbot.waitUntil(lambda: self.dock.is_idle, timeout=TIMEOUT)
        self.qtbot.wait(20)

    def wait_busy(self) -> None:
        """Wait until a solve runs."""
        self.qtbot.waitUntil(lambda: self.dock.stop_button.isEnabled(), timeout=TIMEOUT)

    def key(self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        self.qtbot.keyClick(self.canvas, key, modifier)  # type: ignore[no-untyped-call]
        self.qtbot.wait(1)

    def undo(self) -> None:
        self.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        self.settle()

    def redo(self) -> None:
        self.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
        self.settle()

    def stroke(self, *points: tuple[float, float], value: int | None = None, settle: bool = True) -> None:
        """Drag the mouse with the left button through world points (y, x)."""
        if value is not None:
            self.dock.session.select_class(value)
        drag(self.viewer, points)
        if settle:
            self.settle()

    def paint_two_classes(self, *, settle: bool = True) -> None:
        """One stroke on the left half, one on the right half of the usual image."""
        self.stroke((20, 20), (70, 30), value=1, settle=settle)
        self.stroke((20, 110), (70, 100), value=2, settle=settle)


def two_halves(shape: tuple[int, int] = (96, 128), seed: int = 0) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8: a reddish left and a bluish right half with noise."""
    rng = np.random.default_rng(seed)
    image = np.empty((*shape, 3), dtype=np.float64)
    image[:, : shape[1] // 2] = (190, 90, 60)
    image[:, shape[1] // 2 :] = (60, 90, 190)
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(make_napari_viewer: Callable[..., Any], qtbot: QtBot) -> MakeStage:
    """Return a function that opens a window with these images and the dock."""

    def make(*images: npt.NDArray[Any], **kwargs: Any) -> Stage:
        viewer = make_napari_viewer(show=True)
        viewer.window._qt_window.resize(1200, 850)
        qtbot.wait(50)
        for number, image in enumerate(images):
            viewer.add_image(image, name=f"image {number}", **kwargs)
        stage = Stage(viewer, qtbot)
        qtbot.wait(50)
        return stage

    notification_manager.records.clear()
    return make


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """A window with one RGB image, scribbles started."""
    stage = make_stage(two_halves())
    stage.start()
    return stage
