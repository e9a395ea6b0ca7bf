"""The command line of a run: what the viewer starts is what a person could type."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_softseg.cli.option_flags import flag_of

_NUMBERED = re.compile(r"run-(\d+)")


def run_name(taken: Iterable[str]) -> str:
    """Return the name of the next run: run-001, run-002, and so on."""
    numbers = [int(found[1]) for name in taken if (found := _NUMBERED.fullmatch(name))]
    return f"run-{max(numbers, default=0) + 1:03}"


def train_arguments(
    folder: Path | None, run: Path, options: Mapping[str, Any], *, resume: bool = False
) -> list[str]:
    """Return the arguments of ``napari-softseg``.

    Parameters
    ----------
    folder
        To train on; None for the one that a run to be resumed knows.
    run
        Where to train into.
    options
        Fields of TrainOptions that differ from the preset's.
    resume
        Whether to go on with the run in `run`.
    """
    arguments = ["train", *([] if folder is None else [str(folder)]), "-o", str(run)]
    for name, value in options.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            arguments.append(flag if value else f"--no-{flag[2:]}")
        else:
            arguments += [flag, "none" if value is None else str(value)]
    return [*arguments, *(["--resume"] if resume else [])]


def command_line(folder: Path, run: Path, options: Mapping[str, Any]) -> str:
    """Return the call that trains, for a terminal."""
    words = ["napari-softseg", *train_arguments(folder, run, options)]
    if sys.platform == "win32":
        import subprocess

        return subprocess.list2cmdline(words)
    return shlex.join(words)


def process_command(python: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs these arguments in a process of its own.

    -P: a folder named like a module, wherever the viewer was started, is not imported.
    """
    return [python, "-P", "-m", "napari_softseg", *arguments]
