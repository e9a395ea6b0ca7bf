"""Small pictures of a run: what they show, what they are called, that they are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_softseg.colors import class_color
from napari_softseg.training.report.sample_files import find_samples, picture_path, safe_name
from napari_softseg.training.report.samples import LONGEST_SIDE, save_samples

VALUES = (3, 7, 9)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def one_hot(index: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(index, len(VALUES)).permute(0, 3, 1, 2).float()


def test_what_the_pictures_show(tmp_path: Path) -> None:
    image = torch.full((1, 3, 4, 6), 50.0)
    image[0, 0, 1, 2] = 200.0
    seeds = torch.full((1, 4, 6), -1)
    seeds[0, 2, 3] = 1
    truth = torch.zeros(1, 4, 6, dtype=torch.int64)
    truth[0, :, 3:] = 2
    truth[0, 0, 0] = -1
    half = (one_hot(truth.clamp_min(0)) + one_hot(torch.ones_like(truth))) / 2
    save_samples(
        tmp_path,
        5,
        ["street"],
        VALUES,
        images=image,
        predictions=one_hot(truth.clamp_min(0)),
        pseudo=half,
        seeds=seeds,
        truth=truth,
    )
    folder = tmp_path / "samples"
    assert sorted(path.name for path in folder.iterdir()) == [
        "street_epoch005_prediction.png",
        "street_epoch005_pseudo.png",
        "street_image.png",
        "street_scribbles.png",
        "street_truth.png",
    ]
    shown = pixels(folder / "street_image.png")
    assert shown.shape == (4, 6, 3)
    assert tuple(shown[1, 2]) == (200, 50, 50)
    assert tuple(shown[0, 0]) == (50, 50, 50)
    strokes = pixels(folder / "street_scribbles.png")
    assert tuple(strokes[2, 3]) == class_color(7)
    assert tuple(strokes[0, 0]) == (20, 20, 20)
    mask = pixels(folder / "street_truth.png")
    assert tuple(mask[0, 0]) == (0, 0, 0)
    assert tuple(mask[1, 0]) == class_color(3)
    assert tuple(mask[1, 5]) == class_color(9)
    np.testing.assert_array_equal(pixels(folder / "street_epoch005_prediction.png")[1:], mask[1:])
    mixed = pixels(folder / "street_epoch005_pseudo.png")[3, 5].astype(int)
    assert np.abs(mixed - (np.array(class_color(9)) + class_color(7)) / 2).max() <= 1


def test_large_images_are_shrunk_and_a_thin_stroke_stays(tmp_path: Path) -> None:
    seeds = torch.full((1, 700, 1001), -1)
    seeds[0, :, 333] = 2
    truth = torch.zeros(1, 700, 1001, dtype=torch.int64)
    images = torch.arange(1001.0).clamp_max(255).expand(1, 1, 700, 1001)
    save_samples(
        tmp_path, 1, ["a"], VALUES, images=images, predictions=one_hot(truth), seeds=seeds, truth=truth
    )
    shapes = {pixels(path).shape for path in (tmp_path / "samples").iterdir()}
    assert shapes == {(175, 251, 3)}  # a quarter, the last block incomplete
    assert max(max(shape) for shape in shapes) <= LONGEST_SIDE
    strokes = pixels(picture_path(tmp_path, "a", "scribbles"))
    assert (strokes[:, 83] == class_color(9)).all()
    assert not (strokes[:, 82] == class_color(9)).all(axis=1).any()
    assert tuple(pixels(picture_path(tmp_path, "a", "image"))[0, 10]) == (42, 42, 42)  # mean of 40..43


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels_and_one_pixel(tmp_path: Path, channels: int) -> None:
    images = torch.full((1, channels, 1, 1), 300.0)
    images[0, 0] = float("nan")
    save_samples(tmp_path, 0, ["a"], VALUES, images=images, predictions=torch.ones(1, 3, 1, 1) / 3)
    expected = [0, 255, 255] if channels == 5 else [0, 0, 0]
    assert pixels(picture_path(tmp_path, "a", "image")).tolist() == [[expected]]


def test_the_image_is_written_once_and_predictions_every_time(tmp_path: Path) -> None:
    images, predictions = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2) / 3
    save_samples(tmp_path, 1, ["a"], VALUES, images=images, predictions=predictions)
    written = picture_path(tmp_path, "a", "image").stat().st_mtime_ns
    save_samples(tmp_path, 12, ["a"], VALUES, images=images + 9, predictions=predictions, pseudo=predictions)
    assert picture_path(tmp_path, "a", "image").stat().st_mtime_ns == written
    (sample,) = find_samples(tmp_path)
    assert sample.name == "a"
    assert list(sample.once) == ["image"]
    assert {epoch: sorted(kinds) for epoch, kinds in sample.over_time.items()} == {
        1: ["prediction"],
        12: ["prediction", "pseudo"],
    }


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    names = ["a/b", "../../up", "a\\b", "100%", "über.tif", "a_epoch003_pseudo", "街" * 100, "line\nbreak"]
    blank = torch.zeros(len(names), 3, 2, 2)
    save_samples(tmp_path, 1, names, VALUES, images=blank, predictions=blank)
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]
    found = [sample.name for sample in find_samples(tmp_path)]
    assert len(found) == len(names)
    assert set(names) - set(found) == {"街" * 100}  # cut, with a number that tells it from others


def test_other_files_in_the_folder_are_let_be(tmp_path: Path) -> None:
    assert find_samples(tmp_path) == []
    (tmp_path / "samples").mkdir()
    for name in (".x.tmp", "notes.txt", "a_epoch_pseudo.png", "_image.png"):
        (tmp_path / "samples" / name).touch()
    assert find_samples(tmp_path) == []


@given(st.lists(st.text(min_size=1), unique=True, min_size=2))
def test_no_two_names_share_a_file(names: list[str]) -> None:
    names = [name for name in names if name.isprintable()]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert all("/" not in name and "\\" not in name and len(name.encode()) <= 130 for name in safe)
