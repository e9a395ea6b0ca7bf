"""The solver's options go into the open project, and are in use again when that opens."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.options import DEFAULTS, SolveOptions
from napari_softseg.project import Project
from napari_softseg.widgets.project_session import ProjectSession
from napari_softseg.widgets.solve_loop import SolveLoop

SOLVER = "solver"
"""Among the settings of a project: the options that differ from the defaults, by name."""

_NOT_OF_A_PROJECT = ("device", "unlabelled", "spacing")
"""What the machine has, and what follows from the layers."""


class OptionsMemory:
    """Follows the options of one viewer's solves; no view.

    A project opens with the options it was last solved with; one that was just made goes on with those of now.
    """

    def __init__(self, project: ProjectSession, loop: SolveLoop) -> None:
        self._project = project
        self._loop = loop
        self._waiting = False
        project.opened.connect(self._on_opened)
        loop.options_changed.connect(self._on_changed)

    def close(self) -> None:
        """Let go of project and solves."""
        self._project.opened.disconnect(self._on_opened)
        self._loop.options_changed.disconnect(self._on_changed)

    def _on_opened(self) -> None:
        project = self._project.project
        if project is None:  # what is left in the viewer is solved as before
            return
        stored = project.manifest.settings.get(SOLVER)
        if stored is None and not project.names:
            self._on_changed()
            return
        options, problem = _options(stored, self._loop.options)
        self._loop.options_changed.disconnect(self._on_changed)  # this is not what a person chose
        self._loop.options = options
        self._loop.options_changed.connect(self._on_changed)
        if problem:
            self._project.failed.emit(
                InputError(f"{project.path / 'project.json'}: its solver's options: {problem}")
            )

    def _on_changed(self) -> None:
        """Write the options, in the worker's thread; those of a slider that is still moved only once."""
        now = self._project.now
        if now is not None and not now.project.read_only and not self._waiting:
            self._waiting = True
            now.files.run(lambda: self._keep(now.project))

    def _keep(self, project: Project) -> None:
        self._waiting = False  # before they are read: a later change is written again
        project.remember(**{SOLVER: _to_store(self._loop.options)})


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
