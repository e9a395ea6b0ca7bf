"""Runs as real processes: begun, followed, stopped, killed, gone on with, and outliving who began them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_softseg.errors import InputError
from napari_softseg.project import Project, open_project
from napari_softseg.runs import Run, Status, list_runs, start_run
from napari_softseg.runs.record import FILE
from napari_softseg.runs.run import PRINTED
from napari_softseg.training.report.run_log import read_events
from tests.runs.conftest import TINY, wait_for, wait_for_step

LONG = {**TINY, "epochs": 500, "samples": 2}
"""Does not end by itself within a test."""

BEGINS_AND_DIES = """
import json, os, signal, sys
from napari_softseg.project import open_project
from napari_softseg.runs import start_run
start_run(open_project(sys.argv[1]), json.loads(sys.argv[2]))
print("started", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def program(path: Path, text: str) -> str:
    """Write a shell script that stands for an interpreter."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_run_from_its_begin_to_its_end(project: Project) -> None:
    run = start_run(project, TINY)
    assert run.name == "run-001"
    assert run.status is Status.STARTING
    assert [one.name for one in list_runs(project.path)] == ["run-001"]
    # what is painted from now on is for the next run
    project.write_scribbles("image 0", np.zeros((48, 64), np.uint8))
    with open_project(run.snapshot, read_only=True) as snapshot:
        assert snapshot.read_scribbles("image 0").any()
    pid = run.pid
    assert pid is not None
    if sys.platform != "win32":
        assert psutil.Process(pid).nice() > psutil.Process().nice()
        assert os.getsid(pid) != os.getsid(0)
    if sys.platform == "linux":
        assert os.sched_getscheduler(pid) == os.SCHED_IDLE
    with pytest.raises(InputError, match="run-001 is on already"):
        run.resume()
    assert wait_for(run, Status.FINISHED) == Status.FINISHED
    state = run.state
    assert (state.epochs, state.planned_epochs, state.step, state.steps) == (3, 3, 6, 6)
    assert state.last_words == "finished 3 epochs"
    assert state.has_model
    assert not state.can_resume
    assert state.scored_on == "held-out strokes"
    ends = [event for event in read_events(run.path) if event["event"] == "end"]
    assert run.best == ends[0]["best"]
    assert run.options["epochs"] == 3
    config = json.loads((run.path / "config.json").read_text())
    assert config["folders"] == [str(run.snapshot.resolve())]
    assert run.printed()[0].startswith("epoch 1: loss")
    assert Run(project.path, "run-001").look() == state


def test_it_outlives_a_killed_viewer_and_is_stopped_and_gone_on_with_by_another(project: Project) -> None:
    project.close()
    begun = subprocess.run(
        [sys.executable, "-c", BEGINS_AND_DIES, str(project.path), json.dumps({**LONG, "epochs": 40})],
        capture_output=True,
        text=True,
        check=False,
    )
    assert begun.stdout == "started\n", begun.stderr
    assert begun.returncode == -signal.SIGKILL
    (run,) = list_runs(project.path)
    assert run.status.alive
    wait_for_step(run)
    assert run.state.eta is not None
    run.stop()
    assert wait_for(run, Status.STOPPED) == Status.STOPPED
    assert run.state.can_resume
    done = run.state.step
    before = run.events()

    run.resume()  # waits for the process of before
    assert run.state.status is Status.STARTING
    wait_for_step(run, done + 1)
    later = run.events(before.position)
    assert later.anew
    pid = run.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_for(run, Status.INTERRUPTED) == Status.INTERRUPTED
    assert "killed, or out of memory" in run.last_words
    steps = [event["step"] for event in read_events(run.path) if event["event"] == "step"]
    assert steps == list(range(1, run.state.step + 1))


def test_trained_weights_that_are_damaged_are_named_in_its_last_words(
    project: Project, tmp_path: Path
) -> None:
    weights = tmp_path / "damaged.pth"
    weights.write_bytes(b"PK no weights")
    run = start_run(project, TINY, weights=weights)
    assert wait_for(run, Status.FAILED) == Status.FAILED
    assert str(weights) in run.last_words
    assert "Traceback" not in "\n".join(run.printed())
    assert run.best is None
    assert run.events().events == []


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("echo loading; echo 'no module named x' >&2; exit 1", Status.FAILED, "no module named x"),
        ("echo 'napari-softseg: error: out of memory' >&2; exit 2", Status.FAILED, "out of memory"),
        ("kill -SEGV $$", Status.INTERRUPTED, "before the first step"),
        ("echo a warning; kill -KILL $$", Status.INTERRUPTED, "before the first step"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
def test_a_process_that_dies_at_once(
    project: Project, tmp_path: Path, text: str, status: Status, words: str
) -> None:
    run = start_run(project, TINY, python=program(tmp_path / "python", text))
    assert wait_for(run, status) == status
    assert words in run.last_words
    assert run.state.can_resume
    (again,) = list_runs(project.path)
    assert again.look() == run.state


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")
def test_what_only_starts_is_ended_at_once_with_what_it_started(project: Project, tmp_path: Path) -> None:
    run = start_run(project, TINY, python=program(tmp_path / "python", "trap '' INT TERM; sleep 1000"))
    pid = run.pid
    assert pid is not None
    run.stop()
    assert run.status is Status.INTERRUPTED
    assert not psutil.pid_exists(pid)


def test_a_number_that_is_used_again_is_no_run(project: Project, tmp_path: Path) -> None:
    run = start_run(project, TINY, python=program(tmp_path / "python", "exit 0"))
    wait_for(run, Status.INTERRUPTED)
    record = json.loads((run.snapshot / FILE).read_text())
    record["process"]["pid"] = os.getpid()
    (run.snapshot / FILE).write_text(json.dumps(record))
    assert run.pid is None
    run.stop()  # ours would feel it
    run.kill()


def test_what_cannot_be_started_leaves_nothing(project: Project, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="epochs"):
        start_run(project, {**TINY, "epochs": 0})
    with pytest.raises(InputError, match="Unknown training option 'epoch'"):
        start_run(project, {"epoch": 1})
    assert list_runs(project.path) == []
    with pytest.raises(InputError, match="no-python"):
        start_run(project, TINY, python=str(tmp_path / "no-python"))
    assert list_runs(project.path) == []
    project.close()
    with open_project(project.path, read_only=True) as read_only, pytest.raises(InputError, match="reading"):
        start_run(read_only, TINY)


def test_runs_begun_in_a_terminal_are_listed_too(project: Project) -> None:
    run = project.path / "models" / "by hand"
    command = [sys.executable, "-m", "napari_softseg", "train", str(project.path), "-o", str(run)]
    for name, value in {**LONG, "epochs": 1}.items():
        command += [f"--{name}", str(value)]
    with subprocess.Popen([*command, "--events", "jsonl"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (found,) = list_runs(project.path)
        assert found.status is Status.RUNNING or process.poll() is not None
        with pytest.raises(InputError, match="Ctrl-C in its terminal"):
            found.stop()
        process.stdout.read()
    assert found.status is Status.FINISHED
    assert found.state.epochs == 1
    assert not (found.snapshot / PRINTED).exists()
