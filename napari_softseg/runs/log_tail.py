"""The log of a run that goes on, read as it grows."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from napari_softseg.training.report.run_log import LOG, Event


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read."""

    file: int = 0
    """The system's number of the file: a run that goes on replaces its log by a shorter one."""
    offset: int = 0


BEGINNING = Position()


@dataclass(frozen=True, slots=True)
class NewEvents:
    """What was written since."""

    events: list[Event]
    position: Position
    """Where to go on reading."""
    anew: bool
    """Whether these are all events, because the log was replaced or nothing was read before."""


def read_new(run: Path, after: Position = BEGINNING) -> NewEvents:
    """Return the whole lines of a log behind a position; costs next to nothing if there are none."""
    try:
        with (run / LOG).open("rb") as file:
            number = os.fstat(file.fileno()).st_ino
            size = file.seek(0, 2)
            anew = number != after.file or size < after.offset
            offset = 0 if anew else after.offset
            file.seek(offset)
            text = file.read(size - offset)
    except OSError:
        return NewEvents([], BEGINNING, after != BEGINNING)
    whole = text.rfind(b"\n") + 1
    events = []
    for line in text[:whole].splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # torn by a kill or a full disk
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return NewEvents(events, Position(number, offset + whole), anew)
