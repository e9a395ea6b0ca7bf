"""A project opens with the solver's options it was last used with."""

import json
from pathlib import Path
from typing import Any

import pytest

from napari_softseg.options import DEFAULTS
from napari_softseg.project import open_project
from napari_softseg.widgets.options_memory import SOLVER, OptionsMemory
from tests.gui.conftest import MakeStage, two_halves
from tests.gui.project_stage import ProjectStage, make_project


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


def settle(made: ProjectStage) -> None:
    """Wait until the options are written, too."""
    memory: OptionsMemory = made.stage.dock.workspace.options_memory
    made.wait(lambda: not memory._wait.isActive())
    made.settle()


def test_they_are_in_use_again_when_the_project_opens(made: ProjectStage, tmp_path: Path) -> None:
    form, loop = made.stage.dock.form, made.stage.dock.loop
    assert remembered(made.folder) is None  # nobody has turned anything
    form["lambda_"].value = 30.0
    form["relaxation"].value = "q"
    settle(made)
    assert remembered(made.folder) == {"lambda_": 30.0, "relaxation": "q"}
    form["lambda_"].value = DEFAULTS.lambda_
    settle(made)
    assert remembered(made.folder) == {"relaxation": "q"}

    make_project(tmp_path / "other")
    made.project.open(tmp_path / "other")
    settle(made)
    assert loop.options.relaxation == form["relaxation"].value == DEFAULTS.relaxation
    made.project.open(made.folder)
    settle(made)
    assert loop.options.relaxation == form["relaxation"].value == "q"
    assert remembered(tmp_path / "other") is None

    made.project.close()
    form["relaxation"].value = "bl"  # what is done without the project is not the project's
    settle(made)
    assert remembered(made.folder) == {"relaxation": "q"}
    made.project.create(tmp_path / "new")  # goes on with what is in use
    settle(made)
    assert remembered(tmp_path / "new") == {"relaxation": "bl"}
    assert made.failures == []


def test_a_slider_that_moves_is_written_once(made: ProjectStage, monkeypatch: pytest.MonkeyPatch) -> None:
    project = made.project.project
    assert project is not None
    written: list[object] = []
    remember = type(project).remember

    def count(self: Any, **settings: Any) -> None:
        written.extend(settings.get(SOLVER, {}).values())
        remember(self, **settings)

    monkeypatch.setattr(type(project), "remember", count)
    for smoothness in range(1, 30):
        made.stage.dock.form["lambda_"].value = float(smoothness)
        made.qtbot.wait(5)
    settle(made)
    assert written == [29.0]


def test_what_changes_while_a_copy_is_made_stays_in_use(made: ProjectStage, tmp_path: Path) -> None:
    form, loop = made.stage.dock.form, made.stage.dock.loop
    made.project.save_as(tmp_path / "copy")
    form["relaxation"].value = "q"
    settle(made)
    made.wait(lambda: made.project.project is not None and made.project.project.path == tmp_path / "copy")
    settle(made)
    assert loop.options.relaxation == form["relaxation"].value == "q"
    assert remembered(tmp_path / "copy") == {"relaxation": "q"}


def test_a_change_at_the_last_moment_is_kept(made: ProjectStage) -> None:
    made.stage.dock.form["eta"].value = 1.5
    made.project.close()
    assert remembered(made.folder) == {"eta": 1.5}


def test_the_device_is_the_machines(made: ProjectStage) -> None:
    form = made.stage.dock.form
    made.wait(lambda: bool(made.stage.dock.loop.devices))
    form["device"].value = "cpu"
    settle(made)
    assert not remembered(made.folder)
    made.project.close()
    made.project.open(made.folder)
    settle(made)
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
        settle(made)
        (failure,) = made.failures
        assert words in str(failure)
        assert str(file) in str(failure)
        assert form.options() == DEFAULTS
    made.project.close()
    # more than the slider shows by itself, and finer than its number
    data["settings"][SOLVER] = {"lambda_": 400.123456789, "tolerance": 1e-7}
    file.write_text(json.dumps(data))
    made.failures.clear()
    made.project.open(made.folder)
    settle(made)
    options = made.stage.dock.loop.options
    assert (options.lambda_, options.tolerance) == (400.123456789, 1e-7)
    assert form["lambda_"].value == pytest.approx(400.123456789, abs=1e-5)
    assert made.failures == []


def test_a_dock_that_is_opened_again_shows_them(made: ProjectStage) -> None:
    made.stage.dock.form["lambda_"].value = 12.0
    settle(made)
    made.stage.close_dock()  # the dock Project holds the workspace
    _, dock = made.viewer.window.add_plugin_dock_widget("napari-softseg", "Scribble and solve")
    assert dock.form["lambda_"].value == dock.loop.options.lambda_ == 12.0
