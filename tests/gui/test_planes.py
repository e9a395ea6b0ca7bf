"""Of a stack, the visible plane is solved and only that plane of the results is written."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.gui.conftest import MakeStage, two_halves


def stack(depth: int = 5) -> npt.NDArray[np.uint8]:
    """(Z, H, W, 3) uint8."""
    return np.stack([two_halves(seed=seed) for seed in range(depth)])


@pytest.mark.parametrize("rgb", [True, False])
def test_the_visible_plane_is_solved(make_stage: MakeStage, rgb: bool) -> None:
    pixels = stack() if rgb else stack()[..., 2].astype(np.uint16) * 200
    stage = make_stage(pixels, rgb=rgb, axis_labels=("z", "y", "x"))
    stage.viewer.dims.set_point(0, 3)
    stage.start()
    assert stage.scribbles.data.shape == (5, 96, 128)
    stage.paint_two_classes()
    assert "plane z=3 of 5" in stage.status
    assert stage.soft.data.shape == (5, 96, 128, 4)
    assert [bool(plane.any()) for plane in stage.soft.data] == [False, False, False, True, False]
    third = stage.soft.data[3].copy()

    stage.viewer.dims.set_point(0, 1)
    stage.settle()
    assert stage.status == "plane z=1 of 5: Paint a stroke of each class."
    stage.paint_two_classes()
    assert stage.soft.data[1].any()
    np.testing.assert_array_equal(stage.soft.data[3], third)

    stage.undo()
    assert not stage.soft.data[1].any()
    np.testing.assert_array_equal(stage.soft.data[3], third)


def test_planes_across_another_axis(make_stage: MakeStage) -> None:
    stage = make_stage(np.moveaxis(stack(7), 0, 1), rgb=True)  # (96, 7, 128, 3): the stack lies along y
    stage.viewer.dims.order = (1, 0, 2)
    stage.viewer.dims.set_point(1, 2)
    stage.start()
    stage.paint_two_classes()
    assert "plane 2 of 7" in stage.status
    assert stage.soft.data[:, 2].any()
    assert not stage.soft.data[:, 3].any()


def test_3d_display_solves_the_plane_at_the_slider(make_stage: MakeStage) -> None:
    stage = make_stage(stack(), scale=(4, 1, 1))
    stage.viewer.dims.set_point(0, 8)  # world, so plane 2
    stage.start()
    stage.paint_two_classes()
    assert "plane 2 of 5" in stage.status
    stage.viewer.dims.ndisplay = 3
    stage.settle()
    stage.dock.solve_now()
    stage.settle()
    assert "plane 2 of 5" in stage.status
    assert [bool(plane.any()) for plane in stage.soft.data] == [False, False, True, False, False]


def test_a_2d_image_beside_a_stack(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves())
    stage.viewer.add_image(np.zeros((4, 96, 128)), name="stack", visible=False)
    stage.viewer.dims.set_point(0, 2)
    stage.start()
    stage.paint_two_classes()
    assert stage.soft.data.shape == (96, 128, 4)
    assert stage.soft.data.any()


PIXELS: dict[str, Any] = {
    "grey uint8": two_halves()[..., 0],
    "uint16": two_halves()[..., 0].astype(np.uint16) * 257,
    "float32": two_halves()[..., 0].astype(np.float32) / 255 - 3,
    "rgba": np.dstack([two_halves(), np.full((96, 128), 255, np.uint8)]),
    "bool": two_halves()[..., 0] > 128,
}


@pytest.mark.parametrize("kind", PIXELS)
def test_kinds_of_pixels(make_stage: MakeStage, kind: str) -> None:
    stage = make_stage(PIXELS[kind], scale=(0.1, 0.1), translate=(-5, 20))
    stage.start()
    stage.stroke((-3, 22), (2, 23), value=1)  # world coordinates: pixel (20, 20) and on
    stage.stroke((-3, 31), (2, 30), value=2)
    assert stage.scribbles.data[20, 20] == 1
    assert stage.notifications == []
    left, right = (np.asarray(c.color, float) for c in stage.dock.session.classes)
    got = stage.soft.data[48, 10, :3].astype(float)
    assert np.linalg.norm(got - left) < np.linalg.norm(got - right)
    np.testing.assert_allclose(stage.soft.scale, (0.1, 0.1))
    np.testing.assert_allclose(stage.entropy.translate, (-5, 20))
