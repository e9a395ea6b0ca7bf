"""While the hand draws, nothing of ours gets in its way; afterwards nothing is missing."""

import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from napari_softseg.runs import list_runs
from napari_softseg.widgets import hand
from napari_softseg.widgets.autosave import Worker
from napari_softseg.widgets.solve_job import SolveResult
from tests.gui.conftest import SLOW, TIMEOUT, MakeStage, Stage, two_halves
from tests.gui.hands import Point, button_down
from tests.gui.project_stage import ProjectStage
from tests.gui.test_training_dock import TrainStage

PATH: tuple[Point, ...] = ((40.0, 40.0), (44.0, 44.0))


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no slow redraw for a hand that keeps still."""
    monkeypatch.setattr(hand, "PAUSE_MS", 60_000)


def move_until(stage: Stage, move: Callable[[Point], None], happened: Callable[[], bool]) -> None:
    """Keep the mouse moving until something has happened, and a little longer."""
    points = cycle(PATH)

    def moved() -> bool:
        move(next(points))
        return happened()

    stage.qtbot.waitUntil(moved, timeout=TIMEOUT)
    for _ in range(20):
        move(next(points))
        stage.qtbot.wait(5)


def writes_of(stage: Stage) -> list[str]:
    """Return a list that grows with every write to a result layer."""
    seen: list[str] = []
    for layer in (stage.soft, stage.entropy):
        layer.events.set_data.connect(lambda _event, name=layer.name: seen.append(name))
    return seen


def autogroup(pid: int) -> int:
    """Return the priority of a process's session as a whole."""
    return int(Path(f"/proc/{pid}/autogroup").read_text().rsplit(maxsplit=1)[1])


@pytest.mark.usefixtures("slow_machine")
def test_a_result_that_arrives_in_a_stroke_is_shown_after_it(stage: Stage) -> None:
    stage.paint_two_classes()
    before = np.array(stage.soft.data)
    stage.dock.form.set_options(SLOW)
    stage.wait_busy()
    ended: list[bool] = []
    stage.dock.loop.busy_changed.connect(ended.append)
    writes = writes_of(stage)
    stage.dock.session.select_class(2)
    with button_down(stage.viewer, PATH[0]) as move:
        stage.dock.loop.stop()  # it hands over what it has
        move_until(stage, move, lambda: ended == [False])
        assert stage.dock.session.hand.at_work
        assert not writes
        assert not stage.dock.is_idle
    assert stage.soft.name in writes
    stage.dock.loop.stop()
    stage.settle()
    assert not np.array_equal(stage.soft.data, before)
    assert np.asarray(stage.scribbles.data)[42, 42] == 2


@pytest.mark.usefixtures("slow_machine")
def test_no_solve_begins_while_the_hand_draws(stage: Stage) -> None:
    stage.paint_two_classes()
    began: list[bool] = []
    solved: list[SolveResult] = []
    stage.dock.loop.busy_changed.connect(began.append)
    stage.dock.loop.solved.connect(solved.append)
    with button_down(stage.viewer, PATH[0]) as move:
        stage.use_options(lambda_=1.0)
        end = time.monotonic() + 1.0
        move_until(stage, move, lambda: time.monotonic() > end)
        assert not began
        assert not stage.dock.is_idle
    stage.settle()
    assert len(solved) == 1
    assert solved[0].job.options.lambda_ == 1.0


def test_a_hand_that_keeps_still_keeps_nothing_waiting(stage: Stage) -> None:
    stage.paint_two_classes()
    solved: list[SolveResult] = []
    stage.dock.loop.solved.connect(solved.append)
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        stage.use_options(lambda_=1.0)
        stage.qtbot.waitUntil(lambda: len(solved) == 1, timeout=TIMEOUT)


def test_a_layer_that_goes_in_the_middle_of_a_stroke(stage: Stage) -> None:
    stage.paint_two_classes()
    with button_down(stage.viewer, PATH[0]) as move:
        move(PATH[1])
        stage.viewer.layers.remove(stage.scribbles)
    stage.qtbot.waitUntil(lambda: not stage.dock.session.hand.at_work, timeout=TIMEOUT)
    stage.settle()
    stage.start()
    stage.paint_two_classes()
    assert stage.soft.data[..., 3].any()


def test_a_held_worker_begins_nothing_and_loses_nothing(qtbot: QtBot) -> None:
    worker = Worker("test")
    done: list[int] = []
    worker.hold()
    future = worker.run(lambda: 1, done.append)
    qtbot.wait(100)
    assert not future.done()
    worker.go_on()
    qtbot.waitUntil(lambda: done == [1], timeout=TIMEOUT)
    worker.hold()
    last = worker.run(lambda: 2)
    worker.close()
    assert last.result() == 2


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="Linux with autogroups alone has them")
@pytest.mark.usefixtures("slow_machine")
def test_a_trainer_makes_way_for_a_stroke(
    make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpl.get_cachedir()  # looked up once: not in the folder of this test
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stage = make_stage(two_halves())
    stage.start()
    stage.paint_two_classes()
    made = ProjectStage(stage, tmp_path / "day")
    made.project.create(made.folder)
    made.click(made.dock.add_open_button)
    training = TrainStage(stage.viewer, stage.qtbot)
    training.choose_tiny(epochs=500)
    training.wait(lambda: training.dock.start_button.isEnabled())
    training.click(training.dock.start_button)
    training.wait(lambda: training.session.running is not None)
    pid = list_runs(made.folder)[0].pid
    assert pid is not None
    try:
        usual = autogroup(pid)
        with button_down(stage.viewer, PATH[0]) as move:
            move_until(stage, move, lambda: autogroup(pid) > usual)
        training.wait(lambda: autogroup(pid) == usual)
    finally:
        training.session.kill()
        training.wait_ended()
