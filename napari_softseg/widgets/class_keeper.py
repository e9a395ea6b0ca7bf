"""Keeps the classes that a person paints, and those of the project, the same."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from psygnal import Signal

from napari_softseg.project import Project
from napari_softseg.project.manifest import ProjectClass
from napari_softseg.project.removal import RemovedClass
from napari_softseg.project.viewer_values import (
    classes_from_viewer,
    classes_to_viewer,
    swapped_value,
    to_viewer,
)
from napari_softseg.widgets.autosave import Autosave
from napari_softseg.widgets.classes import ScribbleClass
from napari_softseg.widgets.project_classes import kept_classes, shown_classes
from napari_softseg.widgets.project_layers import linked_names
from napari_softseg.widgets.session import ScribbleSession

CLASSES = ""
"""Key of the classes among what is saved; the others are names of images, which are never empty."""


@dataclass(frozen=True, slots=True, eq=False)
class _Erased:
    """Strokes of the image that was painted on, erased with their class."""

    one: ScribbleClass
    image: str
    layer: Labels
    painted: npt.NDArray[np.bool_]


class ClassKeeper:
    """Hands classes to the project, and asks before strokes in other images are erased with one.

    All methods and signals belong to the GUI thread, but for :meth:`write`.
    """

    removal_asked = Signal(int, str, list)
    """A class was removed that other images have strokes of: its value, name and those images.
    Answer with :meth:`confirm` or :meth:`bring_back`; until then the project keeps it."""

    def __init__(self, session: ScribbleSession, project: Project) -> None:
        self.autosave: Autosave
        """Set by who makes it."""
        self.painted_in: Callable[[int], list[str]] = lambda _: []
        """Returns the images that have strokes of a class."""
        self._session = session
        self._project = project
        self._asked: dict[int, _Erased] = {}
        self._confirmed: dict[int, _Erased] = {}
        self._removed: dict[int, RemovedClass] = {}
        self._wanted_back: set[int] = set()

    @property
    def classes(self) -> list[ScribbleClass]:
        """Of the project, as the viewer counts them."""
        pending: Iterable[ProjectClass] | None = self.autosave.pending.get(CLASSES)
        return shown_classes(classes_to_viewer(self._project.manifest) if pending is None else pending)

    def put(self, image: str, layer: Labels, strokes: npt.NDArray[np.integer]) -> None:
        """Hand the classes of the session to the project.

        Parameters
        ----------
        image
            The image of the project that is painted on.
        layer
            Its scribbles layer.
        strokes
            (H, W) class values that the layer shows of it.
        """
        if self._project.read_only:
            return
        before, now = self.classes, {one.value: one for one in self._session.classes}
        for one in before:
            if one.value in now:
                self._asked.pop(one.value, None)
                continue
            others = [name for name in self.painted_in(one.value) if name != image]
            if others and one.value not in self._asked:
                self._asked[one.value] = _Erased(one, image, layer, strokes == one.value)
                self.removal_asked.emit(one.value, one.name, others)
            if one.value in self._asked:
                now[one.value] = one
        known = {one.value for one in before}
        self._wanted_back.update(value for value in now.keys() - known if (strokes == value).any())  # an undo
        kept = kept_classes(now[value] for value in sorted(now))
        if kept != kept_classes(before):
            self.autosave.put(CLASSES, kept)

    def replace(self, classes: Iterable[ScribbleClass]) -> None:
        """Give the project, and what is painted on of it, these classes."""
        classes = list(classes)
        kept = kept_classes(classes)
        if kept != kept_classes(self.classes):
            self.autosave.put(CLASSES, kept)
        image = self._session.image
        if image is not None and linked_names(image, self._project.path):
            self._session.classes.reset(classes)

    def confirm(self, value: int) -> None:
        """Remove a class from the project, with its strokes in all images."""
        erased = self._asked.pop(value, None)
        if erased is not None:
            self._confirmed[value] = erased
            self.autosave.put(CLASSES, kept_classes(one for one in self.classes if one.value != value))

    def bring_back(self, value: int) -> None:
        """Bring back a class that was removed, and its strokes in all images."""
        erased = self._asked.pop(value, None) or self._confirmed.pop(value, None)
        if erased is None:
            return
        self._wanted_back.add(value)
        self._session.classes.restore([value])
        kept = {one.value: one for one in [*self.classes, erased.one]}
        self.autosave.put(CLASSES, kept_classes(kept[key] for key in sorted(kept)))
        self._paint_back(erased)

    def write(self, classes: tuple[ProjectClass, ...]) -> None:
        """Write the classes, and erase or bring back strokes accordingly; called in a worker's thread."""
        unlabelled = self._project.manifest.unlabelled
        wanted = classes_from_viewer(list(classes), unlabelled)
        values = {one.value for one in wanted}
        known = {one.value for one in self._project.manifest.classes}
        for value in known - values:
            self._removed[value] = self._project.remove_class(value)
        for value in values - known:
            removed, back = self._removed.get(value), swapped_value(value, unlabelled) in self._wanted_back
            if removed is not None and back:
                self._project.restore_class(removed)
                del self._removed[value]
        self._wanted_back.difference_update(swapped_value(value, unlabelled) for value in values)
        self._project.change(classes=wanted)

    def _paint_back(self, erased: _Erased) -> None:
        """Bring back what was erased in the image that was painted on then."""
        if self._shows(erased):
            back = erased.painted & (np.asarray(erased.layer.data) == 0)
            erased.layer.data_setitem(np.nonzero(back), erased.one.value)
        elif erased.painted.any():
            unlabelled = self._project.manifest.unlabelled
            stored = to_viewer(self._project.read_scribbles(erased.image), unlabelled)
            strokes = self.autosave.pending.get(erased.image, stored)
            value = np.uint8(erased.one.value)
            self.autosave.put(erased.image, np.where(erased.painted & (strokes == 0), value, strokes))

    def _shows(self, erased: _Erased) -> bool:
        """Return whether the layer is still there, with the same image."""
        image = self._session.image
        here = self._session.scribbles is erased.layer and image is not None
        names = [] if image is None else linked_names(image, self._project.path)
        return here and erased.image in names and erased.layer.data.shape == erased.painted.shape
