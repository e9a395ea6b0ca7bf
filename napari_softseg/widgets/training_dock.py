"""The dock widget *Train*."""

from typing import Any

import napari
from napari.utils.notifications import show_info
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QMainWindow,
    QPlainTextEdit,
    QProgressBar,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_softseg.errors import InputError
from napari_softseg.runs import Run, command_line, run_name, stop_hint
from napari_softseg.runs.rounds import round_scores
from napari_softseg.widgets import training_texts as texts
from napari_softseg.widgets.dock_parts import Page, button, row, tell, words
from napari_softseg.widgets.model_box import ModelBox
from napari_softseg.widgets.plots import Chart, Panel
from napari_softseg.widgets.training_close import CloseQuestion
from napari_softseg.widgets.training_form import TrainingForm
from napari_softseg.widgets.training_runs import RunTable
from napari_softseg.widgets.workspace import Dock

CHART_HEIGHT = 230


class TrainingDock(Dock):
    """Train a network on the strokes of the project while painting goes on.

    A thin view of the workspace's TrainingSession.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:
        super().__init__(napari_viewer)
        self.session = self.workspace.training
        self._stopping = ""
        self._build()
        self._connect()
        self._on_project()

    def start(self) -> None:
        """Train with what the form says, or say why not."""
        self._try(lambda: self.session.start(self.form.given()))

    def stop(self) -> None:
        """Stop the run that is on; if it does not heed that, end it."""
        running = self.session.running
        if running is None:
            return
        if self._stopping == running.name:
            self.session.kill()
        else:
            self._stopping = running.name
            self.session.stop()
        self._show_runs()

    def resume(self) -> None:
        """Go on with the chosen run, or say why not."""
        current = self.session.current
        if current is not None:
            self._try(lambda: self.session.resume(current))

    def use_model(self) -> None:
        """Let the solver make its first guess by the best network of the chosen run."""
        if self.session.current is not None:
            self.workspace.model.use(self.session.current.path)

    def copy_command(self) -> None:
        """Put the command that Train stands for on the clipboard."""
        self._try(self._copy_command)

    def showEvent(self, event: Any) -> None:
        """Ask before the window we live in closes."""
        super().showEvent(event)
        window = self.parentWidget()
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is not None and window.findChild(CloseQuestion) is None:
            session = self.session
            CloseQuestion(window, lambda: session.running)

    def _build(self) -> None:
        self.form = TrainingForm()
        self.hint = words("What Train would do, or what is missing.")
        self.start_button = button("Train", "Train on all strokes of the project, in the background.")
        self.stop_button = button("Stop", "")
        self.resume_button = button("Resume", "Go on with the chosen run.")
        self.progress = QProgressBar()
        self.progress.setToolTip("The run that is on.")
        self.status = words("The chosen run.", selectable=True)
        self.preview_box = QCheckBox("preview its best network")
        self.preview_box.setToolTip(
            "While a run is on, its best network makes the first guess for the image you paint on."
        )
        curves_hint = "Loss and accuracy of a run are drawn here as it goes on: press Train."
        self.curves = Chart(self.session.drawing, CHART_HEIGHT, curves_hint)
        self.curves.setToolTip("Terms of the loss by step; accuracy on what is scored by epoch.")
        rounds_hint = "The best score of every run, one point each: train, correct, train again."
        self.rounds = Chart(self.session.drawing, CHART_HEIGHT // 2, rounds_hint)
        self.rounds.setToolTip("The best score of each run, in their order.")
        self.rounds_hint = words("Whether another round is worth it.")
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.log.setToolTip("What the process of the chosen run printed, its last lines.")
        rounds_page = QWidget()
        rounds_layout = QVBoxLayout(rounds_page)
        rounds_layout.setContentsMargins(0, 0, 0, 0)
        rounds_layout.addWidget(self.rounds, 1)
        rounds_layout.addWidget(self.rounds_hint)
        self.tabs = QTabWidget()
        self.tabs.setToolTip("The chosen run, and all of them.")
        for page, name in ((self.curves, "curves"), (rounds_page, "rounds"), (self.log, "log")):
            self.tabs.addTab(page, name)
        self.table = RunTable()
        self.use_button = button("Use this model", "Its best network makes the solver's first guess.")
        self.model_box = ModelBox(self)
        self.copy_button = button(
            "Copy command line", "Copy the call of the command line that does what Train would do."
        )

        page = Page()
        for part in (
            self.form,
            self.hint,
            row(self.start_button, self.stop_button, self.resume_button),
            self.progress,
            self.status,
            self.preview_box,
            self.tabs,
            self.table,
            row(self.use_button, self.copy_button),
            self.model_box,
        ):
            page.parts.addWidget(part) if isinstance(part, QWidget) else page.parts.addLayout(part)
        page.parts.setStretchFactor(self.tabs, 1)
        layout = QVBoxLayout(self)
        layout.addWidget(page)

    def _connect(self) -> None:
        session, workspace = self.session, self.workspace
        self.start_button.clicked.connect(lambda: self.start())
        self.stop_button.clicked.connect(lambda: self.stop())
        self.resume_button.clicked.connect(lambda: self.resume())
        self.use_button.clicked.connect(lambda: self.use_model())
        self.copy_button.clicked.connect(lambda: self.copy_command())
        self.preview_box.toggled.connect(lambda _: self._follow_preview())
        self.form.changed.connect(self._show_plan)
        self.table.chosen.connect(self._on_chosen)
        self.follow(session.runs_changed, self._on_runs)
        self.follow(session.current_changed, self._on_current)
        self.follow(session.ended, self._on_ended)
        self.follow(session.failed, tell)
        self.follow(workspace.project.opened, self._on_project)
        self.follow(workspace.project.images_changed, self._show_plan)
        self.follow(workspace.loop.devices_found, self.form.set_devices)
        if workspace.loop.devices:
            self.form.set_devices(workspace.loop.devices)

    def _try(self, action: Any) -> None:
        try:
            action()
        except InputError as error:
            tell(error)
            self.hint.setText(str(error))

    def _copy_command(self) -> None:
        project = self.workspace.project.project
        if project is None:
            raise InputError(self.session.problem)
        name = run_name(run.name for run in self.session.runs)
        line = command_line(project.path, project.path / "models" / name, self.form.given())
        QApplication.clipboard().setText(line)
        show_info(f"Copied: {line}")

    def _on_project(self) -> None:
        self._on_runs()
        self._on_current()

    def _on_runs(self) -> None:
        self.form.set_models(self.session.states)
        self._show_plan()
        self._show_runs()
        scores = round_scores(self.session.states)
        names, values = [name for name, _ in scores], [100 * score for _, score in scores]
        curves = {"best of each run": (list(range(len(values))), values)}
        labels = tuple(name.removeprefix("run-").lstrip("0") or name for name in names)
        panels = [Panel("Mean IoU of each run, %", curves, unit="run", dots=True, names=labels)]
        self.rounds.show_panels(panels if scores else [])
        hint = stop_hint([score for _, score in scores])
        self.rounds_hint.setText(hint or ("" if scores else "No run was scored yet."))

    def _show_plan(self) -> None:
        session = self.session
        self.start_button.setEnabled(not session.problem and session.running is None and not session.busy)
        if session.problem:
            self.hint.setText(session.problem)
            return
        try:
            options = self.form.options()
        except InputError as error:
            self.hint.setText(str(error))
            return
        plan = texts.plan_text(session.n_images, options.epochs, session.estimate(options))
        self.hint.setText(f"{plan} {self.form.warning}".strip())

    def _show_runs(self) -> None:
        session, current = self.session, self.session.current
        running = session.running
        if running is None:
            self._stopping = ""
        stopping = running is not None and self._stopping == running.name
        self.stop_button.setEnabled(running is not None)
        self.stop_button.setText("End now" if stopping else "Stop")
        self.stop_button.setToolTip(
            "It ends after its step; press again to end it at once."
            if stopping
            else "End after this step; the best network is kept, and Resume goes on."
        )
        state = session.state(current)
        self.resume_button.setEnabled(state is not None and state.can_resume and running is None)
        self.use_button.setEnabled(state is not None and state.has_model)
        self.table.show_runs(session.states, None if current is None else current.name)
        on = session.state(running)
        self.progress.setVisible(on is not None)
        if on is not None:
            self.progress.setMaximum(on.steps or 1)
            self.progress.setValue(on.step)
            self.progress.setFormat("stopping…" if stopping else texts.progress_text(on))
        self.status.setText("" if state is None else texts.run_text(state))
        self.status.setVisible(state is not None)
        self._follow_preview()

    def _follow_preview(self) -> None:
        """Follow the run that is on, if that is wanted, and let go of it when it has ended."""
        model, running = self.workspace.model, self.session.running
        wanted = running.path if running is not None and self.preview_box.isChecked() else None
        ours = model.follow is not None and model.follow in [run.path for run in self.session.runs]
        if wanted != model.follow and (wanted is not None or ours):
            model.follow = wanted

    def _on_current(self) -> None:
        session = self.session
        curves = session.curves
        panels = []
        if curves.terms:
            panels.append(Panel("Loss", curves.terms, unit="step", logarithmic=True))
        if curves.scores:
            panels.append(Panel(curves.scored_on.capitalize(), curves.scores, unit="epoch", dots=True))
        self.curves.show_panels(panels)
        text = "\n".join(session.printed)
        if text != self.log.toPlainText():
            self.log.setPlainText(text)
            self.log.verticalScrollBar().setValue(self.log.verticalScrollBar().maximum())
        self._show_runs()

    def _on_chosen(self, name: str) -> None:
        run = next((run for run in self.session.runs if run.name == name), None)
        self.session.choose(run)

    def _on_ended(self, run: Run) -> None:
        state = self.session.state(run)
        if state is not None:
            show_info(texts.run_text(state))
