"""Training from a real window: begun, stopped, gone on with, and what becomes of it when the window closes."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox, QPushButton

from napari_softseg.project import ProjectClass, create_project, open_project
from napari_softseg.runs import Status, list_runs
from napari_softseg.widgets.training_close import LEAVE, STOP
from napari_softseg.widgets.training_dock import TrainingDock
from tests.runs.conftest import write_project

TIMEOUT = 240_000
"""Milliseconds; a process that trains takes half a minute to load where many share a machine."""

LEFT = Qt.MouseButton.LeftButton


class TrainStage:
    """A viewer with the Train dock, and hands to use it with."""

    def __init__(self, viewer: Any, qtbot: QtBot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-softseg", "Train")
        assert isinstance(dock, TrainingDock)
        self.dock = dock
        self.session = dock.session
        qtbot.wait(50)

    def open(self, path: Path) -> None:
        self.dock.workspace.project.open(path)
        self.wait(lambda: self.session.n_images > 0)

    def wait(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=TIMEOUT)

    def click(self, button: QPushButton) -> None:
        assert button.isEnabled(), button.text()
        self.qtbot.mouseClick(button, LEFT)  # type: ignore[no-untyped-call]

    def choose_tiny(self, epochs: int) -> None:
        """Fill in the form so that a run takes seconds."""
        form = self.dock.form
        form.weights = "none"
        for name, value in (
            ("backbone", "mobilenet_v3_small"),
            ("epochs", epochs),
            ("batch", 4),
            ("crop", 48),
        ):
            form[name].value = value
        form["device"].value = "cpu"

    def wait_ended(self) -> None:
        self.wait(lambda: bool(self.session.runs) and self.session.running is None and not self.session.busy)

    @property
    def notifications(self) -> list[str]:
        return [str(record.message) for record in notification_manager.records]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with strokes; its runs are ended after the test, however it went."""
    mpl.get_cachedir()  # looked up once: not in the folder of this test
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a project"
    write_project(path).close()
    notification_manager.records.clear()
    yield path
    for run in list_runs(path):
        run.kill()


MakeStage = Callable[[], TrainStage]


@pytest.fixture
def make_stage(make_napari_viewer: Callable[..., Any], qtbot: QtBot) -> MakeStage:
    def make() -> TrainStage:
        viewer = make_napari_viewer(show=True)
        viewer.window._qt_window.resize(1200, 850)
        return TrainStage(viewer, qtbot)

    return make


class Answer:
    """Presses a button of the next question, and knows what was asked."""

    def __init__(self, text: str) -> None:
        self.asked = ""
        self._text = text
        self._timer = QTimer()
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._press)
        self._timer.start()

    def _press(self) -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            self._timer.stop()
            self.asked = box.text()
            buttons = {button.text().replace("&", ""): button for button in box.buttons()}
            buttons[self._text].click()


def test_without_a_project_or_strokes_it_says_what_to_do(
    make_stage: MakeStage, project: Path, tmp_path: Path
) -> None:
    stage = make_stage()
    dock = stage.dock
    assert "create or open one in the Project dock" in dock.hint.text()
    assert not dock.start_button.isEnabled()
    dock.start()
    assert "create or open one" in stage.notifications[-1]
    empty = create_project(
        tmp_path / "empty", [ProjectClass(1, "a", (1, 2, 3)), ProjectClass(2, "b", (4, 5, 6))]
    )
    empty.close()
    dock.workspace.project.open(empty.path)
    stage.wait(lambda: "no images yet" in dock.hint.text())
    with_image = open_project(project)
    strokes = with_image.read_scribbles("image 0")
    for name in with_image.names:
        with_image.write_scribbles(name, np.where(strokes == 1, strokes, 0))
    with_image.close()
    dock.workspace.project.open(project)
    stage.wait(lambda: "two or more classes" in dock.hint.text())
    assert not dock.start_button.isEnabled()


def test_the_form_gives_what_differs_from_its_preset(make_stage: MakeStage, project: Path) -> None:
    dock = make_stage().dock
    assert dock.form.given() == {"preset": "fast", "weights": "none"}
    assert "Without trained weights" in dock.form.warning
    dock.form["preset"].value = "paper"
    assert dock.form["epochs"].value == 120
    dock.form["epochs"].value = 7
    dock.form["relaxation"].value = "q"
    assert dock.form.given() == {"preset": "paper", "weights": "none", "epochs": 7, "relaxation": "q"}
    dock.form["loss"].value = "pce"
    assert not dock.form["relaxation"].enabled
    for name in (
        "hint",
        "start_button",
        "stop_button",
        "resume_button",
        "progress",
        "status",
        "curves",
        "table",
    ):
        assert getattr(dock, name).toolTip(), name


def test_train_stop_resume_and_use(make_stage: MakeStage, project: Path) -> None:
    stage = make_stage()
    stage.open(project)
    dock, session = stage.dock, stage.session
    stage.choose_tiny(epochs=6)
    assert "2 images with strokes, 6 epochs: for how long, the first epoch will tell" in dock.hint.text()
    stage.click(dock.copy_button)
    copied = shlex.split(QApplication.clipboard().text())
    assert copied[:3] == ["napari-softseg", "train", str(project)]
    assert copied[copied.index("--crop") + 1] == "48"

    events: list[str] = []
    session.event.connect(lambda event: events.append(event["event"]))
    stage.click(dock.start_button)
    stage.wait(lambda: session.running is not None)
    assert dock.progress.isVisible()
    assert not dock.start_button.isEnabled()
    stage.wait(lambda: events.count("step") >= 2)
    assert events[0] == "start"
    stage.wait(lambda: " of 6" in dock.progress.format())
    stage.click(dock.stop_button)
    stage.wait_ended()
    stage.wait(lambda: bool(dock.curves.panels) and dock.curves.is_drawn)
    assert next(iter(session.curves.terms)) == "pce"
    (run,) = session.runs
    assert run.state.status is Status.STOPPED
    assert "Resume goes on" in dock.status.text()
    assert any("was stopped after" in text for text in stage.notifications)
    assert not dock.progress.isVisible()

    stage.click(dock.resume_button)
    stage.wait(lambda: session.running is not None)
    stage.wait_ended()
    assert run.state.epochs == 6, session.printed
    assert "run-001 is finished. Best: mean IoU" in dock.status.text()
    assert sorted(session.curves.terms) == ["pce", "potts", "self"]
    assert session.curves.terms["pce"][0] == list(range(1, 61))
    assert dock.table.item(0, 3).text() == "finished"
    stage.wait(lambda: dock.log.toPlainText().splitlines()[-1].startswith("best mean IoU"))
    # the next run begins with this one's network, and its time can be told
    assert dock.form.weights == "none"  # as was chosen
    stage.wait(lambda: "epochs: about" in dock.hint.text())
    stage.click(dock.use_button)
    stage.wait(lambda: dock.workspace.model.path == run.path)


def test_closing_the_window_asks_and_what_was_left_running_is_found_again(
    make_stage: MakeStage, project: Path
) -> None:
    first = make_stage()
    first.open(project)
    first.choose_tiny(epochs=500)
    first.click(first.dock.start_button)
    first.wait(lambda: first.session.running is not None)
    window = first.viewer.window._qt_window
    answer = Answer("Cancel")
    window.close()
    assert answer.asked == "run-001 is still being trained."
    assert window.isVisible()
    answer = Answer(LEAVE)
    window.close()
    assert answer.asked
    assert not window.isVisible()
    first.viewer.close()
    (run,) = list_runs(project)
    assert run.state.status.alive

    second = make_stage()
    second.open(project)
    second.wait(lambda: second.session.running is not None)
    second.wait(lambda: "epoch" in second.dock.progress.format())
    second.wait(lambda: bool(second.session.curves.terms))
    second.viewer.close()  # by a program: a question would wait for ever
    assert run.look().status.alive

    third = make_stage()
    third.open(project)
    third.wait(lambda: third.session.running is not None)
    answer = Answer(STOP)
    third.viewer.window._qt_window.close()
    assert answer.asked
    third.viewer.close()
    third.wait(lambda: not run.look().status.alive)
    assert run.state.status is Status.STOPPED


def test_the_last_words_of_a_crash_are_shown(make_stage: MakeStage, project: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"no weights")
    stage = make_stage()
    stage.open(project)
    stage.choose_tiny(epochs=1)
    stage.dock.form.weights = str(damaged)
    stage.click(stage.dock.start_button)
    stage.wait(lambda: stage.session.running is not None)
    stage.wait_ended()
    assert f"Cannot use {damaged}" in stage.dock.status.text()
    assert "napari-softseg: error" in stage.dock.log.toPlainText()
    assert any(str(damaged) in text for text in stage.notifications)
    assert not stage.dock.use_button.isEnabled()
