"""Strokes of a real mouse lead to soft labels, and undo, redo, erase and fill change them back and forth."""

import numpy as np
from qtpy.QtCore import Qt

from tests.gui.conftest import MakeStage, Stage, two_halves


def test_start_lays_scribbles_over_the_image_with_brush_in_hand(make_stage: MakeStage) -> None:
    stage = make_stage(
        two_halves(), scale=(0.5, 0.25), translate=(3, 4), units=("um", "um"), axis_labels=("y", "x")
    )
    assert "Press Start" in stage.status
    stage.start()
    image, scribbles = stage.viewer.layers["image 0"], stage.scribbles
    assert scribbles.data.shape == (96, 128)
    assert scribbles.data.dtype == np.uint8
    np.testing.assert_allclose(scribbles.scale, image.scale)
    np.testing.assert_allclose(scribbles.translate, image.translate)
    assert scribbles.units == image.units
    assert scribbles.axis_labels == image.axis_labels
    assert stage.viewer.layers.selection.active is scribbles
    assert scribbles.mode == "paint"
    assert len(stage.dock.session.classes) == 2
    assert stage.status == "Paint a stroke of each class."


def test_two_strokes_give_soft_labels(stage: Stage) -> None:
    stage.stroke((20, 20), (70, 30), value=1)
    assert "1 of 2 classes" in stage.status
    assert not stage.soft.data.any()
    assert stage.notifications == []

    stage.stroke((20, 110), (70, 100), value=2)
    assert stage.soft.data.shape == (96, 128, 4)
    assert stage.soft.data.dtype == np.uint8
    assert stage.entropy.data.shape == (96, 128)
    left, right = (np.asarray(c.color) for c in stage.dock.session.classes)
    np.testing.assert_allclose(stage.soft.data[48, 10, :3], left, atol=40)
    np.testing.assert_allclose(stage.soft.data[48, 120, :3], right, atol=40)
    assert "cpu" in stage.status
    assert "CD" in stage.status
    order = [layer.name for layer in stage.viewer.layers]
    assert order.index("soft labels") < order.index("scribbles")
    assert stage.viewer.layers.selection.active is stage.scribbles


def test_undo_and_redo_give_exactly_the_earlier_results(stage: Stage) -> None:
    stage.paint_two_classes()
    before = stage.soft.data.copy(), stage.entropy.data.copy()
    stage.stroke((10, 100), (80, 118), value=1)
    after = stage.soft.data.copy(), stage.entropy.data.copy()
    assert not np.array_equal(before[0], after[0])
    stage.undo()
    np.testing.assert_array_equal(stage.soft.data, before[0])
    np.testing.assert_array_equal(stage.entropy.data, before[1])
    stage.redo()
    np.testing.assert_array_equal(stage.soft.data, after[0])
    np.testing.assert_array_equal(stage.entropy.data, after[1])


def test_a_stroke_undone_while_it_is_solved_leaves_the_earlier_result(stage: Stage) -> None:
    stage.paint_two_classes()
    before = stage.soft.data.copy()
    for _ in range(3):
        stage.stroke((10, 100), (80, 118), value=1, settle=False)
        stage.qtbot.wait(70)
        stage.undo()
        np.testing.assert_array_equal(stage.soft.data, before)


def test_undo_back_to_one_class_empties_the_result(stage: Stage) -> None:
    stage.paint_two_classes()
    assert stage.soft.data.any()
    stage.undo()
    assert not stage.soft.data.any()
    assert not stage.entropy.data.any()
    assert "1 of 2 classes" in stage.status
    stage.redo()
    assert stage.soft.data.any()


def test_erase_and_fill_are_followed(stage: Stage) -> None:
    stage.paint_two_classes()
    first = stage.soft.data.copy()
    stage.stroke((10, 100), (80, 118), value=1)
    stage.key(Qt.Key.Key_E)
    stage.stroke((10, 100), (80, 118))
    erased = stage.soft.data.copy()
    stage.key(Qt.Key.Key_F)
    stage.stroke((45, 25), value=2)  # a click into the stroke of class 1 makes it class 2
    assert "1 of 2 classes" in stage.status
    stage.undo()
    np.testing.assert_array_equal(stage.soft.data, erased)
    assert first.shape == erased.shape


def test_result_layers_are_made_once_and_kept(stage: Stage) -> None:
    stage.paint_two_classes()
    soft, entropy, data = stage.soft, stage.entropy, stage.soft.data
    for x in (40, 50, 90):
        stage.stroke((10, x), (30, x), value=1 if x < 64 else 2)
    assert stage.soft is soft
    assert stage.entropy is entropy
    assert stage.soft.data is data
    assert len(stage.viewer.layers) == 4


def test_strokes_made_by_a_program_are_followed(stage: Stage) -> None:
    stage.scribbles.data_setitem((np.arange(20, 60), np.full(40, 20)), 1)
    stage.scribbles.data[20:60, 110] = 2
    stage.scribbles.refresh()
    stage.settle()
    assert stage.soft.data.any()
    before = stage.soft.data.copy()
    stage.scribbles.data = np.where(stage.scribbles.data == 2, 0, stage.scribbles.data)
    stage.settle()
    assert not stage.soft.data.any()
    assert before.any()


def test_a_mere_refresh_solves_nothing(stage: Stage) -> None:
    stage.paint_two_classes()
    solved: list[object] = []
    stage.dock.solved.connect(solved.append)
    stage.scribbles.refresh()
    stage.viewer.layers["image 0"].refresh()
    stage.settle()
    assert solved == []
    stage.dock.solve_now()
    stage.settle()
    assert len(solved) == 1


def test_without_auto_solve_only_the_button_solves(stage: Stage) -> None:
    stage.dock.auto_box.setChecked(False)
    stage.paint_two_classes()
    assert not stage.soft.data.any()
    assert "press Solve" in stage.status
    stage.dock.solve_button.click()
    stage.settle()
    assert stage.soft.data.any()
    before = stage.soft.data.copy()
    stage.stroke((10, 100), (80, 118), value=1)
    np.testing.assert_array_equal(stage.soft.data, before)
    stage.dock.auto_box.setChecked(True)
    stage.settle()
    assert not np.array_equal(stage.soft.data, before)
