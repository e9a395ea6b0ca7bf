"""Which project is open in the viewer, and which of its images: no view of its own."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
from psygnal import Signal
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_softseg.errors import InputError
from napari_softseg.pixel_size import PixelSize
from napari_softseg.project import ImageStatus, Project, create_project, open_project
from napari_softseg.widgets.classes import ClassList, ScribbleClass
from napari_softseg.widgets.keys import bind_image_keys, unbind_image_keys
from napari_softseg.widgets.open_project import CURRENT, OpenProject
from napari_softseg.widgets.project_classes import kept_classes
from napari_softseg.widgets.project_layers import linked_image, put_on_stage, release_layers, relink, turn_to
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.stroke_keeper import Strokes, read_strokes

_Read = tuple[npt.NDArray[Any], Strokes, PixelSize | None] | str | InputError
"""Pixels and strokes of an image and how large a pixel is, or what is wrong with it."""


class ProjectBrowser:
    """Which project is open, and which of its images is in the viewer.

    Files are read and written in worker threads; strokes that cannot be written stay in memory and are
    tried again. All methods and signals belong to the GUI thread.
    """

    leaving = Signal()
    """The project that is open will be closed; it can still be written."""
    opened = Signal()
    """Another project is open now, or none."""
    images_changed = Signal()
    """Images came or went, or what is known of them changed."""
    current_changed = Signal()
    """Another image is painted on now."""
    saved = Signal(str)
    """The strokes of this image are on disk; an empty name stands for the classes."""
    failed = Signal(object)
    """An exception that a person has to see."""
    status_changed = Signal(str)
    """One line about what goes on."""
    trouble = Signal(str, str)
    """An image cannot be shown as it is: its name, and what is wrong with its file. Answer with
    :meth:`relocate`, :meth:`keep` or :meth:`remove`."""
    removal_asked = Signal(int, str, list)
    """A class was removed that other images have strokes of: its value, name and those images. Answer with
    :meth:`confirm_class_removal` or :meth:`bring_class_back`; until then the project keeps it."""

    def __init__(self, session: ScribbleSession, loop: SolveLoop) -> None:
        self.session = session
        self.loop = loop
        self.order: Sequence[str] = ()
        """In which order :meth:`step` goes through the images, where not that of the project."""
        self.now: OpenProject | None = None
        """What lives as long as the open project."""
        self.goes_on = False
        """Whether the open project was just made, or copied from the one before: the options in use stay so."""
        self.undoable: list[tuple[str, Callable[[], None]]] = []
        """What was removed from the project, the latest last, each with what brings it back."""
        self._wanted: str | None = None

    @property
    def project(self) -> Project | None:
        """The open project."""
        return None if self.now is None else self.now.project

    @property
    def current(self) -> str | None:
        """Name of the image that is painted on, None if it is not of the project."""
        return None if self.now is None else self.now.keeper.current

    @property
    def statuses(self) -> dict[str, ImageStatus]:
        """What is known of the images so far, by name."""
        return {} if self.now is None else self.now.statuses

    @property
    def classes(self) -> list[ScribbleClass]:
        """Of the project, as the viewer counts them."""
        return [] if self.now is None else self.now.keeper.classes.classes

    @property
    def names(self) -> list[str]:
        """Of the images, in the order of :meth:`step`."""
        names = [] if self.project is None else self.project.names
        ordered = [name for name in self.order if name in names]
        return ordered + [name for name in names if name not in ordered]

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        now = self.now
        return self._wanted is not None or (now is not None and now.busy)

    def open(self, path: str | os.PathLike[str]) -> None:
        """Open a project folder in place of the one that is open, and show the image last worked on.

        Raises
        ------
        InputError
            If it is none; the one that is open stays so.
        """
        if self.project is not None and Path(path).resolve() == self.project.path.resolve():
            return
        project = open_project(path)
        self._adopt(project)
        if project.names:
            last = project.manifest.settings.get(CURRENT)
            self.show(last if last in project.names else project.names[0])

    def create(self, path: str | os.PathLike[str]) -> None:
        """Make a project folder with the classes that are painted now, and open it.

        Raises
        ------
        InputError
            If the folder holds something, or cannot be made.
        """
        classes = ClassList()
        classes.reset(self.session.classes)
        self._adopt(create_project(path, kept_classes(classes)), goes_on=True)

    def save_as(self, path: str | os.PathLike[str]) -> None:
        """Copy the project to another folder, and go on there once it is copied; this one stays as it is.

        Raises
        ------
        InputError
            If there is none. What comes later, such as a full disk, is told by `failed`.
        """
        now = self.open_now()
        now.keeper.take()
        now.keeper.autosave.recent.clear()
        self.status_changed.emit(f"Copying the project to {path}…")
        now.files.run(partial(now.project.save_as, path), partial(self._on_copied, now))

    def flush(self) -> None:
        """Wait until everything drawn is on disk.

        Raises
        ------
        InputError
            If it cannot be written; it stays in memory, and is tried again.
        """
        if self.now is not None:
            self.now.keeper.take()
            self.now.keeper.autosave.flush()

    def close(self) -> None:
        """Write what is left, and let go of the project; the layers stay, and are the person's own."""
        if self.now is not None:
            self._let_go(self.now)
            release_layers(self.session.viewer)
            self.opened.emit()
            self.images_changed.emit()
            self.current_changed.emit()

    def show(self, name: str) -> None:
        """Show an image of the project and paint on it; it is there once its file is read.

        Raises
        ------
        InputError
            If there is no such image.
        """
        now = self.open_now()
        now.project.manifest.image(name)
        now.keeper.take()
        self._wanted = None
        own = linked_image(self.session.viewer, now.project.path, name)
        if own is not None:
            turn_to(self.session, own, self.session.image)
        elif name != self.current or self.session.scribbles is None:
            self._wanted = name
            now.files.run(partial(_read, now.project, name), partial(self._put, now, name))

    def step(self, by: int) -> None:
        """Show the image `by` places further down the list, around its end."""
        names = self.names
        at = self._wanted or self.current
        if names:
            self.show(names[(names.index(at) + by) % len(names)] if at in names else names[0])

    def refresh(self, names: Iterable[str] | None = None) -> None:
        """Find out again what there is to know of these images, or of all."""
        if self.now is not None:
            self.now.count(self.names if names is None else names)

    def open_now(self) -> OpenProject:
        """Return what lives as long as the open project; InputError if none is open."""
        if self.now is None:
            raise InputError("No project is open: press New or Open in the Project dock.")
        return self.now

    def writable(self) -> OpenProject:
        """Return the same; InputError also if nothing may be written."""
        now = self.open_now()
        if now.project.read_only:
            raise InputError(f"Nothing can be written to {now.project.path}: {now.project.read_only}.")
        return now

    def _let_go(self, now: OpenProject) -> None:
        self.leaving.emit()
        unbind_image_keys(self.session.viewer)
        self.now, self._wanted = None, None
        self.order, self.undoable = (), []
        error = now.close()
        if error is not None:
            self.failed.emit(error)

    def _adopt(self, project: Project, *, goes_on: bool = False) -> None:
        self.close()
        self.goes_on = goes_on
        now = self.now = OpenProject(self.session, self.loop, project)
        for signal in (now.files.failed, now.slow.failed, now.keeper.autosave.failed):
            signal.connect(self.failed.emit)
        now.keeper.autosave.saved.connect(self.saved.emit)
        now.slow.told.connect(self.status_changed.emit)
        # psygnal calls a bare `emit` when it is connected, to see how many arguments it takes
        now.keeper.classes.removal_asked.connect(lambda *asked: self.removal_asked.emit(*asked))
        now.keeper.current_changed.connect(lambda: self.current_changed.emit())
        now.counted.connect(lambda: self.images_changed.emit())
        bind_image_keys(self.session.viewer, self.step)
        self.opened.emit()
        self.images_changed.emit()
        self.refresh()

    def _on_copied(self, now: OpenProject, copy: Project) -> None:
        """Go on in a copy of the project, with what was painted while it was made."""
        if self.now is not now:
            copy.close()
            return
        now.keeper.take()
        later, name = dict(now.keeper.autosave.recent), self.current
        self._let_go(now)
        relink(self.session.viewer, now.project.path, copy.path)
        self._adopt(copy, goes_on=True)
        self.now.histories = now.histories
        for key, value in later.items():
            self.now.keeper.autosave.put(key, value)
        self.now.keeper.follow()
        if self.current is None and name is not None:
            self.show(name)
        self.status_changed.emit(f"The project is {copy.path} now.")

    def _put(self, now: OpenProject, name: str, read: _Read) -> None:
        """Put an image that was read into the viewer, unless something else is wanted by now."""
        if self.now is not now or self._wanted != name:
            return
        if QApplication.mouseButtons() != Qt.MouseButton.NoButton:  # a stroke is not torn in two
            QTimer.singleShot(50, partial(self._put, now, name, read))
            return
        self._wanted = None
        if isinstance(read, Exception):
            self.failed.emit(read)
        elif isinstance(read, str):
            self.status_changed.emit(f"{name!r}: {read}")
            self.refresh([name])
            self.trouble.emit(name, read)
        else:
            pixels, strokes, size = read
            strokes = now.keeper.autosave.pending.get(name, strokes)
            classes = ClassList()
            classes.reset(now.keeper.classes.classes)
            with now.keeper.holding(name, strokes):
                put_on_stage(
                    self.session, now.project.path, name, pixels, size, strokes.copy(), classes, now.histories
                )


def _read(project: Project, name: str) -> _Read:
    """Return what there is to show of an image, or what is wrong with it; called in a worker's thread."""
    try:
        problem = project.check(name)
        if problem:
            return problem
        size = project.manifest.image(name).pixel_size
        return project.read_image(name), read_strokes(project, name), size
    except InputError as error:
        return error
