"""Prediction on disk is prediction in memory, whatever the input's form, and however often it was interrupted."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr

from napari_softseg.blocks import open_image
from napari_softseg.blocks.api import BlockSolution
from napari_softseg.errors import InputError
from napari_softseg.models import DeepLabV3Plus
from napari_softseg.solver.solution import SolveProgress, Status, drain
from napari_softseg.training.predict import predict_image
from napari_softseg.training.predict_blocks import iter_predict_blocks
from tests.training.networks import direct, little_memory, random_image, random_network

VALUES = (3, 7, 9)
ROUNDING = 0.5 / 255 + 1e-5
FULL = slice(None)
TILES = {"device": "cpu", "tile": 64, "halo": 16}


@pytest.fixture(scope="module")
def model() -> DeepLabV3Plus:
    return random_network(values=VALUES, class_names=("a", "b", "c"))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return random_image((131, 140, 3))


@pytest.fixture(scope="module")
def expected(model: DeepLabV3Plus, image: np.ndarray) -> np.ndarray:
    assert image.size / 3 > (64 + 32 + 32) ** 2  # not in one pass
    return predict_image(model, image, **TILES)  # type: ignore[arg-type]


def _predicted(model: DeepLabV3Plus, image: Any, out: Path, **options: Any) -> BlockSolution:
    return drain(iter_predict_blocks(model, image, out, **{**TILES, **options}))


def _soft(solution: BlockSolution) -> np.ndarray:
    return np.asarray(solution.soft[:]) / 255


def test_what_is_on_disk(
    model: DeepLabV3Plus, image: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    found = _predicted(model, image, tmp_path / "o.zarr")
    assert (found.status, found.blocks, found.done, found.solved) == (Status.COMPLETED, 9, 9, 9)
    np.testing.assert_allclose(_soft(found), expected, atol=ROUNDING)
    np.testing.assert_array_equal(found.labels[:], np.array(VALUES)[expected.argmax(axis=0)])
    ome: Any = zarr.open_group(tmp_path / "o.zarr", mode="r").attrs["ome"]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["a", "b", "c"]
    assert _predicted(model, image, tmp_path / "o.zarr").solved == 0


def test_tiles_that_see_everything_give_what_one_pass_gives(
    model: DeepLabV3Plus, image: np.ndarray, tmp_path: Path
) -> None:
    found = _predicted(model, image, tmp_path / "o.zarr", halo=128)
    np.testing.assert_allclose(_soft(found), direct(model, image), atol=ROUNDING)


def test_an_image_of_one_tile(model: DeepLabV3Plus, image: np.ndarray, tmp_path: Path) -> None:
    found = _predicted(model, image, tmp_path / "o.zarr", tile=256)
    np.testing.assert_allclose(_soft(found), direct(model, image), atol=ROUNDING)


@pytest.mark.parametrize("kind", ["zarr", "tiff", "channels first"])
def test_input_on_disk(
    kind: str, model: DeepLabV3Plus, image: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / ("i.tif" if kind == "tiff" else "i.zarr")
    if kind == "tiff":
        tifffile.imwrite(path, image, tile=(32, 32), photometric="rgb", compression="zlib")
    else:
        pixels = image if kind == "zarr" else np.moveaxis(image, -1, 0)
        stored = zarr.create_array(path, shape=pixels.shape, chunks=(*(40,) * 2, 3), dtype="u1")
        stored[:] = pixels
    np.testing.assert_allclose(
        _soft(_predicted(model, open_image(path), tmp_path / "o.zarr")), expected, atol=ROUNDING
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_range_of_values_is_that_of_the_whole_image(
    dtype: type, image: np.ndarray, tmp_path: Path
) -> None:
    network = random_network(1, VALUES)
    ramp = (image[..., 0] * np.linspace(1, 200, 140)).astype(np.uint16)
    found = _predicted(network, ramp, tmp_path / "o.zarr")
    in_memory = predict_image(network, ramp, **TILES)  # type: ignore[arg-type]
    np.testing.assert_allclose(_soft(found), in_memory, atol=ROUNDING)


@pytest.mark.parametrize("steps", [0, 3, 12])
def test_going_on_where_it_was_interrupted(
    steps: int, model: DeepLabV3Plus, image: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    whole = _predicted(model, image, tmp_path / "whole.zarr")
    out, stop, seen = tmp_path / "o.zarr", threading.Event(), 0

    def count(progress: SolveProgress) -> None:
        nonlocal seen
        seen += 1
        if seen > steps:
            stop.set()

    first = drain(iter_predict_blocks(model, image, out, stop=stop, **TILES), count)  # type: ignore[arg-type]
    assert first.status is Status.STOPPED
    assert first.done == max(0, seen - 10)  # 9 looks at the whole, and one report before the first tile
    second = _predicted(model, image, out)
    assert (second.status, second.solved) == (Status.COMPLETED, 9 - first.done)
    np.testing.assert_array_equal(second.soft[:], whole.soft[:])
    np.testing.assert_array_equal(second.labels[:], whole.labels[:])


def test_a_crash_loses_the_tile_under_way(model: DeepLabV3Plus, image: np.ndarray, tmp_path: Path) -> None:
    whole, out = _predicted(model, image, tmp_path / "whole.zarr"), tmp_path / "o.zarr"
    steps = iter_predict_blocks(model, image, out, **TILES)  # type: ignore[arg-type]
    while (progress := next(steps)).stage != "predict" or progress.step < 5:
        pass
    steps.close()
    second = _predicted(model, image, out)
    assert second.solved == 4
    np.testing.assert_array_equal(second.soft[:], whole.soft[:])


def test_little_memory_on_the_way(model: DeepLabV3Plus, image: np.ndarray, tmp_path: Path) -> None:
    with little_memory(model, 110**2) as seen:
        found = _predicted(model, image, tmp_path / "o.zarr", tile=96, halo=0)
    assert found.block == 96
    assert max(seen) <= 110**2
    np.testing.assert_allclose(_soft(found).sum(axis=0), 1, atol=3 * ROUNDING)


def test_another_model_or_image_is_refused(model: DeepLabV3Plus, image: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "o.zarr"
    _predicted(model, image, out)
    other = random_network(values=VALUES)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1
    for given, pixels, says in ((other, image, "model"), (model, image[:, ::-1], "image")):
        with pytest.raises(InputError, match=f"different {says} "):
            _predicted(given, pixels, out)
    assert _predicted(other, image, out, overwrite=True).solved == 9
    with pytest.raises(InputError, match="different halo"):
        _predicted(other, image, out, halo=32)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((20, 20), np.uint8), "1 channel;"),
        (
            np.full((20, 20, 3), np.nan),
            "400 NaN or infinite pixels, the first at row 0, column 0; replace them, for example",
        ),
        (np.zeros((20, 20, 3), complex), "real numbers"),
    ],
)
def test_images_that_do_not_fit(pixels: np.ndarray, says: str, model: DeepLabV3Plus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        _predicted(model, pixels, tmp_path / "o.zarr")
    assert list(tmp_path.iterdir()) == []


def test_chunks_too_large_for_the_memory(model: DeepLabV3Plus, tmp_path: Path) -> None:
    stored = zarr.create_array(tmp_path / "i.zarr", shape=(4000, 4000, 3), chunks=(4000, 4000, 3), dtype="u1")
    with pytest.raises(InputError, match="chunks of 48 MB"):
        _predicted(model, stored, tmp_path / "o.zarr", memory="500 MB")


def test_a_model_of_shrunk_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shrunk to 62 pixels"):
        next(
            iter_predict_blocks(random_network(longest=62), random_image((70, 60, 3)), tmp_path / "out.zarr")
        )
