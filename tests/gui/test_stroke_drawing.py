"""What is drawn while the hand draws looks as if all had been drawn."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from qtpy.QtWidgets import QWidget

from napari_softseg.widgets import hand
from tests.gui.conftest import Stage
from tests.gui.hands import Point, button_down, canvas_of

PATH: tuple[Point, ...] = ((30.0, 30.0), (34.0, 60.0), (60.0, 62.0), (70.0, 20.0))


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no slow redraw for a hand that keeps still."""
    monkeypatch.setattr(hand, "PAUSE_MS", 60_000)


def seen(stage: Stage) -> npt.NDArray[Any]:
    """Return the canvas as it would be drawn right now, (H, W, 4)."""
    canvas: Any = canvas_of(stage.viewer)
    image = canvas.grabFramebuffer()
    image = image.convertToFormat(image.Format.Format_RGBA8888)
    pixels = image.constBits()
    pixels.setsize(image.sizeInBytes())
    return np.frombuffer(pixels, np.uint8).reshape(image.height(), image.width(), 4).copy()


def drawn_boxes(stage: Stage) -> list[Any]:
    """Return a list that grows with the box of every frame that is drawn in part."""
    boxes: list[Any] = []
    context = stage.viewer.window._qt_viewer.canvas._scene_canvas.context
    real = context.set_scissor

    def set_scissor(*box: int) -> None:
        boxes.append(box)
        real(*box)

    context.set_scissor = set_scissor
    return boxes


@pytest.mark.parametrize("zoom", [0.7, 4.3])
def test_a_stroke_looks_the_same_as_if_all_was_drawn(stage: Stage, zoom: float) -> None:
    stage.paint_two_classes()
    stage.viewer.scene.camera.zoom *= zoom
    stage.qtbot.wait(100)
    boxes = drawn_boxes(stage)
    with button_down(stage.viewer, PATH[0]) as move:
        for point in PATH:
            move(point)
            stage.qtbot.wait(30)
        in_part = seen(stage)
        assert len(boxes) >= len(PATH) - 1
        canvas = canvas_of(stage.viewer)
        assert min(w * h for _, _, w, h in boxes) < canvas.width() * canvas.height() / 4
        stage.viewer.scene.camera.events.zoom()  # whatever is no stroke has all drawn
        whole = seen(stage)
    assert np.array_equal(in_part, whole)


def test_what_else_changes_in_a_stroke_is_drawn(stage: Stage) -> None:
    stage.paint_two_classes()
    with button_down(stage.viewer, PATH[0]) as move:
        for point in PATH:
            move(point)
            stage.qtbot.wait(30)
        before = seen(stage)
        stage.viewer.layers[0].visible = False
        after = seen(stage)
    changed = (before != after).any(axis=-1)
    assert changed.mean() > 0.1


def test_the_rest_of_the_window_waits_for_the_hand(stage: Stage) -> None:
    window = canvas_of(stage.viewer).window()
    rest = [window.statusBar(), *window.findChildren(QWidget, "layerList")]
    assert len(rest) > 1, "the list of layers has got another name"
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        assert not any(widget.updatesEnabled() for widget in rest)
    assert all(widget.updatesEnabled() for widget in rest)
    stage.close_dock()
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        assert all(widget.updatesEnabled() for widget in rest)
