"""A tiny project whose runs take seconds, and a machine on which nothing was measured yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_softseg.project import Project, ProjectClass, create_project
from napari_softseg.runs import Run, list_runs

TINY: dict[str, Any] = {
    "preset": "fast",
    "backbone": "mobilenet_v3_small",
    "weights": "none",
    "epochs": 3,
    "samples": 4,
    "batch": 2,
    "crop": 48,
    "sweeps": 2,
    "device": "cpu",
}


def write_project(path: Path, n_images: int = 2) -> Project:
    """Write a project of dark and bright halves with three strokes of either."""
    rng = np.random.default_rng(0)
    project = create_project(
        path, [ProjectClass(1, "dark", (200, 0, 0)), ProjectClass(2, "bright", (0, 0, 200))]
    )
    for number in range(n_images):
        pixels = np.full((48, 64, 3), 60) + rng.integers(0, 30, (48, 64, 3))
        pixels[:, 32:] += 120
        strokes = np.zeros((48, 64), np.uint8)
        for row in (6, 20, 34):
            strokes[row : row + 2, 4:18] = 1
            strokes[row : row + 2, 44:60] = 2
        project.add_image(pixels.astype(np.uint8), name=f"image {number}", scribbles=strokes)
    return project


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither read nor write what was measured on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project; its runs are ended after the test, however it went."""
    project = write_project(tmp_path / "a project")
    yield project
    for run in list_runs(project.path):
        run.kill()
    project.close()


def wait_for(run: Run, *wanted: str, timeout: float = 300.0) -> str:
    """Wait until a run has one of these statuses, or ended with another."""
    import time

    end = time.monotonic() + timeout
    while time.monotonic() < end:
        state = run.look()
        if state.status in wanted or not state.status.alive:
            return state.status
        time.sleep(0.1)
    pytest.fail(f"{run.name} is still {run.status}: {run.printed()}")


def wait_for_step(run: Run, step: int = 1, timeout: float = 300.0) -> None:
    """Wait until a run has done so many steps."""
    import time

    end = time.monotonic() + timeout
    while run.look().step < step:
        assert run.state.status.alive, run.printed()
        assert time.monotonic() < end, run.printed()
        time.sleep(0.05)
