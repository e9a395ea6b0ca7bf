"""Start a run of a project, and find those that there are."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.project import Project
from napari_softseg.runs.command import run_name, train_arguments
from napari_softseg.runs.record import FILE as RECORD
from napari_softseg.runs.run import MODELS, SNAPSHOTS, Run
from napari_softseg.training.options import train_options
from napari_softseg.training.report.run_log import CONFIG


def start_run(
    project: Project,
    options: Mapping[str, Any],
    *,
    weights: str | Path | None = None,
    python: str = sys.executable,
) -> Run:
    """Start training on the strokes of this moment, in a process of its own.

    It goes on when this program ends. Read its state from the run, or look for it with `list_runs`.

    Parameters
    ----------
    project
        With strokes.
    options
        Fields of TrainOptions that differ from the preset's.
    weights
        Where to start, if `options` do not say: none, imagenet, a file, or an earlier run.
    python
        The interpreter.

    Raises
    ------
    InputError
        If an option is wrong, or nothing may be written in the project.
    """
    given = {name: str(value) if isinstance(value, str | Path) else value for name, value in options.items()}
    if weights is not None:
        given["weights"] = str(weights)
    train_options(**given)
    if project.read_only:
        raise InputError(f"Cannot train in {project.path}: {project.read_only}.")
    name = run_name(_names(project.path))
    project.snapshot(project.path / SNAPSHOTS / name)
    run = Run(project.path, name)
    run.launch(python, train_arguments(run.snapshot, run.path, given), given)
    return run


def list_runs(project: Path, known: list[Run] | None = None) -> list[Run]:
    """Return the runs of a project folder in the order they were begun, those that failed to begin included.

    Parameters
    ----------
    project
        The project folder.
    known
        Runs of an earlier list; they are looked at again rather than read anew.
    """
    before = {run.name: run for run in known or [] if run.path.parent.parent == project}
    runs = []
    for name in _names(project):
        if name in before:
            before[name].look()
            runs.append(before[name])
        elif (project / MODELS / name / CONFIG).is_file() or (project / SNAPSHOTS / name / RECORD).is_file():
            runs.append(Run(project, name))
    return sorted(runs, key=lambda run: (run.state.began, run.name))


def _names(project: Path) -> list[str]:
    """Return the names of all folders of runs, those of no use included."""
    found: set[str] = set()
    for folder in (project / MODELS, project / SNAPSHOTS):
        if folder.is_dir():
            found |= {entry.name for entry in folder.iterdir() if entry.is_dir()}
    return sorted(found)
