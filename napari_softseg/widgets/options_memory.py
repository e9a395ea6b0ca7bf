"""The solver's options go into the open project, and are in use again when that opens."""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from qtpy.QtCore import QTimer

from napari_softseg.errors import InputError
from napari_softseg.options import DEFAULTS, SolveOptions
from napari_softseg.widgets.project_session import ProjectSession
from napari_softseg.widgets.solve_loop import SolveLoop

SOLVER = "solver"
"""Among the settings of a project: the options that differ from the defaults, by name."""

WAIT_MS = 300
"""From the last change to writing it: a slider that is moved changes at every pixel."""

_NOT_OF_A_PROJECT = ("device", "unlabelled", "spacing")
"""What the machine has, and what follows from the layers."""


class OptionsMemory:
    """Follows the options of one viewer's solves; no view.

    A project opens with the options it was last solved with; one that was just made or copied goes on with those
    of now.
    """

    def __init__(self, project: ProjectSession, loop: SolveLoop) -> None:
        self._project = project
        self._loop = loop
        self._bringing_back = False
        self._wait = QTimer()
        self._wait.setSingleShot(True)
        self._wait.setInterval(WAIT_MS)
        self._wait.timeout.connect(self._keep)
        project.leaving.connect(self._on_leaving)
        project.opened.connect(self._on_opened)
        loop.options_changed.connect(self._on_changed)

    def close(self) -> None:
        """Let go of project and solves."""
        self._on_leaving()
        self._project.leaving.disconnect(self._on_leaving)
        self._project.opened.disconnect(self._on_opened)
        self._loop.options_changed.disconnect(self._on_changed)

    def _on_opened(self) -> None:
        project = self._project.project
        if project is None:  # what is left in the viewer is solved as before
            return
        if self._project.goes_on:
            self._keep()
            return
        options, problem = _options(project.manifest.settings.get(SOLVER), self._loop.options)
        self._bringing_back = True  # this is not what a person chose
        try:
            self._loop.options = options
        finally:
            self._bringing_back = False
        if problem:
            where = project.path / "project.json"
            self._project.failed.emit(InputError(f"{where}: its solver's options: {problem}"))

    def _on_changed(self) -> None:
        if self._project.project is not None and not self._bringing_back:
            self._wait.start()

    def _on_leaving(self) -> None:
        if self._wait.isActive():
            self._keep()

    def _keep(self) -> None:
        """Write the options, in the worker's thread."""
        self._wait.stop()
        now = self._project.now
        if now is not None and not now.project.read_only:
            now.files.run(partial(now.project.remember, **{SOLVER: _to_store(self._loop.options)}))


def _to_store(options: SolveOptions) -> dict[str, Any]:
    names = (spec.name for spec in fields(options) if spec.name not in _NOT_OF_A_PROJECT)
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value != getattr(DEFAULTS, name)}


def _options(stored: object, now: SolveOptions) -> tuple[SolveOptions, str]:
    """Return the options of a project, defaults where it has none, and what is wrong with what it has."""
    options = replace(DEFAULTS, **{name: getattr(now, name) for name in _NOT_OF_A_PROJECT})
    if not isinstance(stored, Mapping | None):
        return options, f"{stored!r} is no JSON object."
    problem = ""
    known = {spec.name for spec in fields(SolveOptions)} - set(_NOT_OF_A_PROJECT)
    for name, value in (stored or {}).items():
        if name not in known:
            problem = f"{name!r} is none of them, and not used."
            continue
        try:
            options = replace(options, **{name: value})
        except InputError as error:
            problem = f"{error} The default is used."
    return options, problem
