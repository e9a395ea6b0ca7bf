"""Keeps what is painted on an image of a project in the project: strokes at once, soft labels a little later."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_softseg.errors import InputError
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.project import Project
from napari_softseg.project.viewer_values import (
    classes_to_viewer,
    from_viewer,
    soft_labels_from_viewer,
    to_viewer,
)
from napari_softseg.solver.solution import Solution
from napari_softseg.widgets.autosave import Autosave, Worker
from napari_softseg.widgets.class_keeper import CLASSES, ClassKeeper
from napari_softseg.widgets.planes import Plane, require_plane_image, visible_plane
from napari_softseg.widgets.preferences import preferences
from napari_softseg.widgets.project_layers import linked_name, plane_key
from napari_softseg.widgets.scribbles import stroke_counts
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_job import SolveResult
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.tags import grid_shape, image_id

Strokes = npt.NDArray[np.uint8]

SOFT_MS = 5000
"""From the last solve to the moment its soft labels are written."""


@dataclass(slots=True, eq=False)
class Place:
    """The plane of a scribbles layer whose strokes are kept."""

    name: str
    image: Image
    layer: Labels
    plane: Plane
    taken: Strokes | None = None
    """The strokes as they were last handed to the worker; None until those on disk are known."""

    def is_at(self, other: "Place") -> bool:
        """Return whether both mean the same plane of the same layer."""
        return self.layer is other.layer and (self.name, self.plane) == (other.name, other.plane)


class StrokeKeeper:
    """Follows what is painted on; all methods and signals belong to the GUI thread."""

    current_changed = Signal()
    """Another image is painted on now."""
    soft_labels_written = Signal(str)
    """The soft labels of this image are on disk."""

    def __init__(
        self, session: ScribbleSession, loop: SolveLoop, project: Project, files: Worker, slow: Worker
    ) -> None:
        """Write strokes with the worker `files`, and what takes long with `slow`."""
        self.session = session
        self.project = project
        self.current: str | None = None
        """Name of the image that is painted on, None if it is not of the project."""
        self.classes = ClassKeeper(session, project)
        self.autosave = self.classes.autosave = Autosave(files, self._write)
        self._loop = loop
        self._files, self._slow = files, slow
        self._place: Place | None = None
        self._held = False
        self._solved: tuple[str, Solution] | None = None
        self._take_timer = _timer(0, self._on_take)  # a burst of strokes is one write
        self._soft_timer = _timer(SOFT_MS, self.write_soft)
        self._links = (
            (session.touched, self._on_touched),
            (session.image_chosen, self.follow),
            (session.layers_changed, self.follow),
            (session.classes.changed, self._on_classes_changed),
            (loop.solved, self.keep_solution),
        )
        for signal, slot in self._links:
            signal.connect(slot)

    @property
    def busy(self) -> bool:
        """Whether strokes may have changed that nobody looked at yet."""
        return self._take_timer.isActive()

    @contextmanager
    def holding(self, name: str, strokes: Strokes) -> Iterator[None]:
        """Let go of what is painted on while layers change, and then follow: their strokes are known."""
        self.leave()
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.follow()
        if self._place is not None and self._place.name == name:
            self._place.taken = strokes

    def follow(self) -> None:
        """Find out which image of the project is painted on now, and keep its strokes from now on."""
        if self._held:
            return
        name, here = self._here()
        before = self._place
        if here is None or before is None or not here.is_at(before):
            self.leave()
            if here is not None:
                self._come(here)
        if name != self.current:
            self.current = name
            self.current_changed.emit()

    def take(self) -> None:
        """Hand the strokes to the worker if they changed."""
        here = self._place
        if here is None or here.taken is None or self.project.read_only:
            return
        now = np.asarray(here.layer.data[here.plane.index])
        if np.array_equal(now, here.taken):
            return
        values = [value for value in stroke_counts(now) if 0 < value <= MAX_CLASS_VALUE]
        if self.session.scribbles is here.layer:
            self.session.classes.restore(values)  # a label that a person chose in napari's own controls
        here.taken = now.copy()
        self.autosave.put(here.name, here.taken)

    def paint(self, name: str, strokes: Strokes, stored: Strokes) -> None:
        """Paint strokes over those of an image; if it is painted on now, undo takes them away again.

        Parameters
        ----------
        name
            Of the image.
        strokes
            (H, W) class values in the viewer, 0 where the image keeps what it has.
        stored
            (H, W), what is on disk.
        """
        here = self._place
        if here is None or here.name != name:
            stored = self.autosave.pending.get(name, stored)
            self.autosave.put(name, np.where(strokes != 0, strokes, stored))
            return
        now = np.asarray(here.layer.data[here.plane.index])
        pixels = np.nonzero((strokes != 0) & (strokes != now))
        along = iter(pixels)
        index = tuple(next(along) if isinstance(at, slice) else at for at in here.plane.index)
        here.layer.data_setitem(index, strokes[pixels])

    def put_classes(self) -> None:
        """Hand the classes to the worker if they changed."""
        here = self._place
        if here is not None:
            self.classes.put(here.name, here.layer, np.asarray(here.layer.data[here.plane.index]))

    def leave(self) -> None:
        """Hand over what changed, and keep nothing any more until the next :meth:`follow`."""
        self.take()
        self.write_soft()
        self._place = None

    def keep_solution(self, result: SolveResult) -> None:
        """Write the soft labels of a solve in a while, if it is one of what is painted on."""
        here = self._place
        if here is None or (image_id(here.image), here.plane) != (result.job.image_id, result.job.plane):
            return
        self._solved = here.name, result.solution
        self._soft_timer.start()

    def write_soft(self) -> None:
        """Hand the soft labels of the last solve to the worker if they are not written yet."""
        self._soft_timer.stop()
        solved, self._solved = self._solved, None
        if solved is not None and not self.project.read_only:
            written = partial(self._on_soft_written, solved[0])
            self._slow.run(partial(_write_soft, self.project, *solved), written)

    def close(self) -> None:
        """Let go of the session; nothing is taken any more."""
        for signal, slot in self._links:
            signal.disconnect(slot)
        self._take_timer.stop()
        self._soft_timer.stop()
        self.autosave.close()
        self._place = None

    def _here(self) -> tuple[str | None, Place | None]:
        """Return the name of the image that is painted on, and where its strokes are if it has any."""
        image, layer = self.session.image, self.session.scribbles
        if image is None:
            return None, None
        try:
            require_plane_image(image)
            plane = visible_plane(image, self.session.viewer.dims)
        except InputError:
            return None, None
        name = linked_name(image, self.project.path, plane_key(plane))
        if name is None or layer is None or tuple(layer.data.shape) != grid_shape(image):
            return name, None
        return name, Place(name, image, layer, plane)

    def _come(self, here: Place) -> None:
        """Keep the strokes of a place: a layer that came empty takes up what is on disk."""
        self.session.classes.reset(self.classes.classes)
        self._place = here
        self.put_classes()  # there were fewer than two
        if self.project.read_only:
            here.layer.editable = False  # what is painted would be lost
        elif not self._held:
            empty = not np.any(here.layer.data[here.plane.index])
            task = partial(read_strokes, self.project, here.name)
            self._files.run(task, partial(self._on_strokes_read, here, empty))

    def _on_strokes_read(self, here: Place, empty: bool, stored: Strokes) -> None:
        if here.taken is not None or self._place is not here:
            return
        stored = self.autosave.pending.get(here.name, stored)
        now = np.asarray(here.layer.data[here.plane.index])
        if empty and stored.shape == now.shape and (stored[now == 0] != 0).any():
            here.layer.data[here.plane.index] = np.where(now == 0, stored, now)
            here.layer.refresh()
        here.taken = stored
        self.take()

    def _write(self, key: str, value: Any) -> None:
        """Write classes or strokes; called in the worker's thread."""
        if key == CLASSES:
            self.classes.write(value)
        else:
            self.project.write_scribbles(key, from_viewer(value, self.project.manifest.unlabelled))

    def _on_soft_written(self, name: str, error: InputError | None) -> None:
        if error is None:
            self.soft_labels_written.emit(name)
        elif not self.autosave.pending:  # else strokes had the same trouble: one message
            self._slow.failed.emit(error)

    def _on_touched(self) -> None:
        if not self._take_timer.isActive():  # while a person goes on painting, it is saved all the same
            self._take_timer.start(round(1000 * preferences().autosave_seconds))

    def _on_take(self) -> None:
        self.follow()
        self.take()

    def _on_classes_changed(self) -> None:
        if self._place is not None and self.session.scribbles is self._place.layer:
            self.put_classes()


def read_strokes(project: Project, name: str) -> Strokes:
    """Return the strokes of an image in the viewer's values; called in a worker's thread."""
    return to_viewer(project.read_scribbles(name), project.manifest.unlabelled)


def _write_soft(project: Project, name: str, solution: Solution) -> InputError | None:
    """Write soft labels with a channel for every class of the project; called in a worker's thread.

    Returns why they cannot be written.
    """
    manifest = project.manifest
    values = [one.value for one in classes_to_viewer(manifest)]
    if name not in project.names or not set(solution.classes) <= set(values):
        return None  # removed since they were solved
    probabilities = np.zeros((len(values), *solution.probabilities.shape[1:]), np.float32)
    probabilities[[values.index(value) for value in solution.classes]] = solution.probabilities
    try:
        project.write_soft_labels(name, soft_labels_from_viewer(probabilities, manifest))
    except InputError as error:
        return error
    return None


def _timer(milliseconds: int, slot: Any) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(slot)
    return timer
