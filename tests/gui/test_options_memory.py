"""A project opens with the solver's options it was last used with."""

import json
from pathlib import Path
from typing import Any

import pytest

from napari_softseg.options import DEFAULTS
from napari_softseg.project import ProjectClass, create_project, open_project
from napari_softseg.widgets.options_memory import SOLVER
from tests.gui.conftest import MakeStage, two_halves
from tests.gui.project_stage import ProjectStage, small


def make_project(folder: Path) -> None:
    classes = [ProjectClass(1, "warm", (230, 159, 0)), ProjectClass(2, "cold", (0, 114, 178))]
    with create_project(folder, classes) as project:
        project.add_image(small(1), name="b")


@pytest.fixture
def made(make_stage: MakeStage, tmp_path: Path) -> ProjectStage:
    made = ProjectStage(make_stage(two_halves()), tmp_path / "project")
    make_project(made.folder)
    made.project.open(made.folder)
    made.settle()
    return made


def remembered(folder: Path) -> Any:
    with open_project(folder, read_only=True) as project:
        return project.manifest.settings.get(SOLVER)


def test_they_are_in_use_again_when_the_project_opens(made: ProjectStage, tmp_path: Path) -> None:
    form, loop = made.stage.dock.form, made.stage.dock.loop
    assert remembered(made.folder) is None  # nobody has turned anything
    for smoothness in (3.0, 12.0, 30.0):  # a slider that moves
        form["lambda_"].value = smoothness
    form["relaxation"].value = "q"
    made.settle()
    assert remembered(made.folder) == {"lambda_": 30.0, "relaxation": "q"}
    form["lambda_"].value = DEFAULTS.lambda_
    made.settle()
    assert remembered(made.folder) == {"relaxation": "q"}

    make_project(tmp_path / "other")
    made.project.open(tmp_path / "other")
    made.settle()
    assert loop.options.relaxation == form["relaxation"].value == DEFAULTS.relaxation
    made.project.open(made.folder)
    made.settle()
    assert loop.options.relaxation == form["relaxation"].value == "q"
    assert remembered(tmp_path / "other") is None

    made.project.close()
    form["relaxation"].value = "bl"  # what is done without the project is not the project's
    made.settle()
    assert remembered(made.folder) == {"relaxation": "q"}
    made.project.create(tmp_path / "new")  # goes on with what is in use
    made.settle()
    assert remembered(tmp_path / "new") == {"relaxation": "bl"}
    assert made.failures == []


def test_a_change_at_the_last_moment_is_kept(made: ProjectStage) -> None:
    made.stage.dock.form["eta"].value = 1.5
    made.project.close()
    assert remembered(made.folder) == {"eta": 1.5}


def test_the_device_is_the_machines(made: ProjectStage) -> None:
    form = made.stage.dock.form
    made.wait(lambda: bool(made.stage.dock.loop.devices))
    form["device"].value = "cpu"
    made.settle()
    assert not remembered(made.folder)
    made.project.close()
    made.project.open(made.folder)
    made.settle()
    assert form["device"].value == made.stage.dock.loop.options.device == "cpu"


def test_what_a_stranger_wrote_there_does_no_harm(made: ProjectStage) -> None:
    form = made.stage.dock.form
    file = made.folder / "project.json"
    for strange, words in (
        (7, "7 is no JSON object"),
        ({"relaxation": "potts"}, "Unknown relaxation 'potts'; choose one of"),
        ({"colour": 3}, "'colour' is none of them"),
        ({"device": "cuda"}, "'device' is none of them"),
    ):
        made.project.close()
        data = json.loads(file.read_text())
        data["settings"][SOLVER] = strange
        file.write_text(json.dumps(data))
        made.failures.clear()
        made.project.open(made.folder)
        made.settle()
        (failure,) = made.failures
        assert words in str(failure)
        assert str(file) in str(failure)
        assert form.options() == DEFAULTS
    made.project.close()
    data["settings"][SOLVER] = {"lambda_": 400}  # more than the slider shows by itself
    file.write_text(json.dumps(data))
    made.failures.clear()
    made.project.open(made.folder)
    made.settle()
    assert form["lambda_"].value == made.stage.dock.loop.options.lambda_ == 400
    assert made.failures == []


def test_a_dock_that_is_opened_again_shows_them(made: ProjectStage) -> None:
    made.stage.dock.form["lambda_"].value = 12.0
    made.settle()
    made.stage.close_dock()  # the dock Project holds the workspace
    _, dock = made.viewer.window.add_plugin_dock_widget("napari-softseg", "Scribble and solve")
    assert dock.form["lambda_"].value == dock.loop.options.lambda_ == 12.0
