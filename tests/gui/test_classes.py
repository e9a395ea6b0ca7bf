"""The class table: names, colours, adding and removing, and the keys that choose a class."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog

from napari_softseg.colors import class_color
from napari_softseg.errors import InputError
from napari_softseg.widgets.class_table import NAME, PAINTED, SWATCH
from napari_softseg.widgets.classes import ClassList, classes_from_metadata
from napari_softseg.widgets.tags import TAG
from tests.gui.conftest import MakeStage, Stage, two_halves


def test_strokes_table_and_composite_have_one_colour(stage: Stage) -> None:
    stage.paint_two_classes()
    for entry in stage.dock.session.classes:
        assert entry.color == class_color(entry.value)
        np.testing.assert_allclose(
            stage.scribbles.get_color(entry.value)[:3], np.divide(entry.color, 255), atol=1e-6
        )
        y, x = np.argwhere(stage.scribbles.data == entry.value)[0]
        np.testing.assert_array_equal(stage.soft.data[y, x], (*entry.color, 255))  # strokes are exact


def test_counts_of_painted_pixels(stage: Stage) -> None:
    stage.paint_two_classes()
    table = stage.dock.table.table
    for row, value in enumerate((1, 2)):
        assert int(table.item(row, PAINTED).text()) == np.sum(stage.scribbles.data == value)


def test_a_new_colour_reaches_strokes_and_result(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.paint_two_classes()
    solved = stage.dock.loop._last
    assert solved is not None
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_args: QColor(10, 250, 30))
    stage.dock.table.table.cellDoubleClicked.emit(0, SWATCH)
    stage.settle()
    assert stage.dock.session.classes[1].color == (10, 250, 30)
    y, x = np.argwhere(stage.scribbles.data == 1)[0]
    np.testing.assert_array_equal(stage.soft.data[y, x], (10, 250, 30, 255))
    assert stage.dock.loop._last is not None
    assert stage.dock.loop._last[1].solution is solved[1].solution  # nothing was solved again


def test_a_new_name_is_kept_with_the_layer(stage: Stage) -> None:
    stage.dock.table.table.item(1, NAME).setText("sky")
    assert stage.dock.session.classes[2].name == "sky"
    assert stage.scribbles.metadata[TAG]["classes"]["2"]["name"] == "sky"
    stage.dock.table.table.item(1, NAME).setText("  ")
    assert stage.dock.session.classes[2].name == "class 2"


def test_classes_stay_from_image_to_image_until_there_is_none(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves(), two_halves((64, 80)))
    stage.start()
    classes = stage.dock.session.classes
    classes.rename(1, "sky")
    classes.add()
    stage.dock.image_box.activated.emit(0)
    stage.start()
    assert [one.name for one in classes] == ["sky", "class 2", "class 3"]
    stage.viewer.layers.clear()
    stage.settle()
    stage.viewer.add_image(two_halves())
    stage.start()
    assert [one.name for one in classes] == ["class 1", "class 2"]


def test_a_third_class(stage: Stage) -> None:
    stage.dock.table.add_button.click()
    assert stage.dock.session.selected_class == 3
    stage.paint_two_classes()
    stage.stroke((80, 50), (80, 80), value=3)
    assert "E" in stage.status
    y, x = np.argwhere(stage.scribbles.data == 3)[0]
    np.testing.assert_array_equal(stage.soft.data[y, x, :3], class_color(3))


def test_a_removed_class_and_its_strokes_come_back_with_undo(stage: Stage) -> None:
    assert not stage.dock.table.remove_button.isEnabled()
    stage.dock.table.add_button.click()
    stage.dock.session.classes.rename(3, "third")
    stage.paint_two_classes()
    stage.stroke((80, 50), (80, 80), value=3)
    strokes, result = stage.scribbles.data.copy(), stage.soft.data.copy()
    stage.dock.table.remove_button.click()
    stage.settle()
    assert stage.dock.session.classes.values == (1, 2)
    assert not np.any(stage.scribbles.data == 3)
    assert not np.array_equal(stage.soft.data, result)
    stage.undo()
    assert stage.dock.session.classes[3].name == "third"
    np.testing.assert_array_equal(stage.scribbles.data, strokes)
    np.testing.assert_array_equal(stage.soft.data, result)


def test_table_and_brush_follow_each_other(stage: Stage, qtbot: QtBot) -> None:
    table = stage.dock.table.table
    stage.dock.session.select_class(2)
    assert stage.dock.table.chosen_value() == 2
    at = table.visualItemRect(table.item(0, NAME)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)  # type: ignore[no-untyped-call]
    assert stage.scribbles.selected_label == 1


def test_keys_on_the_canvas(stage: Stage) -> None:
    stage.dock.session.classes.add()
    labels = []
    for key in (Qt.Key.Key_W, Qt.Key.Key_W, Qt.Key.Key_W, Qt.Key.Key_Q):
        stage.key(key)
        labels.append(stage.scribbles.selected_label)
    assert labels == [2, 3, 1, 3]
    stage.key(Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    assert stage.scribbles.selected_label == 2

    stage.dock.auto_box.setChecked(False)
    stage.paint_two_classes()
    assert not stage.soft.data.any()
    stage.key(Qt.Key.Key_S)
    stage.settle()
    assert stage.soft.data.any()
    stage.key(Qt.Key.Key_T)
    assert not stage.soft.visible
    stage.key(Qt.Key.Key_T)
    assert stage.soft.visible
    stage.use_options(method="gd", unary="none", max_sweeps=100_000, tolerance=0.0)
    stage.key(Qt.Key.Key_S)
    stage.wait_busy()
    stage.key(Qt.Key.Key_D)
    stage.settle()
    assert "stopped on request" in stage.status


def test_our_keys_are_free_and_leave_with_the_dock(stage: Stage) -> None:
    layer = stage.scribbles
    ours = set(layer.keymap)
    assert len(ours) == 15
    assert not ours & set(type(layer).class_keymap)
    assert not ours & set(type(stage.viewer).class_keymap)
    stage.close_dock()
    assert not layer.keymap


def test_class_list_alone() -> None:
    classes = ClassList()
    classes.reset(classes_from_metadata({"2": "sky", 5: {"name": "sea", "color": [1, 2, 3]}}))
    assert [(c.value, c.name) for c in classes] == [(2, "sky"), (5, "sea")]
    assert classes[5].color == (1, 2, 3)
    assert classes.add().value == 1
    assert classes.after(5, 1) == 1
    classes.remove(5)
    with pytest.raises(InputError, match="At least 2"):
        classes.remove(2)
    classes.restore([5, 9])
    assert classes[5].name == "sea"
    assert classes.values == (1, 2, 5, 9)
    for _ in range(255 - len(classes)):
        classes.add()
    with pytest.raises(InputError, match="255"):
        classes.add()
