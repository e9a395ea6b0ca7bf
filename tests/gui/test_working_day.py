"""A working day from end to end: strokes, a project, a network trained beside, corrections, all images labelled."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from napari_softseg.models import load_model
from napari_softseg.project import open_project
from napari_softseg.runs import Status, list_runs
from tests.gui.conftest import MakeStage, two_halves
from tests.gui.project_stage import ProjectStage
from tests.gui.test_training_dock import TrainStage


def test_from_the_first_stroke_to_all_images_labelled(
    make_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpl.get_cachedir()  # looked up once: not in the folder of this test
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stage = make_stage()
    stage.settle()
    stage.viewer.add_image(two_halves(seed=1), name="first")
    stage.settle()

    # strokes of two classes, soft labels
    stage.start()
    stage.paint_two_classes()
    assert stage.soft.data[..., 3].any()

    # a project of two images, the second without a stroke
    made = ProjectStage(stage, tmp_path / "day")
    made.project.create(made.folder)
    made.click(made.dock.add_open_button)
    made.wait(lambda: made.project.current == "first")
    made.add_images(second=np.ascontiguousarray(two_halves(seed=2)[:, ::-1]))
    made.show("first")
    made.settle()
    assert (made.on_disk("first") == np.asarray(stage.scribbles.data)).all()

    # train, see the curve move, stop
    training = TrainStage(stage.viewer, stage.qtbot)
    training.choose_tiny(epochs=500)
    training.wait(lambda: training.dock.start_button.isEnabled())
    training.click(training.dock.start_button)
    training.wait(lambda: len(training.session.curves.terms.get("pce", ([], []))[0]) >= 3)
    before = len(training.session.curves.terms["pce"][0])
    training.wait(lambda: len(training.session.curves.terms["pce"][0]) > before)
    training.wait(lambda: bool(training.session.runs[0].state.has_model))
    training.click(training.dock.stop_button)
    training.wait_ended()
    (run,) = list_runs(made.folder)
    assert run.status == Status.STOPPED

    # its prediction labels the second image, where nothing is painted
    training.wait(lambda: training.dock.use_button.isEnabled())
    training.click(training.dock.use_button)
    model = training.dock.workspace.model
    training.wait(lambda: model.is_idle and model.path is not None)
    made.show("second")
    made.wait(lambda: bool(stage.soft.data[..., 3].any()))
    made.settle()
    result = stage.dock.loop.result
    assert result is not None
    assert not np.asarray(stage.scribbles.data).any()

    # a correction is followed, and saved
    stage.stroke((10, 11), (80, 11), value=2)
    made.settle()
    assert (made.on_disk("second")[20:70, 11] == 2).all()
    result = stage.dock.loop.result
    assert result is not None
    assert (result.solution.labels[20:70, 11] == 2).all()

    # all images; what is on disk opens again
    box = training.dock.model_box
    training.wait(lambda: box.predict_button.isEnabled())
    training.click(box.predict_button)
    training.wait(lambda: not training.dock.workspace.predict_all.running)
    made.settle()
    made.project.close()
    with open_project(made.folder) as project:
        assert not project.read_only
        assert project.names == ["first", "second"]
        for name in project.names:
            soft = project.read_soft_labels(name)
            strokes = project.read_scribbles(name)
            assert soft is not None
            np.testing.assert_allclose(soft.sum(0), 1, atol=1e-4)
            for number, value in enumerate((1, 2)):
                assert (soft[number][strokes == value] == 1).all()
    assert load_model(run.path).config.class_values == (1, 2)
