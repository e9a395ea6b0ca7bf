"""The command train: flags, files of options, events, Ctrl-C, and what bad input gets."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_softseg.models import load_model
from tests.cli.conftest import RunProgram
from tests.training.folders import TINY, write_folder

COMMAND = [sys.executable, "-m", "napari_softseg"]


def flags(**options: Any) -> list[str]:
    given = {**TINY, "epochs": 2, **options}
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tiny")


def refused(run: RunProgram, *args: str | Path, says: str) -> None:
    result = run("train", *args)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("napari-softseg: error: ")
    assert result.err.count("\n") == 1
    assert says in result.err


def test_a_run_says_how_good_it_is(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    result = run("train", folder, "-o", tmp_path / "run", "--val", folder, *flags())
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("epoch 1: loss ")
    assert "mean IoU" in lines[1]
    assert lines[-1].startswith("best mean IoU 0.")
    assert load_model(tmp_path / "run").config.class_values == (0, 1)


def test_events_are_the_log(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    result = run("train", folder, "-o", tmp_path / "run", "--events", "jsonl", *flags())
    assert result.out == (tmp_path / "run" / "log.jsonl").read_text()
    assert [json.loads(line)["event"] for line in result.out.splitlines()][::3] == ["start", "epoch", "epoch"]


def test_options_come_from_a_file_and_flags_win(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    options = {**TINY, "epochs": 7, "lambda": 3.0, "restart": True}
    file = tmp_path / "options.yaml"
    file.write_text("".join(f"{name.replace('_', '-')}: {value}\n" for name, value in options.items()))
    result = run("train", folder, "-o", tmp_path / "run", "--config", file, "--epochs", "1")
    assert result.code == 0
    assert "finished 1 epoch\n" in result.out
    config = json.loads((tmp_path / "run" / "config.json").read_text())["options"]
    assert (config["epochs"], config["lambda_"], config["restart"], config["crop"]) == (1, 3.0, True, 48)


def test_resume_needs_nothing_but_the_run(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    assert run("train", folder, "-o", tmp_path / "run", *flags()).code == 0
    (tmp_path / "run" / "log.jsonl").unlink()
    again = run("train", "-o", tmp_path / "run", "--resume")
    assert again.code == 0, again.err
    assert "finished 2 epochs" in again.out


def test_resume_says_where_the_images_were(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    moved = shutil.copytree(folder, tmp_path / "there")
    assert run("train", moved, "-o", tmp_path / "run", *flags(), "--stop-after", "1").code == 0
    moved.rename(tmp_path / "here")
    result = run("train", "-o", tmp_path / "run", "--resume")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{moved}, which {tmp_path / 'run'} was begun with, does not exist; put it back" in result.err
    again = run("train", tmp_path / "here", "-o", tmp_path / "run", *flags(), "--resume")
    assert again.code == 0, again.err
    assert "finished 2 epochs" in again.out


def test_folders_that_moved_are_known_from_then_on(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    moved = [shutil.copytree(folder, tmp_path / name) for name in ("train", "val")]
    command = ("-o", tmp_path / "run", *flags())
    assert run("train", moved[0], "--val", moved[1], *command, "--stop-after", "1").code == 0
    train, val = (path.rename(path.with_name(f"{path.name} here")) for path in moved)
    again = run("train", train, "--val", val, *command, "--resume", "--stop-after", "1")
    assert again.code == 0, again.err
    again = run("train", "-o", tmp_path / "run", "--resume")
    assert again.code == 0, again.err
    assert "finished 2 epochs" in again.out
    (val / "images/0.png").unlink()
    refused = run("train", "-o", tmp_path / "run", "--resume")
    assert refused.code == 2
    assert "The images to score on of the run have changed (0)" in refused.err


def test_one_model_each(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    assert run("train", folder, other, "-o", tmp_path / "runs", "--each", *flags()).code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["other", "tiny"]
    assert run("train", folder, other, "-o", tmp_path / "both", *flags()).code == 0
    assert len(json.loads((tmp_path / "both" / "config.json").read_text())["images"]) == 8


def test_a_folder_that_fails_does_not_stop_the_others(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    result = run("train", tmp_path / "gone", folder, "-o", tmp_path / "runs", "--each", *flags())
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "gone does not exist" in result.err
    load_model(tmp_path / "runs" / "tiny")


def test_options_are_checked_together(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    zoom = ["--scale-low", "2.5", "--scale-high", "3"]
    assert run("train", folder, "-o", tmp_path / "run", *flags(), *zoom).code == 0
    refused(
        run, folder, "-o", tmp_path / "x", *flags(), "--scale-low", "3", says="scale_high, but got 3 and 2"
    )


def test_ctrl_c_keeps_everything(folder: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "train", str(folder), "-o", str(tmp_path / "run"), "--events", "jsonl"]
    with subprocess.Popen(
        [*command, *flags(epochs=500)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    end = json.loads(out.splitlines()[-1])
    assert (end["event"], end["status"]) == ("end", "stopped")
    load_model(tmp_path / "run" / "last.safetensors")


def test_ctrl_c_twice_says_what_there_is(folder: Path, tmp_path: Path, run: RunProgram) -> None:
    def interrupt(*_: object) -> None:
        if (tmp_path / "run" / "state.safetensors").exists():
            raise KeyboardInterrupt

    hook = torch.nn.modules.module.register_module_forward_pre_hook(interrupt)
    try:
        result = run("train", folder, "-o", tmp_path / "run", *flags(epochs=3))
    finally:
        hook.remove()
    assert result.code == 130
    assert result.err == (
        f"napari-softseg: interrupted; {tmp_path / 'run'} has the last whole epoch; --resume goes on.\n"
    )
    assert run("train", "-o", tmp_path / "run", "--resume").code == 0


@pytest.mark.parametrize("fits", ["nothing", "models"])
def test_a_full_disk_leaves_the_checkpoint_before(fits: str, folder: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [*COMMAND, "train", str(folder), "-o", str(tmp_path / "run"), *flags()]
    subprocess.run(command, check=True, capture_output=True)
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    most = 1_000_000 if fits == "nothing" else (tmp_path / "run" / "best.safetensors").stat().st_size + 1000
    (tmp_path / "run" / "state.safetensors").unlink()  # all of it is trained again
    (tmp_path / "run" / f".{'0' * 32}.tmp").touch()  # a kill left it
    failed = subprocess.run(
        [*command, "--resume"], capture_output=True, text=True, preexec_fn=small_files, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "File too large" in failed.stderr
    assert str(tmp_path / "run" / ("best" if fits == "nothing" else "state")) in failed.stderr
    for path, content in before.items():
        if path.name != "state.safetensors" and fits == "nothing":
            assert path.read_bytes() == content
    load_model(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.tmp"))


class TestBadInput:
    @pytest.mark.parametrize(
        ("flag", "value", "says"),
        [
            ("--preset", "quick", "choose one of: fast, balanced, paper"),
            ("--backbone", "vgg", "mobilenet_v2"),
            ("--output-stride", "12", "Expected output_stride to be 8 or 16, but got 12"),
            ("--epochs", "0", "whole number from 1"),
            ("--lr", "fast", "Expected lr to be a number, but got 'fast'"),
            ("--epochs", "2.5", "Expected epochs to be a whole number, but got '2.5'"),
            ("--seed", "-1", "from 0 to 2147483647, but got -1"),
            ("--weights", "gone.pth", "gone.pth"),
            ("--config", "gone.yaml", "gone.yaml cannot be read: No such file"),
            ("--device", "cuda:9", "cuda:9"),
            ("--precision", "fp16", "fp16 needs a CUDA device"),
            ("--neighborhood", "dn", "Neighborhood dn needs relaxation bl or q"),
            ("--unlabelled", "7", "scribbles"),
        ],
    )
    def test_wrong_flags(
        self, flag: str, value: str, says: str, folder: Path, tmp_path: Path, run: RunProgram
    ) -> None:
        refused(run, folder, "-o", tmp_path / "run", *flags(), flag, value, says=says)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("epochs: [", "is no YAML"),
            ("- epochs", "'name: value' lines"),
            ("eppochs: 3", "Unknown option 'eppochs'"),
            ("epochs: many", "Expected epochs to be a whole number, but got 'many'"),
        ],
    )
    def test_wrong_files_of_options(
        self, content: str, says: str, folder: Path, tmp_path: Path, run: RunProgram
    ) -> None:
        (tmp_path / "options.yaml").write_text(content)
        refused(run, folder, "-o", tmp_path / "run", "--config", tmp_path / "options.yaml", says=says)

    def test_no_folder(self, tmp_path: Path, run: RunProgram) -> None:
        refused(run, "-o", tmp_path / "run", says="Expected at least one annotated folder")
        refused(run, "-o", tmp_path / "run", "--resume", says="holds no training run")
        refused(run, tmp_path / "gone", "-o", tmp_path / "run", *flags(), says="gone does not exist")

    def test_folders_of_one_name(self, folder: Path, tmp_path: Path, run: RunProgram) -> None:
        other = shutil.copytree(folder, tmp_path / "x" / "tiny")
        refused(run, folder, other, "-o", tmp_path / "run", "--each", *flags(), says="need different names")

    def test_a_folder_of_something_else(self, folder: Path, run: RunProgram) -> None:
        refused(run, folder, "-o", folder, *flags(), says="is not empty")

    def test_images_that_cannot_be_read(self, folder: Path, tmp_path: Path, run: RunProgram) -> None:
        image = folder / "images" / "2.png"
        image.write_bytes(image.read_bytes()[:300])
        result = run("train", folder, "-o", tmp_path / "run", *flags())
        assert result.code == 0
        assert "left out tiny/2:" in result.out
        refused(run, folder, "-o", tmp_path / "strict", "--strict", *flags(), says="2.png")

    def test_scribbles_of_another_size(self, folder: Path, tmp_path: Path, run: RunProgram) -> None:
        Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "scribbles" / "1.png")
        refused(run, folder, "-o", tmp_path / "run", *flags(), says="1.png")

    def test_a_file_in_place_of_the_run(self, folder: Path, tmp_path: Path, run: RunProgram) -> None:
        (tmp_path / "run").write_text("")
        refused(run, folder, "-o", tmp_path / "run", *flags(), says="run")
