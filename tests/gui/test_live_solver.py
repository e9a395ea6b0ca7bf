"""The worker alone: the latest request wins, every exception arrives, closing joins the thread."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from napari_softseg.widgets.live_solver import DEBOUNCE_MS, Job, LiveSolver, Report


@pytest.fixture
def make_solver(qtbot: QtBot) -> Iterator[Callable[..., LiveSolver]]:
    made: list[LiveSolver] = []

    def make(next_job: Callable[[], Job | None] = lambda: None) -> LiveSolver:
        made.append(LiveSolver(next_job))
        return made[-1]

    yield make
    for solver in made:
        solver.close()


def endless(name: str, started: list[str]) -> Job:
    """Return a job that ends only when it is stopped."""

    def job(stop: threading.Event, report: Report) -> str:
        started.append(name)
        while not stop.is_set():
            report(name)
            time.sleep(0.001)
        return name

    return job


def test_the_latest_request_wins(make_solver: Callable[..., LiveSolver], qtbot: QtBot) -> None:
    solver = make_solver()
    started: list[str] = []
    done: list[Any] = []
    solver.done.connect(done.append)
    solver.submit(endless("first", started))
    qtbot.waitUntil(lambda: started == ["first"])
    solver.submit(endless("second", started))  # never starts: overtaken while it waits
    solver.submit(lambda _stop, _report: "third")
    qtbot.waitUntil(lambda: not solver.busy)
    assert started == ["first"]
    assert done == ["third"]


def test_stop_gives_the_partial_result_and_cancel_drops_it(
    make_solver: Callable[..., LiveSolver], qtbot: QtBot
) -> None:
    solver = make_solver()
    started: list[str] = []
    done: list[Any] = []
    solver.done.connect(done.append)
    for end, expected in ((solver.stop, ["job"]), (solver.cancel, ["job"])):
        started.clear()
        solver.submit(endless("job", started))
        qtbot.waitUntil(lambda: started == ["job"])
        end()
        qtbot.waitUntil(lambda: not solver.busy)
        assert done == expected


@pytest.mark.parametrize("kind", [RuntimeError, StopIteration, GeneratorExit, MemoryError])
def test_every_exception_arrives(
    make_solver: Callable[..., LiveSolver], qtbot: QtBot, kind: type[BaseException]
) -> None:
    def broken(_stop: threading.Event, _report: Report) -> Any:
        raise kind("broken")

    solver = make_solver()
    failed: list[BaseException] = []
    done: list[Any] = []
    solver.failed.connect(failed.append)
    solver.done.connect(done.append)
    solver.submit(broken)
    qtbot.waitUntil(lambda: not solver.busy)
    assert [type(error) for error in failed] == [kind]
    solver.submit(lambda _stop, _report: "the next one works")
    qtbot.waitUntil(lambda: bool(done))


def test_many_pokes_ask_once(make_solver: Callable[..., LiveSolver], qtbot: QtBot) -> None:
    asked: list[int] = []

    def next_job() -> None:
        asked.append(1)

    solver = make_solver(next_job)
    pauses = 0  # as long as the one that ends a burst: a busy machine makes such of its own
    for _ in range(20):
        poked = time.monotonic()
        solver.poke()
        qtbot.wait(2)
        pauses += time.monotonic() - poked > 0.8 * DEBOUNCE_MS / 1000
    qtbot.waitUntil(lambda: not solver.busy)
    assert 1 <= len(asked) <= 1 + pauses


def test_progress_is_thinned_out_and_only_of_the_latest(
    make_solver: Callable[..., LiveSolver], qtbot: QtBot
) -> None:
    solver = make_solver()
    started: list[str] = []
    heard: list[str] = []
    solver.progress.connect(heard.append)
    solver.submit(endless("old", started))
    qtbot.waitUntil(lambda: len(heard) >= 3)
    begin = time.monotonic()
    heard.clear()
    qtbot.wait(300)
    assert len(heard) <= (time.monotonic() - begin) / 0.05 + 1
    solver.submit(endless("new", started))
    heard.clear()
    qtbot.waitUntil(lambda: len(heard) >= 2)
    assert set(heard) == {"new"}


def test_close_waits_for_the_thread_and_nothing_is_emitted_after(
    make_solver: Callable[..., LiveSolver], qtbot: QtBot
) -> None:
    solver = make_solver()
    started: list[str] = []
    done: list[Any] = []
    solver.done.connect(done.append)
    solver.submit(endless("job", started))
    qtbot.waitUntil(lambda: started == ["job"])
    solver.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("softseg-solve")]
    qtbot.wait(50)
    assert done == []
