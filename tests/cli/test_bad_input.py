"""Bad input: one line that names the value and the way out, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Case, RunProgram


def _refused(case: Case, run: RunProgram, *args: str | Path, says: tuple[str, ...]) -> None:
    before = case.written
    result = run(*args)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("napari-softseg: error: ")
    assert result.err.count("\n") == 1
    assert [words for words in says if words not in result.err] == [], result.err
    assert case.written == before


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--relaxation", "potts", ("'potts'", "choose one of: bl, q, nq, cce, lq, cd")),
        ("--cross-entropy", "x", ("'x'", "ce, rce, cce")),
        ("--neighborhood", "grid6", ("'grid6'", "grid4, grid8, sn, dn")),
        ("--neighborhood", "dn", ("relaxation bl or q", "got cd", "choose")),
        ("--reach", "0", ("--reach", "from 1")),
        ("--method", "sgd", ("'sgd'", "mm, gd, closed-form")),
        ("--unary", "forest", ("'forest'", "classifier, pretrained, none")),
        ("--unary", "gone.npy", ("gone.npy does not exist",)),
        ("--unary", "pretrained --weights gone.pth", ("imagenet or a file", "no file gone.pth")),
        ("--unary", "pretrained --weights none", ("imagenet or a file", "no file none")),
        ("--eta", "-1", ("--eta", "-1", "from 0 to")),
        ("--eta", "nan", ("--eta", "nan")),
        ("--lambda", "-0.5", ("--lambda", "-0.5", "from 0 to")),
        ("--lambda", "inf", ("--lambda", "inf")),
        ("--bandwidth", "0", ("--bandwidth", "from 0.01")),
        ("--bandwidth", "wide", ("--bandwidth", "'wide'")),
        ("--tolerance", "-1", ("--tolerance",)),
        ("--max-sweeps", "0", ("--max-sweeps", "from 1")),
        ("--max-sweeps", "1.5", ("--max-sweeps", "'1.5'")),
        ("--unlabelled", "256", ("--unlabelled", "256", "to 255")),
        ("--device", "tpu", ("tpu",)),
        ("--device", "cuda:99", ("cuda:99",)),
        ("--method", "closed-form", ("relaxation q",)),
        ("--class-names", "one", ("Expected 2 class names", "3, 7", "has 1")),
        ("--class-names", "3=a,4=b", ("No name for class value 7",)),
        ("--class-names", "a,,b", ("empty class name",)),
        ("--class-names", "a,a", ("has 'a' twice",)),
        ("--class-names", "3=a,7=a", ("has 'a' twice",)),
        ("--mask", "gone.png", ("gone.png does not exist",)),
        ("--speed", "fast", ("--speed", "--help")),
    ],
)
def test_wrong_flags(flag: str, value: str, says: tuple[str, ...], case: Case, run: RunProgram) -> None:
    _refused(case, run, *case.args, flag, *value.split(), says=says)


@pytest.mark.parametrize("blocks", [[], ["--blocks", "--block", "8"]])
def test_weights_that_cannot_be_fetched(
    blocks: list[str], case: Case, run: RunProgram, no_downloads: Path
) -> None:
    says = ("Cannot get the ImageNet weights", "--weights PATH", f"or put it at {no_downloads}")
    _refused(case, run, *case.args, "--unary", "pretrained", *blocks, says=says)


def test_weights_that_do_not_fit(case: Case, run: RunProgram) -> None:
    for weights in (case.image, case.folder):
        with_weights = ("--unary", "pretrained", "--weights", str(weights))
        _refused(case, run, *case.args, *with_weights, says=(str(weights),))


def test_a_missing_argument(case: Case, run: RunProgram) -> None:
    _refused(case, run, "solve", case.image, case.scribbles, says=("-o",))
    _refused(case, run, "frobnicate", says=("frobnicate",))


def test_sizes_differ(case: Case, run: RunProgram) -> None:
    Image.fromarray(case.strokes[:, :30]).save(case.scribbles)
    _refused(case, run, *case.args, says=("differ in size", "24 x 32", "24 x 30"))


def test_no_strokes(case: Case, run: RunProgram) -> None:
    Image.fromarray(case.strokes * 0).save(case.scribbles)
    _refused(case, run, *case.args, says=("no strokes", "unlabelled value 0"))


def test_strokes_of_one_class_only(case: Case, run: RunProgram) -> None:
    Image.fromarray(np.where(case.strokes == 3, 3, 0).astype(np.uint8)).save(case.scribbles)
    _refused(case, run, *case.args, says=("one class only", "value 3", "second class"))


def test_a_class_value_above_the_limit(case: Case, run: RunProgram) -> None:
    Image.fromarray(case.strokes * np.uint16(100)).save(case.scribbles)
    _refused(case, run, *case.args, says=("700", "255"))


def test_colour_scribbles(case: Case, run: RunProgram) -> None:
    Image.fromarray(case.pixels).save(case.scribbles)
    _refused(case, run, *case.args, says=("strokes.png", "colour channels", "indexed"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers(value: float, case: Case, run: RunProgram) -> None:
    pixels = case.pixels.astype(np.float32)
    pixels[5, 6, 1] = value
    with case.image.open("wb") as file:
        np.save(file, pixels)
    _refused(case, run, *case.args, says=("NaN or infinite", "row 5", "column 6"))


def test_a_single_pixel(case: Case, run: RunProgram) -> None:
    Image.fromarray(case.pixels[:1, :1]).save(case.image)
    Image.fromarray(case.strokes[:1, :1]).save(case.scribbles)
    _refused(case, run, *case.args, says=("1 x 1",))


@pytest.mark.parametrize("which", ["image", "scribbles"])
def test_files_that_cannot_be_read(which: str, case: Case, run: RunProgram) -> None:
    path: Path = getattr(case, which)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _refused(case, run, *case.args, says=(path.name, "cannot be read"))
    path.write_bytes(b"")
    _refused(case, run, *case.args, says=(path.name, "is empty"))
    path.write_bytes(b"hello, world")
    _refused(case, run, *case.args, says=(path.name, "cannot be read"))
    path.unlink()
    _refused(case, run, *case.args, says=(path.name, "does not exist"))
    path.mkdir()
    _refused(case, run, *case.args, says=(path.name, "is a folder"))


def test_outputs_that_cannot_be_written(case: Case, run: RunProgram) -> None:
    inputs = ("solve", case.image, case.scribbles, "-o")
    _refused(case, run, *inputs, case.folder / "gone" / "out", says=("there is no folder", "gone"))
    _refused(case, run, *inputs, case.image / "out", says=("photo.png is a file",))
    _refused(case, run, *inputs, case.folder, says=("is a folder",))
    _refused(case, run, *inputs, f"{case.folder}/", says=("is a folder",))
    _refused(case, run, *inputs, case.folder / ("x" * 300), says=("too long",))
    (case.folder / "out_soft.tif").mkdir()
    _refused(case, run, *inputs, case.out, says=("out_soft.tif", "it is a folder"))


def test_an_output_that_is_an_input(case: Case, run: RunProgram) -> None:
    strokes = case.folder / "photo_labels.png"
    strokes.write_bytes(case.scribbles.read_bytes())
    _refused(
        case,
        run,
        "solve",
        case.image,
        strokes,
        "-o",
        case.folder / "photo",
        says=("photo_labels.png", "inputs"),
    )


def test_an_unknown_sample(case: Case, run: RunProgram) -> None:
    _refused(case, run, "demo", "--sample", "dog", says=("'dog'", "astronaut, coffee"))
