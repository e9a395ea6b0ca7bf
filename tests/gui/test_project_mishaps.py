"""Bad luck while a project is open: nothing that was drawn is lost, and the window says what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from napari_softseg.files import read_scribbles
from napari_softseg.project import open_project
from tests.gui.conftest import MakeStage, two_halves
from tests.gui.project_stage import ProjectStage, small


@pytest.fixture
def made(make_stage: MakeStage, tmp_path: Path) -> ProjectStage:
    """A project of two images, the first of them painted on; nothing else in the window."""
    stage = ProjectStage(make_stage(), tmp_path / "project")
    stage.project.create(stage.folder)
    stage.add_images(b=small(), c=small(2))
    stage.stage.stroke((10, 10), (40, 15), value=1)
    stage.settle()
    return stage


def test_the_folder_is_away_for_a_while(made: ProjectStage) -> None:
    away = made.folder.rename(made.folder.with_name("away"))
    made.stage.stroke((10, 40), (40, 45), value=2)
    made.wait(lambda: bool(made.failures))
    made.stage.stroke((50, 40), (55, 45), value=2)
    assert "gone" in made.dock.status.text()
    made.qtbot.wait(2500)  # it is tried again, and not told again
    assert len(made.failures) == 1
    assert sum("gone" in text for text in made.stage.notifications) == 1
    assert not made.folder.exists()
    away.rename(made.folder)
    made.wait(lambda: (made.on_disk("b") == made.strokes).all())
    made.wait(lambda: made.dock.status.text().startswith("saved "))


def test_strokes_that_could_not_be_written_are_shown_again(made: ProjectStage) -> None:
    folder = made.folder / "scribbles"
    folder.rename(made.folder / "elsewhere")
    folder.touch()  # no folder: nothing can be written there
    made.stage.stroke((10, 40), (40, 45), value=2)
    strokes = made.strokes.copy()
    made.wait(lambda: bool(made.failures))
    made.project.show("c")
    made.wait(lambda: made.project.current == "c" or len(made.failures) > 1)
    folder.unlink()
    (made.folder / "elsewhere").rename(folder)
    made.show("c")
    made.show("b")
    np.testing.assert_array_equal(made.strokes, strokes)
    made.wait(lambda: (made.on_disk("b") == strokes).all())


def test_closed_while_nothing_can_be_written(made: ProjectStage, monkeypatch: pytest.MonkeyPatch) -> None:
    home = made.folder.parent / "home"
    monkeypatch.setattr(Path, "home", lambda: home)
    made.folder.rename(made.folder.with_name("away"))
    made.stage.stroke((10, 40), (40, 45), value=2)
    strokes = made.strokes.copy()
    made.project.close()
    (rescued,) = home.rglob("b.png")
    np.testing.assert_array_equal(read_scribbles(rescued), strokes)
    assert str(rescued.parent) in str(made.failures[-1])


def test_a_second_window_reads_only(made: ProjectStage, make_stage: MakeStage) -> None:
    other = ProjectStage(make_stage(), made.folder)
    other.project.open(made.folder)
    other.settle()
    assert other.project.current == "b"
    assert other.dock.status.text().startswith("read-only: it is open in another window")
    assert not other.dock.add_files_button.isEnabled()
    before = other.strokes.copy()
    assert before.any()
    other.stage.stroke((10, 40), (40, 45), value=2)
    np.testing.assert_array_equal(other.strokes, before)  # what would be lost cannot be painted
    assert (made.on_disk("b") == before).all()


@pytest.mark.parametrize("which", ["scribbles", "b"])
def test_a_layer_deleted_loses_no_stroke(made: ProjectStage, which: str) -> None:
    made.stage.stroke((10, 40), (40, 45), value=2, settle=False)
    strokes = made.strokes.copy()
    made.viewer.layers.remove(which)
    made.settle()
    np.testing.assert_array_equal(made.on_disk("b"), strokes)
    if which == "scribbles":
        made.stage.start()  # new scribbles take up what is on disk
    else:
        made.show("b")
    made.settle()
    np.testing.assert_array_equal(made.strokes, strokes)
    made.stage.stroke((55, 10), (60, 15), value=1)
    made.settle()
    np.testing.assert_array_equal(made.on_disk("b"), made.strokes)
    assert made.failures == []


def test_all_layers_deleted_renamed_or_moved(made: ProjectStage) -> None:
    strokes = made.strokes.copy()
    for layer, name in zip(made.viewer.layers, "wxyz", strict=False):
        layer.name = name
    made.viewer.layers.reverse()
    made.show("c")
    made.viewer.layers.clear()
    made.settle()
    assert made.project.current is None
    made.show("b")
    np.testing.assert_array_equal(made.strokes, strokes)
    assert made.failures == []


def test_a_class_with_strokes_elsewhere_is_asked_for(made: ProjectStage) -> None:
    session = made.stage.dock.session
    third = session.classes.add().value
    session.classes.rename(third, "third")
    made.stage.stroke((10, 60), (40, 65), value=third)
    painted = made.strokes.copy()
    made.show("c")
    made.project.refresh()
    made.settle()

    session.remove_class(third)
    assert "third" in made.question().text()
    made.answer("Keep the class")
    assert third in session.classes
    assert (made.on_disk("b") == third).any()

    session.remove_class(third)
    made.answer("Erase")
    assert third not in session.classes
    assert not (made.on_disk("b") == third).any()
    assert [one.value for one in open_project(made.folder, read_only=True).manifest.classes] == [1, 2]

    made.click(made.dock.undo_button)
    assert session.classes[third].name == "third"
    np.testing.assert_array_equal(made.on_disk("b"), painted)
    assert made.failures == []


def test_an_image_that_is_gone_is_asked_for(made: ProjectStage, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made.folder / "images/c.png"
    moved = file.rename(made.folder.parent / "moved.png")
    made.project.show("c")
    assert "gone" in made.question().informativeText()
    monkeypatch.setattr(
        "napari_softseg.widgets.project_dock.QFileDialog.getOpenFileName", lambda *_: (str(moved), "")
    )
    made.answer("Locate…")
    assert made.project.current == "c"
    assert file.exists()
    assert made.failures == []


def test_an_image_that_changed_is_asked_for(made: ProjectStage) -> None:
    from PIL import Image

    Image.fromarray(two_halves((64, 80), 7)).save(made.folder / "images/c.png")
    made.project.show("c")
    assert "changed" in made.question().informativeText()
    assert made.project.current == "b"
    made.answer("Use it as it is")
    assert made.project.current == "c"
    np.testing.assert_array_equal(made.stage.dock.session.image.data, two_halves((64, 80), 7))


def test_an_image_removed_and_brought_back(made: ProjectStage) -> None:
    strokes = made.strokes.copy()
    made.dock.list.mark("b")
    made.dock.remove_button.click()
    made.answer("Remove")
    assert made.project.names == ["c"]
    assert made.project.current == "c"
    made.click(made.dock.undo_button)
    assert made.project.names == ["b", "c"]
    assert made.project.current == "b"
    np.testing.assert_array_equal(made.strokes, strokes)
    assert made.failures == []
