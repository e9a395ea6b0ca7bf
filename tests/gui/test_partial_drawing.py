"""What is drawn in part looks as if all had been drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from vispy.gloo.util import read_pixels

from napari_softseg.widgets import hand, partial_drawing
from napari_softseg.widgets.partial_drawing import STRIPS, PartialDrawing
from napari_softseg.widgets.workspace import Workspace
from tests.gui.conftest import MakeStage, Stage, two_halves
from tests.gui.hands import Point, button_down, canvas_of, hover

PATH: tuple[Point, ...] = ((30.0, 30.0), (34.0, 60.0), (60.0, 62.0), (70.0, 20.0))


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no slow redraw for a hand that keeps still."""
    monkeypatch.setattr(hand, "PAUSE_MS", 60_000)


@pytest.fixture(autouse=True)
def one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw results in one go, however slow it is here."""
    monkeypatch.setattr(partial_drawing, "SLOW", 1000.0)


class Frames:
    """What is drawn, frame by frame."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.scene = stage.viewer.window._qt_viewer.canvas._scene_canvas
        self.boxes: list[tuple[int, int, int, int]] = []
        """(left, bottom, width, height) of everything that was drawn in part."""
        self.drawn = 0
        """How often something was drawn."""
        self.scene.events.draw.connect(self._on_draw, position="first")
        self._real = self.scene.context.set_scissor
        self.scene.context.set_scissor = self._set_scissor
        stage.qtbot.wait(100)
        self.draw_all()
        self.forget()

    @property
    def in_full(self) -> int:
        """How many frames were drawn over the whole canvas."""
        return self.drawn - len(self.boxes)

    def forget(self) -> None:
        self.boxes.clear()
        self.drawn = 0

    def now(self) -> npt.NDArray[np.uint8]:
        """Return the canvas as it is, (H, W, 4), without drawing anything."""
        self.stage.qtbot.wait(30)
        self.scene.set_current()
        return np.array(read_pixels((0, 0, *self.scene.physical_size)))

    def draw_all(self) -> npt.NDArray[np.uint8]:
        """Draw the whole canvas as napari does, and return it."""
        self.scene.update()
        return self.now()

    def _on_draw(self, _event: Any) -> None:
        self.drawn += 1

    def _set_scissor(self, *box: int) -> None:
        self.boxes.append(box)  # type: ignore[arg-type]
        self._real(*box)


@pytest.mark.parametrize("zoom", [0.7, 4.3])
def test_a_stroke_looks_the_same_as_if_all_was_drawn(stage: Stage, zoom: float) -> None:
    stage.paint_two_classes()
    stage.viewer.scene.camera.zoom *= zoom
    frames = Frames(stage)
    before = frames.now()
    with button_down(stage.viewer, PATH[0]) as move:
        for point in PATH:
            move(point)
            stage.qtbot.wait(30)
        assert frames.in_full == 0
        assert len(frames.boxes) >= len(PATH)
        width, height = frames.scene.physical_size
        assert min(w * h for _, _, w, h in frames.boxes) < width * height / 4
        drawn = frames.now()
        assert (drawn != before).any()
        assert np.array_equal(drawn, frames.draw_all())


def test_another_class_and_a_mouse_without_a_button_draw_the_circle_alone(stage: Stage) -> None:
    stage.paint_two_classes()
    frames = Frames(stage)
    stage.dock.session.select_class(1)
    for point in PATH:
        hover(stage.viewer, point)
        stage.qtbot.wait(30)
    assert frames.in_full == 0
    assert frames.boxes
    drawn = frames.now()
    assert np.array_equal(drawn, frames.draw_all())


def test_a_class_chosen_while_the_mouse_rests_draws_nothing_and_stops_nothing(stage: Stage) -> None:
    stage.paint_two_classes()
    frames = Frames(stage)
    stage.dock.session.select_class(1)
    before = frames.now()
    assert frames.in_full == 0
    stage.stroke((80, 20), (85, 40), settle=False)
    drawn = frames.now()
    assert (drawn != before).any()
    assert np.array_equal(drawn, frames.draw_all())


def test_a_jump_of_the_mouse_does_not_draw_what_lies_between(stage: Stage) -> None:
    stage.paint_two_classes()
    frames = Frames(stage)
    for point in ((20.0, 20.0), (80.0, 110.0)):
        frames.forget()
        hover(stage.viewer, point)
        stage.qtbot.wait(50)
    assert len(frames.boxes) == 2
    drawn = frames.now()
    assert np.array_equal(drawn, frames.draw_all())


def test_where_drawing_is_slow_a_result_comes_in_strips(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_drawing, "SLOW", 0.0)
    stage.paint_two_classes()
    frames = Frames(stage)
    before = frames.now()
    stage.viewer.layers["soft labels"].data[:] = 99
    stage.viewer.layers["soft labels"].refresh()
    stage.qtbot.waitUntil(lambda: frames.drawn >= STRIPS)
    drawn = frames.now()
    assert frames.in_full == 0
    assert len({bottom for _, bottom, _, _ in frames.boxes}) == STRIPS
    assert (drawn != before).any()
    assert np.array_equal(drawn, frames.draw_all())


def test_a_picture_of_the_canvas_shows_all_of_a_result(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_drawing, "SLOW", 0.0)
    stage.paint_two_classes()
    frames = Frames(stage)
    stage.viewer.layers["soft labels"].data[:] = 99
    stage.viewer.layers["soft labels"].refresh()
    at_once = stage.viewer.screenshot(canvas_only=True, flash=False)
    frames.draw_all()
    assert np.array_equal(at_once, stage.viewer.screenshot(canvas_only=True, flash=False))


def test_where_drawing_is_slow_another_image_is_drawn_after_the_turn(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage(two_halves(), 255 - two_halves())
    stage.start()
    monkeypatch.setattr(partial_drawing, "SLOW", 0.0)
    frames = Frames(stage)
    before = frames.now()
    session = stage.dock.session
    left = session.image
    assert left is not None
    other = next(image for image in session.images if image is not left)
    left.visible = False
    session.choose(other)
    QApplication.sendPostedEvents()
    assert frames.drawn == 0
    drawn = frames.now()
    assert frames.drawn > 0
    assert (drawn != before).any(axis=-1).mean() > 0.1
    assert np.array_equal(drawn, frames.draw_all())
    stage.start()
    drawn = frames.draw_all()
    stage.stroke((80, 20), (85, 40), settle=False)
    assert (frames.now() != drawn).any()


def test_in_the_hand_of_another_tool_the_mouse_moves_the_picture(stage: Stage) -> None:
    stage.scribbles.mode = "pan_zoom"
    stage.qtbot.wait(30)
    center = stage.viewer.scene.camera.center
    with button_down(stage.viewer, PATH[0]) as move:
        for point in PATH:
            move(point)
            stage.qtbot.wait(30)
    assert stage.viewer.scene.camera.center != center


def test_where_drawing_is_fast_a_result_comes_at_once(stage: Stage) -> None:
    stage.paint_two_classes()
    frames = Frames(stage)
    stage.viewer.layers["soft labels"].data[:] = 99
    stage.viewer.layers["soft labels"].refresh()
    drawn = frames.now()
    assert not frames.boxes
    assert np.array_equal(drawn, frames.draw_all())


def test_an_undo_is_drawn(stage: Stage) -> None:
    stage.paint_two_classes()
    frames = Frames(stage)
    before = frames.now()
    stage.undo()
    drawn = frames.now()
    assert (drawn != before).any()
    assert np.array_equal(drawn, frames.draw_all())


def hide_the_image(stage: Stage) -> None:
    stage.viewer.layers[0].visible = False


def dim_the_strokes(stage: Stage) -> None:
    stage.scribbles.opacity = 0.3


def zoom_in(stage: Stage) -> None:
    stage.viewer.scene.camera.zoom *= 1.3


def show_the_scale_bar(stage: Stage) -> None:
    stage.viewer.canvas.overlays.scale_bar.visible = True


def make_the_window_smaller(stage: Stage) -> None:
    stage.viewer.window._qt_window.resize(900, 700)


@pytest.mark.parametrize(
    "change", [hide_the_image, dim_the_strokes, zoom_in, show_the_scale_bar, make_the_window_smaller]
)
def test_whatever_else_changes_in_a_stroke_is_drawn(stage: Stage, change: Callable[[Stage], None]) -> None:
    stage.paint_two_classes()
    frames = Frames(stage)
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        before = frames.now()
        change(stage)
        move(PATH[2])
        drawn = frames.now()
        move(PATH[2])
        assert before.shape != drawn.shape or (before != drawn).any(axis=-1).mean() > 0.0005
        assert np.array_equal(drawn, frames.draw_all())


def test_a_polygon_is_drawn_and_disappears(stage: Stage) -> None:
    stage.paint_two_classes()
    stage.scribbles.mode = "polygon"
    frames = Frames(stage)
    before = frames.now()
    for point in PATH:
        with button_down(stage.viewer, point):
            stage.qtbot.wait(20)
    drawn = frames.now()
    assert (drawn != before).any(axis=-1).mean() > 0.001
    assert np.array_equal(drawn, frames.draw_all())
    stage.key(Qt.Key.Key_Escape)
    drawn = frames.now()
    assert np.array_equal(drawn, frames.draw_all())
    assert np.array_equal(drawn, before)


def test_without_the_docks_all_is_drawn_as_ever(stage: Stage) -> None:
    frames = Frames(stage)
    native = canvas_of(stage.viewer)
    assert {"update", "_render_picking"} <= vars(frames.scene).keys()
    stage.close_dock()
    assert not {"update", "_render_picking"} & vars(frames.scene).keys()
    assert "paintGL" not in vars(native)
    frames.forget()
    hover(stage.viewer, PATH[0])
    stage.qtbot.wait(30)
    assert frames.in_full > 0
    assert not frames.boxes


def test_a_viewer_without_a_window_has_nothing_to_draw() -> None:
    PartialDrawing(ViewerModel()).close()


def test_a_napari_that_keeps_its_things_elsewhere_draws_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.paint_two_classes()
    frames = Frames(stage)
    monkeypatch.setattr(Workspace.of(stage.viewer).drawing._changes, "_canvas", object())
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        stage.qtbot.wait(30)
    assert frames.in_full > 0
    assert not frames.boxes


def test_a_window_of_another_napari_is_left_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    Workspace.of(stage.viewer).drawing.close()
    canvas = stage.viewer.window._qt_viewer.canvas
    with monkeypatch.context() as other:
        other.delattr("vispy.scene.canvas.SceneCanvas._render_picking")
        drawing = PartialDrawing(stage.viewer)
    assert "paintGL" not in vars(canvas.native)
    behavior = canvas.native.UpdateBehavior
    assert canvas.native.updateBehavior() == behavior.NoPartialUpdate
    drawing.close()
