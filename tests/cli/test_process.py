"""What only a process of its own shows: start-up time, Ctrl-C, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_softseg import __version__
from napari_softseg.cli import main
from napari_softseg.samples import SAMPLE_NAMES
from tests.cli.conftest import Case

PROGRAM = [sys.executable, "-m", "napari_softseg"]


def _run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *args], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("args", [["--help"], ["solve", "--help"], ["demo", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    code = f"import sys; from napari_softseg.cli import main; main({args!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split("\n")[-2].split()}
    assert "napari_softseg" in loaded
    assert not loaded & {"torch", "napari", "qtpy", "skimage", "sklearn", "scipy", "numpy", "PIL", "tifffile"}


def test_help_explains_every_choice_and_default() -> None:
    text = _run("solve", "--help").stdout
    for words in (
        "--lambda X",
        "(default: 6.0)",
        "cd           collision divergence",
        "--max-sweeps N",
        "255",
    ):
        assert words in text
    assert "None" not in _run("train", "--help").stdout  # flags take none
    demo = _run("demo", "--help").stdout
    assert all(name in demo for name in SAMPLE_NAMES)


def test_the_version() -> None:
    assert _run("--version").stdout == f"napari-softseg {__version__}\n"


def test_without_arguments_help_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["--version"], ["solve", "--help"]])
def test_output_that_nobody_reads_is_dropped(args: list[str]) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as unread:
        done = subprocess.run(
            [*PROGRAM, *args], stdout=unread, stderr=subprocess.PIPE, check=False, env=buffered
        )
    assert (done.returncode, done.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, *args], stdout=full, stderr=subprocess.PIPE, check=False, env=buffered
        )
    assert done.returncode == 2
    assert b"No space left on device; free some space" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_ctrl_c_ends_the_solve_and_writes_nothing(case: Case) -> None:
    endless = ["--method", "gd", "--max-sweeps", "100000", "--unary", "none", "--progress"]
    with subprocess.Popen([*PROGRAM, *case.args, *endless], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        seen = b""
        while b"solving" not in seen:
            seen += process.stderr.read1()  # type: ignore[attr-defined]
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.decode().endswith("napari-softseg: interrupted; nothing was written.\n")
    assert b"Traceback" not in rest
    assert case.written == []


def test_a_full_disk_leaves_nothing(case: Case) -> None:
    rng = np.random.default_rng(0)
    with case.image.open("wb") as file:
        np.save(file, rng.integers(0, 255, (200, 300, 3), dtype=np.uint8))
    strokes = np.zeros((200, 300), np.uint8)
    strokes[:9], strokes[-9:] = 1, 2
    with case.scribbles.open("wb") as file:
        np.save(file, strokes)
    # No file may grow above 32 KiB: the labels fit, the overlay does not.
    limited = ["/bin/bash", "-c", 'ulimit -f 32; exec "$@"', "bash", *PROGRAM, *case.args]
    done = subprocess.run([*limited, "--unary", "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("napari-softseg: error: ")
    assert "File too large" in done.stderr
    assert case.written == []
