"""Relaxations side by side: what solve returns, nothing in the viewer changed, and a way back."""

import numpy as np
from qtpy.QtCore import Qt

from napari_softseg import solve
from napari_softseg.options import Relaxation
from napari_softseg.widgets.compare_view import CompareWindow
from tests.gui.conftest import TIMEOUT, Stage, two_halves


def opened(stage: Stage) -> CompareWindow:
    button = stage.dock.compare_button
    stage.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)  # type: ignore[no-untyped-call]
    assert stage.dock.comparison is not None
    wait(stage)
    return stage.dock.comparison


def wait(stage: Stage) -> None:
    window = stage.dock.comparison
    assert window is not None
    stage.qtbot.waitUntil(
        lambda: all(tile.text.text() for r, tile in window.tiles.items() if window.boxes[r].isChecked()),
        timeout=2 * TIMEOUT,
    )


def test_six_side_by_side_and_back(stage: Stage) -> None:
    stage.paint_two_classes()
    layers, shown = list(stage.viewer.layers), stage.soft.data.copy()
    window = opened(stage)
    for relaxation, tile in window.tiles.items():
        energy = solve(two_halves(), stage.scribbles.data, relaxation=relaxation).energy
        told = float(tile.text.text().removeprefix("energy ").split(",")[0])
        np.testing.assert_allclose(told, energy, rtol=1e-2)
        assert tile.text.text().endswith(("ms", " s"))
        assert not tile.picture.pixmap().isNull()
        assert tile.use_button.isEnabled() == (relaxation is not Relaxation.CD)  # which is in use
    left = Qt.MouseButton.LeftButton
    stage.qtbot.mouseClick(window.boxes[Relaxation.BL], left)  # type: ignore[no-untyped-call]
    assert not window.tiles[Relaxation.BL].isVisible()
    stage.qtbot.mouseClick(window.close_button, left)  # type: ignore[no-untyped-call]
    stage.qtbot.waitUntil(lambda: stage.dock.comparison is None)
    assert list(stage.viewer.layers) == layers
    np.testing.assert_array_equal(stage.soft.data, shown)

    window = opened(stage)
    use = window.tiles[Relaxation.Q].use_button
    stage.qtbot.mouseClick(use, left)  # type: ignore[no-untyped-call]
    stage.qtbot.waitUntil(lambda: stage.dock.comparison is None)
    stage.settle()
    assert stage.dock.loop.options.relaxation == "q"
    assert ", Q, E" in stage.status


def test_what_cannot_be_solved_says_why(stage: Stage) -> None:
    window = opened(stage)
    assert "Paint a stroke of each class" in window.tiles[Relaxation.CD].picture.text()
    stage.paint_two_classes()
    stage.use_options(neighborhood="dn", relaxation="q", max_sweeps=5)
    window.again_button.click()
    wait(stage)
    assert not window.tiles[Relaxation.Q].picture.pixmap().isNull()
    assert "needs relaxation bl or q" in window.tiles[Relaxation.CD].picture.text()
    assert not window.tiles[Relaxation.CD].use_button.isEnabled()
    stage.close_dock()  # with the window open and at work
