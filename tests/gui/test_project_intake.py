"""What comes into a project, and out of it: planes of stacks, classes of their own, strokes of others."""

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QWidget

from napari_softseg.pixel_size import PixelSize
from napari_softseg.project import open_project
from napari_softseg.widgets.classes import ScribbleClass
from napari_softseg.widgets.project_classes import merge_classes
from tests.gui.conftest import MakeStage, two_halves
from tests.gui.project_stage import ProjectStage, small


@pytest.fixture
def made(make_stage: MakeStage, tmp_path: Path) -> ProjectStage:
    stage = ProjectStage(make_stage(), tmp_path / "project")
    stage.project.create(stage.folder)
    return stage


def test_an_empty_list_says_what_to_do(made: ProjectStage) -> None:
    images = made.dock.list
    assert "Add the image that is open, or files" in images.hint
    assert _has_ink(images.viewport())
    made.project.close()
    assert "Press New… or Open…" in images.hint
    images.hint = ""
    assert not _has_ink(images.viewport())


def _has_ink(area: QWidget | None) -> bool:
    assert area is not None
    image = area.grab().toImage()
    colors = {
        image.pixel(x, y) for x in range(image.width()) for y in range(image.height() // 3, image.height())
    }
    return len(colors) > 1


def test_planes_of_a_stack_are_kept_one_by_one(made: ProjectStage) -> None:
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (3, 64, 80), np.uint8)
    made.viewer.add_image(stack, name="stack", scale=(3, 2, 1), units=("um", "um", "um"))
    made.stage.start()
    made.viewer.dims.set_current_step(0, 1)
    made.stage.stroke((20, 10), (80, 15), value=1)
    made.click(made.dock.add_open_button)
    name = made.project.current
    assert name is not None
    assert name.startswith("stack plane")
    made.stage.stroke((20, 40), (80, 45), value=2)
    made.settle()
    np.testing.assert_array_equal(made.on_disk(name), made.strokes[1])
    with open_project(made.folder, read_only=True) as project:
        assert project.manifest.image(name).pixel_size == PixelSize(2, 1, "micrometer")
    made.viewer.dims.set_current_step(0, 2)
    made.settle()
    assert made.project.current is None
    made.stage.stroke((100, 40), (110, 45), value=2)
    made.settle()
    np.testing.assert_array_equal(made.on_disk(name), made.strokes[1])
    assert made.failures == []


def test_the_pixel_size_of_an_image_is_shown_again(made: ProjectStage) -> None:
    made.viewer.add_image(small(), name="scaled", scale=(2, 0.5), units=("um", "um"))
    made.stage.dock.session.choose(made.viewer.layers["scaled"])
    made.stage.start()
    made.click(made.dock.add_open_button)
    made.project.close()
    while made.viewer.layers:
        made.viewer.layers.pop()
        made.qtbot.wait(20)
    made.project.open(made.folder)
    made.settle()
    made.add_images(plain=small())
    made.show("scaled")
    made.stage.stroke((20, 10), (80, 15), value=1)
    made.stage.stroke((20, 30), (80, 35), value=2)
    layers = (made.viewer.layers["scaled"], made.stage.scribbles, made.stage.soft, made.stage.entropy)
    for layer in layers:
        np.testing.assert_allclose(layer.scale, (2, 0.5))
        assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert made.strokes[10, 20] == 1
    assert made.strokes[10, 60] == 2
    made.show("plain")
    for layer in layers:
        np.testing.assert_allclose(layer.scale, (1, 1))
        assert {str(unit) for unit in layer.units} == {"pixel"}
    assert made.failures == []


def test_classes_of_an_added_image_are_matched_by_name(made: ProjectStage) -> None:
    made.add_images(b=small())
    session = made.stage.dock.session
    session.classes.rename(1, "cell")
    session.classes.rename(2, "ground")
    made.settle()
    made.viewer.add_image(two_halves(), name="open")
    session.choose(made.viewer.layers["open"])
    made.stage.start()
    session.classes.rename(1, "ground")
    session.classes.rename(2, "noise")
    made.stage.paint_two_classes()
    before = made.strokes.copy()
    made.click(made.dock.add_open_button)
    assert {one.name: one.value for one in session.classes} == {"cell": 1, "ground": 2, "noise": 3}
    np.testing.assert_array_equal(made.strokes, np.array([0, 2, 3])[before])
    made.settle()
    np.testing.assert_array_equal(made.on_disk("open"), made.strokes)
    assert made.failures == []


def test_two_classes_of_one_name_stay_two() -> None:
    mine = [ScribbleClass(1, "cell", (1, 2, 3)), ScribbleClass(2, "ground", (4, 5, 6))]
    others = [ScribbleClass(value, "cell", (7, 8, 9)) for value in (1, 2)]
    classes, values = merge_classes(mine, others)
    assert values == {1: 1, 2: 3}  # their strokes are not mixed
    assert [one.value for one in classes] == [1, 2, 3]


def test_strokes_of_others_are_painted_and_undone(made: ProjectStage) -> None:
    made.add_images(b=small(), c=small(2))
    made.show("b")
    labels = np.zeros((64, 80), np.uint8)
    labels[5:9, 5:30], labels[40:44, 40:70] = 1, 3
    paths = [made.folder.parent / "b_annotations.npy", made.folder.parent / "c_annotations.npy"]
    for path in paths:
        np.save(path, labels)
    made.project.import_strokes(paths)
    made.settle()
    assert 3 in made.stage.dock.session.classes
    np.testing.assert_array_equal(made.strokes, labels)
    np.testing.assert_array_equal(made.on_disk("b"), labels)
    np.testing.assert_array_equal(made.on_disk("c"), labels)
    made.stage.undo()
    made.settle()
    assert not made.on_disk("b").any()
    assert made.failures == []


def test_strokes_of_another_size_are_refused(made: ProjectStage) -> None:
    made.add_images(b=small())
    np.save(made.folder.parent / "other.npy", np.ones((5, 6), np.uint8))
    made.project.import_strokes([made.folder.parent / "other.npy"])
    made.settle()
    assert "5 x 6" in str(made.failures[0])
    assert not made.strokes.any()


def test_export_says_what_is_missing(made: ProjectStage) -> None:
    made.add_images(b=small(), c=small(2))
    made.show("b")
    made.stage.stroke((10, 10), (40, 15), value=1)
    made.stage.stroke((10, 40), (40, 45), value=2)
    made.project.export(made.folder.parent / "out", ("labels", "soft"))
    made.settle()
    assert {path.name for path in (made.folder.parent / "out").iterdir()} == {
        "b_labels.png",
        "b_soft.tif",
        "classes.txt",
    }
    assert "1 images have no soft labels" in made.dock.status.text()


def test_a_project_that_counts_otherwise(made: ProjectStage) -> None:
    """Classes 0 and 1, 255 where nothing is painted; the viewer's 0 always means that."""
    from napari_softseg.project import ProjectClass, create_project

    folder = made.folder.parent / "voc"
    classes = [ProjectClass(0, "ground", (10, 20, 30)), ProjectClass(1, "cell", (200, 0, 0))]
    with create_project(folder, classes, unlabelled=255) as project:
        strokes = np.full((64, 80), 255, np.uint8)
        strokes[5:9, 5:30] = 0
        project.add_image(small(), name="a", scribbles=strokes)
    made.folder = folder
    made.project.open(folder)
    made.settle()
    assert [(one.value, one.name) for one in made.stage.dock.session.classes] == [
        (1, "cell"),
        (255, "ground"),
    ]
    assert set(np.unique(made.strokes)) == {0, 255}
    made.stage.stroke((40, 10), (50, 15), value=1)
    made.settle()
    assert set(np.unique(made.on_disk("a"))) == {0, 1, 255}
    assert made.project.statuses["a"].strokes[255] == 100
    assert open_project(folder, read_only=True).manifest.classes[0].name == "ground"
    assert made.failures == []
