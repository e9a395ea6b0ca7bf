"""Projects open by drag and drop, soft labels are saved as probabilities."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.settings import get_settings
from PIL import Image
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication

from napari_softseg.errors import InputError
from napari_softseg.files import read_unary
from napari_softseg.project import ProjectClass, create_project
from napari_softseg.saving import read_class_names
from napari_softseg.widgets.npe_reader import project_layers, project_reader
from napari_softseg.widgets.npe_writer import write_soft_labels
from napari_softseg.widgets.project_dock import ProjectDock
from napari_softseg.widgets.tags import TAG
from napari_softseg.widgets.workspace import Workspace
from tests.gui.conftest import PLUGIN, TIMEOUT, MakeStage, Stage, two_halves


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that means "unlabelled" by 255 and has a class 0."""
    classes = [ProjectClass(0, "left", (10, 20, 30)), ProjectClass(1, "right", (40, 50, 60))]
    strokes = np.full((96, 128), 255, np.uint8)
    strokes[20:70, 20:30] = 0
    strokes[20:70, 100:110] = 1
    with create_project(tmp_path / "work", classes, unlabelled=255) as project:
        project.add_image(two_halves(), name="halves", scribbles=strokes)
    return tmp_path / "work"


def _drop(stage: Stage, path: Path) -> None:
    """Drop a file or folder on the canvas."""
    data = _dragged(path)
    stage.viewer.window._qt_viewer.dropEvent(QDropEvent(QPointF(50, 50), _HELD[0], data, *_HELD[1:]))


def _drop_on_dock(stage: Stage, dock: ProjectDock, path: Path) -> bool:
    """Drag a file or folder over the dock and drop it if it is taken; return whether it is."""
    data = _dragged(path)
    enter = QDragEnterEvent(QPoint(50, 50), _HELD[0], data, *_HELD[1:])
    QApplication.sendEvent(dock, enter)
    if enter.isAccepted():
        QApplication.sendEvent(dock, QDropEvent(QPointF(50, 50), _HELD[0], data, *_HELD[1:]))
    stage.qtbot.wait(20)
    return bool(enter.isAccepted())


_HELD = (Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)


def _dragged(path: Path) -> QMimeData:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    return data


def _check_open(stage: Stage, folder: Path) -> None:
    session = Workspace.of(stage.viewer).project
    assert session.project is not None
    assert session.project.path == folder
    stage.qtbot.waitUntil(lambda: session.current == "halves", timeout=TIMEOUT)
    stage.settle()
    assert set(np.unique(stage.scribbles.data)) == {0, 1, 255}
    assert {one.value: one.name for one in stage.dock.session.classes} == {1: "right", 255: "left"}


def test_dropping_the_file_of_a_project_opens_it(make_stage: MakeStage, folder: Path) -> None:
    stage = make_stage()
    _drop(stage, folder / "project.json")
    _check_open(stage, folder)


def test_a_folder_dropped_on_the_dock_is_opened_without_a_question(
    make_stage: MakeStage, folder: Path, tmp_path: Path
) -> None:
    stage = make_stage()
    _, dock = stage.viewer.window.add_plugin_dock_widget(PLUGIN, "Project")
    picture = tmp_path / "more.png"
    Image.fromarray(two_halves(seed=3)).save(picture)
    assert _drop_on_dock(stage, dock, picture)
    assert "No project is open" in dock.status.text()
    assert _drop_on_dock(stage, dock, tmp_path)
    assert "is no project" in dock.status.text()
    assert _drop_on_dock(stage, dock, folder)
    _check_open(stage, folder)
    assert _drop_on_dock(stage, dock, picture)
    stage.qtbot.waitUntil(lambda: "more" in dock.project.names, timeout=TIMEOUT)


def test_a_pattern_in_the_preferences_answers_for_a_folder(make_stage: MakeStage, folder: Path) -> None:
    stage = make_stage()
    named = folder.rename(folder.with_name("work.softseg"))
    get_settings().plugins.extension2reader = {"*.softseg/": PLUGIN}
    _drop(stage, named)
    _check_open(stage, named)


def test_a_folder_is_opened_as_a_project_if_it_is_one(make_stage: MakeStage, folder: Path) -> None:
    stage = make_stage()
    stage.viewer.open(str(folder), plugin=PLUGIN)
    _check_open(stage, folder)
    assert project_reader(str(folder.parent)) is None
    assert project_reader([str(folder), str(folder)]) is None


def test_without_a_window_the_image_and_its_strokes_are_read(folder: Path) -> None:
    (pixels, image, _), (strokes, labels, kind) = project_layers(folder)
    np.testing.assert_array_equal(pixels, two_halves())
    assert image == {"name": "halves"}
    assert kind == "labels"
    assert (strokes[30, 25], strokes[30, 105], strokes[0, 0]) == (255, 1, 0)
    assert labels["metadata"][TAG]["classes"]["255"]["name"] == "left"


def test_soft_labels_are_saved_as_probabilities(stage: Stage, tmp_path: Path) -> None:
    stage.paint_two_classes()
    path = tmp_path / "halves.soft.tif"
    assert stage.viewer.layers.save(str(path), selected=False) == []  # not all layers at once
    assert stage.soft.save(str(path)) == [str(path)]
    result = stage.dock.workspace.loop.result
    assert result is not None
    soft = read_unary(path)
    np.testing.assert_array_equal(soft, result.solution.probabilities)
    assert soft[0, 50, 10] > 0.9
    assert read_class_names(path) == {1: "class 1", 2: "class 2"}


def test_of_a_stack_the_plane_is_named_and_its_pixel_size_kept(make_stage: MakeStage, tmp_path: Path) -> None:
    stack = np.stack([two_halves(seed=seed) for seed in range(3)])
    stage = make_stage(stack, scale=(2, 0.5, 0.25), units=("um", "um", "um"))
    stage.start()
    stage.viewer.dims.set_current_step(0, 1)
    stage.stroke((10, 5), (35, 7), value=1)
    stage.stroke((10, 27), (35, 25), value=2)
    path = tmp_path / "stack.soft.tif"
    stage.soft.save(str(path))
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        told = json.loads(page.description)
        per_cm = [page.tags[name].value for name in ("XResolution", "YResolution")]
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
    assert [number / below for number, below in per_cm] == pytest.approx([1e4 / 0.25, 1e4 / 0.5])
    assert told["plane"] == "plane 1 of 3"
    assert (told["pixel_size"], told["unit"]) == ([0.5, 0.25], "micrometer")
    assert any("stack.soft.tif holds the soft labels of plane 1 of 3" in text for text in stage.notifications)


def test_other_layers_are_saved_by_napari(stage: Stage, tmp_path: Path) -> None:
    image = stage.viewer.layers["image 0"]
    image.save(str(tmp_path / "plain.tif"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "plain.tif"), image.data)
    image.save(str(tmp_path / "bare"))
    assert sorted(path.name for path in tmp_path.glob("bare*")) == ["bare.tif"]
    image.save(str(tmp_path / "plain.png"))
    with Image.open(tmp_path / "plain.png") as saved:
        np.testing.assert_array_equal(np.array(saved), image.data)
    with pytest.raises(InputError, match="Only the layer 'soft labels' holds soft labels"):
        write_soft_labels(str(tmp_path / "plain.soft.tif"), [image.as_layer_data_tuple()])
