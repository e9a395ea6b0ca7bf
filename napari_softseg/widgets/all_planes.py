"""Solves all planes of a stack one after another in the background, while painting goes on."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_softseg.errors import InputError
from napari_softseg.widgets import status_texts
from napari_softseg.widgets.live_solver import LiveSolver
from napari_softseg.widgets.planes import Plane, plane_at, require_plane_image, visible_plane
from napari_softseg.widgets.scribbles import stroke_counts
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_job import SolveResult, run_job
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.tags import grid_shape
from napari_softseg.widgets.wanted import Wanted

FARTHEST = 10
"""Planes that strokes can be carried over."""

TURN_SECONDS = 0.01
"""How long the GUI thread looks for the next plane before it lets other events pass."""


@dataclass(slots=True)
class _Run:
    """One pass over a stack."""

    image: Image
    version: int
    scribbles: Labels
    planes: Iterator[Plane]
    total: int
    reach: int
    began: float
    looked: int = 0
    solved: int = 0
    skipped: int = 0
    current: tuple[Wanted, str] | None = None
    """What the worker solves now, and what is to be added to the text about it."""


class AllPlanes:
    """Goes through the planes of the image as they lie in the view, without a view of its own.

    A plane with strokes of fewer than two classes is left out, or takes in the strokes of the nearest one
    that has them: these are used where they lie, and written nowhere.
    """

    progress = Signal(int, int)
    """Planes seen to so far, and all of them."""
    running_changed = Signal(bool)
    status_changed = Signal(str)
    """One line for people."""
    failed = Signal(object)
    """An exception that a person has to see; the run has ended."""

    def __init__(self, session: ScribbleSession, loop: SolveLoop) -> None:
        self._session = session
        self._loop = loop
        self._run: _Run | None = None
        self._arrived: SolveResult | None = None
        self._solver = LiveSolver(lambda: None)
        self._solver.done.connect(self._on_done)
        self._solver.failed.connect(self._on_failed)
        self._turn = QTimer()
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._next)
        session.hand.rested.connect(self._on_rested)

    @property
    def running(self) -> bool:
        """Whether planes are left to do."""
        return self._run is not None

    @property
    def count(self) -> int:
        """Number of planes of the image; 1 if it is no stack, 0 if there is no image."""
        image = self._session.image
        return 0 if image is None else int(np.prod(grid_shape(image)[:-2], dtype=int))

    def start(self, reach: int = 0) -> None:
        """Solve all planes, as the options are when each one's turn comes.

        Parameters
        ----------
        reach
            How many planes strokes may be carried over to one that lacks them, 0..10.

        Raises
        ------
        InputError
            If there is no image with strokes.
        """
        image, scribbles = self._session.image, self._session.scribbles
        if image is None or scribbles is None:
            raise InputError("There are no strokes to solve planes with: press Start, and paint some.")
        require_plane_image(image)
        self.stop()
        shown = visible_plane(image, self._session.viewer.dims)
        shape = grid_shape(image)
        places: list[Sequence[int | slice]] = [
            range(n) if isinstance(i, int) else [i] for i, n in zip(shown.index, shape, strict=True)
        ]
        planes = (plane_at(image, index) for index in product(*places))
        total = int(np.prod([len(p) for p in places], dtype=int))
        self._run = _Run(
            image, self._session.image_version, scribbles, planes, total, reach, time.monotonic()
        )
        self.running_changed.emit(True)
        self.progress.emit(0, total)
        self._turn.start(0)

    def stop(self) -> None:
        """Stop; what is solved stays."""
        if self._run is not None:
            self._end("stopped, ")

    def close(self) -> None:
        """Stop, and wait for the worker to end."""
        self._session.hand.rested.disconnect(self._on_rested)
        self._turn.stop()
        self._run = self._arrived = None
        self._solver.close()

    def _next(self) -> None:
        """Find the next plane that can be solved and hand it to the worker."""
        run, until = self._run, time.perf_counter() + TURN_SECONDS
        while run is not None and run is self._run:
            if not self._still_there(run):
                self._end("stopped because the image changed, ")
                return
            plane = next(run.planes, None)
            if plane is None:
                self._end("")
                return
            run.looked += 1
            self.progress.emit(run.looked - 1, run.total)
            if self._ask(run, plane):
                return
            run.skipped += 1
            if time.perf_counter() > until:
                self._turn.start(0)
                return

    def _ask(self, run: _Run, plane: Plane) -> bool:
        """Hand this plane to the worker; return False if it has no strokes to be solved with."""
        own = np.array(run.scribbles.data[plane.index])
        strokes, note = own, ""
        if len(stroke_counts(own)) < 2 and run.reach:
            strokes, note = self._carried(run, plane, own)
        enough = len(stroke_counts(strokes)) >= 2
        if not enough and self._loop.model is None:
            return False
        wanted, job = self._loop.plane_job(run.image, plane, own)
        if not enough and job.model is None:  # there is one, but the options do without it
            return False
        run.current = wanted, note
        self._solver.submit(partial(run_job, replace(job, strokes=strokes)))
        return True

    def _carried(
        self, run: _Run, plane: Plane, own: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.integer], str]:
        """Return the strokes of the nearest plane with two classes, under the plane's own, and a note."""
        axis = max(axis for axis, place in enumerate(plane.index) if not isinstance(place, slice))
        here, length = plane.index[axis], run.scribbles.data.shape[axis]
        assert isinstance(here, int)
        for away in range(1, run.reach + 1):
            for there in (here - away, here + away):
                if not 0 <= there < length:
                    continue
                index = (*plane.index[:axis], there, *plane.index[axis + 1 :])
                theirs = np.asarray(run.scribbles.data[index])
                if len(stroke_counts(theirs)) >= 2:
                    note = f", strokes of {plane_at(run.image, index).text.split(' of ')[0]}"
                    return np.where(own == 0, theirs, own), note
        return own, ""

    def _still_there(self, run: _Run) -> bool:
        session = self._session
        return (
            session.image is run.image
            and session.scribbles is run.scribbles
            and session.image_version == run.version
            and tuple(run.scribbles.data.shape) == grid_shape(run.image)
        )

    def _on_done(self, result: SolveResult) -> None:
        run = self._run
        if run is None or run.current is None:
            return
        if self._session.hand.at_work:  # a layer that is written in the middle of a stroke makes it stutter
            self._arrived = result
            return
        if self._still_there(run):
            wanted, note = run.current
            text = status_texts.result_text(result.solution, result.job) + note
            self._loop.show_plane(wanted, result, text)
            run.solved += 1
            self.progress.emit(run.looked, run.total)
        self._turn.start(0)

    def _on_rested(self) -> None:
        """Show the plane that was solved while the hand drew."""
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            self._on_done(arrived)

    def _on_failed(self, error: Exception) -> None:
        self._end("stopped by an error, ")
        self.failed.emit(error)

    def _end(self, how: str) -> None:
        run, self._run = self._run, None
        self._arrived = None
        self._turn.stop()
        self._solver.cancel()
        if run is None:
            return
        left_out = f"; {run.skipped} without strokes of two classes left out" if run.skipped else ""
        seconds = time.monotonic() - run.began
        self.running_changed.emit(False)
        self.status_changed.emit(
            f"All planes: {how}{run.solved} of {run.total} solved in {seconds:.1f} s{left_out}."
        )
