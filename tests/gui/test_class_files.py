"""Classes as files, by hand in the dock and alone; removing a class that a project has strokes of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog

from napari_softseg.cli.class_names import named_classes
from napari_softseg.colors import class_color
from napari_softseg.errors import InputError
from napari_softseg.project import ProjectClass, create_project
from napari_softseg.widgets.class_files import read_classes, write_classes
from napari_softseg.widgets.class_table import KEY
from napari_softseg.widgets.classes import ScribbleClass
from tests.gui.conftest import TIMEOUT, Stage

CLASSES = [
    ScribbleClass(1, "cup, blue", (1, 2, 3)),
    ScribbleClass(4, "a=b", (250, 0, 9)),
    ScribbleClass(7, "Löffel", (9, 9, 9)),
]


def test_json_keeps_everything(tmp_path: Path) -> None:
    write_classes(tmp_path / "classes.json", CLASSES)
    assert read_classes(tmp_path / "classes.json") == CLASSES


def test_text_is_what_the_command_line_reads(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    write_classes(path, CLASSES)
    assert named_classes([1, 4, 7], str(path)) == {entry.value: entry.name for entry in CLASSES}
    assert [(c.value, c.name) for c in read_classes(path)] == [(c.value, c.name) for c in CLASSES]
    path.write_text("sky\n\nsea\n", encoding="utf-8")
    assert [(c.value, c.name, c.color) for c in read_classes(path)] == [
        (1, "sky", class_color(1)),
        (2, "sea", class_color(2)),
    ]


def test_classes_of_a_project(tmp_path: Path) -> None:
    create_project(
        tmp_path / "p", [ProjectClass(3, "sky", (1, 2, 3)), ProjectClass(5, "sea", (4, 5, 6))]
    ).close()
    assert read_classes(tmp_path / "p" / "project.json") == [
        ScribbleClass(3, "sky", (1, 2, 3)),
        ScribbleClass(5, "sea", (4, 5, 6)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("{}", "KeyError"),
        ('{"classes": 3}', "TypeError"),
        ('{"classes": [{"value": 0, "name": "x"}]}', "from 1 to 255, but got 0"),
        ('{"classes": [{"value": true, "name": "x"}]}', "from 1 to 255, but got True"),
        ('{"classes": [{"value": 1, "name": " "}]}', "which is no text"),
        ('{"classes": [{"value": 1, "name": "x", "color": [1, 2, 300]}]}', "not within 0..255"),
        ('{"classes": [{"value": 1, "name": "x", "color": "red"}]}', "0..255"),
        ('{"classes": [{"value": 1, "name": "x"}, {"value": 1, "name": "y"}]}', "value 1 twice"),
        ("{" * 100_000, "holds no classes"),
        ("300=x", "got 300"),
        ("1=x\n1=y", "value 1 twice"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_classes(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_classes(tmp_path / "none.json")
    (tmp_path / "latin.txt").write_bytes(b"L\xf6ffel\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_classes(tmp_path / "latin.txt")
    with pytest.raises(InputError, match="Cannot write"):
        write_classes(tmp_path / "none" / "classes.json", CLASSES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latin.txt"]


def choose(stage: Stage, entry: int) -> None:
    """Open the menu of the class table and click an entry."""
    left, menu = Qt.MouseButton.LeftButton, stage.dock.table.file_menu
    stage.qtbot.mouseClick(stage.dock.table.file_button, left)  # type: ignore[no-untyped-call]
    stage.qtbot.waitUntil(menu.isVisible)
    at = menu.actionGeometry(menu.actions()[entry]).center()
    stage.qtbot.mouseClick(menu, left, pos=at)  # type: ignore[no-untyped-call]


def test_by_hand(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.paint_two_classes()
    classes = stage.dock.session.classes
    classes.add()
    stage.stroke((80, 50), (80, 80), value=3)
    classes.rename(3, "mine")
    classes.add()  # 4, without strokes
    path = tmp_path / "classes.json"
    write_classes(path, CLASSES)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: (str(path), ""))
    choose(stage, 0)
    stage.settle()
    assert [(c.value, c.name) for c in classes] == [
        (1, "cup, blue"),
        (2, "class 2"),
        (3, "mine"),
        (4, "a=b"),
        (7, "Löffel"),
    ]
    y, x = next(zip(*(stage.scribbles.data == 1).nonzero(), strict=True))
    assert tuple(stage.soft.data[y, x, :3]) == (1, 2, 3)  # what is solved has the new colours
    table = stage.dock.table.table
    assert table.item(4, KEY).text() in ("Ctrl+5", "⌘5")

    saved = tmp_path / "out.json"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args: (str(saved), ""))
    choose(stage, 1)
    assert read_classes(saved) == list(classes)
    assert json.loads(saved.read_text(encoding="utf-8"))["format"]

    path.write_text("{}")
    choose(stage, 0)
    assert "holds no classes" in stage.status
    assert len(classes) == 5


def test_a_class_comes_back_with_its_strokes(stage: Stage, tmp_path: Path) -> None:
    stage.dock.session.classes.add()
    stage.dock.session.classes.rename(3, "mine")
    path = tmp_path / "classes.txt"
    path.write_text("sky\nsea\n")
    stage.dock.read_classes(path)
    assert [c.name for c in stage.dock.session.classes] == ["sky", "sea"]
    stage.scribbles.data_setitem((np.array([5, 5]), np.array([5, 6])), 3)
    stage.settle()
    assert stage.dock.session.classes[3].name == "mine"


def test_removing_is_asked_about_in_a_project_only(stage: Stage, tmp_path: Path) -> None:
    classes, table = stage.dock.session.classes, stage.dock.table
    classes.add()
    stage.paint_two_classes()
    stage.stroke((80, 50), (80, 80), value=3)
    table.remove_button.click()
    assert len(classes) == 2
    stage.undo()
    assert len(classes) == 3

    project = stage.dock.workspace.project
    project.create(tmp_path / "p")
    project.add_open_image()
    stage.qtbot.waitUntil(lambda: project.current is not None and not project.busy, timeout=TIMEOUT)
    stage.settle()
    for button, left in (("no", [1, 2, 3]), ("yes", [1, 2])):
        stage.dock.session.select_class(3)
        answers: list[str] = []
        QTimer.singleShot(200, lambda button=button, answers=answers: _answer(button, answers))
        stage.qtbot.mouseClick(table.remove_button, Qt.MouseButton.LeftButton)  # type: ignore[no-untyped-call]
        assert "Remove 'class 3' and its strokes?" in answers[0]
        assert list(classes.values) == left


def _answer(button: str, answers: list[str]) -> None:
    from qtpy.QtWidgets import QApplication, QMessageBox

    box: Any = QApplication.activeModalWidget()
    answers.append(box.text())
    box.button(QMessageBox.StandardButton.Yes if button == "yes" else QMessageBox.StandardButton.No).click()
