"""Work through docs/tutorial.md in the running program, and take its pictures.

PYTHONPATH=. python scripts/tutorial.py [--out docs/images] [--epochs 10] [--only first_look]

It needs a display (make docs brings a virtual one). Strokes, clicks and keys are real mouse and key events; only
file dialogs, which belong to the desktop, are passed by.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton

from napari_softseg.widgets.solve_job import View
from tests.gui.hands import Point, canvas_of, drag

PLUGIN = "napari-softseg"
WINDOW = (1360, 960)
PICTURE_WIDTH, PICTURE_BYTES = 1000, 250_000
DOCK_WIDTH = 330
PATIENCE = 3600  # seconds; training on a busy machine takes its time

FIGURE, BACKGROUND = 1, 2

# Polylines of (y, x) by image and class, as few as make sense.
CAT: dict[int, list[list[Point]]] = {
    FIGURE: [
        [(60, 60), (40, 130), (60, 240), (50, 310)],
        [(130, 110), (170, 150), (200, 215), (235, 180)],
        [(200, 50), (240, 110), (280, 160), (285, 240)],
    ],
    BACKGROUND: [[(20, 420), (60, 390), (120, 410), (200, 430), (260, 390)], [(30, 8), (90, 15)]],
}
CAT_MORE: list[Point] = [(170, 30), (220, 15), (280, 15)]
COIN, FIELD = 1, 2
COINS: dict[int, list[list[Point]]] = {
    COIN: [
        [(45, 30), (62, 55)],
        [(45, 90), (62, 110)],
        [(35, 145), (55, 165)],
        [(115, 35), (130, 55)],
        [(118, 95), (135, 110)],
        [(190, 90), (205, 112)],
        [(185, 150), (205, 160)],
        [(245, 35), (275, 60)],
        [(260, 105), (270, 125)],
        [(245, 165), (275, 180)],
    ],
    FIELD: [
        [(10, 8), (15, 90), (12, 185)],
        [(90, 8), (88, 70), (92, 185)],
        [(160, 10), (160, 110), (160, 185)],
        [(225, 10), (228, 80), (222, 185)],
        [(295, 75), (297, 140)],
    ],
}
COINS_CORRECTION: dict[int, list[list[Point]]] = {
    COIN: [],
    FIELD: [[(290, 20), (294, 100), (290, 180)]],
}


class Desk:
    """A napari window, and a person before it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.viewer = napari.Viewer()
        self.viewer.theme = "dark"  # whatever this machine's preferences say
        self.viewer.window._qt_window.resize(*WINDOW)
        self.docks: dict[str, Any] = {}

    def open_dock(self, name: str) -> Any:
        """Open a dock from the menu, or bring it to the front."""
        tabify = bool(self.docks)
        widget, self.docks[name] = self.viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=tabify)
        widget.show()
        widget.raise_()
        self.viewer.window._qt_window.resizeDocks([widget], [DOCK_WIDTH], Qt.Orientation.Horizontal)
        self.pause(300)
        return self.docks[name]

    def click(self, button: QAbstractButton) -> None:
        """Press a button with the mouse."""
        wait(button.isEnabled, f"the button {button.text()!r}")
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        self.settle()

    def key(self, key: Qt.Key) -> None:
        """Press a key over the canvas."""
        QTest.keyClick(canvas_of(self.viewer), key)
        self.settle()

    def paint(self, strokes: dict[int, list[list[Point]]]) -> None:
        """Choose classes by their keys, and drag the brush."""
        keys = {FIGURE: Qt.Key.Key_1, BACKGROUND: Qt.Key.Key_2}
        for value, lines in strokes.items():
            QTest.keyClick(canvas_of(self.viewer), keys[value], Qt.KeyboardModifier.ControlModifier)
            for line in lines:
                drag(self.viewer, line)
        self.settle()

    def see_all(self) -> None:
        """Press the home button of the canvas, and let the window draw."""
        self.pause(300)
        buttons = self.viewer.window._qt_viewer.viewerButtons
        QTest.mouseClick(buttons.resetViewButton, Qt.MouseButton.LeftButton)
        self.pause(300)

    def view(self, view: View) -> None:
        """Choose what the results show."""
        box = self.docks["Scribble and solve"].view_box
        box.setCurrentIndex(box.findData(view))
        box.activated.emit(box.currentIndex())
        self.settle()

    def settle(self) -> None:
        """Wait until everything asked for is solved, saved and drawn."""
        self.pause(300)
        parts = self.docks["Scribble and solve"].workspace
        wait(lambda: parts.loop.is_idle and parts.model.is_idle and not parts.project.busy, "a result")
        self.pause(600)

    def pause(self, milliseconds: int) -> None:
        """Let the window draw."""
        QTest.qWait(milliseconds)

    def shoot(self, name: str) -> None:
        """Take a picture of the whole window."""
        path = self.out / f"{name}.png"
        for toast in self.viewer.window._qt_window.findChildren(
            napari._qt.dialogs.qt_notification.NapariQtNotification
        ):
            toast.close()
        self.pause(300)
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        shrink(path)
        print(f"Wrote {path}")


def wait(until: Callable[[], bool], what: str) -> None:
    """Let the program work until something is so."""
    end = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > end:
            raise SystemExit(f"Waited {PATIENCE} s for {what}.")
        QTest.qWait(50)


def shrink(path: Path) -> None:
    """Scale a screenshot, and take as many colours as its size allows."""
    picture = Image.open(path).convert("RGB")
    height = round(picture.height * PICTURE_WIDTH / picture.width)
    picture = picture.resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    for colors in (255, 192, 128, 96, 64, 48):
        picture.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < PICTURE_BYTES:
            return


def first_look(desk: Desk) -> None:
    """The sample with prepared strokes, and what can be seen of it."""
    desk.viewer.open_sample(PLUGIN, "astronaut")
    dock = desk.open_dock("Scribble and solve")
    desk.see_all()
    desk.settle()
    desk.key(Qt.Key.Key_S)  # the first solve may have compiled the solver
    desk.shoot("scribble_and_solve")
    desk.view(View.UNCERTAINTY)
    desk.shoot("tutorial_uncertainty")
    desk.click(dock.spot_button)
    desk.shoot("tutorial_next_spot")


def own_strokes(desk: Desk) -> None:
    """A photo without strokes: classes, strokes, soft labels, a correction."""
    desk.viewer.open_sample("napari", "cat")
    dock = desk.open_dock("Scribble and solve")
    desk.see_all()
    desk.click(dock.start_button)
    for value, name in ((FIGURE, "figure"), (BACKGROUND, "background")):
        dock.session.classes.rename(value, name)
    desk.paint({FIGURE: CAT[FIGURE]})
    desk.shoot("tutorial_first_class")
    desk.paint({BACKGROUND: CAT[BACKGROUND]})
    desk.shoot("tutorial_soft_labels")
    desk.paint({FIGURE: [CAT_MORE]})


def project_and_network(desk: Desk, epochs: int) -> None:
    """A project of two images, a network from the strokes on one, labels for both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coins"
        desk.viewer.open_sample(PLUGIN, "coins")
        scribble = desk.open_dock("Scribble and solve")
        choose(desk, "coins 1")
        desk.click(scribble.start_button)
        for value, name in ((COIN, "coin"), (FIELD, "background")):
            scribble.session.classes.rename(value, name)
        desk.paint(COINS)
        project = desk.open_dock("Project")
        project.project.create(path)
        desk.click(project.add_open_button)
        choose(desk, "coins 2")
        desk.click(project.add_open_button)
        desk.click(project.previous_button)
        wait(lambda: project.project.statuses["coins 1"].entropy is not None, "soft labels on disk")
        desk.shoot("tutorial_project")
        train = desk.open_dock("Train")
        train.form["epochs"].value = epochs
        desk.pause(500)
        desk.click(train.start_button)
        wait(
            lambda: len(train.session.curves.scores) > 0 and epoch(train) >= 0.6 * epochs, "the run's epochs"
        )
        desk.pause(1500)
        desk.shoot("tutorial_training")
        wait(lambda: train.session.running is None, "the end of the run")
        print(train.status.text())
        desk.click(train.use_button)
        choose(desk, "coins 2")
        desk.click(scribble.start_button)
        desk.shoot("tutorial_model")
        desk.paint(COINS_CORRECTION)
        desk.shoot("tutorial_correction")
        desk.click(train.model_box.predict_button)
        wait(lambda: not desk.docks["Train"].workspace.predict_all.running, "labels of all images")
        print(train.model_box.outcome.text())
        desk.settle()
        for file in sorted(path.rglob("*")):
            if file.is_file():
                print(file.relative_to(path), file.stat().st_size)


def choose(desk: Desk, image: str) -> None:
    """Choose an image in the box of *Scribble and solve*, and see all of it."""
    box = desk.docks["Scribble and solve"].image_box
    box.setCurrentText(image)
    box.activated.emit(box.currentIndex())
    desk.see_all()


def epoch(train: Any) -> int:
    """Epochs that the run that is on has done."""
    running = train.session.running
    return int(1e9) if running is None else running.state.epochs


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", choices=["first_look", "own_strokes", "network"])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only in (None, "first_look"):
        desk = Desk(arguments.out)
        first_look(desk)
        desk.viewer.close()
    if arguments.only in (None, "own_strokes"):
        desk = Desk(arguments.out)
        own_strokes(desk)
        desk.viewer.close()
    if arguments.only in (None, "network"):
        desk = Desk(arguments.out)
        project_and_network(desk, arguments.epochs)
        desk.viewer.close()


if __name__ == "__main__":
    main()
