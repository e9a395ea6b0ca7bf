"""Turning to another image: no colours anew, and never everything in one turn of the event loop."""

import time
from functools import partial
from typing import Any

from pytestqt.qtbot import QtBot
from qtpy.QtCore import QTimer

from napari_softseg.widgets.one_by_one import TURN_SECONDS, OneByOne
from tests.gui.conftest import TIMEOUT, MakeStage, two_halves


def test_what_takes_long_leaves_room_between(qtbot: QtBot) -> None:
    done: list[str] = []
    things = OneByOne()
    beat = QTimer()
    beat.timeout.connect(lambda: done.append("beat"))
    beat.start(0)

    def slow(name: str) -> None:
        time.sleep(1.5 * TURN_SECONDS)
        done.append(name)

    for name in "abc":
        things.add(partial(slow, name))
    assert things.busy
    qtbot.waitUntil(lambda: not things.busy, timeout=TIMEOUT)
    beat.stop()
    assert [name for name in done if name != "beat"] == ["a", "b", "c"]
    assert all("beat" in done[done.index(one) : done.index(other)] for one, other in ("ab", "bc"))


def test_finished_at_once_or_forgotten(qtbot: QtBot) -> None:
    done: list[str] = []
    things = OneByOne()
    things.add(lambda: done.append("a"))
    things.add(lambda: done.append("b"))
    things.finish()
    assert done == ["a", "b"]
    things.add(lambda: done.append("c"))
    things.close()
    qtbot.wait(50)
    assert done == ["a", "b"]
    assert not things.busy


def test_there_and_back_before_anything_is_drawn(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves(seed=1), two_halves(seed=2))
    session = stage.dock.session
    first, second = session.images
    layers = []
    for image in (first, second):
        session.choose(image)
        stage.start()
        stage.paint_two_classes()
        layers.append(stage.scribbles)
    colored: list[Any] = []
    for layer in layers:
        layer.events.colormap.connect(colored.append)
    for image in (first, second, first):
        session.choose(image)
    stage.settle()
    assert colored == []  # for each napari compiles a shader
    assert layers[0].visible
    assert not layers[1].visible
    assert stage.soft.visible
    assert not stage.viewer.layers["soft labels [1]"].visible
    assert stage.viewer.layers.selection.active is layers[0]
    assert layers[0].mode == "paint"
    session.classes.recolor(1, (1, 2, 3))
    stage.settle()
    assert len(colored) == 1
