"""The Train dock's part about the network: which one is used, and labels for all images of a project."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_softseg.project import ProjectClass, create_project, open_project
from napari_softseg.widgets.model_box import NONE, ModelBox
from napari_softseg.widgets.workspace import Workspace
from tests.gui.conftest import PLUGIN, TIMEOUT, MakeStage, two_halves
from tests.gui.networks import save_color_network
from tests.gui.project_stage import ProjectStage, small


class Desk:
    """A project of two images, the Train dock, and a network for it."""

    def __init__(self, made: ProjectStage, network: Path) -> None:
        self.made = made
        self.network = network
        _, dock = made.viewer.window.add_plugin_dock_widget(PLUGIN, "Train")
        self.box: ModelBox = dock.model_box
        self.workspace = Workspace.of(made.viewer)

    def use(self, path: Path) -> None:
        self.workspace.model.use(path)
        self.wait(lambda: self.workspace.model.is_idle)
        self.made.settle()

    def wait(self, until: Callable[[], bool]) -> None:
        self.made.qtbot.waitUntil(until, timeout=4 * TIMEOUT)

    def predict_all(self) -> None:
        assert self.box.predict_button.isEnabled()
        self.box.predict_button.click()
        self.wait(lambda: not self.workspace.predict_all.running)
        self.made.settle()


@pytest.fixture
def desk(make_stage: MakeStage, tmp_path: Path) -> Desk:
    made = ProjectStage(make_stage(two_halves()), tmp_path / "project")
    classes = [ProjectClass(1, "warm", (230, 159, 0)), ProjectClass(2, "cold", (0, 114, 178))]
    with create_project(made.folder, classes) as project:
        project.add_image(small(1), name="b")
        project.add_image(np.ascontiguousarray(small(2)[:, ::-1]), name="c")
    made.project.open(made.folder)
    made.qtbot.waitUntil(lambda: made.project.current == "b", timeout=4 * TIMEOUT)
    made.settle()
    return Desk(made, save_color_network(tmp_path / "colors.safetensors"))


def test_all_images_are_labelled_by_network_and_strokes(desk: Desk) -> None:
    box, made = desk.box, desk.made
    assert box.title.text() == NONE
    assert not box.predict_button.isEnabled()
    assert not box.drop_button.isEnabled()
    desk.use(desk.network)
    assert "by the network 'colors'" in box.title.text()
    assert not box.bar.isVisible()
    made.stage.stroke((30, 10), (30, 30), value=2)  # not waited for: predicting must see it on disk
    desk.predict_all()
    assert box.outcome.text().startswith("2 of 2 images labelled in ")
    with open_project(made.folder, read_only=True) as project:
        one, two = project.read_soft_labels("b"), project.read_soft_labels("c")
        assert (project.read_scribbles("b") == 2).any()
        assert one is not None
        assert two is not None
        assert (one[1][project.read_scribbles("b") == 2] == 1).all()
        assert one[0][8:24, 4:28].mean() > 0.9
        assert two[0][8:56, 4:28].mean() < 0.1
        assert project.status("c").entropy is not None
    made.wait(lambda: made.project.statuses["c"].entropy is not None)

    box.drop_button.click()
    made.settle()
    assert box.title.text() == NONE
    assert desk.workspace.model.path is None
    assert made.failures == []


def test_cancel_ends_before_the_next_image(desk: Desk) -> None:
    desk.use(desk.network)
    finished: list[object] = []
    desk.workspace.predict_all.finished.connect(finished.append)
    desk.box.predict_button.click()
    assert desk.box.cancel_button.isVisible()
    assert not desk.box.predict_button.isEnabled()
    desk.box.cancel_button.click()
    desk.wait(lambda: bool(finished))
    assert desk.box.outcome.text().startswith("Cancelled: ")
    assert desk.box.predict_button.isEnabled()
    assert not desk.box.cancel_button.isVisible()


def test_a_network_of_other_classes_is_refused_in_the_dock(desk: Desk, tmp_path: Path) -> None:
    desk.use(save_color_network(tmp_path / "other.safetensors", ("cat", "dog")))
    assert "does not know 'warm', 'cold'" in desk.box.outcome.text()
    assert any("does not know 'warm', 'cold'" in text for text in desk.made.stage.notifications)
    assert desk.workspace.model.path is None
    assert not desk.box.predict_button.isEnabled()


def test_closing_the_project_ends_the_prediction(desk: Desk) -> None:
    desk.use(desk.network)
    desk.box.predict_button.click()
    desk.made.project.close()
    desk.wait(lambda: not desk.workspace.predict_all.running)
    assert not desk.box.predict_button.isEnabled()
    assert desk.made.failures == []
