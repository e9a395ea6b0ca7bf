"""The other docks a click away, channels by hand, a map of keys, tooltips everywhere, 300 pixels."""

from typing import Any

import pytest
from npe2 import PluginManifest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QTableWidget

from napari_softseg.errors import InputError
from napari_softseg.widgets.dock_parts import Page
from napari_softseg.widgets.keys import ACTIONS, IMAGE_STEPS, KEY_HELP
from napari_softseg.widgets.open_dock import PROJECT, TRAIN, open_dock
from napari_softseg.widgets.option_widgets import _Elider, seen_entry
from tests.gui.conftest import TIMEOUT, MakeStage, Stage, two_halves
from tests.gui.test_channels import five_channels


def told(widget: Any, dock: Any) -> str:
    """Return the tooltip that Qt shows over a widget: its own, or that of one around it."""
    while not widget.toolTip() and widget is not dock:
        widget = widget.parentWidget()
    return str(widget.toolTip())


def press(stage: Stage, widget: Any) -> None:
    stage.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)  # type: ignore[no-untyped-call]


def test_the_other_docks_are_a_click_away(stage: Stage) -> None:
    docks = stage.viewer.window._wrapped_dock_widgets
    for button, name in ((stage.dock.project_button, PROJECT), (stage.dock.train_button, TRAIN)):
        for _ in range(2):  # the second click brings it to the front
            press(stage, button)
            stage.qtbot.wait(50)
            dock = next(dock for title, dock in docks.items() if title.startswith(name))
            assert dock.isVisible()
            assert dock in stage.viewer.window._qt_window.tabifiedDockWidgets(stage.dock_widget)
    assert stage.notifications == []


def test_a_dock_that_is_missing(stage: Stage) -> None:
    with pytest.raises(InputError, match="no dock 'Cook': reinstall"):
        open_dock(stage.viewer, "Cook")
    offered = PluginManifest.from_distribution("napari-softseg").contributions.widgets or []
    assert {PROJECT, TRAIN} <= {widget.display_name for widget in offered}


def test_channels_by_hand(make_stage: MakeStage) -> None:
    stage = make_stage(five_channels(), rgb=False)
    stage.start()
    row = stage.dock.channels
    assert row.isVisible()
    assert not row.button.isVisible()
    row.axis_box.setFocus()
    stage.qtbot.keyClick(row.axis_box, Qt.Key.Key_Down)  # type: ignore[no-untyped-call]
    stage.settle()
    assert stage.viewer.layers[0].data.shape == (5, 96, 128)
    assert stage.scribbles.data.shape == (96, 128)
    assert row.button.text() == "all 5"
    stage.paint_two_classes()
    before = stage.soft.data.copy()
    press(stage, row.button)
    stage.qtbot.waitUntil(row.menu.isVisible)
    for number in (0, 1, 2, 4):
        press(stage, row.boxes[number])
    press(stage, row.boxes[3])  # the last one: it stays
    row.menu.close()
    stage.settle()
    assert row.button.text() == "3"
    assert row.boxes[3].isChecked()
    assert (stage.soft.data != before).any()


def test_keys_are_listed(stage: Stage) -> None:
    listed = {key for keys, _ in KEY_HELP for key in keys.replace(" or ", " / ").split(" / ")}
    written = {"PageUp": "PgUp", "PageDown": "PgDn"}
    assert {written.get(str(key), str(key)) for key in (*ACTIONS, *IMAGE_STEPS)} <= listed
    assert not stage.dock.key_map.isExpanded()
    press(stage, stage.dock.key_map.toggleButton())
    stage.qtbot.waitUntil(stage.dock.key_map.isExpanded, timeout=TIMEOUT)


def test_everything_has_a_tooltip_and_fits_300_pixels(make_stage: MakeStage) -> None:
    stage = make_stage(five_channels()[None].repeat(2, axis=0), rgb=False, axis_labels=("z", "c", "y", "x"))
    stage.start()
    stage.dock.form.folded.expand()
    stage.dock.key_map.expand()
    stage.qtbot.wait(100)
    kinds = (QAbstractButton, QComboBox, QAbstractSpinBox, QTableWidget)
    shown = [w for kind in kinds for w in stage.dock.findChildren(kind) if w.isVisible()]
    assert len(shown) > 20
    assert [type(w).__name__ for w in shown if not told(w, stage.dock)] == []
    assert stage.dock.minimumSizeHint().width() <= 300


def test_a_choice_without_room_ends_in_an_ellipsis(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves())
    floating: Any = stage.dock_widget
    floating.setFloating(True)
    box: Any = stage.dock.form.native("relaxation")

    def seen(width: int) -> str:
        floating.resize(width, 900)
        stage.qtbot.waitUntil(lambda: stage.dock.width() in range(width - 20, width + 1), timeout=TIMEOUT)
        return str(seen_entry(box).currentText)

    full = box.currentText()
    assert seen(600) == full
    narrow = seen(300)
    assert narrow.endswith("…")
    assert full.startswith(narrow[:-1])
    assert full in box.toolTip()
    drawn = box.grab().toImage()
    box.removeEventFilter(next(child for child in box.children() if isinstance(child, _Elider)))
    assert box.grab().toImage() != drawn


def test_whose_strokes_solve_a_plane_is_read_at_300_pixels(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves()[None].repeat(9, axis=0))
    stage.start()
    floating: Any = stage.dock_widget
    floating.setFloating(True)
    floating.resize(300, 900)
    box = stage.dock.planes.reach_box
    stage.qtbot.waitUntil(lambda: box.isVisible() and stage.dock.width() <= 300, timeout=TIMEOUT)
    for value in (0, 5, 10):
        box.setValue(value)
        line = box.lineEdit()
        assert line.fontMetrics().horizontalAdvance(line.text()) < line.width()


def test_a_dock_never_asks_for_more_than_a_low_window(stage: Stage) -> None:
    stage.dock.form.folded.expand()
    stage.dock.key_map.expand()
    stage.qtbot.wait(100)
    assert stage.dock.minimumSizeHint().height() <= 300
    floating: Any = stage.dock_widget
    floating.setFloating(True)
    page = stage.dock.findChild(Page)

    def scrolls(height: int) -> bool:
        floating.resize(320, height)
        stage.qtbot.waitUntil(lambda: abs(floating.height() - height) < 20, timeout=TIMEOUT)
        stage.qtbot.wait(100)
        assert not stage.dock.status.visibleRegion().isEmpty()
        return bool(page.verticalScrollBar().maximum())

    assert scrolls(500)
    assert not scrolls(1150)
    stage.dock.key_map.collapse()
    stage.qtbot.wait(100)
    gap = stage.dock.status.mapTo(stage.dock, QPoint(0, 0)).y() - page.geometry().bottom()
    assert 0 < gap < 20  # right below the last part
