"""``--config`` and ``--events`` mean the same in every command that has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zarr
from PIL import Image

from napari_softseg.models import save_model
from tests.cli.conftest import Case, RunProgram
from tests.training.folders import write_folder
from tests.training.networks import random_image, random_network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    names = ("dark", "bright")
    save_model(path, random_network(values=(0, 1), class_names=names, backbone="mobilenet_v3_small"), {})
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(random_image((90, 100, 3))).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_predict_takes_its_flags_from_a_file(
    model: Path, photo: Path, tmp_path: Path, run: RunProgram
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("write: [labels, soft]\nblocks: true\ntile: 64\nhalo: 32\njson: true\n")
    first = run("predict", model, photo, "-o", tmp_path / "out", "--config", config)
    assert (first.code, first.err) == (0, "")
    assert json.loads(first.out)["images"][0]["files"] == {"zarr": str(tmp_path / "out" / "a.zarr")}
    assert zarr.open_array(tmp_path / "out" / "a.zarr" / "0").shards == (2, 64, 64)
    config.write_text("write: soft\n")
    second = run("predict", model, photo, "-o", tmp_path / "two", "--config", config, "--write", "labels")
    assert second.code == 0
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["a_labels.png"]


def test_solve_takes_its_flags_from_a_file(case: Case, tmp_path: Path, run: RunProgram) -> None:
    config = case.folder / "c.yaml"
    config.write_text("json: true\nlambda: 3\nrelaxation: Q\nunlabelled: 0\nmax-sweeps: 7\nunary: none\n")
    options = json.loads(run(*case.args, "--config", config, "--max-sweeps", "9").out)["options"]
    chosen = {name: options[name] for name in ("lambda_", "relaxation", "max_sweeps", "unary")}
    assert chosen == {"lambda_": 3.0, "relaxation": "q", "max_sweeps": 9, "unary": "none"}


def test_evaluate_takes_its_flags_from_a_file(model: Path, tmp_path: Path, run: RunProgram) -> None:
    folder = write_folder(tmp_path / "tiny", n_images=1)
    (tmp_path / "c.yaml").write_text("json: true\ndevice: cpu\nunlabelled: 255\n")
    result = run("evaluate", model, folder, "--config", tmp_path / "c.yaml")
    assert result.code == 0, result.err
    assert json.loads(result.out)["images"] == 1


def test_no_choice_is_a_choice(run: RunProgram, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny", n_images=1)
    (tmp_path / "c.yaml").write_text(
        "preset: fast\nearly_stop: null\nsamples: 1\nepochs: 1\ncrop: 32\nweights: none\nbatch: 1\n"
        "backbone: mobilenet_v3_small\nloss: pce\n"
    )
    for name, more in (("a", []), ("b", ["--early-stop", "2"])):
        command = ["train", folder, "-o", tmp_path / name, "--config", tmp_path / "c.yaml", *more]
        assert run(*command).code == 0
    chosen = [json.loads((tmp_path / name / "config.json").read_text())["options"] for name in ("a", "b")]
    assert [options["early_stop"] for options in chosen] == [None, 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("tile: [", "c.yaml is no YAML"),
        ("- tile", "'name: value' lines"),
        ("tiles: 3", "Unknown option 'tiles' in "),
        ("output: x", "Unknown option 'output' in "),
        ("tile: many", "c.yaml: argument --tile: invalid int value: 'many'"),
        ("tile: {a: 1}", "Expected tile in "),
        ("strict: maybe", "to be true or false, but got 'maybe'"),
        ("progress: 1", "to be true or false, but got 1"),
        ("events: yaml", "to be one of jsonl, but got 'yaml'"),
        ("tile: 63", "multiple of 16"),
    ],
)
def test_wrong_files(
    content: str, says: str, model: Path, photo: Path, tmp_path: Path, run: RunProgram
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    result = run("predict", model, photo, "-o", tmp_path / "out", "--config", tmp_path / "c.yaml")
    assert result.code == 2
    assert result.out == ""
    assert says in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there(model: Path, photo: Path, tmp_path: Path, run: RunProgram) -> None:
    for command in (["predict", model, photo, "-o", tmp_path / "out"], ["evaluate", model, tmp_path]):
        result = run(*command, "--config", tmp_path / "gone.yaml")
        assert (result.code, result.out) == (2, "")
        assert "gone.yaml cannot be read: No such file or directory; check the path" in result.err


def test_what_predict_does_as_events(model: Path, photo: Path, tmp_path: Path, run: RunProgram) -> None:
    (tmp_path / "b.png").write_bytes(photo.read_bytes()[:200])
    zarr.create_array(tmp_path / "c.zarr", data=random_image((200, 150, 3)), chunks=(64, 64, 3))
    inputs = [photo, tmp_path / "b.png", tmp_path / "c.zarr"]
    command = ["predict", model, *inputs, "-o", tmp_path / "out", "--tile", "64", "--halo", "16"]
    result = run(*command, "--events", "jsonl")
    assert (result.code, result.err) == (0, "")
    seen = events(result.out)
    kinds = list(dict.fromkeys(event["event"] for event in seen))
    assert kinds == ["start", "image", "skipped", "progress", "end"]
    assert seen[0]["images"] == 3
    assert seen[0]["classes"] == [{"value": 0, "name": "dark"}, {"value": 1, "name": "bright"}]
    done = [event for event in seen if event["event"] == "image"]
    assert [event["input"] for event in done] == [str(inputs[0]), str(inputs[2])]
    assert all(Path(file).exists() for event in done for file in event["files"].values())
    steps = [(e["step"], e["steps"]) for e in seen if e["event"] == "progress" and e["stage"] == "predict"]
    assert steps[-1] == (12, 12)
    assert "b.png" in next(event["why"] for event in seen if event["event"] == "skipped")
    assert {name: seen[-1][name] for name in ("status", "images", "skipped")} == {
        "status": "finished",
        "images": 2,
        "skipped": 1,
    }
    both = run(*command, "--events", "jsonl", "--json")
    assert (both.code, both.out) == (2, "")
    assert "not allowed with" in both.err


def test_what_solve_does_in_blocks_as_events(case: Case, run: RunProgram) -> None:
    refused = run(*case.args, "--events", "jsonl")
    assert refused.code == 2
    assert "--events is for solving by blocks; add --blocks" in refused.err
    result = run(*case.args, "--blocks", "--events", "jsonl")
    assert (result.code, result.err) == (0, "")
    seen = events(result.out)
    assert {event["event"] for event in seen[:-1]} == {"progress"}
    assert {"survey", "solve"} <= {event["stage"] for event in seen[:-1]}
    assert (seen[-1]["event"], seen[-1]["blocks"]) == ("end", 1)
    again = run(*case.args, "--blocks", "--events", "jsonl", "--json")
    assert again.code == 2
    assert "leave out one of them" in again.err


def test_what_compare_does_as_events(tmp_path: Path, run: RunProgram) -> None:
    folder = write_folder(tmp_path / "tiny", n_images=1)
    (tmp_path / "c.yaml").write_text(
        "schedule: tiny\nseeds: [4]\nonly: [pce]\nweights: none\nbackbone: mobilenet_v3_small\ncrop: 32\n"
    )
    command = ["compare", folder, folder, "-o", tmp_path / "out", "--config", tmp_path / "c.yaml"]
    result = run(*command, "--events", "jsonl")
    assert (result.code, result.err) == (0, "")
    seen = events(result.out)
    assert [event["event"] for event in seen] == ["start", "epoch", "epoch", "run", "end"]
    assert seen[0]["runs"] == ["pce_seed4"]
    assert [(event["epoch"], event["epochs"]) for event in seen[1:3]] == [(1, 2), (2, 2)]
    assert 0 <= seen[3]["last"] <= seen[3]["best"] <= 100
    assert seen[3]["failure"] is None
    assert (seen[4]["status"], seen[4]["runs_done"]) == ("finished", 1)
    assert all(Path(file).exists() for file in seen[4]["files"])
