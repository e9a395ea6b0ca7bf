"""Labels for every image of the project by the network in use, in the background."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_softseg.errors import InputError
from napari_softseg.options import SolveOptions
from napari_softseg.project import Project
from napari_softseg.widgets.live_solver import LiveSolver
from napari_softseg.widgets.model_session import ModelSession
from napari_softseg.widgets.project_session import ProjectSession
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.worker_threads import apply_threads

if TYPE_CHECKING:
    from napari_softseg.training.predict_project import PredictOutcome, PredictProgress


class PredictAll:
    """Writes soft labels for all images of the open project, one run at a time."""

    progress = Signal(int, int, str)
    """Images done, all of them, and the name of the one that is predicted now."""
    running_changed = Signal(bool)
    finished = Signal(object)
    """A :class:`~napari_softseg.training.predict_project.PredictOutcome`, also after a cancel."""
    failed = Signal(object)
    """An exception that a person has to see; the run has ended."""

    def __init__(self, project: ProjectSession, model: ModelSession, loop: SolveLoop) -> None:
        self._project = project
        self._model = model
        self._loop = loop
        self._in: Project | None = None
        self._current = ""
        self._worker = LiveSolver(lambda: None)
        self._worker.progress.connect(self._on_progress)
        self._worker.done.connect(self._on_done)
        self._worker.failed.connect(self._on_failed)
        self._worker.busy_changed.connect(self._on_busy)
        project.opened.connect(self._on_opened)

    @property
    def running(self) -> bool:
        """Whether images are being predicted."""
        return self._worker.busy

    def start(self) -> None:
        """Predict all images, as their strokes and the options are now.

        Raises
        ------
        InputError
            If no project is open or nothing can be written to it, it holds no image, or no network is in use.
        """
        project, path = self._project.project, self._model.path
        if project is None:
            raise InputError("No project is open: press New or Open in the Project dock.")
        if project.read_only:
            raise InputError(f"Nothing can be written to {project.path}: {project.read_only}.")
        if not project.names:
            raise InputError("The project holds no image yet: add some in the Project dock.")
        if path is None:
            raise InputError("No network is in use: train one, or choose a file.")
        if self.running:
            return
        self._project.flush()
        self._in, self._current = project, ""
        self.progress.emit(0, len(project.names), project.names[0])
        self._worker.submit(partial(_run, project, path, self._loop.options))

    def cancel(self) -> None:
        """End before the next image; what is written stays."""
        self._worker.stop()

    def close(self) -> None:
        """Cancel, and wait for the worker to end."""
        self._project.opened.disconnect(self._on_opened)
        self._worker.close()

    def _on_opened(self) -> None:
        if self._project.project is not self._in:
            self._worker.cancel()

    def _on_progress(self, progress: "PredictProgress") -> None:
        if self._current and self._current != progress.name:
            self._project.refresh([self._current])
        self._current = progress.name
        self.progress.emit(progress.done, progress.total, progress.name)

    def _on_done(self, outcome: "PredictOutcome") -> None:
        self._project.refresh()
        self.finished.emit(outcome)

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(error)

    def _on_busy(self, busy: bool) -> None:
        self.running_changed.emit(busy)


def _run(
    project: Project,
    path: Path,
    options: SolveOptions,
    stop: threading.Event,
    report: "Callable[[PredictProgress], None]",
) -> "PredictOutcome":
    from napari_softseg.training.predict_project import predict_project

    apply_threads()
    return predict_project(project, path, options, stop=stop, progress=report)
