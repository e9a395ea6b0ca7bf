"""Channels: along which axis they lie, which of them the solver sees; contrast limits play no part."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_softseg import solve
from napari_softseg.errors import InputError
from napari_softseg.widgets import channels
from tests.gui.conftest import MakeStage, Stage, two_halves


def five_channels(height: int = 96, width: int = 128) -> npt.NDArray[np.uint8]:
    """(5, H, W) uint8 noise; in channel 3 alone the right half is brighter."""
    values = np.random.default_rng(5).normal(100, 10, (5, height, width))
    values[3, :, width // 2 :] += 90
    return np.clip(values, 0, 255).astype(np.uint8)


def solved(stage: Stage, pixels: npt.NDArray[Any]) -> None:
    """Check that the layers show what these pixels give."""
    expected = solve(pixels, stage.scribbles.data)
    np.testing.assert_allclose(stage.entropy.data, expected.entropy, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 2])
def test_channels_first_or_last(make_stage: MakeStage, axis: int) -> None:
    pixels = five_channels()
    stage = make_stage(np.moveaxis(pixels, 0, axis), rgb=False, scale=(1, 1, 1))
    assert [a for a, _ in channels.possible_axes(stage.viewer.layers[0])] == [0, 1, 2]
    stage.dock.session.set_channel_axis(axis)
    stage.start()
    assert stage.scribbles.data.shape == (96, 128)
    stage.paint_two_classes()
    assert stage.scribbles.data[20, 20] == 1
    solved(stage, np.moveaxis(pixels, 0, -1))
    stage.viewer.dims.set_point(0, 4)  # another channel is looked at: nothing else is solved
    stage.settle()
    assert stage.soft.data.any()
    result = stage.soft.data.copy()

    stage.dock.session.see_channels([3])
    stage.settle()
    solved(stage, pixels[3])
    assert not np.array_equal(stage.soft.data, result)
    stage.dock.session.see_channels([0, 1])
    stage.settle()
    solved(stage, np.moveaxis(pixels[:2], 0, -1))
    assert stage.notifications == []


def test_strokes_stay_when_channels_are_told_later(make_stage: MakeStage) -> None:
    stage = make_stage(five_channels(), rgb=False)
    stage.start()
    stage.dock.session.classes.rename(2, "right")
    stage.paint_two_classes()
    before = stage.scribbles
    strokes, at = before.data.copy(), stage.viewer.dims.current_step[0]
    stage.dock.session.set_channel_axis(0)
    stage.settle()
    np.testing.assert_array_equal(stage.scribbles.data, strokes[at])
    assert stage.dock.session.classes[2].name == "right"
    assert before in stage.viewer.layers
    assert not before.visible
    np.testing.assert_array_equal(before.data, strokes)
    solved(stage, np.moveaxis(five_channels(), 0, -1))
    stage.stroke((80, 20), (90, 30), value=1)
    assert stage.scribbles.data[85, 25] == 1

    painted = stage.scribbles.data.copy()
    stage.dock.session.set_channel_axis(None)
    stage.settle()
    assert stage.scribbles.data.shape == (5, 96, 128)
    np.testing.assert_array_equal(stage.scribbles.data[at], painted)
    assert stage.soft.data.shape == (5, 96, 128, 4)
    assert stage.notifications == []


def test_a_label_says_where_channels_are(make_stage: MakeStage) -> None:
    stack = np.stack([five_channels(), five_channels()])  # (Z, C, H, W)
    stage = make_stage(stack, rgb=False, axis_labels=("z", "c", "y", "x"), scale=(4, 1, 2, 2))
    stage.start()
    assert stage.viewer.layers[0].data.shape == (5, 2, 96, 128)
    assert stage.scribbles.data.shape == (2, 96, 128)
    np.testing.assert_allclose(stage.scribbles.scale, (4, 2, 2))
    stage.viewer.dims.set_point(1, 4)
    stage.stroke((40, 40), (140, 60), value=1)
    stage.stroke((40, 220), (140, 200), value=2)
    assert "plane z=1 of 2" in stage.status
    assert not stage.soft.data[0].any()
    assert stage.soft.data[1].any()


def test_rgb_and_alpha(make_stage: MakeStage) -> None:
    colors = two_halves()
    alpha = np.random.default_rng(1).integers(0, 255, colors.shape[:2], dtype=np.uint8)
    stage = make_stage(np.dstack([colors, alpha]), rgb=True)
    stage.start()
    stage.paint_two_classes()
    solved(stage, colors)  # alpha says nothing about what is seen
    stage.dock.session.see_channels([0, 2])
    stage.settle()
    solved(stage, colors[..., [0, 2]])
    with pytest.raises(InputError, match="at least one"):
        stage.dock.session.see_channels([])
    with pytest.raises(InputError, match="from 0 to 3"):
        stage.dock.session.see_channels([4])


def test_contrast_limits_play_no_part(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves()[..., 0].astype(np.uint16) * 257)
    stage.start()
    stage.paint_two_classes()
    before = stage.dock.loop._last
    stage.viewer.layers[0].contrast_limits = (20_000, 20_001)
    stage.viewer.layers[0].gamma = 0.3
    stage.settle()
    assert stage.dock.loop._last is before  # nothing was solved again
    shown = stage.soft.data.copy()
    stage.dock.solve_now()
    stage.settle()
    np.testing.assert_array_equal(stage.soft.data, shown)


def test_a_rotated_image_says_why_its_axes_stay(make_stage: MakeStage) -> None:
    stage = make_stage(np.moveaxis(five_channels(), 0, -1), rgb=False, rotate=(10, 0, 0))
    with pytest.raises(InputError, match="rotated or sheared"):
        stage.dock.session.set_channel_axis(2)
    assert stage.viewer.layers[0].data.shape == (96, 128, 5)
