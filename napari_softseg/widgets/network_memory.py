"""The network in use goes into the open project, and is in use again when that opens."""

from functools import partial
from pathlib import Path

from napari_softseg.widgets.model_session import ModelSession
from napari_softseg.widgets.project_session import ProjectSession

NETWORK = "network"
"""Among the settings of a project: the model file or run in use, from the project folder; None for strokes alone."""


class NetworkMemory:
    """Follows which network is used in one viewer; no view.

    A project that never used a network opens with the strokes alone; one that was just made goes on with the
    network of now.
    """

    def __init__(self, project: ProjectSession, model: ModelSession) -> None:
        self._project = project
        self._model = model
        self._bringing_back = False
        project.opened.connect(self._on_opened)
        model.changed.connect(self._on_changed)

    def close(self) -> None:
        """Let go of project and network."""
        self._project.opened.disconnect(self._on_opened)
        self._model.changed.disconnect(self._on_changed)

    def _on_opened(self) -> None:
        project = self._project.project
        if project is None:  # what is left in the viewer is solved as before
            return
        stored = project.manifest.settings.get(NETWORK)
        if stored is None and not project.names:
            self._keep()
            return
        path = project.path / stored if isinstance(stored, str) else None
        if path != self._model.path:
            self._model.changed.disconnect(self._on_changed)  # this is not what a person chose
            self._model.use(None)
            self._model.changed.connect(self._on_changed)
            if path is not None:
                self._bringing_back = True
                self._model.use(path, must_fit=False)  # the classes of the project may be yet to come

    def _on_changed(self) -> None:
        if self._bringing_back:
            if not self._model.is_idle:
                return
            self._bringing_back = False
        if self._model.path is not None or not self._model.error:  # a file that is gone may come back
            self._keep()

    def _keep(self) -> None:
        """Write which network is used, in the worker's thread."""
        now, path = self._project.now, self._model.path
        if now is None or now.project.read_only:
            return
        stored = None if path is None else _from_folder(path.resolve(), now.project.path.resolve())
        now.files.run(partial(now.project.remember, **{NETWORK: stored}))


def _from_folder(path: Path, folder: Path) -> str:
    """Return a path inside the folder as one from it, so that it holds for a copy too; others are absolute."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
