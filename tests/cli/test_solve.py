"""``napari-softseg solve`` writes what the Python function returns."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_softseg import solve
from napari_softseg.files import read_image
from napari_softseg.options import DEFAULTS, SolveOptions
from napari_softseg.saving import read_class_names
from tests.cli.conftest import Case, RunProgram

OUTPUTS = ["out_labels.png", "out_overlay.png", "out_soft.tif"]


def test_three_files_hold_the_solution(case: Case, run: RunProgram) -> None:
    result = run(*case.args)
    assert (result.code, result.err) == (0, "")
    assert case.written == OUTPUTS
    expected = solve(case.pixels, case.strokes)
    with Image.open(case.folder / "out_labels.png") as labels:
        assert labels.mode == "L"
        np.testing.assert_array_equal(np.array(labels), expected.labels)
    assert np.unique(expected.labels).tolist() == [3, 7]
    soft = tifffile.imread(case.folder / "out_soft.tif")
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft, expected.probabilities, atol=1e-6)
    assert read_class_names(case.folder / "out_soft.tif") == {3: "class 3", 7: "class 7"}
    assert read_image(case.folder / "out_overlay.png").shape == case.pixels.shape


def test_the_summary_names_energy_and_files(case: Case, run: RunProgram) -> None:
    out = run(*case.args).out
    assert f"{case.image}: 32 x 24 pixels, classes: class 3, class 7" in out
    assert "converged" in out
    assert "energy" in out
    assert all(name in out for name in OUTPUTS)


def test_json_is_one_object_and_nothing_else(case: Case, run: RunProgram) -> None:
    result = run(*case.args, "--json", "--progress", "--class-names", "left,right")
    report = json.loads(result.out)
    expected = solve(case.pixels, case.strokes)
    assert report["status"] == "converged"
    assert report["energy"] == pytest.approx(expected.energy)
    assert report["energy"] == pytest.approx(report["energy_unary"] + report["energy_pairwise"])
    assert report["sweeps"] == expected.sweeps
    assert report["seconds"] > 0
    assert report["device"] == expected.device
    assert [(c["value"], c["name"]) for c in report["classes"]] == [(3, "left"), (7, "right")]
    assert sum(c["share"] for c in report["classes"]) == pytest.approx(1)
    assert sorted(Path(p).name for p in report["files"].values()) == OUTPUTS
    assert "solving" in result.err


def test_every_option_reaches_the_solver(case: Case, run: RunProgram) -> None:
    other = {
        "unary": "none",
        "weights": "some.pth",
        "relaxation": "q",
        "cross_entropy": "ce",
        "neighborhood": "grid8",
        "eta": 0.5,
        "lambda_": 2.5,
        "bandwidth": 20.0,
        "reach": 30.0,
        "spacing": 2.0,
        "method": "gd",
        "device": "cpu",
        "unlabelled": 3,
        "max_sweeps": 5,
        "tolerance": 0.01,
    }
    assert set(other) == {spec.name for spec in fields(SolveOptions)}
    assert all(getattr(DEFAULTS, name) != value for name, value in other.items())
    flags = [text for name, value in other.items() for text in (_flag(name), str(value))]
    report = json.loads(run(*case.args, "--json", *flags).out)
    assert report["options"] == other
    expected = solve(case.pixels, case.strokes, **other)  # type: ignore[arg-type]
    assert report["energy"] == pytest.approx(expected.energy)
    assert report["sweeps"] == expected.sweeps == 5
    assert [c["value"] for c in report["classes"]] == [0, 7]


def _flag(name: str) -> str:
    return {"lambda_": "--lambda", "cross_entropy": "--cross-entropy", "max_sweeps": "--max-sweeps"}.get(
        name, f"--{name}"
    )


def test_without_flags_the_defaults_of_python_hold(case: Case, run: RunProgram) -> None:
    report = json.loads(run(*case.args, "--json").out)
    assert report["options"] == {spec.name: getattr(DEFAULTS, spec.name) for spec in fields(SolveOptions)}


@pytest.mark.parametrize("name", ["sigma.npy", "sigma.tif"])
def test_the_unary_can_be_a_file(name: str, case: Case, run: RunProgram) -> None:
    sigma = np.full((2, 24, 32), 0.1, np.float32)
    sigma[0, :12] = sigma[1, 12:] = 0.9  # top and bottom, against the image's left and right
    path = case.folder / name
    np.save(path, sigma) if name.endswith("npy") else tifffile.imwrite(path, sigma)
    assert run(*case.args, "--unary", path, "--eta", "50").code == 0
    expected = solve(case.pixels, case.strokes, unary=sigma, eta=50.0)
    np.testing.assert_array_equal(read_image(case.folder / "out_labels.png"), expected.labels)
    assert (expected.labels != solve(case.pixels, case.strokes).labels).any()


def test_the_mask_leaves_pixels_out(case: Case, run: RunProgram) -> None:
    mask = np.zeros((24, 32), np.uint8)
    mask[:, :28] = 255
    Image.fromarray(mask).save(case.folder / "mask.png")
    assert run(*case.args, "--mask", case.folder / "mask.png").code == 0
    soft = tifffile.imread(case.folder / "out_soft.tif")
    assert (soft[:, :, 28:] == 0.5).all()
    assert soft[1, 10, 27] == 1


@pytest.mark.parametrize("given", ["left, right", "7=right,3=left,9=unused", "names.txt", "pairs.txt"])
def test_class_names_come_as_a_list_as_pairs_or_as_a_file(
    given: str, case: Case, run: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case.folder)
    Path("names.txt").write_text("left\r\nright\n\n")
    Path("pairs.txt").write_text("3=left\n7=right\n")
    assert run(*case.args, "--class-names", given).code == 0
    assert read_class_names(case.folder / "out_soft.tif") == {3: "left", 7: "right"}


def test_a_second_run_replaces_the_files(case: Case, run: RunProgram) -> None:
    for name in OUTPUTS:
        (case.folder / name).write_text("old")
    assert run(*case.args).code == 0
    assert case.written == OUTPUTS
    assert read_image(case.folder / "out_labels.png").shape == (24, 32)


def test_pretrained_features_from_a_file(case: Case, run: RunProgram, random_weights: str) -> None:
    chosen = {"unary": "pretrained", "weights": random_weights}
    expected = solve(case.pixels, case.strokes, **chosen)  # type: ignore[arg-type]
    flags = ["--unary", "pretrained", "--weights", random_weights]
    report = json.loads(run(*case.args, *flags, "--json").out)
    assert report["energy"] == pytest.approx(expected.energy, rel=1e-6)
    assert report["options"]["weights"] == random_weights
    config = case.folder.parent / "options.yaml"
    config.write_text(f"unary: pretrained\nweights: {random_weights}\n")
    again = json.loads(run(*case.args, "--config", config, "--json").out)
    assert again["options"] == report["options"]
    assert again["energy"] == report["energy"]
