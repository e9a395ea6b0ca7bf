"""Several relaxations side by side, each with its energy and time; pictures in a window of their own.

The viewer's layers are left alone: to come back is to close the window.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from psygnal import Signal
from qtpy.QtCore import QSize, Qt
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_softseg.colors import class_color, overlay
from napari_softseg.errors import InputError
from napari_softseg.options import Relaxation, SolveOptions, Unary
from napari_softseg.solver.solution import SolveProgress
from napari_softseg.widgets import status_texts
from napari_softseg.widgets.dock_parts import button, words
from napari_softseg.widgets.live_solver import LiveSolver
from napari_softseg.widgets.solve_job import SolveJob, run_job
from napari_softseg.widgets.solve_loop import SolveLoop

COLUMNS = 3
PICTURE = QSize(120, 90)
"""The least size of a picture."""
SHARE = 0.6
"""Of the class colours in a picture; the image makes up the rest."""
ABOUT = (
    "The same strokes, solved by each of the six relaxations: take over the one that you like best. "
    "Times are without the first guess, which all share. Energies of different relaxations are different "
    "functions: compare the pictures, and an energy only with the same relaxation's."
)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One relaxation's result, or why there is none."""

    relaxation: Relaxation
    text: str
    """Energy and time, or the reason."""
    picture: npt.NDArray[np.uint8] | None
    """(H, W, 3) RGB of image and soft labels; None if there is no result."""


class Comparison:
    """Solves one plane with several relaxations, one after another, in a worker thread; no view."""

    solved = Signal(object)
    """A :class:`Compared`."""
    failed = Signal(object)
    """An exception that a person has to see."""

    def __init__(self) -> None:
        self._solver = LiveSolver(lambda: None)
        self._solver.done.connect(self._on_done)
        self._solver.failed.connect(self.failed.emit)
        self._left: list[Relaxation] = []
        self._job: SolveJob | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to solve."""
        return not self._solver.busy

    def start(self, job: SolveJob, relaxations: Iterable[Relaxation]) -> None:
        """Solve this job with each of these in place of its own relaxation."""
        self._left = list(relaxations)
        self._job = job
        if self._left and job.options.unary != Unary.NONE and job.options.eta:
            self._solver.submit(partial(_with_guess, job))
        else:
            self._next()

    def stop(self) -> None:
        """Stop; what is solved stays."""
        self._left = []
        self._solver.cancel()

    def close(self) -> None:
        """Stop and wait for the worker to end."""
        self._left = []
        self._solver.close()

    def _next(self) -> None:
        if self._left and self._job is not None:
            self._solver.submit(partial(_compared, self._job, self._left.pop(0)))

    def _on_done(self, outcome: "SolveJob | Compared") -> None:
        if isinstance(outcome, SolveJob):
            self._job = outcome
        else:
            self.solved.emit(outcome)
        self._next()


class CompareWindow(QDialog):
    """A gallery of relaxations; a button below each takes it over into the dock."""

    chosen = QtSignal(str)
    """A person wants to go on with this relaxation."""
    failed = QtSignal(object)
    """An exception that a person has to see."""

    def __init__(self, loop: SolveLoop, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare relaxations")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumSize(640, 520)  # narrower, words and pictures would overlap
        self.resize(900, 640)
        self._loop = loop
        self.comparison = Comparison()
        self.tiles = {relaxation: _Tile(relaxation) for relaxation in Relaxation}
        self.boxes = {relaxation: QCheckBox(relaxation.upper()) for relaxation in Relaxation}
        self.again_button = button(
            "Solve again", "Solve the visible plane with the strokes and options of now."
        )
        self.close_button = button("Close", "Return to the viewer; nothing in it was changed.")
        about = words("How to read this.")
        about.setText(ABOUT)
        choice = QHBoxLayout()
        gallery = QGridLayout()
        for place, relaxation in enumerate(Relaxation):
            box, tile = self.boxes[relaxation], self.tiles[relaxation]
            box.setChecked(True)
            box.setToolTip(f"{relaxation.upper()}: {relaxation.explanation}")
            box.toggled.connect(partial(self._on_toggled, relaxation))
            tile.use_button.clicked.connect(partial(self._on_use, relaxation))
            choice.addWidget(box)
            row, column = divmod(place, COLUMNS)
            gallery.addWidget(tile, row, column)
            gallery.setRowStretch(row, 1)
            gallery.setColumnStretch(column, 1)
        choice.addStretch(1)
        choice.addWidget(self.again_button)
        choice.addWidget(self.close_button)
        layout = QVBoxLayout(self)
        layout.addLayout(choice)
        layout.addLayout(gallery, 1)
        layout.addWidget(about)
        self.again_button.clicked.connect(lambda: self.solve())
        self.close_button.clicked.connect(lambda: self.close())
        self.comparison.solved.connect(self._on_solved)
        self.comparison.failed.connect(self.failed.emit)
        # A plain function: at `destroyed` this object is half gone already.
        self.destroyed.connect(partial(_close, self.comparison))
        self.solve()

    def solve(self) -> None:
        """Solve the visible plane as things are now, with every relaxation that is chosen."""
        self._solve([relaxation for relaxation, box in self.boxes.items() if box.isChecked()])

    def _solve(self, relaxations: list[Relaxation]) -> None:
        try:
            job = self._loop.visible_job()
        except InputError as error:
            for relaxation in relaxations:
                self.tiles[relaxation].show_outcome(Compared(relaxation, str(error), None))
            return
        for relaxation, tile in self.tiles.items():
            tile.show_in_use(relaxation == job.options.relaxation)
        for relaxation in relaxations:
            self.tiles[relaxation].wait()
        self.comparison.start(job, relaxations)

    def _on_toggled(self, relaxation: Relaxation, on: bool) -> None:
        self.tiles[relaxation].setVisible(on)
        unsolved = [r for r, box in self.boxes.items() if box.isChecked() and not self.tiles[r].text.text()]
        if on:
            self._solve([relaxation, *(r for r in unsolved if r is not relaxation)])

    def _on_use(self, relaxation: Relaxation) -> None:
        self.chosen.emit(str(relaxation))
        self.close()

    def _on_solved(self, outcome: Compared) -> None:
        self.tiles[outcome.relaxation].show_outcome(outcome)


class _Tile(QFrame):
    """One relaxation: its picture, a line of text, and the button that takes it over."""

    def __init__(self, relaxation: Relaxation) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setToolTip(f"{relaxation.upper()}: {relaxation.explanation}")
        self._name = relaxation.upper()
        self._pixmap = QPixmap()
        self._in_use = False
        self.title = words(self.toolTip())
        self.title.setText(f"<b>{self._name}</b> {relaxation.explanation.partition(':')[0]}")
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setMinimumSize(PICTURE)
        self.picture.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.picture.setWordWrap(True)
        self.text = words("Energy and time of this solve.")
        self.use_button = button("", "")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.title)
        layout.addWidget(self.picture, 1)
        layout.addWidget(self.text)
        layout.addWidget(self.use_button)
        self.show_in_use(False)
        self.wait()

    def show_in_use(self, in_use: bool) -> None:
        """Show whether this is the relaxation that the dock solves with."""
        self._in_use = in_use
        self.use_button.setText("In use" if in_use else f"Use {self._name}")
        self.use_button.setToolTip(
            f"The dock solves with {self._name}."
            if in_use
            else f"Go on with {self._name}: choose it in the dock, and close this window."
        )

    def wait(self) -> None:
        """Show that it is being solved."""
        self._pixmap = QPixmap()
        self.picture.setText("solving…")
        self.text.setText("")
        self.use_button.setEnabled(False)

    def show_outcome(self, outcome: Compared) -> None:
        """Show a result, or the reason why there is none."""
        if outcome.picture is None:
            self._pixmap = QPixmap()
            self.picture.setText(outcome.text)
            self.text.setText("no result")
            self.use_button.setEnabled(False)
            return
        rows, columns, _ = outcome.picture.shape
        pixels = outcome.picture.tobytes()  # of which QImage keeps no copy, but QPixmap does
        image = QImage(pixels, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        self._pixmap = QPixmap.fromImage(image)
        self.text.setText(outcome.text)
        self.use_button.setEnabled(not self._in_use)
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        """Keep the picture as large as the tile allows."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if not self._pixmap.isNull():
            self.picture.setPixmap(
                self._pixmap.scaled(
                    self.picture.size(),
                    Qt.AspectRatioMode.KeepAspectRatio,
                    Qt.TransformationMode.SmoothTransformation,
                )
            )


def _close(comparison: Comparison, *_args: Any) -> None:
    comparison.close()


def _with_guess(job: SolveJob, stop: threading.Event, _report: Callable[[SolveProgress], None]) -> SolveJob:
    """Return the job with its first guess made, so that no relaxation's time includes it."""
    # Other options than any that is timed after: what the worker remembers of this solve must be of no use.
    quick = SolveOptions(
        unary=job.options.unary,
        weights=job.options.weights,
        max_sweeps=1,
        tolerance=1.0,
        device=job.options.device,
        eta=job.options.eta,
    )
    guessed = run_job(replace(job, options=quick), stop, _report)
    return replace(job, known_unary=guessed.solution.unary)


def _compared(
    job: SolveJob, relaxation: Relaxation, stop: threading.Event, report: Callable[[SolveProgress], None]
) -> Compared:
    options = replace(job.options, relaxation=relaxation)
    try:
        result = run_job(replace(job, options=options), stop, report)
    except InputError as error:
        return Compared(relaxation, str(error), None)
    solution = result.solution
    colors = dict(job.look.colors)
    table = [colors.get(value, class_color(value)) for value in solution.classes]
    picture = overlay(job.pixels, solution.probabilities, table, SHARE)
    return Compared(relaxation, status_texts.energy_and_time(solution), picture)
