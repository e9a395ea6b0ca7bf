"""Working through the images of a project: added, painted on, shown again; every stroke is on disk."""

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from napari_softseg.project import open_project
from tests.gui.conftest import MakeStage, two_halves
from tests.gui.project_stage import ProjectStage, small


@pytest.fixture
def made(make_stage: MakeStage, tmp_path: Path) -> ProjectStage:
    """An empty project in a window with one image."""
    stage = ProjectStage(make_stage(two_halves()), tmp_path / "project")
    stage.project.create(stage.folder)
    return stage


def test_images_of_all_kinds_one_after_another(made: ProjectStage) -> None:
    rng = np.random.default_rng(0)
    made.stage.start()
    made.stage.paint_two_classes()
    made.click(made.dock.add_open_button)
    assert made.project.current == "image 0"
    assert not made.dock.add_open_button.isEnabled()
    made.add_images(colour=small(), grey=small()[..., 0], many=rng.random((50, 60, 5), np.float32))
    assert made.project.names == ["image 0", "colour", "grey", "many"]
    painted = {"image 0": made.strokes.copy()}
    for name in ("colour", "grey", "many"):
        made.click(made.dock.next_button)
        assert made.project.current == name
        assert not made.strokes.any()
        made.stage.stroke((10, 10), (40, 15), value=1)
        made.stage.stroke((10, 40), (40, 45), value=2)
        painted[name] = made.strokes.copy()
        assert made.stage.dock.is_idle
        assert "ms" in made.stage.status or " s, " in made.stage.status
    made.settle()
    for name, strokes in painted.items():
        np.testing.assert_array_equal(made.on_disk(name), strokes)
    made.click(made.dock.next_button)
    assert made.project.current == "image 0"
    np.testing.assert_array_equal(made.strokes, painted["image 0"])
    made.click(made.dock.previous_button)
    np.testing.assert_array_equal(made.strokes, painted["many"])
    assert made.failures == []
    assert made.dock.status.text().startswith("saved ")


def test_every_edit_is_on_disk(made: ProjectStage) -> None:
    made.add_images(b=small())
    stage = made.stage
    stage.stroke((10, 10), (40, 15), value=1)
    one = made.strokes.copy()
    made.wait(lambda: (made.folder / "scribbles/b.png").exists() and (made.on_disk("b") == one).all())
    stage.stroke((10, 40), (40, 45), value=2)
    made.wait(lambda: (made.on_disk("b") == made.strokes).all() and (made.on_disk("b") == 2).any())
    stage.undo()
    made.wait(lambda: (made.on_disk("b") == one).all())
    stage.redo()
    made.wait(lambda: (made.on_disk("b") == 2).any())
    stage.key(Qt.Key.Key_E)
    stage.stroke((10, 40), (40, 45))
    made.wait(lambda: not (made.on_disk("b") == 2).any())
    stage.dock.session.classes.rename(1, "left")
    made.wait(lambda: open_project(made.folder, read_only=True).manifest.classes[0].name == "left")
    assert made.failures == []


def test_the_list_says_how_unsure_new_labels_are(made: ProjectStage) -> None:
    made.add_images(b=small())
    made.stage.stroke((10, 10), (40, 15), value=1)
    made.stage.stroke((10, 40), (40, 45), value=2)
    made.settle()
    made.wait(lambda: made.project.statuses["b"].entropy is not None)  # with no further stroke
    assert made.failures == []


def test_undo_does_not_reach_into_the_image_before(made: ProjectStage) -> None:
    made.add_images(b=small(), c=small(2))
    made.show("b")
    made.stage.stroke((10, 10), (40, 15), value=1)
    made.show("c")
    made.stage.undo()
    assert not made.strokes.any()
    made.settle()
    assert (made.on_disk("b") == 1).any()


def test_one_set_of_layers_for_many_images(made: ProjectStage) -> None:
    made.add_images(**{f"i{n}": small(n) for n in range(4)}, large=two_halves((120, 100)))
    for _ in range(6):
        made.project.step(1)
        made.settle()
        made.stage.stroke((10, 10), (40, 15), value=1)
        made.stage.stroke((10, 40), (40, 45), value=2)
    made.settle()
    assert len(made.viewer.layers) == 5  # the person's own image, and ours with three over it
    for name in made.project.names:
        made.show(name)
        assert made.stage.soft.data.shape[:2] == made.strokes.shape


def test_soft_labels_are_written_when_an_image_is_left(made: ProjectStage) -> None:
    made.add_images(b=small(), c=small(2))
    made.show("b")
    made.stage.stroke((10, 10), (40, 15), value=1)
    made.stage.stroke((10, 40), (40, 45), value=2)
    made.show("c")
    soft = open_project(made.folder, read_only=True).read_soft_labels("b")
    assert soft is not None
    np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-4)
    made.project.refresh()
    made.settle()
    entropy = made.project.statuses["b"].entropy
    assert entropy is not None
    assert 0 <= entropy <= 1
    assert made.project.statuses["c"].entropy is None


def test_flush_returns_when_the_last_stroke_is_on_disk(made: ProjectStage) -> None:
    made.add_images(b=small())
    made.stage.stroke((10, 10), (40, 15), value=1, settle=False)
    made.project.flush()
    np.testing.assert_array_equal(made.on_disk("b"), made.strokes)


def test_page_keys_on_the_canvas(made: ProjectStage) -> None:
    made.add_images(b=small(), c=small(2))
    made.show("b")
    made.stage.key(Qt.Key.Key_PageDown)
    made.settle()
    assert made.project.current == "c"
    made.stage.key(Qt.Key.Key_PageUp)
    made.settle()
    assert made.project.current == "b"
    made.viewer.layers.selection.active = made.stage.dock.session.image  # no scribbles are at hand
    made.stage.key(Qt.Key.Key_PageDown)
    made.settle()
    assert made.project.current == "c"


def test_page_keys_are_free_and_leave_with_the_project(made: ProjectStage) -> None:
    viewer = made.viewer
    ours = set(viewer.keymap)
    assert len(ours) == 2
    for others in (type(viewer).class_keymap, Labels.class_keymap):
        assert not ours & set(others)
    made.project.close()
    assert not viewer.keymap


def test_closed_and_opened_again(made: ProjectStage) -> None:
    made.add_images(b=small(), c=small(2))
    made.show("c")
    made.stage.stroke((10, 10), (40, 15), value=2, settle=False)
    strokes = made.strokes.copy()
    made.project.close()
    np.testing.assert_array_equal(made.on_disk("c"), strokes)
    assert not made.project.names
    made.project.open(made.folder)
    made.settle()
    assert made.project.current == "c"
    np.testing.assert_array_equal(made.strokes, strokes)


def test_save_as_goes_on_in_the_copy(made: ProjectStage) -> None:
    made.add_images(b=small())
    made.stage.stroke((10, 10), (40, 15), value=1)
    made.settle()
    before, old = made.strokes.copy(), made.folder
    made.project.save_as(old.parent / "copy")
    made.settle()
    made.folder = old.parent / "copy"
    assert made.dock.path_label.toolTip() == str(made.folder)
    made.stage.stroke((10, 40), (40, 45), value=2)
    made.settle()
    np.testing.assert_array_equal(made.on_disk("b"), made.strokes)
    made.folder = old
    np.testing.assert_array_equal(made.on_disk("b"), before)


def test_the_list_can_be_sorted_and_gives_the_order(made: ProjectStage) -> None:
    made.add_images(b=small(), a=small(2), c=small(3))
    made.show("a")
    made.stage.stroke((10, 10), (40, 15), value=1)
    made.settle()
    made.dock.list.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert made.project.names == ["a", "b", "c"]
    made.dock.list.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    assert made.project.names[0] == "a"
    made.dock.list.activated.emit(made.dock.list.model().index(1, 0))
    made.settle()
    assert made.project.current == made.project.names[1]
