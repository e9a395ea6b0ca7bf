"""A trained network makes the first guess: at once, without strokes, corrected by them, and only if it fits."""

import os
from pathlib import Path

import numpy as np
import pytest

from napari_softseg.options import Unary
from napari_softseg.widgets.model_session import ModelSession
from napari_softseg.widgets.workspace import Workspace
from tests.gui.conftest import TIMEOUT, MakeStage, Stage, two_halves
from tests.gui.networks import save_color_network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_color_network(tmp_path_factory.mktemp("models") / "colors.safetensors")


def session_of(stage: Stage) -> ModelSession:
    return Workspace.of(stage.viewer).model


def use(stage: Stage, path: Path | None) -> ModelSession:
    """Ask for a network, and wait until it is used or refused."""
    model = session_of(stage)
    model.use(path)
    settle(stage)
    return model


def settle(stage: Stage) -> None:
    stage.qtbot.waitUntil(lambda: session_of(stage).is_idle, timeout=TIMEOUT)
    stage.settle()


def name_classes(stage: Stage, *names: str) -> None:
    for value, name in enumerate(names, start=1):
        stage.dock.session.classes.rename(value, name)
    stage.settle()


def may_choose_guess(stage: Stage) -> bool:
    """Return whether the form lets a person choose what makes the first guess."""
    return bool(stage.dock.form["unary"].enabled)


def share_like(stage: Stage, value: int, part: tuple[slice, ...]) -> float:
    """Return the share of pixels whose colour is nearer to that of this class than to the other's."""
    colors = np.array([entry.color for entry in stage.dock.session.classes], float)
    seen = np.asarray(stage.soft.data[part][..., :3], float)
    nearest = np.abs(seen[..., None, :] - colors).sum(-1).argmin(-1)
    return float((nearest == stage.dock.session.classes.values.index(value)).mean())


LEFT, RIGHT = (slice(8, 88), slice(4, 52)), (slice(8, 88), slice(76, 124))


def test_an_image_without_strokes_gets_labels_at_once(stage: Stage, network: Path) -> None:
    name_classes(stage, "warm", "cold")
    assert not stage.soft.data.any()
    model = use(stage, network)
    assert model.error == ""
    assert model.name == "colors"
    assert not stage.scribbles.data.any()
    assert share_like(stage, 1, LEFT) > 0.9
    assert share_like(stage, 2, RIGHT) > 0.9
    assert stage.notifications == []
    assert not may_choose_guess(stage)

    use(stage, None)
    assert may_choose_guess(stage)
    assert not stage.soft.data.any()
    assert "Paint a stroke of each class" in stage.status


def test_classes_are_matched_by_name_whatever_their_order(stage: Stage, network: Path) -> None:
    name_classes(stage, "cold", "warm")
    use(stage, network)
    assert share_like(stage, 2, LEFT) > 0.9
    assert share_like(stage, 1, RIGHT) > 0.9
    name_classes(stage, "warm", "other")  # then the network is none of theirs any more
    assert "does not know 'other'" in session_of(stage).error
    assert not stage.soft.data.any()
    name_classes(stage, "warm", "cold")
    assert session_of(stage).error == ""
    assert share_like(stage, 1, LEFT) > 0.9


def test_strokes_of_one_class_correct_it_and_undo_takes_that_back(stage: Stage, network: Path) -> None:
    name_classes(stage, "warm", "cold")
    use(stage, network)
    before = stage.soft.data.copy()
    stage.stroke((20, 20), (70, 30), value=2)
    painted = stage.scribbles.data == 2
    assert painted.any()
    colors = stage.dock.session.classes[2].color
    np.testing.assert_array_equal(
        stage.soft.data[painted][:, :3], np.broadcast_to(colors, (painted.sum(), 3))
    )
    assert share_like(stage, 2, RIGHT) > 0.9
    stage.undo()
    np.testing.assert_array_equal(stage.soft.data, before)


def test_a_class_that_is_new_to_the_network_comes_from_its_strokes(
    make_stage: MakeStage, network: Path
) -> None:
    picture = two_halves()
    picture[30:90, 40:90] = np.clip(picture[30:90, 40:90] * 0.1 + (60, 180, 60), 0, 255).astype(np.uint8)
    stage = make_stage(picture)
    stage.start()
    name_classes(stage, "warm", "cold")
    model = use(stage, network)
    left, right = (slice(8, 88), slice(4, 36)), (slice(8, 88), slice(94, 124))
    stage.dock.table.add_button.click()
    name_classes(stage, "warm", "cold", "leaf")
    assert list(model.unknown) == ["leaf"]
    assert model.error == ""
    assert "network colors; 'leaf', new to it, by strokes" in stage.dock.network.label.text()
    assert stage.dock.network.isVisible()
    assert share_like(stage, 1, left) > 0.9
    stage.stroke((36, 46), (46, 84), value=3)
    assert share_like(stage, 3, (slice(60, 86), slice(44, 86))) > 0.9
    assert share_like(stage, 1, left) > 0.9
    assert share_like(stage, 2, right) > 0.8
    stage.dock.session.remove_class(3)
    stage.settle()
    assert not list(model.unknown)
    assert "leaf" not in stage.dock.network.label.text()


def test_untouched_classes_become_those_of_the_network(stage: Stage, network: Path) -> None:
    use(stage, network)
    assert [entry.name for entry in stage.dock.session.classes] == ["warm", "cold"]
    assert share_like(stage, 1, LEFT) > 0.9


def test_painted_classes_keep_their_names(stage: Stage, network: Path) -> None:
    stage.paint_two_classes()
    before = stage.soft.data.copy()
    model = use(stage, network)
    assert "does not know 'class 1', 'class 2', and it knows 'warm', 'cold'" in model.error
    assert model.path is None
    assert [entry.name for entry in stage.dock.session.classes] == ["class 1", "class 2"]
    np.testing.assert_array_equal(stage.soft.data, before)


def test_a_network_of_other_classes_leaves_the_one_in_use(
    stage: Stage, network: Path, tmp_path: Path
) -> None:
    name_classes(stage, "warm", "cold")
    use(stage, network)
    before = stage.soft.data.copy()
    refused: list[Exception] = []
    session_of(stage).failed.connect(refused.append)
    model = use(stage, save_color_network(tmp_path / "three.safetensors", ("warm", "cold", "wet")))
    assert "it knows 'wet', which is not among yours" in str(refused[0])
    assert model.name == "colors"
    np.testing.assert_array_equal(stage.soft.data, before)

    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    model = use(stage, tmp_path / "broken.safetensors")
    assert "is no model file" in model.error
    assert model.name == "colors"
    use(stage, tmp_path / "nowhere")
    assert "There is no model" in model.error


def test_first_guess_none_leaves_the_network_out(stage: Stage, network: Path) -> None:
    name_classes(stage, "warm", "cold")
    use(stage, network)
    stage.use_options(unary=Unary.NONE)
    stage.settle()
    assert not stage.soft.data.any()
    stage.use_options()
    stage.settle()
    assert stage.soft.data.any()


def test_each_image_and_plane_gets_its_own_labels(make_stage: MakeStage, network: Path) -> None:
    stack = np.stack([two_halves(seed=1), two_halves(seed=2)[:, ::-1]])
    stage = make_stage(stack)
    stage.start()
    name_classes(stage, "warm", "cold")
    use(stage, network)
    stage.viewer.dims.set_current_step(0, 0)
    settle(stage)
    stage.viewer.dims.set_current_step(0, 1)
    settle(stage)
    assert share_like(stage, 1, (slice(0, 1), *LEFT)) > 0.9
    assert share_like(stage, 2, (slice(1, 2), *LEFT)) > 0.9


def test_a_followed_training_is_taken_again_when_it_is_better(stage: Stage, tmp_path: Path) -> None:
    name_classes(stage, "warm", "cold")
    model, run = session_of(stage), tmp_path / "run 1"
    run.mkdir()
    model.follow = run  # nothing there yet
    stage.qtbot.wait(1500)
    settle(stage)
    assert model.error == ""
    assert not stage.soft.data.any()

    save_color_network(run / "best.safetensors")
    stage.qtbot.waitUntil(lambda: model.path == run, timeout=TIMEOUT)
    settle(stage)
    assert model.name == "run 1"
    assert share_like(stage, 1, LEFT) > 0.9

    save_color_network(run / "best.safetensors", ("cold", "warm"))
    os.utime(run / "best.safetensors", ns=(1, 1))
    stage.qtbot.waitUntil(
        lambda: bool(stage.soft.data.any()) and share_like(stage, 2, LEFT) > 0.9, timeout=TIMEOUT
    )
    model.use(None)
    assert model.follow is None
