"""Keeps the result layers up to date with strokes, options and the visible plane."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels
from psygnal import Signal

from napari_softseg.errors import InputError
from napari_softseg.options import DEFAULTS, MAX_CLASS_VALUE, SolveOptions, Unary
from napari_softseg.solver.solution import SolveProgress, Status
from napari_softseg.widgets import status_texts
from napari_softseg.widgets.channels import plane_pixels
from napari_softseg.widgets.live_solver import Job, LiveSolver
from napari_softseg.widgets.planes import Plane, require_plane_image, visible_plane
from napari_softseg.widgets.result_layers import (
    RESULT_ROLES,
    clear_result,
    hide_results,
    prepare_result,
    result_layer,
    show_result,
    show_view,
)
from napari_softseg.widgets.scribbles import stroke_checksum, stroke_counts
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_job import Look, SolveJob, SolveResult, View, run_job, warm_up
from napari_softseg.widgets.tags import grid_shape, image_id
from napari_softseg.widgets.wanted import Place, Wanted

if TYPE_CHECKING:
    from napari_softseg.training.first_guess import NetworkUnary


class SolveLoop:
    """Solves whenever something that the result depends on has changed.

    Strokes are compared by a checksum, because napari reports an undo, a redo and a
    mere refresh by the same event.

    While the hand draws nothing begins, and what has ended meanwhile waits: a layer that is written in the
    middle of a stroke makes it stutter.
    """

    status_changed = Signal(str)
    """One line for people."""
    counts_changed = Signal()
    """Other pixels of the visible plane are painted."""
    busy_changed = Signal(bool)
    solved = Signal(object)
    """A :class:`SolveResult` that now is in the layers."""
    options_changed = Signal()
    failed = Signal(object)
    """An exception that a person has to see."""
    devices_found = Signal(list)
    """The solver is loaded; these are the devices it can use."""

    def __init__(self, session: ScribbleSession) -> None:
        self.session = session
        self.counts: dict[int, int] = {}
        """Painted pixels of every class in the visible plane."""
        self.devices: list[str] = []
        """Devices the solver can use; empty until it is loaded."""
        self._options = DEFAULTS
        self._model: NetworkUnary | None = None
        self._view = View.SOFT
        self._auto = True
        self._forced = False
        self._prepared: set[str] = set()
        self._asked: Wanted | None = None
        self._shown: dict[Place, tuple[Wanted, str]] = {}
        self._last: tuple[Wanted, SolveResult] | None = None
        self._put_off = False
        self._arrived: SolveResult | None = None
        self._solver = LiveSolver(self._next_job)
        self._solver.progress.connect(self._on_progress)
        self._solver.done.connect(self._on_done)
        self._solver.failed.connect(self._on_failed)
        self._solver.busy_changed.connect(self._on_busy)
        session.touched.connect(self._solver.poke)
        session.results_removed.connect(self._forget_shown)
        session.image_chosen.connect(self._show_view)
        session.hand.rested.connect(self._on_rested)
        self._solver.warm.connect(self._on_warm)
        self._solver.warm_up(warm_up)
        self._solver.poke()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was asked for is in the layers, or failed."""
        return not (self._solver.busy or self._put_off or self._arrived is not None)

    @property
    def options(self) -> SolveOptions:
        """Options of the next solve."""
        return self._options

    @options.setter
    def options(self, options: SolveOptions) -> None:
        if options != self._options:
            self._options = options
            self.options_changed.emit()
        self._solver.poke()

    @property
    def model(self) -> "NetworkUnary | None":
        """A trained network that makes the first guess in place of the pixel classifier."""
        return self._model

    @model.setter
    def model(self, model: "NetworkUnary | None") -> None:
        if model != self._model:
            self._model = model
            self._solver.poke()

    @property
    def auto(self) -> bool:
        """Whether every change is solved at once."""
        return self._auto

    @auto.setter
    def auto(self, auto: bool) -> None:
        self._auto = auto
        self._solver.poke()

    @property
    def view(self) -> View:
        """What the results show."""
        return self._view

    @view.setter
    def view(self, view: View) -> None:
        self._view = view
        self._show_view()
        self._solver.poke()

    @property
    def result(self) -> SolveResult | None:
        """What was solved last and is in the layers; None before the first solve."""
        return None if self._last is None else self._last[1]

    def solve_now(self) -> None:
        """Solve the visible plane, changed or not."""
        self._forced = True
        self._solver.poke()

    def stop(self) -> None:
        """Stop the running solve and show what it has so far."""
        if self._solver.waiting:  # what runs is outdated, and what was wanted is dropped: ask again later
            self._asked = None
            self.status_changed.emit(status_texts.STOPPED_EARLY)
        self._solver.stop()

    def toggle_result(self) -> None:
        """Hide the results that are seen, or show the view's layer again."""
        image, viewer = self.session.image, self.session.viewer
        if image is None:
            return
        layers = [result_layer(viewer, image, role) for role in RESULT_ROLES]
        if any(layer is not None and layer.visible for layer in layers):
            hide_results(viewer, image)
        else:
            show_view(viewer, image, self._view)

    def close(self) -> None:
        """Stop, wait for the worker to end, let go of the session."""
        self.session.touched.disconnect(self._solver.poke)
        self.session.results_removed.disconnect(self._forget_shown)
        self.session.image_chosen.disconnect(self._show_view)
        self.session.hand.rested.disconnect(self._on_rested)
        self._solver.close()
        self._last = self._arrived = None

    def _next_job(self) -> Job | None:
        """Find out what is wanted now, and return the work left to do for it; called in the GUI thread."""
        if self.session.hand.at_work:
            self._put_off = True
            return None
        forced, self._forced = self._forced, False
        image, scribbles = self.session.image, self.session.scribbles
        if image is None or scribbles is None:
            self._set_counts({})
            self._cancel()
            self.status_changed.emit(status_texts.how_to_start(image))
            return None
        try:
            return self._job_for(image, scribbles, forced=forced)
        except InputError as error:
            self._cancel()
            self._on_failed(error)
            return None

    def _job_for(self, image: Image, scribbles: Labels, *, forced: bool) -> Job | None:
        require_plane_image(image)
        if tuple(scribbles.data.shape) != grid_shape(image):
            raise InputError(
                f"The scribbles have {tuple(scribbles.data.shape)} pixels but {image.name!r} has "
                f"{grid_shape(image)}: press Start for new scribbles."
            )
        plane = visible_plane(image, self.session.viewer.dims)
        if image_id(image) not in self._prepared:
            self._forced = forced
            self._prepare(image)
            return None
        strokes = np.array(scribbles.data[plane.index])
        counts = stroke_counts(strokes)
        self.session.classes.restore(value for value in counts if 0 < value <= MAX_CLASS_VALUE)
        self._set_counts(counts)
        wanted = self._wanted(image, plane, strokes)
        shown, text = self._shown.get(wanted.place, (None, ""))
        if len(counts) < 2 and wanted.model is None:
            self._cancel()
            if shown is not None and shown.same_drawing(wanted):  # of "all planes", by strokes of others
                self.status_changed.emit(text)
                return None
            self._shown.pop(wanted.place, None)
            clear_result(self.session.viewer, image, plane)
            self.status_changed.emit(status_texts.stroke_hint(len(counts), len(self.session.classes), plane))
            return None
        if shown == wanted and not forced:
            self._cancel(wanted)  # such as a stroke undone while it was being solved
            self.status_changed.emit(text)
            return None
        if wanted == self._asked and not forced:
            return None
        if not (self._auto or forced):
            return self._recoloring(wanted, plane)
        job = self._fresh_job(image, wanted, plane, strokes)
        return self._ask(wanted, job if forced else self._with_known_parts(job, wanted))

    def plane_job(
        self, image: Image, plane: Plane, strokes: npt.NDArray[np.integer]
    ) -> tuple[Wanted, SolveJob]:
        """Return the work of solving any plane as things are now, for :meth:`show_plane`.

        Parameters
        ----------
        image : napari.layers.Image
            The image being painted on.
        plane : Plane
            Of the image.
        strokes : (H, W) array of ints
            A copy of the plane's own strokes.
        """
        wanted = self._wanted(image, plane, strokes)
        return wanted, self._fresh_job(image, wanted, plane, strokes)

    def visible_job(self) -> SolveJob:
        """Return the work of solving the visible plane as things are now, none of it done.

        Raises
        ------
        InputError
            If there are too few strokes.
        """
        image, scribbles = self.session.image, self.session.scribbles
        if image is None or scribbles is None:
            raise InputError("There are no strokes to solve with: press Start, and paint some.")
        require_plane_image(image)
        plane = visible_plane(image, self.session.viewer.dims)
        _, job = self.plane_job(image, plane, strokes := np.array(scribbles.data[plane.index]))
        painted = len(stroke_counts(strokes))
        if painted < 2 and job.model is None:
            raise InputError(status_texts.stroke_hint(painted, len(self.session.classes), plane))
        return job

    def show_plane(self, wanted: Wanted, result: SolveResult, text: str) -> None:
        """Write what somebody else solved into the layers; it stays while the plane's strokes do.

        The plane may be one without strokes, solved by those of another.
        """
        image = self.session.image
        if image is None or image_id(image) != result.job.image_id:
            return
        if wanted.image_version != self.session.image_version:
            return
        self._shown[wanted.place] = (wanted, text)
        show_result(self.session.viewer, image, result, self._view)
        self._solver.poke()

    def _fresh_job(
        self, image: Image, wanted: Wanted, plane: Plane, strokes: npt.NDArray[np.integer]
    ) -> SolveJob:
        return SolveJob(
            image_id(image),
            plane,
            plane_pixels(image, plane),
            strokes,
            wanted.options,
            wanted.look,
            wanted.model,
        )

    def _prepare(self, image: Image) -> None:
        """Make the result layers before there is a result, one per turn of the event loop.

        napari takes a tenth of a second to make a layer; that must not hold up painting.
        """
        if not prepare_result(self.session.viewer, image, self._view):
            self._prepared.add(image_id(image))
        self._solver.poke()

    def _wanted(self, image: Image, plane: Plane, strokes: npt.NDArray[Any]) -> Wanted:
        colors = tuple((entry.value, entry.color) for entry in self.session.classes)
        return Wanted(
            image=image_id(image),
            image_version=self.session.image_version,
            plane=plane.key,
            strokes=stroke_checksum(strokes),
            options=self._options,
            model=None if self._options.unary == Unary.NONE or not self._options.eta else self._model,
            look=Look(colors, hard=self._view is View.LIKELY),
        )

    def _with_known_parts(self, job: SolveJob, wanted: Wanted) -> SolveJob:
        """Reuse from the last result what cannot have changed."""
        if self._last is None:
            return job
        before, result = self._last
        if wanted.same_solution(before):
            return replace(job, known_solution=result.solution)
        if wanted.same_unary(before) and result.solution.status is not Status.STOPPED:
            return replace(job, known_unary=result.solution.unary)
        return job

    def _recoloring(self, wanted: Wanted, plane: Plane) -> Job | None:
        """Without auto-solve, new colours still reach the result that is seen."""
        if self._last is None or self._last[0].place != wanted.place:
            self.status_changed.emit(status_texts.PRESS_SOLVE)
            return None
        before, result = self._last
        if not wanted.same_solution(before):
            self.status_changed.emit(status_texts.PRESS_SOLVE)
        recolored = replace(before, look=wanted.look)
        if recolored == before:
            return None
        return self._ask(recolored, replace(result.job, look=wanted.look, known_solution=result.solution))

    def _ask(self, wanted: Wanted, job: SolveJob) -> Job:
        self._asked, self._arrived = wanted, None
        return partial(run_job, job)

    def _cancel(self, asked: Wanted | None = None) -> None:
        self._asked, self._arrived = asked, None
        self._solver.cancel()

    def _set_counts(self, counts: dict[int, int]) -> None:
        if counts != self.counts:
            self.counts = counts
            self.counts_changed.emit()

    def _show_view(self) -> None:
        if self.session.image is not None:
            show_view(self.session.viewer, self.session.image, self._view)

    def _forget_shown(self) -> None:
        self._shown.clear()

    def _on_warm(self, devices: list[str]) -> None:
        self.devices = devices
        self.devices_found.emit(devices)

    def _on_busy(self, busy: bool) -> None:
        self.busy_changed.emit(busy)

    def _on_progress(self, progress: SolveProgress) -> None:
        if not self.session.hand.at_work:
            self.status_changed.emit(status_texts.progress_text(progress))

    def _on_rested(self) -> None:
        """Do what was put off while the hand drew."""
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            self._on_done(arrived)
        if self._put_off:
            self._put_off = False
            self._solver.poke()

    def _on_done(self, result: SolveResult) -> None:
        if self.session.hand.at_work:
            self._arrived = result
            return
        image = self.session.image
        if image is None or image_id(image) != result.job.image_id or self._asked is None:
            return
        if self._asked.image_version != self.session.image_version:  # other pixels in the same layer
            return
        text = status_texts.result_text(result.solution, result.job)
        self._shown[self._asked.place] = (self._asked, text)
        self._last = (self._asked, result)
        show_result(self.session.viewer, image, result, self._view)
        self.status_changed.emit(text)
        self.solved.emit(result)

    def _on_failed(self, error: Exception) -> None:
        self.status_changed.emit(status_texts.error_text(error))
        self.failed.emit(error)
