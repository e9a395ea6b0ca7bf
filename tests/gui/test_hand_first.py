"""What holds up the window waits for the hand."""

import gc
import os
import sys
import threading

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_softseg.widgets import hand
from napari_softseg.widgets.hand import Hand
from napari_softseg.widgets.hand_first import HandFirst
from napari_softseg.widgets.live_solver import LiveSolver
from tests.gui.conftest import Stage
from tests.gui.hands import Point, button_down, canvas_of

PATH: tuple[Point, ...] = ((30.0, 30.0), (34.0, 60.0))


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no slow redraw for a hand that keeps still."""
    monkeypatch.setattr(hand, "PAUSE_MS", 60_000)


def test_the_list_of_layers_waits_for_the_hand(stage: Stage) -> None:
    (layers,) = canvas_of(stage.viewer).window().findChildren(QWidget, "layerList")
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        assert not layers.updatesEnabled()
    assert layers.updatesEnabled()
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        stage.close_dock()
        assert layers.updatesEnabled()


def python() -> tuple[object, float]:
    """Return what of Python's ways the hand changes."""
    return gc.get_threshold(), sys.getswitchinterval()


def test_python_is_as_before_a_while_after_the_stroke(stage: Stage) -> None:
    before = python()
    generations = gc.get_threshold()
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        assert gc.get_threshold()[:2] == generations[:2]
        assert gc.get_threshold()[2] > 1000 * generations[2]
        assert sys.getswitchinterval() < before[1]
    assert python() != before
    stage.dock.workspace.hand_first._calm.setInterval(50)
    stage.qtbot.waitUntil(lambda: python() == before)
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        stage.close_dock()
        assert python() == before


def test_a_collection_that_is_due_comes_when_it_is_calm(stage: Stage) -> None:
    first = stage.dock.workspace.hand_first
    first._calm.setInterval(50)

    def stroke() -> int:
        """Return how many full collections there are until it is calm again."""
        before = gc.get_stats()[2]["collections"]
        with button_down(stage.viewer, PATH[0]) as move:
            move(PATH[1])
        stage.qtbot.waitUntil(lambda: not first._calm.isActive())
        return int(gc.get_stats()[2]["collections"] - before)

    assert stroke() == 1
    assert stroke() == 0
    ballast = [[number] for number in range(len(gc.get_objects()))]
    gc.collect(1)  # they are old from now on
    assert stroke() == 1
    assert ballast


def test_two_viewers_leave_python_as_it_was() -> None:
    before = python()
    hands = [Hand(ViewerModel()) for _ in range(2)]
    firsts = [HandFirst(one._viewer, one) for one in hands]
    for one in hands:
        one.began.emit()
    assert python() != before
    for first, one in zip(firsts, hands, strict=True):
        first.close()
        one.close()
    assert python() == before


@pytest.mark.skipif(sys.platform != "linux", reason="only there have threads a niceness of their own")
def test_the_window_goes_first_where_a_solve_wants_the_cpu(qtbot: object) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    here = niceness()
    solver = LiveSolver(lambda: None)
    seen: list[int] = []
    solver.warm.connect(seen.append)
    solver.warm_up(niceness)
    qtbot.waitUntil(lambda: bool(seen))  # type: ignore[attr-defined]
    solver.close()
    assert seen == [10]
    assert niceness() == here
