"""All planes of a stack in the background: which ones are solved, by which strokes, and how it stops."""

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_softseg import solve
from napari_softseg.errors import InputError
from tests.gui.conftest import SLOW, TIMEOUT, MakeStage, Stage
from tests.gui.hands import button_down
from tests.gui.test_hand import PATH, move_until, slow_machine, writes_of
from tests.gui.test_planes import stack

__all__ = ["slow_machine"]  # a fixture


def painted(make_stage: MakeStage, *planes: int, depth: int = 5) -> Stage:
    """Return a stage with a stack and strokes of two classes in these planes, nothing solved yet."""
    stage = make_stage(stack(depth), rgb=True, axis_labels=("z", "y", "x"))
    stage.start()
    stage.dock.auto_box.setChecked(False)
    for plane in planes:
        stage.viewer.dims.set_point(0, plane)
        stage.settle()
        stage.paint_two_classes()
    return stage


def solve_all(stage: Stage) -> None:
    press(stage)
    stage.qtbot.waitUntil(lambda: not stage.dock.workspace.all_planes.running, timeout=2 * TIMEOUT)


def press(stage: Stage) -> None:
    button = stage.dock.planes.button
    stage.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)  # type: ignore[no-untyped-call]


def solved_planes(stage: Stage) -> list[int]:
    return [number for number, plane in enumerate(stage.soft.data) if plane.any()]


def test_planes_with_enough_strokes_are_solved(make_stage: MakeStage) -> None:
    stage = painted(make_stage, 0, 3)
    stage.viewer.dims.set_point(0, 1)
    stage.settle()
    stage.stroke((20, 20), (70, 30), value=1)  # one class only
    assert stage.dock.planes.isVisible()
    assert solved_planes(stage) == []
    reports: list[tuple[int, int]] = []
    stage.dock.workspace.all_planes.progress.connect(lambda done, total: reports.append((done, total)))
    solve_all(stage)
    assert solved_planes(stage) == [0, 3]
    assert reports[-1] == (4, 5) or reports[-1] == (5, 5)
    assert reports == sorted(reports)
    assert "2 of 5 solved" in stage.status
    assert "3 without strokes of two classes left out" in stage.status
    expected = solve(stack()[3], stage.scribbles.data[3])
    np.testing.assert_allclose(stage.entropy.data[3], expected.entropy, atol=1e-5)

    shown = stage.soft.data.copy()
    stage.viewer.dims.set_point(0, 3)
    stage.settle()
    assert "plane z=3 of 5" in stage.status  # known already, though auto-solve is off
    np.testing.assert_array_equal(stage.soft.data, shown)


def test_strokes_carried_over(make_stage: MakeStage) -> None:
    stage = painted(make_stage, 1)
    strokes = stage.scribbles.data.copy()
    stage.dock.planes.reach_box.setValue(2)
    solve_all(stage)
    assert solved_planes(stage) == [0, 1, 2, 3]
    np.testing.assert_array_equal(stage.scribbles.data, strokes)  # nothing is copied
    expected = solve(stack()[3], strokes[1])
    np.testing.assert_allclose(stage.entropy.data[3], expected.entropy, atol=1e-5)
    stage.viewer.dims.set_point(0, 3)
    stage.settle()
    assert stage.status.endswith("strokes of plane z=1")
    assert 3 in solved_planes(stage)  # to look at it is not to lose it
    stage.stroke((80, 20), (90, 30), value=1)
    assert 3 not in solved_planes(stage)  # a stroke of its own says that this was not right
    assert "1 of 2 classes" in stage.status


def test_stop_and_painting_meanwhile(make_stage: MakeStage) -> None:
    stage = painted(make_stage, 0, 1)
    stage.dock.form.set_options(SLOW)
    press(stage)
    assert stage.dock.planes.bar.isVisible()
    assert stage.dock.planes.button.text() == "Stop all planes"
    stage.qtbot.wait(200)
    stage.viewer.dims.set_point(0, 2)
    stage.stroke((20, 20), (70, 30), value=2, settle=False)
    assert np.any(stage.scribbles.data[2] == 2)
    press(stage)
    stage.settle()
    assert not stage.dock.workspace.all_planes.running
    assert "stopped, 0 of 5 solved" in stage.status or "1 of 2 classes" in stage.status
    assert not stage.dock.planes.bar.isVisible()
    assert stage.notifications == []


@pytest.mark.usefixtures("slow_machine")
def test_a_plane_that_is_solved_in_a_stroke_is_shown_after_it(make_stage: MakeStage) -> None:
    stage = painted(make_stage, 0, 1)
    planes = stage.dock.workspace.all_planes
    solved: list[Any] = []
    planes._solver.done.connect(solved.append)
    writes = writes_of(stage)
    stage.dock.session.select_class(2)
    with button_down(stage.viewer, PATH[0]) as move:
        planes.start()
        move_until(stage, move, lambda: bool(solved))
        assert not writes
        assert planes.running
    stage.qtbot.waitUntil(lambda: not planes.running, timeout=2 * TIMEOUT)
    assert solved_planes(stage) == [0, 1]


@pytest.mark.parametrize("mishap", ["delete", "close", "pixels"])
def test_the_image_goes_while_it_runs(make_stage: MakeStage, mishap: str) -> None:
    stage = painted(make_stage, 0, 1, 2)
    stage.use_options(method="gd", max_sweeps=300, tolerance=0.0)
    texts: list[Any] = []
    planes = stage.dock.workspace.all_planes
    planes.status_changed.connect(texts.append)
    press(stage)
    if mishap == "close":
        stage.close_dock()
        assert not planes.running
        return
    if mishap == "delete":
        stage.viewer.layers.remove(stage.viewer.layers["image 0"])
    else:
        stage.viewer.layers["image 0"].data = stack()[::-1].copy()
    stage.qtbot.waitUntil(lambda: not planes.running, timeout=2 * TIMEOUT)
    assert "stopped because the image changed" in texts[-1]
    stage.settle()


def test_no_stack_no_button(stage: Stage) -> None:
    assert not stage.dock.planes.isVisible()
    stage.viewer.layers.remove(stage.scribbles)
    with pytest.raises(InputError, match="no strokes"):
        stage.dock.workspace.all_planes.start()
