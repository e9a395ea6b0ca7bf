"""``napari-softseg evaluate`` against scikit-learn's confusion matrix of what the network itself says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

from napari_softseg.models import DeepLabV3Plus, save_model
from tests.cli.conftest import RunProgram
from tests.training.networks import direct, random_image, random_network

VALUES, NAMES = (0, 1, 4), ("sky", "road", "tree")
SIZES = [(40, 56), (33, 47), (50, 34)]


@pytest.fixture(scope="module")
def model() -> DeepLabV3Plus:
    return random_network(values=VALUES, class_names=NAMES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of several sizes; masks of random classes with some pixels left out."""
    path = tmp_path / "annotated"
    for part in ("images", "masks"):
        (path / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        Image.fromarray(random_image((*size, 3))).save(path / "images" / f"{number}.png")
        mask = rng.choice([*VALUES, 255], size, p=[0.5, 0.2, 0.1, 0.2]).astype(np.uint8)
        Image.fromarray(mask).save(path / "masks" / f"{number}.png")
    (path / "classes.txt").write_text("0=sky\n1=road\n4=tree\n")
    return path


@pytest.fixture
def file(model: DeepLabV3Plus, tmp_path: Path) -> Path:
    save_model(tmp_path / "m.safetensors", model, {})
    return tmp_path / "m.safetensors"


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def _pixels(model: DeepLabV3Plus, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted class values of all pixels that have a truth."""
    true, said = [], []
    for number in range(len(SIZES)):
        mask = _read(folder / "masks" / f"{number}.png")
        prediction = direct(model, _read(folder / "images" / f"{number}.png")).argmax(axis=0)
        true.append(mask[mask != 255])
        said.append(np.array(VALUES)[prediction[mask != 255]])
    return np.concatenate(true), np.concatenate(said)


def test_json(model: DeepLabV3Plus, file: Path, folder: Path, run: RunProgram) -> None:
    result = run("evaluate", file, folder, "--json", "--device", "cpu")
    assert (result.code, result.err) == (0, "")
    report = json.loads(result.out)
    true, said = _pixels(model, folder)
    assert report["confusion"] == confusion_matrix(true, said, labels=VALUES).tolist()
    expected = jaccard_score(true, said, labels=VALUES, average=None)
    assert report["iou"] == {name: pytest.approx(x) for name, x in zip(NAMES, expected, strict=True)}
    assert report["miou"] == pytest.approx(expected.mean())
    assert report["pixel_accuracy"] == pytest.approx((true == said).mean())
    assert report["class_accuracy"]["sky"] == pytest.approx((said[true == 0] == 0).mean())
    assert report["images"] == 3
    assert report["pixels"] == true.size
    assert report["skipped"] == []


def test_table(model: DeepLabV3Plus, file: Path, folder: Path, run: RunProgram) -> None:
    lines = run("evaluate", file, folder).out.splitlines()
    true, said = _pixels(model, folder)
    iou = jaccard_score(true, said, labels=VALUES, average=None)
    assert lines[0].split()[:3] == ["class", "IoU", "accuracy"]
    assert [line.split()[:2] for line in lines[1:4]] == [
        [name, f"{x:.4f}"] for name, x in zip(NAMES, iou, strict=True)
    ]
    assert lines[4].split() == ["mean", f"{iou.mean():.4f}"]
    assert f"{(true == said).mean():.4f}; 3 images, {true.size} pixels" in lines[5]


def test_a_run_folder(
    model: DeepLabV3Plus, file: Path, folder: Path, tmp_path: Path, run: RunProgram
) -> None:
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / "best.safetensors", model, {})
    for key in ("confusion", "miou"):
        assert (
            json.loads(run("evaluate", tmp_path / "run", folder, "--json").out)[key]
            == (json.loads(run("evaluate", file, folder, "--json").out)[key])
        )


def test_a_folder_without_names_goes_by_values(file: Path, folder: Path, run: RunProgram) -> None:
    named = json.loads(run("evaluate", file, folder, "--json").out)
    (folder / "classes.txt").unlink()
    unnamed = json.loads(run("evaluate", file, folder, "--json").out)
    assert unnamed["confusion"] == named["confusion"]
    assert set(unnamed["iou"]) == set(NAMES)
    for number in range(3):  # class 4 occurs no more: its index is still the model's
        mask = _read(folder / "masks" / f"{number}.png")
        Image.fromarray(np.where(mask == 0, 255, mask)).save(folder / "masks" / f"{number}.png")
    fewer = json.loads(run("evaluate", file, folder, "--json").out)
    assert fewer["confusion"] == [[0, 0, 0], *named["confusion"][1:]]


def test_masks_that_say_nothing_are_refused(file: Path, folder: Path, run: RunProgram) -> None:
    for mask in (folder / "masks").iterdir():
        Image.fromarray(np.full_like(_read(mask), 255)).save(mask)
    result = run("evaluate", file, folder)
    assert (result.code, result.out) == (2, "")
    assert "no pixel with a class in the masks of" in result.err


def test_damaged_images_are_skipped_or_refused(file: Path, folder: Path, run: RunProgram) -> None:
    image = folder / "images" / "1.png"
    image.write_bytes(image.read_bytes()[:200])
    result = run("evaluate", file, folder)
    assert result.code == 0
    assert "2 images" in result.out
    assert result.err.startswith("skipped 1: ")
    assert json.loads(run("evaluate", file, folder, "--json").out)["skipped"][0]["name"] == "1"
    refused = run("evaluate", file, folder, "--strict")
    assert (refused.code, refused.out) == (2, "")
    assert "1.png" in refused.err


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ("0=sky\n1=street\n4=tree", ("1", "'street'", "'road'")),
        ("0=sky\n1=road\n4=tree\n5=car", ("5 (car)", "0 (sky), 1 (road), 4 (tree)")),
        ("0=sky\n4=tree\n1=road\n2=car", ("2 (car)",)),
    ],
)
def test_other_classes_are_refused(
    classes: str, says: tuple[str, ...], file: Path, folder: Path, run: RunProgram
) -> None:
    (folder / "classes.txt").write_text(classes)
    result = run("evaluate", file, folder)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert [words for words in says if words not in result.err] == []


def test_a_class_that_only_the_model_has_is_refused(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    more = random_network(values=(*VALUES, 7), class_names=(*NAMES, "car"))
    save_model(tmp_path / "more.safetensors", more, {})
    result = run("evaluate", tmp_path / "more.safetensors", folder)
    assert result.code == 2
    assert "the class 7 (car), which" in result.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["gone"], "gone"),
        (["--device", "tpu"], "Unknown device 'tpu'"),
        (["--tile", "100"], "tile to be a multiple of 16 from 64"),
        (["--unlabelled", "x"], "--unlabelled"),
    ],
)
def test_bad_input(args: list[str], says: str, file: Path, folder: Path, run: RunProgram) -> None:
    given = [folder / "gone"] if args == ["gone"] else [folder, *args]
    result = run("evaluate", file, *given)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert says in result.err


def test_grey_images(file: Path, folder: Path, run: RunProgram) -> None:
    for path in (folder / "images").iterdir():
        Image.fromarray(_read(path)[..., 0]).save(path)
    result = run("evaluate", file, folder)
    assert result.code == 2
    assert f"{folder} has images of 1 channels, but the model was trained on 3" in result.err
