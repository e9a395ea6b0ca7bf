"""Bad input becomes a notification that says the way out; the layers stay as they were."""

from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from tests.gui.conftest import MakeStage, Stage, two_halves


def snapshot(stage: Stage) -> list[tuple[str, bytes]]:
    return [(layer.name, np.asarray(layer.data).tobytes()) for layer in stage.viewer.layers]


def test_pixels_that_are_no_numbers(make_stage: MakeStage) -> None:
    pixels = two_halves()[..., 0].astype(np.float32)
    pixels[5, 7] = np.nan
    stage = make_stage(pixels)
    stage.start()
    stage.stroke((20, 20), (70, 30), value=1)
    stage.stroke((20, 110), (70, 100), value=2)
    before = snapshot(stage)
    assert not stage.soft.data.any()
    assert len(stage.notifications) == 1
    assert stage.notifications[0] == stage.status
    assert "nan" in stage.status.lower()
    stage.dock.solve_now()
    stage.settle()
    assert len(stage.notifications) == 1  # said once
    assert snapshot(stage) == before


def test_options_that_do_not_go_together(stage: Stage) -> None:
    stage.paint_two_classes()
    before = snapshot(stage)
    stage.use_options(method="closed-form", relaxation="cd")
    stage.settle()
    assert stage.notifications == [stage.status]
    assert snapshot(stage) == before
    stage.use_options()
    stage.settle()
    assert "CD, E" in stage.status


@pytest.mark.parametrize(
    ("pixels", "kwargs", "words"),
    [
        ([two_halves()[..., 0], two_halves()[::2, ::2, 0]], {"multiscale": True}, "multiscale"),
    ],
)
def test_images_that_cannot_be_painted_on(
    make_stage: MakeStage, pixels: Any, kwargs: dict[str, Any], words: str
) -> None:
    stage = make_stage()
    stage.viewer.add_image(pixels, name="odd", **kwargs)
    before = len(stage.viewer.layers)
    stage.start()
    assert any(words in text and "odd" in text for text in stage.notifications)
    assert words in stage.status
    assert len(stage.viewer.layers) == before


def test_start_without_an_image(make_stage: MakeStage) -> None:
    stage = make_stage()
    assert not stage.dock.start_button.isEnabled()
    stage.dock.start()
    assert "There is no image" in stage.status


def test_a_class_value_above_the_limit(make_stage: MakeStage) -> None:
    strokes = np.zeros((96, 128), dtype=np.int32)
    strokes[20:70, 20:24], strokes[20:70, 100:104] = 1, 300
    stage = make_stage()
    stage.viewer.add_image(two_halves(), name="photo")
    stage.viewer.add_labels(strokes, name="scribbles")
    stage.settle()
    assert stage.notifications == [stage.status]
    assert "300" in stage.status
    assert not stage.soft.data.any()


def test_any_other_exception_is_shown_in_full(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[BaseException] = []
    monkeypatch.setattr(
        notification_manager, "receive_error", lambda _kind, error, _traceback: received.append(error)
    )

    def broken(*_args: object) -> None:
        raise RuntimeError("a bug of ours")  # what torch raises, and what some workers swallow

    stage.dock.loop._solver.submit(broken)
    stage.settle()
    assert [str(error) for error in received] == ["a bug of ours"]
    assert received[0].__traceback__ is not None
    assert stage.status == "RuntimeError: a bug of ours"
