"""Layers may be deleted, renamed, reordered or switched at any moment, also while a solve runs."""

from typing import Any

import numpy as np
import pytest

from napari_softseg.widgets.tags import TAG
from tests.gui.conftest import SLOW, MakeStage, Stage, two_halves


def solving(stage: Stage) -> Stage:
    """Bring a stage to the middle of a solve that does not end by itself."""
    stage.paint_two_classes()
    stage.dock.form.set_options(SLOW)
    stage.wait_busy()
    return stage


def test_stop_keeps_what_there_is_so_far(stage: Stage) -> None:
    solving(stage)
    stage.qtbot.wait(300)
    stage.dock.stop_button.click()
    stage.settle()
    assert "stopped on request" in stage.status
    assert not stage.dock.stop_button.isEnabled()
    assert stage.soft.data.any()


@pytest.mark.parametrize("which", ["image 0", "scribbles"])
def test_a_layer_deleted_while_it_is_solved(stage: Stage, which: str) -> None:
    solving(stage)
    stage.viewer.layers.remove(which)
    stage.settle()
    assert ("Open an image" if which == "image 0" else "Press Start") in stage.status
    assert stage.notifications == []
    if which == "scribbles":
        stage.start()
        assert stage.status == "Paint a stroke of each class."


def test_all_layers_deleted_while_solving_then_a_new_image(stage: Stage) -> None:
    solving(stage)
    stage.viewer.layers.clear()
    stage.settle()
    stage.viewer.add_image(two_halves(), name="fresh")
    stage.dock.form.set_options(type(SLOW)())
    stage.start()
    stage.paint_two_classes()
    assert stage.soft.data.any()


def test_deleted_result_layers_come_back_with_the_next_stroke(stage: Stage) -> None:
    stage.paint_two_classes()
    stage.viewer.layers.selection = {stage.soft, stage.entropy}
    stage.viewer.layers.remove_selected()
    stage.settle()
    assert len(stage.viewer.layers) == 2
    stage.viewer.layers.selection.active = stage.scribbles
    stage.stroke((10, 100), (80, 118), value=2)
    assert stage.soft.data.any()
    assert len(stage.viewer.layers) == 4


def test_a_duplicate_takes_the_place_of_deleted_scribbles(stage: Stage) -> None:
    stage.paint_two_classes()
    original, result = stage.scribbles, stage.soft.data.copy()
    copy = type(original)(original.data.copy(), metadata=dict(original.metadata), name="copy")
    stage.viewer.layers.append(copy)
    assert stage.scribbles is original
    stage.viewer.layers.remove(original)
    stage.settle()
    assert stage.scribbles is copy
    np.testing.assert_array_equal(stage.soft.data, result)
    stage.stroke((10, 100), (80, 118), value=1)
    assert not np.array_equal(stage.soft.data, result)


def test_nothing_of_a_deleted_image_covers_the_next(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves(), two_halves((64, 80), seed=1))
    stage.start()
    stage.stroke((10, 10), (40, 15), value=1)
    stage.stroke((10, 40), (40, 45), value=2)
    strokes, soft = stage.scribbles, stage.soft
    stage.viewer.layers.remove(stage.dock.session.image)
    stage.settle()
    assert stage.dock.session.image is stage.viewer.layers["image 0"]
    assert strokes in stage.viewer.layers  # what was drawn stays
    assert not strokes.visible
    assert not soft.visible


def test_renamed_and_reordered_layers_are_still_known(stage: Stage) -> None:
    stage.paint_two_classes()
    soft = stage.soft
    before = soft.data.copy()
    for layer, name in zip(stage.viewer.layers, ("d", "c", "b", "a"), strict=True):
        layer.name = name
    assert [stage.dock.image_box.itemText(i) for i in range(stage.dock.image_box.count())] == ["d"]
    stage.viewer.layers.reverse()
    stage.viewer.layers.selection.active = stage.scribbles
    stage.viewer.layers.move(stage.viewer.layers.index(stage.scribbles), 4)
    stage.stroke((10, 100), (80, 118), value=1)
    assert len(stage.viewer.layers) == 4
    assert not np.array_equal(soft.data, before)


def test_channels_that_are_images_of_their_own_stay_visible_together(make_stage: MakeStage) -> None:
    channels = [two_halves()[..., number] for number in (0, 2)]
    stage = make_stage(*channels, blending="additive")
    for row in (0, 1, 0):
        stage.dock.image_box.activated.emit(row)
        stage.settle()
        assert all(layer.visible for layer in stage.viewer.layers)


def test_the_image_switched_while_it_is_solved(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves(), two_halves((64, 128), seed=1))
    stage.dock.session.choose(stage.viewer.layers["image 0"])
    stage.start()
    first = stage.scribbles
    solving(stage)
    shown = stage.soft.data.copy()
    stage.dock.image_box.setCurrentIndex(1)
    stage.dock.image_box.activated.emit(1)
    stage.settle()
    assert stage.dock.session.scribbles is None
    assert "Press Start" in stage.status
    assert not first.visible
    np.testing.assert_array_equal(stage.soft.data, shown)  # the stopped solve wrote nothing

    stage.dock.form.set_options(type(SLOW)())
    stage.start()
    assert stage.scribbles is not first
    stage.stroke((20, 20), (50, 30), value=1)
    stage.stroke((20, 110), (50, 100), value=2)
    assert stage.viewer.layers["soft labels [1]"].data.shape == (64, 128, 4)

    stage.dock.image_box.activated.emit(0)
    stage.settle()
    one, other = (stage.viewer.layers[name] for name in ("image 0", "image 1"))
    assert one.visible
    assert not other.visible  # it lies on top
    assert stage.scribbles is first
    assert first.visible
    assert stage.soft.visible
    assert not stage.viewer.layers["soft labels [1]"].visible


def test_new_pixels_of_another_size_ask_for_new_scribbles(stage: Stage) -> None:
    stage.paint_two_classes()
    stage.viewer.layers["image 0"].data = two_halves((50, 60))
    stage.settle()
    assert "press Start" in stage.status
    assert any("(96, 128)" in text and "(50, 60)" in text for text in stage.notifications)
    stage.start()
    assert stage.scribbles.data.shape == (50, 60)


@pytest.mark.parametrize("how", ["viewer", "dock"])
def test_closed_while_solving(stage: Stage, how: str) -> None:
    """The leak fixture then sees to it that no thread and no widget is left."""
    solving(stage)
    if how == "viewer":
        stage.viewer.close()
        return
    layers = list(stage.viewer.layers)
    stage.close_dock()
    assert list(stage.viewer.layers) == layers
    stage.viewer.layers["scribbles"].data_setitem((np.arange(5), np.arange(5)), 1)  # nobody listens


def test_a_second_dock_takes_up_scribbles_and_results(stage: Stage) -> None:
    stage.paint_two_classes()
    stage.dock.session.classes.rename(1, "left")
    layers = list(stage.viewer.layers)
    stage.close_dock()
    stage.dock_widget, stage.dock = stage.open_dock()
    stage.settle()
    assert list(stage.viewer.layers) == layers
    assert stage.dock.session.classes[1].name == "left"
    before = stage.soft.data.copy()
    stage.stroke((10, 100), (80, 118), value=1)
    assert list(stage.viewer.layers) == layers
    assert not np.array_equal(stage.soft.data, before)


def test_layers_that_are_there_already_are_solved_at_once(make_stage: MakeStage) -> None:
    strokes = np.zeros((96, 128), dtype=np.uint8)
    strokes[20:70, 20:24], strokes[20:70, 100:104] = 1, 2

    stage = make_stage()
    stage.viewer.add_image(two_halves(), name="photo")
    stage.viewer.add_labels(
        strokes,
        name="my strokes",
        metadata={TAG: {"role": "scribbles", "classes": {"1": "left", "2": "right"}}},
    )
    stage.settle()
    assert stage.dock.session.image is stage.viewer.layers["photo"]
    assert [c.name for c in stage.dock.session.classes] == ["left", "right"]
    assert stage.soft.data.any()
    assert stage.viewer.layers.selection.active is stage.scribbles


def test_the_sample_is_picked_up(make_stage: MakeStage) -> None:
    stage = make_stage()
    assert "Open an image" in stage.status
    stage.viewer.open_sample("napari-softseg", "astronaut")
    stage.settle()
    assert stage.soft.data.shape == (512, 512, 4)
    assert stage.soft.data.any()


def test_3d_display_and_back(stage: Stage) -> None:
    stage.paint_two_classes()
    before = stage.soft.data.copy()
    stage.dock.form.set_options(SLOW)
    stage.wait_busy()
    stage.viewer.dims.ndisplay = 3
    stage.qtbot.wait(100)
    stage.viewer.dims.ndisplay = 2
    stage.dock.form.set_options(type(SLOW)())
    stage.settle()
    np.testing.assert_array_equal(stage.soft.data, before)
    stage.stroke((10, 100), (80, 118), value=1)
    assert not np.array_equal(stage.soft.data, before)


def test_toggled_theme_and_hidden_dock_do_no_harm(stage: Stage) -> None:
    stage.dock_widget.hide()
    stage.viewer.theme = "light"
    stage.paint_two_classes()
    stage.dock_widget.show()
    assert stage.soft.data.any()


def test_turning_to_another_image_shows_and_hides_no_layer_in_vain(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves(seed=1), two_halves(seed=2))
    session = stage.dock.session
    first, second = session.images
    for image in (first, second):
        session.choose(image)
        stage.start()
    seen = {layer: layer.visible for layer in stage.viewer.layers}
    in_vain: list[str] = []

    def note(event: Any) -> None:
        layer = event.source
        if layer.visible == seen[layer]:
            in_vain.append(layer.name)
        seen[layer] = layer.visible

    for layer in seen:
        layer.events.visible.connect(note)
    before = dict(seen)
    session.choose(first)
    assert seen != before
    assert not in_vain
