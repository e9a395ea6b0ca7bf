"""Training in the background of the viewer: starts runs of the open project, and follows them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_softseg.errors import InputError
from napari_softseg.project import Project
from napari_softseg.runs import Curves, Run, RunState, StepTimes, start_run
from napari_softseg.training.options import TrainOptions
from napari_softseg.widgets.autosave import Worker
from napari_softseg.widgets.project_session import ProjectSession
from napari_softseg.widgets.run_trail import Seen, Trail, look_at

BUSY_MS, IDLE_MS = 500, 5000
"""How often the files of runs are looked at, while one is on and while none is."""

CALM_MS = 2000
"""After the last stroke, until a run gets its usual share of the processor again."""


class TrainingSession:
    """The runs of the open project, without a view.

    Runs are processes of their own: they go on when the viewer is closed, and are found again when the
    project is opened. Their files are read in a worker's thread; all methods and signals belong to the GUI
    thread.
    """

    event = Signal(dict)
    """A new event of the current run, see docs/training.md; not those from before it was followed."""
    runs_changed = Signal()
    """Runs came or went, or one of them stands elsewhere."""
    current_changed = Signal()
    """The curves or the log of the current run grew, or another run is current."""
    ended = Signal(object)
    """A Run whose process was there a moment ago."""
    failed = Signal(object)
    """An exception that a person has to see."""

    def __init__(self, project: ProjectSession) -> None:
        self.project = project
        self.runs: list[Run] = []
        """In the order they were begun."""
        self.current: Run | None = None
        """The run whose curves are shown: the one that was begun last, or chosen."""
        self.curves = Curves()
        """Of the current run."""
        self.printed: list[str] = []
        """The last lines that the current run printed."""
        self.drawing = Worker("charts")
        """Draws the curves."""
        self._worker = Worker("runs")
        self._times: StepTimes | None = None
        self._trail = Trail(None)
        self._shown: dict[str, RunState] = {}
        self._asked = 0
        self._looking = False
        self._put_off = False
        self._made_way: Run | None = None
        self._calm = QTimer()
        self._calm.setSingleShot(True)
        self._calm.setInterval(CALM_MS)
        self._calm.timeout.connect(self._take_back)
        self._timer = QTimer()
        self._timer.setInterval(IDLE_MS)
        self._timer.timeout.connect(self._look)
        for worker in (self._worker, self.drawing):
            worker.failed.connect(self.failed.emit)
        project.opened.connect(self._on_opened)
        hand = project.session.hand
        hand.began.connect(self._on_hand_began)
        hand.rested.connect(self._on_hand_rested)
        self._worker.run(StepTimes, self._on_times)
        self._on_opened()

    @property
    def running(self) -> Run | None:
        """The run that is on, as last looked at; None if there is none."""
        # not its own state: the worker's thread may know of an end that nobody here was told of
        return next((run for run in self.runs if self._shown[run.name].status.alive), None)

    @property
    def states(self) -> list[RunState]:
        """Of all runs, as last looked at."""
        return [self._shown[run.name] for run in self.runs]

    def state(self, run: Run | None) -> RunState | None:
        """Return how a run stood when last looked at; None for no run, and for one that is gone."""
        return None if run is None else self._shown.get(run.name)

    @property
    def busy(self) -> bool:
        """Whether something that was asked for has not happened yet."""
        return self._asked > 0

    @property
    def problem(self) -> str:
        """Why nothing can be trained yet, and what to do about it; empty if it can."""
        project = self.project.project
        if project is None:
            return "Training needs a project: create or open one in the Project dock."
        if project.read_only:
            return f"Nothing can be trained here: {project.read_only}."
        if not project.names:
            return "The project has no images yet: add some in the Project dock."
        statuses = self.project.statuses
        painted = {value for one in statuses.values() for value, count in one.strokes.items() if count}
        if len(painted) < 2 and len(statuses) == len(project.names):
            return "Paint strokes of two or more classes first: training learns from them."
        return ""

    @property
    def n_images(self) -> int:
        """Images with strokes."""
        return sum(any(one.strokes.values()) for one in self.project.statuses.values())

    def estimate(self, options: TrainOptions) -> float | None:
        """Return about how many seconds a run would take; None if nothing like it was measured here."""
        return None if self._times is None else self._times.estimate(options, self.n_images)

    def start(self, options: Mapping[str, Any], *, weights: str | Path | None = None) -> None:
        """Train on everything that is drawn at this moment.

        Parameters
        ----------
        options
            Fields of TrainOptions that differ from the preset's.
        weights
            Where to start, if `options` do not say.

        Raises
        ------
        InputError
            If there is nothing to train on, a run is on already, or strokes cannot be written.
        """
        if self.problem:
            raise InputError(self.problem)
        if self.running is not None:
            raise InputError(f"{self.running.name} is on: stop it, or wait for its end.")
        project = self.project.project
        assert project is not None
        self.project.flush()
        self._ask(partial(start_run, project, dict(options), weights=weights), self._on_started)

    def stop(self) -> None:
        """End the run that is on after its step, with everything saved."""
        if self.running is not None:
            self._ask(self.running.stop)

    def kill(self) -> None:
        """End the run that is on at once; what was saved after its last epoch stays."""
        if self.running is not None:
            self._ask(self.running.kill)

    def resume(self, run: Run) -> None:
        """Go on with a run that was stopped or killed.

        Raises
        ------
        InputError
            If one is on already.
        """
        if self.running is not None:
            raise InputError(f"{self.running.name} is on: stop it, or wait for its end.")
        self.choose(run)
        self._ask(run.resume)

    def choose(self, run: Run | None) -> None:
        """Make a run the current one."""
        if run == self.current:
            return
        self.current = run
        state = self.state(run)
        self._trail = Trail(run, young=state is not None and state.status.alive and not state.step)
        self.curves, self.printed = Curves(), []
        self.current_changed.emit()
        self._look()

    def refresh(self) -> None:
        """Look at the runs now."""
        self._look()

    def close(self) -> None:
        """Let go of everything; a run that is on goes on."""
        self._timer.stop()
        self._calm.stop()
        hand = self.project.session.hand
        hand.began.disconnect(self._on_hand_began)
        hand.rested.disconnect(self._on_hand_rested)
        self.project.opened.disconnect(self._on_opened)
        self._worker.close()
        if self._made_way is not None:  # here: once Python is ending, no worker takes anything on
            self._made_way.make_way(now=False)
            self._made_way = None
        self.drawing.close()

    def _on_hand_began(self) -> None:
        self.drawing.hold()
        self._calm.stop()
        if self._made_way is None and self.running is not None:
            self._made_way = self.running
            self._worker.run(partial(self._made_way.make_way, now=True))

    def _on_hand_rested(self) -> None:
        self.drawing.go_on()
        self._calm.start()
        if self._put_off:
            self._put_off = False
            self._look()

    def _take_back(self) -> None:
        """Give the run its share of the processor again."""
        self._calm.stop()
        run, self._made_way = self._made_way, None
        if run is not None:
            self._worker.run(partial(run.make_way, now=False))

    def _ask(self, task: Any, then: Any = None) -> None:
        """Do something with a run in the worker, and look at what came of it."""
        self._asked += 1

        def finish(result: Any) -> None:
            self._asked -= 1
            if isinstance(result, Exception):
                self.failed.emit(result)
            elif then is not None:
                then(result)
            self._look()

        self._worker.run(partial(_or_error, task), finish)

    def _on_opened(self) -> None:
        self.runs, self.current, self._shown = [], None, {}
        self._trail = Trail(None)
        self.curves, self.printed = Curves(), []
        if self.project.project is None:
            self._timer.stop()
        else:
            self._timer.start(BUSY_MS)
            self._look()
        self.runs_changed.emit()
        self.current_changed.emit()

    def _on_times(self, times: StepTimes) -> None:
        self._times = times
        self.runs_changed.emit()

    def _on_started(self, run: Run) -> None:
        if self.project.project is not None and run.path.parent.parent == self.project.project.path:
            self.runs = [*self.runs, run]
            self._shown[run.name] = run.state
            self.runs_changed.emit()
            self.choose(run)

    def _look(self) -> None:
        project = self.project.project
        if self.project.session.hand.at_work:
            self._put_off = True
        elif project is not None and not self._looking:
            self._looking = True
            known = self.runs
            task = partial(look_at, project, known, self._trail, self._times)
            self._worker.run(partial(_or_error, task), partial(self._on_looked, project, known))

    def _on_looked(self, project: Project, known: list[Run], seen: Seen | Exception) -> None:
        self._looking = False
        if project is not self.project.project or known is not self.runs:  # overtaken by a start
            self._look()
            return
        if isinstance(seen, Exception):
            self.failed.emit(seen)
            return
        before, self._shown = self._shown, {run.name: run.state for run in seen.runs}
        self.runs = seen.runs
        self._timer.setInterval(BUSY_MS if self.running else IDLE_MS)
        if before != self._shown:
            self.runs_changed.emit()
        if seen.trail is self._trail and seen.grew:
            self.curves, self.printed = seen.curves, seen.printed
            for event in seen.events:
                self.event.emit(event)
            self.current_changed.emit()
        was_on = {name for name, state in before.items() if state.status.alive}
        for run in self.runs:
            if run.name in was_on and not self._shown[run.name].status.alive:
                self.ended.emit(run)
        if self.current is None and self.runs:
            self.choose(self.running or self.runs[-1])


def _or_error(task: Any) -> Any:
    """Return what a task returns or raises; called in the worker's thread."""
    try:
        return task()
    except Exception as error:  # noqa: BLE001 - it is shown, whatever it is
        return error
