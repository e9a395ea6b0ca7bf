"""A project opens with the network it was last used with, and says so in a line if that is gone."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QDialog

from napari_softseg.project import open_project
from napari_softseg.widgets.model_session import ModelSession
from napari_softseg.widgets.network_memory import NETWORK
from napari_softseg.widgets.result_layers import result_layer
from napari_softseg.widgets.tags import SOFT_LABELS
from napari_softseg.widgets.workspace import Workspace
from tests.gui.conftest import TIMEOUT, MakeStage, two_halves
from tests.gui.networks import save_color_network
from tests.gui.project_stage import ProjectStage, make_project


class Desk:
    """A window beside a project of one image without strokes."""

    def __init__(self, made: ProjectStage) -> None:
        self.made = made
        self.row = made.stage.dock.network

    @property
    def model(self) -> ModelSession:
        return Workspace.of(self.made.viewer).model

    def path(self) -> Path | None:
        return self.model.path

    def remembered(self) -> object:
        with open_project(self.made.folder, read_only=True) as project:
            return project.manifest.settings.get(NETWORK)

    def has_labels(self) -> bool:
        image = self.made.stage.dock.session.image
        layer = None if image is None else result_layer(self.made.viewer, image, SOFT_LABELS)
        return layer is not None and bool(np.asarray(layer.data).any())

    def use(self, path: Path | None) -> None:
        self.model.use(path)
        self.settle()

    def open(self, folder: Path | None = None) -> None:
        self.made.project.open(folder or self.made.folder)
        self.wait(lambda: self.made.project.current is not None)
        self.settle()

    def settle(self) -> None:
        self.wait(lambda: self.model.is_idle)
        self.made.settle()

    def wait(self, until: Callable[[], bool]) -> None:
        self.made.qtbot.waitUntil(until, timeout=4 * TIMEOUT)


@pytest.fixture
def desk(make_stage: MakeStage, tmp_path: Path) -> Desk:
    made = ProjectStage(make_stage(two_halves()), tmp_path / "project")
    make_project(made.folder)
    desk = Desk(made)
    desk.open()
    return desk


def test_it_is_in_use_again_when_the_project_opens(desk: Desk) -> None:
    run = desk.made.folder / "models/run-001"
    run.mkdir(parents=True)
    save_color_network(run / "best.safetensors")
    assert not desk.row.isVisible()
    desk.use(run)
    assert desk.remembered() == "models/run-001"
    assert desk.has_labels()
    desk.made.project.close()
    desk.use(None)  # what is done without the project is not the project's
    desk.open()
    assert desk.path() == run
    assert desk.row.isVisible()
    assert desk.has_labels()
    desk.row.button.click()
    desk.settle()
    assert desk.remembered() is None
    desk.made.project.close()
    desk.open()
    assert desk.path() is None
    assert not desk.has_labels()
    assert desk.made.failures == []


def test_each_project_has_its_own(desk: Desk, tmp_path: Path) -> None:
    network = save_color_network(tmp_path / "colors.safetensors")
    desk.use(network)
    assert desk.remembered() == str(network)
    make_project(tmp_path / "other")
    desk.open(tmp_path / "other")
    assert desk.path() is None
    assert not desk.has_labels()
    desk.open()
    assert desk.path() == network
    assert desk.has_labels()
    desk.made.project.save_as(tmp_path / "copy")
    desk.settle()
    assert desk.path() == network
    desk.made.project.create(tmp_path / "new")  # goes on with what is in use
    desk.settle()
    desk.made.folder = tmp_path / "new"
    assert desk.remembered() == str(network)


def test_one_that_is_gone_is_told_in_a_line(desk: Desk, tmp_path: Path) -> None:
    network = save_color_network(tmp_path / "colors.safetensors")
    desk.use(network)
    desk.made.project.close()
    desk.use(None)
    network.rename(tmp_path / "away")
    desk.open()
    assert np.asarray(desk.made.stage.scribbles.data).shape == (64, 80)
    assert f"strokes alone. There is no model {network}" in desk.row.label.text()
    assert desk.row.isVisible()
    assert not [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]
    desk.made.stage.stroke((10, 10), (40, 15), value=1)
    desk.made.stage.stroke((10, 40), (40, 45), value=2)
    assert desk.has_labels()
    assert f"There is no model {network}" in desk.row.label.text()
    assert desk.remembered() == str(network)  # its disk may come back
    (tmp_path / "away").rename(network)
    desk.made.project.close()
    desk.open()
    assert desk.path() == network
    assert not desk.model.error


def test_what_a_stranger_wrote_there_does_no_harm(desk: Desk) -> None:
    desk.made.project.close()
    file = desk.made.folder / "project.json"
    data = json.loads(file.read_text())
    for strange in (7, "..", ["models"]):
        data["settings"][NETWORK] = strange
        file.write_text(json.dumps(data))
        desk.open()
        assert desk.path() is None
        desk.made.project.close()
    assert desk.made.failures == []


def test_a_copy_uses_the_network_in_its_own_folder(desk: Desk, tmp_path: Path) -> None:
    run = desk.made.folder / "models/run-001"
    run.mkdir(parents=True)
    save_color_network(run / "best.safetensors")
    desk.use(run)
    desk.made.project.save_as(tmp_path / "copy")
    desk.wait(lambda: desk.path() == tmp_path / "copy/models/run-001")
    desk.settle()
    desk.made.folder = tmp_path / "copy"
    assert desk.remembered() == "models/run-001"
