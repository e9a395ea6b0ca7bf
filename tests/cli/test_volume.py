"""``napari-softseg solve`` on volumes: stacks in, stacks out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_softseg import solve
from napari_softseg.saving import read_class_names
from tests.cli.conftest import RunProgram

SHAPE = (6, 20, 24)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Write a volume whose right half is bright, with a stroke of 3 in the first plane and of 7 in the last."""
    volume = np.random.default_rng(0).integers(20, 30, SHAPE, dtype=np.uint8)
    volume[:, :, 12:] += 120
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[0, 4:16, 3], strokes[-1, 4:16, 20] = 3, 7
    tifffile.imwrite(tmp_path / "volume.tif", volume, photometric="minisblack", metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "strokes.tif", strokes, photometric="minisblack", metadata={"axes": "ZYX"})
    return tmp_path


def arguments(folder: Path, image: str = "volume.tif", scribbles: str = "strokes.tif") -> list[str | Path]:
    return ["solve", folder / image, folder / scribbles, "-o", folder / "out"]


def test_two_stacks_hold_the_solution(stack: Path, run: RunProgram) -> None:
    result = run(*arguments(stack), "--spacing", "2", "--class-names", "dark,bright")
    assert (result.code, result.err) == (0, "")
    assert f"{stack / 'volume.tif'}: 24 x 20 x 6 pixels, classes: dark, bright" in result.out
    assert sorted(p.name for p in stack.glob("out*")) == ["out_labels.tif", "out_soft.tif"]
    volume, strokes = (tifffile.imread(stack / name) for name in ("volume.tif", "strokes.tif"))
    expected = solve(volume, strokes, spacing=2.0)
    assert (expected.labels[:, :, :12] == 3).all()
    assert (expected.labels[:, :, 12:] == 7).all()
    with tifffile.TiffFile(stack / "out_labels.tif") as labels:
        assert labels.series[0].axes == "ZYX"
        np.testing.assert_array_equal(labels.asarray(), expected.labels)
    with tifffile.TiffFile(stack / "out_soft.tif") as soft:
        assert soft.series[0].axes == "CZYX"
        np.testing.assert_allclose(soft.asarray(), expected.probabilities, atol=1e-6)
    assert read_class_names(stack / "out_soft.tif") == {3: "dark", 7: "bright"}


def test_results_come_back_as_unary_and_mask(stack: Path, run: RunProgram) -> None:
    mask = np.ones(SHAPE, np.uint8)
    mask[:, :3] = 0
    np.save(stack / "mask.npy", mask)
    assert run(*arguments(stack)).code == 0
    (stack / "out_soft.tif").rename(stack / "sigma.tif")
    again = run(*arguments(stack), "--unary", stack / "sigma.tif", "--mask", stack / "mask.npy", "--json")
    report = json.loads(again.out)
    assert [report[side] for side in ("depth", "height", "width")] == list(SHAPE)
    assert set(report["files"]) == {"labels", "soft"}
    assert (tifffile.imread(stack / "out_soft.tif")[:, :, :3] == 0.5).all()


@pytest.mark.parametrize(("axes", "channel"), [("ZYXS", -1), ("ZCYX", 1), ("CZYX", 0), (None, -1)])
def test_channels_may_stand_anywhere(axes: str | None, channel: int, stack: Path, run: RunProgram) -> None:
    volume = tifffile.imread(stack / "volume.tif")
    colors = np.moveaxis(np.stack([volume, volume // 2, 255 - volume], -1), -1, channel)
    if axes is None:
        np.save(stack / "colors.npy", colors)
    else:
        tifffile.imwrite(
            stack / "colors.tif",
            colors,
            photometric="rgb" if axes.endswith("S") else "minisblack",
            metadata={"axes": axes},
        )
    assert run(*arguments(stack, "colors.npy" if axes is None else "colors.tif")).code == 0
    expected = solve(np.moveaxis(colors, channel, -1), tifffile.imread(stack / "strokes.tif"))
    np.testing.assert_array_equal(tifffile.imread(stack / "out_labels.tif"), expected.labels)


def test_a_stack_without_axis_names_is_a_volume_too(stack: Path, run: RunProgram) -> None:
    for name in ("volume", "strokes"):
        np.save(stack / f"{name}.npy", tifffile.imread(stack / f"{name}.tif"))
    assert run(*arguments(stack, "volume.npy", "strokes.npy")).code == 0
    assert (stack / "out_labels.tif").exists()


def test_stacks_that_do_not_match_are_refused(stack: Path, run: RunProgram) -> None:
    tifffile.imwrite(stack / "one.tif", tifffile.imread(stack / "volume.tif")[0])
    result = run(*arguments(stack, "one.tif"))
    assert result.code == 2
    assert "for scribbles of three axes, but got 2 dimensions (20, 24)" in result.err
    assert not list(stack.glob("out*"))
    result = run(*arguments(stack), "--neighborhood", "grid8")
    assert result.code == 2
    assert "choose grid4 for a volume" in result.err
