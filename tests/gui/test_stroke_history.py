"""Every image of a project has its own undo, which waits while others are shown."""

from pathlib import Path

import numpy as np
import pytest

from napari_softseg.widgets import stroke_history
from tests.gui.conftest import MakeStage, two_halves
from tests.gui.project_stage import ProjectStage, small


@pytest.fixture
def made(make_stage: MakeStage, tmp_path: Path) -> ProjectStage:
    """A project of two images in colour and one in grey, a stroke on the first, two on the second."""
    made = ProjectStage(make_stage(two_halves()), tmp_path / "project")
    made.project.create(made.folder)
    made.add_images(b=small(), c=small(2), grey=small(3)[..., 0])
    made.show("b")
    made.stage.stroke((10, 10), (40, 15), value=1)
    made.show("c")
    made.stage.stroke((20, 10), (50, 15), value=2)
    made.stage.stroke((20, 50), (50, 55), value=1)
    return made


def test_going_back_to_an_image_its_last_stroke_can_be_undone(made: ProjectStage) -> None:
    two = made.strokes.copy()
    made.stage.undo()
    one = made.strokes.copy()
    made.show("grey")
    made.stage.undo()
    assert not made.strokes.any()
    made.show("b")
    assert (made.strokes == 1).any()
    made.stage.undo()
    assert not made.strokes.any()
    made.show("c")
    np.testing.assert_array_equal(made.strokes, one)
    made.stage.redo()
    np.testing.assert_array_equal(made.strokes, two)
    made.stage.undo()
    made.stage.undo()
    assert not made.strokes.any()
    made.settle()
    assert not made.on_disk("b").any()
    assert not made.on_disk("c").any()
    made.show("b")
    made.stage.redo()
    assert (made.strokes == 1).any()
    assert made.failures == []


def test_strokes_that_others_changed_are_not_undone(made: ProjectStage) -> None:
    now = made.project.open_now()
    changed = made.on_disk("b")
    changed[0, :5] = 2
    now.keeper.autosave.put("b", changed)
    made.settle()
    made.show("b")
    made.stage.undo()
    np.testing.assert_array_equal(made.strokes, changed)


def test_a_copy_of_the_project_goes_on_with_it(made: ProjectStage) -> None:
    made.project.save_as(made.folder.parent / "copy")
    made.settle()
    made.show("b")
    made.stage.undo()
    assert not made.strokes.any()


def test_what_was_left_longest_ago_is_forgotten_first(
    made: ProjectStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = made.project.open_now().histories
    assert 100 < sum(kept.nbytes for kept in histories._kept.values()) < 100_000
    made.add_images(d=small(4))
    made.show("b")
    assert list(histories._kept) == ["c"]
    monkeypatch.setattr(
        stroke_history, "KEPT_BYTES", sum(kept.nbytes for kept in histories._kept.values()) + 10
    )
    made.show("d")
    assert list(histories._kept) == ["b"]
    made.show("c")
    made.stage.undo()
    assert (made.strokes == 2).any()
