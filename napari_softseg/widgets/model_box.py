"""The part of a dock about the network in use: which one it is, and labels by it for the whole project."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFileDialog,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_softseg.errors import InputError
from napari_softseg.widgets.dock_parts import button, row, tell, words
from napari_softseg.widgets.workspace import Dock

if TYPE_CHECKING:
    from napari_softseg.training.predict_project import PredictOutcome

NONE = "First guess: by the strokes alone."


class ModelBox(QWidget):
    """A view of the workspace's ModelSession and PredictAll.

    Parameters
    ----------
    dock : Dock
        The one it lives in.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._model = dock.workspace.model
        self._predict_all = dock.workspace.predict_all
        self._project = dock.workspace.project
        self._build()
        self.choose_button.clicked.connect(lambda: self.choose_file())
        self.drop_button.clicked.connect(lambda: self._model.use(None))
        self.predict_button.clicked.connect(lambda: self.predict_all())
        self.cancel_button.clicked.connect(lambda: self._predict_all.cancel())
        dock.follow(self._model.changed, self._show)
        dock.follow(self._model.failed, self._show_error)
        dock.follow(self._predict_all.running_changed, self._on_running)
        dock.follow(self._predict_all.progress, self._on_progress)
        dock.follow(self._predict_all.finished, self._on_finished)
        dock.follow(self._predict_all.failed, self._show_error)
        dock.follow(self._project.opened, self._show)
        dock.follow(self._project.images_changed, self._show)
        self._show()

    def choose_file(self) -> None:
        """Ask for a model file and use it."""
        project = self._project.project
        start = "" if project is None else str(project.path / "models")
        name, _ = QFileDialog.getOpenFileName(self, "Use a network", start, "Networks (*.safetensors)")
        if name:
            self._model.use(Path(name))

    def predict_all(self) -> None:
        """Start predicting all images, or say why not."""
        self.outcome.clear()
        try:
            self._predict_all.start()
        except InputError as error:
            self._show_error(error)

    def _build(self) -> None:
        self.title = words("What makes the solver's first guess for every pixel; strokes correct it.")
        self.choose_button = button(
            "Network from file…", "Use a network trained elsewhere, on classes of the same names."
        )
        self.drop_button = button(
            "Strokes alone", "Do without a network: the strokes alone make the first guess again."
        )
        self.predict_button = button(
            "Predict all",
            "Write soft labels for every image of the project: the network's guess, corrected by the strokes "
            "that the image has. Painting goes on meanwhile.",
        )
        self.cancel_button = button("Cancel", "End before the next image; labels that are written stay.")
        self.bar = QProgressBar()
        self.bar.setFormat("%v of %m images")
        self.bar.setToolTip("Images that have their labels.")
        self.outcome = words("How the last prediction went.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.title)
        layout.addLayout(row(self.choose_button, self.drop_button))
        layout.addLayout(row(self.predict_button, self.cancel_button))
        layout.addWidget(self.bar)
        layout.addWidget(self.outcome)

    def _show(self) -> None:
        model, running = self._model, self._predict_all.running
        used = f"First guess: by the network {model.name!r}" if model.path is not None else NONE
        if model.follow is not None:
            used = f"{used.rstrip('.')}, as its training gets better"
        if model.unknown:
            used += f"; for {', '.join(map(repr, model.unknown))}, which it does not know, by the strokes"
        self.title.setText(f"{used.rstrip('.')}. {model.error}".strip())
        self.drop_button.setEnabled(model.path is not None)
        project = self._project.project
        ready = model.path is not None and project is not None and bool(project.names)
        self.predict_button.setEnabled(ready and not running)
        for part in (self.cancel_button, self.bar):
            part.setVisible(running)
        self.outcome.setVisible(bool(self.outcome.text()))

    def _on_running(self, _running: bool) -> None:
        self._show()

    def _on_progress(self, done: int, total: int, name: str) -> None:
        self.bar.setMaximum(total)
        self.bar.setValue(done)
        self.outcome.setText(f"Predicting {name!r}…" if name else "")
        self._show()

    def _on_finished(self, outcome: "PredictOutcome") -> None:
        self.outcome.setText(outcome_text(outcome))
        self._show()

    def _show_error(self, error: Exception) -> None:
        tell(error)
        self.outcome.setText(str(error) if isinstance(error, InputError) else "")
        self._show()


def outcome_text(outcome: "PredictOutcome") -> str:
    """Return how a prediction of all images went, in a line; of images left out, the first reason."""
    ended = "Cancelled: " if outcome.stopped else ""
    text = f"{ended}{outcome.done} of {outcome.total} images labelled in {outcome.seconds:.1f} s."
    if outcome.left_out:
        name, reason = next(iter(outcome.left_out.items()))
        more = len(outcome.left_out) - 1
        text += f" Left out: {name!r} ({reason.rstrip('.')})" + (f" and {more} more." if more else ".")
    return text
