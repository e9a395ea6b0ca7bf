"""What the files of runs show that is new; read in a worker's thread."""

from dataclasses import dataclass, field
from typing import Any

from napari_softseg.project import Project
from napari_softseg.runs import Curves, Run, StepTimes, list_runs
from napari_softseg.runs.log_tail import BEGINNING, Position

SHOWN_LINES = 200
"""Of what a run printed."""


@dataclass(slots=True, eq=False)
class Trail:
    """How far the log of a run was followed; after it was made, the worker's thread alone uses it."""

    run: Run | None
    young: bool = False
    """Whether it was followed from its first event on."""
    position: Position = BEGINNING
    curves: Curves = field(default_factory=Curves)
    printed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the files of a project showed."""

    runs: list[Run]
    trail: Trail
    grew: bool
    events: list[dict[str, Any]]
    curves: Curves
    printed: list[str]


def look_at(project: Project, known: list[Run], trail: Trail, times: StepTimes | None) -> Seen:
    """Read what is new in the runs of a project, and in the log that a trail follows.

    Parameters
    ----------
    project
        Whose runs.
    known
        Runs that were found before.
    trail
        Moved on to the end of its log.
    times
        Learns from epochs that are new.
    """
    before = {run.name: run.state for run in known}
    runs = list_runs(project.path, known)
    for run in runs:
        state, then = run.state, before.get(run.name)
        if times is not None and then is not None and then.epochs < state.epochs:
            times.learn(state)
    if trail.run is None:
        return Seen(runs, trail, False, [], Curves(), [])
    new = trail.run.events(trail.position)
    if new.anew:
        trail.curves = Curves()
    trail.curves.take(new.events)
    trail.position = new.position
    printed = trail.run.printed()[-SHOWN_LINES:]
    grew = bool(new.events) or new.anew or printed != trail.printed
    trail.printed = printed
    events = [] if new.anew and not trail.young else new.events
    trail.young = trail.young and not new.events
    return Seen(runs, trail, grew, events, trail.curves.copy(), printed)
