"""What a process said before it ended, from the file that holds all it printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_softseg.cli import PROGRAM

PROMPT = "$ "
"""In front of a command: what follows in the file is of that process."""

_ERROR = f"{PROGRAM}: error: "
_TRACEBACK = "Traceback (most recent call last):"
_FATAL = "Fatal Python error: "
_TAIL_BYTES = 64 * 1024
_INTERRUPTS = ("KeyboardInterrupt", f"{PROGRAM}: interrupted")


def printed(path: Path) -> list[str]:
    """Return the last lines that the latest process printed, without its command."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, 2) - _TAIL_BYTES, 0))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    start = max((n + 1 for n, line in enumerate(lines) if line.startswith(PROMPT)), default=0)
    return [line.rstrip() for line in lines[start:] if line.strip()]


def complaint(lines: Sequence[str]) -> str:
    """Return the error that a process ended with, in one line; empty if it named none."""
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if line.startswith(_ERROR):
            return line.removeprefix(_ERROR)
        if line.startswith(_FATAL):
            return line.removeprefix(_FATAL)
        if line == _TRACEBACK:
            raised = next((one for one in lines[number + 1 :] if not one.startswith(" ")), "")
            return "" if raised.startswith(_INTERRUPTS) else raised
    return ""
