"""Blocks on a dask cluster of other processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_softseg import InputError
from napari_softseg.blocks import open_image, open_scribbles, solve_blocks
from napari_softseg.cli import main
from tests.blocks.conftest import Files, assert_same


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and one worker, each a process of its own, on this machine alone."""
    folder = tmp_path_factory.mktemp("dask")
    address = folder / "scheduler.json"
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    local = ["--host", "127.0.0.1", "--scheduler-file", str(address)]
    dask = [sys.executable, "-m", "dask"]
    flags = ["--no-dashboard"]
    with subprocess.Popen([*dask, "scheduler", "--port", "0", *local, *flags], **quiet) as one:  # type: ignore[call-overload]
        worker = [*dask, "worker", *local, "--nthreads", "1", "--no-nanny", *flags]
        with subprocess.Popen(worker, **quiet) as two:  # type: ignore[call-overload]
            try:
                yield _address(address)
            finally:
                two.kill()
                one.kill()


def _address(file: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return str(json.loads(file.read_text())["address"])
        except (FileNotFoundError, ValueError):
            time.sleep(0.05)
    raise AssertionError("the scheduler did not start")


def test_a_cluster_gives_the_same(scheduler: str, files: Files) -> None:
    fast = ["--max-sweeps", "2"]
    assert main([*files.args, *fast, "--scheduler", scheduler]) == 0
    alone = files.folder / "alone"
    assert main([*files.args, *fast, "-o", str(alone)]) == 0
    assert_same(files.out, Path(f"{alone}.zarr"))


def test_no_scheduler_says_so(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_softseg.blocks.pool.PATIENCE", 1)
    planes = open_image(files.image), open_scribbles(files.scribbles)
    with pytest.raises(
        InputError, match=r"No dask scheduler answers at tcp://127\.0\.0\.1:9.*dask scheduler"
    ):
        solve_blocks(*planes, files.out, scheduler="tcp://127.0.0.1:9", block=88, halo=32)
    with pytest.raises(InputError, match="No dask scheduler answers at nonsense"):
        solve_blocks(*planes, files.out, scheduler="nonsense://x", block=88, halo=32)
    assert not files.out.exists()
