"""``napari-softseg compare`` with real runs: tiny images, random weights, one epoch."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_softseg.training.compare.plan import Plan
from napari_softseg.training.compare.runs import CompareProgress, Outcome, iter_runs
from napari_softseg.training.compare.variants import SCHEDULES, ScheduleName, chosen_variants
from napari_softseg.training.report.run_log import read_events, read_run
from tests.cli.conftest import RunProgram

FLAGS = ["--schedule", "tiny", "--weights", "none", "--device", "cpu", "--crop", "32", "--resize", "48"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write two images of a dark and a bright half, with strokes and masks."""
    folder = tmp_path / "data"
    for part in ("images", "scribbles", "masks"):
        (folder / part).mkdir(parents=True)
    (folder / "classes.txt").write_text("dark\nbright\n")
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        mask = np.zeros((40, 48), np.uint8)
        mask[:, 24:] = 1
        strokes = np.full_like(mask, 255)
        strokes[5:30, 6:9], strokes[5:30, 36:39] = 0, 1
        pixels = mask[..., None] * np.uint8(150) + rng.integers(0, 40, (40, 48, 3), dtype=np.uint8)
        for part, content in (("images", pixels), ("scribbles", strokes), ("masks", mask)):
            Image.fromarray(content).save(folder / part / name)
    return folder


def test_runs_are_made_once_and_one_that_fails_leaves_the_others(
    data: Path, tmp_path: Path, run: RunProgram
) -> None:
    out = tmp_path / "out"
    (out / "full_seed3").mkdir(parents=True)
    (out / "full_seed3" / "notes.txt").touch()  # not ours to write into
    command = ["compare", data, data, "-o", out, "--seeds", "3", "--jobs", "2", *FLAGS, "--only"]
    first = run(*command, "full,soft-cd", "--epochs", "1")
    assert (first.code, first.err) == (0, "")
    assert "full_seed3: no score: " in first.out
    assert "is not empty" in first.out
    assert "soft-cd_seed3: mean IoU" in first.out
    assert "- full_seed3: " in (out / "results.md").read_text()
    written = json.loads((out / "results.json").read_text())
    assert written["settings"]["crop"] == 32
    assert written["command"].endswith("--weights none --epochs 1 --resize 48 --crop 32 --device cpu")
    assert [(row["variant"], row["status"]) for row in written["runs"]] == [
        ("full", "failed"),
        ("soft-cd", "finished"),
    ]
    log = read_run(out / "soft-cd_seed3")
    assert log.last is not None
    assert log.last.val is not None
    assert written["runs"][1]["miou_last"] == pytest.approx(100 * log.last.val.miou, abs=1e-3)
    assert log.options["seed"] == 3

    before = (log.path / "log.jsonl").read_bytes()
    again = run(*command, "soft-cd", "--epochs", "1")
    assert again.code == 0
    assert "soft-cd_seed3: mean IoU" not in again.out  # nothing was run
    assert (log.path / "log.jsonl").read_bytes() == before
    other = run(*command, "soft-cd", "--epochs", "5")
    assert other.code == 2
    assert "trained with epochs 1, but now it is 5" in other.err
    failed = run(*command, "full", "--epochs", "1")
    assert failed.code == 2
    assert "No run ended with a score: " in failed.err


def test_a_comparison_that_is_stopped_goes_on(data: Path, tmp_path: Path) -> None:
    tiny = SCHEDULES[ScheduleName.TINY]
    settings = {**tiny, "weights": "none", "epochs": 3, "samples": 60, "crop": 32, "device": "cpu"}
    plan = Plan(data, data, tmp_path / "out", chosen_variants(["pce"]), (0,), settings)
    stop = threading.Event()
    seen, outcomes = _drained(plan, stop, stop_after=1)
    first = plan.runs[0].first_stage
    assert first is not None
    assert outcomes == []
    begun = [read_run(one.folder) for one in (first, plan.runs[0]) if one.folder.exists()]
    assert {log.status for log in begun} == {"stopped"}
    done = max(len(log.epochs) for log in begun)
    assert 1 <= done < 3
    seen, outcomes = _drained(plan, threading.Event())
    assert [outcome.failure for outcome in outcomes] == [""]
    assert seen[0].epoch == done + 1  # not from the beginning
    assert [epoch.number for epoch in read_run(plan.runs[0].folder).epochs] == list(range(1, 4))


def test_a_comparison_that_is_stopped_shows_what_is_done(data: Path, tmp_path: Path, run: RunProgram) -> None:
    out = tmp_path / "out"
    words = ["compare", data, data, "-o", out, *FLAGS, "--seeds", "0", "--samples", "60", "--epochs", "1"]
    assert run(*words, "--only", "pce", "--warmup", "0").code == 0
    command = [sys.executable, "-m", "napari_softseg", *map(str, words)]
    with subprocess.Popen(
        [*command, "--only", "pce,soft-cd", "--warmup", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while not (out / "soft-cd_seed0" / "config.json").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"1 of 2 runs are in" in error
    page = (out / "results.md").read_text()
    assert "partial cross-entropy" in page
    assert [row["variant"] for row in json.loads((out / "results.json").read_text())["runs"]] == ["pce"]


def test_what_runs_share_is_trained_once(data: Path, tmp_path: Path) -> None:
    settings = {**SCHEDULES[ScheduleName.TINY], "weights": "none", "crop": 32, "device": "cpu"}
    names = ["pce", "gd-nn", "soft-cd-length0"]
    plan = Plan(data, data, tmp_path / "out", chosen_variants(names), (0,), settings)
    steps = iter_runs(plan, jobs=2)
    with suppress(StopIteration):
        while True:
            next(steps)
    outcomes = [read_run(run.folder) for run in plan.runs]
    assert [log.status for log in outcomes] == ["finished"] * 3
    shared, points = (
        read_events(tmp_path / "out" / f"first_stage_{name}") for name in ("seed0", "length_ratio0.0_seed0")
    )
    assert [event["event"] for event in shared] == ["start", "step", "epoch", "end"]
    assert shared[1] != points[1]
    for name, begin in (("pce", shared), ("gd-nn", shared), ("soft-cd-length0", points)):
        events = read_events(tmp_path / "out" / f"{name}_seed0")
        assert events[1:3] == begin[1:3]  # to the last second: they were not trained again
        assert [event["event"] for event in events[3:]] == ["start", "step", "epoch", "end"]


def _drained(
    plan: Plan, stop: threading.Event, stop_after: int | None = None
) -> tuple[list[CompareProgress], list[Outcome]]:
    seen: list[CompareProgress] = []
    steps = iter_runs(plan, stop=stop)
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value
        if len(seen) == stop_after:
            stop.set()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--only", "crf"], "Unknown variant 'crf'"),
        (["--schedule", "huge"], "choose one of: tiny, reduced, full"),
        (["--seeds", "1,x"], "such as 0,1,2, but got '1,x'"),
        (["--seeds", "-1"], "but got '-1'"),
        (["--jobs", "0"], "from 1 to 64, but got '0'"),
        (["--batch", "0"], "--batch"),
        (["--relaxation", "cd"], "--relaxation"),
    ],
)
def test_wrong_flags(args: list[str], says: str, data: Path, tmp_path: Path, run: RunProgram) -> None:
    result = run("compare", data, data, "-o", tmp_path / "out", *args)
    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert not (tmp_path / "out").exists()


def test_what_would_fail_every_run_is_said_at_once(data: Path, tmp_path: Path, run: RunProgram) -> None:
    without = shutil.copytree(data, tmp_path / "without")
    shutil.rmtree(without / "masks")
    out = tmp_path / "out"
    for args, says in (
        ([data, without, "--weights", "none"], "Found no mask for any"),
        ([data, data, "--weights", "gone.pth"], "there is no file gone.pth"),
        ([data, data, "--weights", "none", "--backbone", "vgg"], "Unknown backbone 'vgg'"),
    ):
        result = run("compare", *args, "-o", out, "--schedule", "tiny", "--unlabelled", "255")
        assert (result.code, result.out) == (2, "")
        assert says in result.err
        assert result.err.count("\n") == 1
        assert not out.exists()


def test_wrong_folders(data: Path, tmp_path: Path, run: RunProgram) -> None:
    assert "gone is no folder" in run("compare", tmp_path / "gone", data, "-o", tmp_path / "out").err
    assert "gone is no folder" in run("compare", data, tmp_path / "gone", "-o", tmp_path / "out").err
    (tmp_path / "file").touch()
    result = run("compare", data, data, "-o", tmp_path / "file" / "out")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "Cannot make the folder" in result.err
