"""Key N takes the camera to the largest uncertain region, then to the next, in the world of any image."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from qtpy.QtCore import Qt

from napari_softseg.widgets.uncertain_spots import NOTHING, find_spot
from napari_softseg.widgets.workspace import Workspace
from tests.gui.conftest import TIMEOUT, MakeStage, Stage


def entropy_with(*blocks: tuple[int, int, int, int], value: float = 0.9) -> npt.NDArray[np.float32]:
    entropy = np.zeros((60, 100), np.float32)
    for top, bottom, left, right in blocks:
        entropy[top:bottom, left:right] = value
    return entropy


LARGE, MIDDLE, SMALL, LINE = (5, 25, 5, 25), (30, 45, 60, 75), (5, 13, 80, 88), (50, 52, 0, 100)


def test_spots_come_by_size_and_borders_do_not_count() -> None:
    entropy = entropy_with(LINE, MIDDLE, SMALL, LARGE)
    seen: list[tuple[int, int]] = []
    for block in (LARGE, MIDDLE, SMALL, LARGE):
        spot = find_spot(entropy, 2, seen)
        assert spot is not None
        top, bottom, left, right = block
        assert top < spot.row < bottom - 1
        assert left < spot.column < right - 1
        assert (spot.pixels, spot.count) == ((bottom - top) * (right - left), 3)
        seen.append((spot.row, spot.column))


def test_a_border_is_a_spot_where_there_is_nothing_else() -> None:
    spot = find_spot(entropy_with(LINE), 2, [])
    assert spot is not None
    assert spot.row in (50, 51)
    assert find_spot(entropy_with(), 2, []) is None


def test_a_ring_is_visited_on_the_ring() -> None:
    entropy = entropy_with((5, 55, 5, 55))
    entropy[15:45, 15:45] = 0
    spot = find_spot(entropy, 2, [])
    assert spot is not None
    assert entropy[spot.row, spot.column] > 0


@pytest.mark.parametrize("n_classes", [2, 6, 30])
def test_two_classes_alike_are_uncertain_however_many_there_are(n_classes: int) -> None:
    alike = math.log(2) / math.log(n_classes)
    assert find_spot(entropy_with(LARGE, value=alike), n_classes, []) is not None
    assert find_spot(entropy_with(LARGE, value=alike / 3), n_classes, []) is None


def press_n(stage: Stage) -> None:
    stage.key(Qt.Key.Key_N)
    spots = Workspace.of(stage.viewer).spots
    stage.qtbot.waitUntil(lambda: spots.is_idle, timeout=TIMEOUT)
    stage.qtbot.wait(1)


def test_key_n_goes_from_one_uncertain_spot_to_the_next(make_stage: MakeStage) -> None:
    gray = np.full((60, 100), 120, np.uint8)
    gray[:, :20], gray[:, 80:] = 20, 220  # what lies between is like neither
    stage = make_stage(gray, scale=(2, 3), translate=(10, -5))
    stage.start()
    stage.stroke((30, 10), (100, 20), value=1)
    stage.stroke((30, 270), (100, 280), value=2)
    stage.entropy.data[...] = 0
    press_n(stage)
    assert stage.status == NOTHING
    before = stage.viewer.scene.camera.zoom
    stage.entropy.data[...] = entropy_with(MIDDLE, LARGE)
    press_n(stage)
    rows, columns = LARGE[:2], LARGE[2:]
    center = stage.viewer.scene.camera.center
    assert 10 + 2 * rows[0] < center[1] < 10 + 2 * rows[1]
    assert -5 + 3 * columns[0] < center[2] < -5 + 3 * columns[1]
    assert "400 pixels, one of 2 such places" in stage.status
    press_n(stage)
    assert -5 + 3 * MIDDLE[2] < stage.viewer.scene.camera.center[2] < -5 + 3 * MIDDLE[3]
    press_n(stage)
    assert stage.viewer.scene.camera.center == center
    assert stage.viewer.scene.camera.zoom == before


def test_in_a_stack_the_spots_are_those_of_the_visible_plane(make_stage: MakeStage) -> None:
    stage = make_stage(np.full((3, 60, 100), 120, np.uint8))
    stage.start()
    stage.entropy.data[0] = entropy_with(LARGE)
    stage.entropy.data[2] = entropy_with(MIDDLE)
    for plane, block in ((0, LARGE), (2, MIDDLE)):
        stage.viewer.dims.set_current_step(0, plane)
        stage.settle()
        stage.entropy.data[plane] = entropy_with(block)  # the loop empties a plane without strokes
        press_n(stage)
        center = stage.viewer.scene.camera.center
        assert block[0] < center[1] < block[1]
        assert block[2] < center[2] < block[3]
