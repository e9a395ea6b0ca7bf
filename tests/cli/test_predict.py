"""``napari-softseg predict`` writes what the network says, for every image it can read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_softseg.colors import class_color, overlay
from napari_softseg.models import DeepLabV3Plus, save_model
from napari_softseg.saving import read_class_names
from tests.cli.conftest import Run, RunProgram
from tests.training.networks import direct, random_image, random_network

VALUES, NAMES = (3, 7, 9), ("sky", "road", "tree")


@pytest.fixture(scope="module")
def model() -> DeepLabV3Plus:
    return random_network(values=VALUES, class_names=NAMES)


@pytest.fixture
def file(model: DeepLabV3Plus, tmp_path: Path) -> Path:
    save_model(tmp_path / "m.safetensors", model, {})
    return tmp_path / "m.safetensors"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a", (40, 56)), ("b", (33, 47))):
        Image.fromarray(random_image((*size, 3))).save(folder / f"{name}.png")
    return folder


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _files(*names: str) -> list[str]:
    return sorted(f"{name}_{what}" for name in names for what in ("labels.png", "overlay.png", "soft.tif"))


def test_three_files_for_every_image(
    model: DeepLabV3Plus, file: Path, photos: Path, tmp_path: Path, run: RunProgram
) -> None:
    out = tmp_path / "made" / "out"
    result = run("predict", file, photos, "-o", out, "--device", "cpu")
    assert (result.code, result.err) == (0, "")
    assert _names(out) == _files("a", "b")
    assert "2 images" in result.out
    assert "sky, road, tree" in result.out
    for name in "ab":
        pixels = _pixels(photos / f"{name}.png")
        expected = direct(model, pixels)
        soft = tifffile.imread(out / f"{name}_soft.tif")
        assert soft.dtype == np.float32
        np.testing.assert_allclose(soft, expected, atol=1e-5)
        labels = _pixels(out / f"{name}_labels.png")
        np.testing.assert_array_equal(labels, np.array(VALUES)[soft.argmax(axis=0)])
        assert read_class_names(out / f"{name}_soft.tif") == dict(zip(VALUES, NAMES, strict=True))
        colors = [class_color(value) for value in VALUES]
        np.testing.assert_array_equal(_pixels(out / f"{name}_overlay.png"), overlay(pixels, soft, colors))


def test_json(file: Path, photos: Path, tmp_path: Path, run: RunProgram) -> None:
    result = run("predict", file, photos, "-o", tmp_path / "out", "--json", "--write", "soft, labels")
    report = json.loads(result.out)
    assert [(Path(one["input"]).name, one["height"], one["width"]) for one in report["images"]] == [
        ("a.png", 40, 56),
        ("b.png", 33, 47),
    ]
    assert [set(one["files"]) for one in report["images"]] == [{"labels", "soft"}] * 2
    assert _names(tmp_path / "out") == [name for name in _files("a", "b") if "overlay" not in name]
    assert report["classes"][1] == {"value": 7, "name": "road"}
    assert report["skipped"] == []


def test_an_annotated_folder_and_files_beside_it(
    file: Path, photos: Path, tmp_path: Path, run: RunProgram
) -> None:
    annotated = tmp_path / "annotated"
    (annotated / "masks").mkdir(parents=True)
    photos.rename(annotated / "images")
    grey = annotated / "images" / "notes.txt"
    grey.write_text("no image")
    tifffile.imwrite(tmp_path / "c.ome.tif", random_image((30, 30, 3)), photometric="rgb")
    assert run("predict", file, annotated, tmp_path / "c.ome.tif", "-o", tmp_path / "out").code == 0
    assert _names(tmp_path / "out") == _files("a", "b", "c")


def test_results_replace_older_ones(file: Path, photos: Path, tmp_path: Path, run: RunProgram) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_labels.png").write_text("old")
    assert run("predict", file, photos, "-o", out).code == 0
    assert _pixels(out / "a_labels.png").shape == (40, 56)
    assert _names(out) == _files("a", "b")


@pytest.mark.parametrize("how", ["zarr", "--blocks", "--memory"])
def test_large_images_become_ome_zarr(
    how: str, model: DeepLabV3Plus, file: Path, photos: Path, tmp_path: Path, run: RunProgram
) -> None:
    pixels, given = _pixels(photos / "a.png"), photos / "a.png"
    options = {"zarr": [], "--blocks": ["--blocks"], "--memory": ["--memory", "100 KB"]}[how]
    if how == "zarr":
        given = tmp_path / "a.zarr"
        zarr.create_array(given, shape=pixels.shape, chunks=(16, 16, 3), dtype="u1")[:] = pixels
    out = tmp_path / "out"
    result = run("predict", file, given, "-o", out, *options)
    assert (result.code, result.err) == (0, "")
    assert _names(out) == ["a.zarr"]
    group = zarr.open_group(out / "a.zarr", mode="r")
    soft: Any = group["0"]
    np.testing.assert_allclose(soft[:] / 255, direct(model, pixels), atol=0.003)
    assert run("predict", file, given, "-o", out, *options).code == 0
    other = random_network(values=VALUES, class_names=NAMES, output_stride=8)
    save_model(file, other, {})
    refused = run("predict", file, given, "-o", out, *options)
    assert refused.code == 2
    assert "different model" in refused.err
    assert run("predict", file, given, "-o", out, *options, "--overwrite").code == 0


def test_damaged_images_are_skipped(file: Path, photos: Path, tmp_path: Path, run: RunProgram) -> None:
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:300])
    Image.fromarray(random_image((20, 20))).save(photos / "grey.png")
    result = run("predict", file, photos, "-o", tmp_path / "out")
    assert result.code == 0
    assert _names(tmp_path / "out") == _files("b")
    damaged, grey = result.err.splitlines()
    assert damaged.startswith(f"skipped {photos / 'a.png'} cannot be read")
    assert grey.startswith(f"skipped {photos / 'grey.png'}: Expected 3 channels")
    assert "the image has 1 channel;" in grey
    report = json.loads(run("predict", file, photos, "-o", tmp_path / "out", "--json").out)
    assert [Path(one["name"]).name for one in report["skipped"]] == ["a.png", "grey.png"]


def _refused(result: Run, *says: str) -> None:
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("napari-softseg: error: ")
    assert result.err.count("\n") == 1
    assert [words for words in says if words not in result.err] == [], result.err


def test_strict_writes_nothing(file: Path, photos: Path, tmp_path: Path, run: RunProgram) -> None:
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:300])
    _refused(run("predict", file, photos, "-o", tmp_path / "out", "--strict"), "b.png", "cannot be read")
    Image.fromarray(random_image((20, 20))).save(photos / "b.png")
    _refused(run("predict", file, photos, "-o", tmp_path / "out", "--strict"), "b.png", "1 channel;")
    assert not (tmp_path / "out").exists()


def test_nothing_that_can_be_used(file: Path, photos: Path, tmp_path: Path, run: RunProgram) -> None:
    Image.fromarray(random_image((20, 20))).save(photos / "a.png")
    _refused(
        run("predict", file, photos / "a.png", "-o", tmp_path / "out"), "a.png: Expected 3", "1 channel;"
    )
    (photos / "b.png").write_text("no image")
    _refused(run("predict", file, photos, "-o", tmp_path / "out"), "None of 2 images", "a.png")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["gone.png"], "gone.png does not exist"),
        (["empty"], "Found no images in empty"),
        (["photos", "more/a.jpg"], "would both become a_labels.png"),
        (["photos", "-o", "photos"], "holds the images"),
        (["photos", "-o", "photos/a.png"], "it is a file"),
        (["photos", "-o", "photos/a.png/out"], "photos/a.png is a file"),
        (["photos", "--write", "labels,masks"], "Unknown result 'masks'"),
        (["photos", "--device", "tpu"], "Unknown device 'tpu'"),
        (["photos", "--tile", "100"], "tile to be a multiple of 16"),
        (["photos", "--memory", "much"], "amount of memory"),
        (["photos", "--memory", "0"], "'0', which is 0 bytes"),
        (["photos", "--memory", "4"], "4 GB or 1500 MB, but got '4', which is 4 bytes"),
        (
            ["photos", "nan.tif", "--strict"],
            "nan.tif: The image has 3 NaN or infinite pixels, the first at row 2",
        ),
        (["nan.tif", "--blocks", "-o", "new/out"], "nan.tif: The image has 3 NaN or infinite pixels"),
        (["x.png", "x_labels.png", "-o", "."], "one of the inputs"),
    ],
)
def test_bad_input(
    args: list[str], says: str, file: Path, photos: Path, run: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    Path("empty").mkdir()
    Path("more").mkdir()
    with Image.open(photos / "a.png") as image:
        image.save("more/a.jpg")
        image.save("x.png")
        image.save("x_labels.png")
    broken = random_image((20, 20, 3)).astype(np.float32)
    broken[2:5, 7] = np.nan
    tifffile.imwrite("nan.tif", broken, photometric="rgb")
    given = args if "-o" in args else [*args, "-o", "out"]
    before = _names(photos.parent)
    result = run("predict", file, *given)
    assert says in result.err
    assert result.code == 2
    assert _names(photos.parent) == before


@pytest.mark.parametrize("model_file", ["gone.safetensors", "photos"])
def test_no_model(
    model_file: str, photos: Path, tmp_path: Path, run: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(run("predict", model_file, "photos", "-o", "out"), model_file)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_after_the_image_under_way(file: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(60):
        Image.fromarray(random_image((300, 300, 3))).save(photos / f"n{number:02d}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "napari_softseg", "predict", str(file), str(photos), "-o", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not (out / "b_labels.png").exists():
            time.sleep(0.02)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    count = len(_names(out)) // 3
    assert 2 <= count < 62
    assert error.decode() == f"napari-softseg: interrupted; {count} of 62 images are in {out}.\n"
    assert len(_names(out)) == 3 * count
