"""The project that a person works in: its images one after another, every stroke on disk at once."""

import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels
from psygnal import Signal
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_softseg.errors import InputError
from napari_softseg.project import ImageStatus, Project, create_project, open_project
from napari_softseg.widgets.autosave import Worker
from napari_softseg.widgets.channels import channel_axis
from napari_softseg.widgets.classes import ClassList
from napari_softseg.widgets.planes import Plane, require_plane_image, visible_plane
from napari_softseg.widgets.project_classes import kept_classes, merge_classes, translate_strokes
from napari_softseg.widgets.project_layers import (
    link,
    linked_image,
    linked_name,
    plane_key,
    put_on_stage,
    release_layers,
    replace_strokes,
    turn_to,
)
from napari_softseg.widgets.project_names import free_name
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.stroke_keeper import CLASSES, StrokeKeeper, Strokes

SLICE_SECONDS = 0.2
"""How long the worker counts strokes before the list shows what it has."""

CURRENT = "current_image"
"""Among the settings of a project: the image it is opened with."""


class ProjectSession:
    """An open project in the viewer, without a view.

    Files are read and written in worker threads; strokes that cannot be written stay in memory and are
    tried again. All methods and signals belong to the GUI thread.
    """

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

    def __init__(self, session: ScribbleSession, loop: SolveLoop) -> None:
        self.session = session
        self.loop = loop
        self.statuses: dict[str, ImageStatus] = {}
        """What is known of the images so far, by name."""
        self.order: Sequence[str] = ()
        """In which order :meth:`step` goes through the images, where not that of the project."""
        self._open: _Open | None = None
        self._wanted: str | None = None
        self._uncounted: list[str] = []

    @property
    def project(self) -> Project | None:
        """The open project."""
        return None if self._open is None else self._open.project

    @property
    def current(self) -> str | None:
        """Name of the image that is painted on, None if it is not of the project."""
        return None if self._open is None else self._open.keeper.current

    @property
    def names(self) -> list[str]:
        """Of the images, in the order of :meth:`step`."""
        names = [] if self.project is None else self.project.names
        ordered = [name for name in self.order if name in names]
        return ordered + [name for name in names if name not in ordered]

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        now = self._open
        return now is not None and (now.files.busy or now.slow.busy or now.keeper.busy)

    # ---- the project

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
        self._adopt(create_project(path, kept_classes(classes)))

    def flush(self) -> None:
        """Wait until everything drawn is on disk.

        Raises
        ------
        InputError
            If it cannot be written; it stays in memory, and is tried again.
        """
        if self._open is not None:
            self._open.keeper.take()
            self._open.keeper.autosave.flush()

    def close(self) -> None:
        """Write what is left, and let go of the project; the layers stay, and are the person's own."""
        now = self._open
        if now is None:
            return
        now.keeper.leave()
        try:
            now.keeper.autosave.flush()
        except InputError as error:
            self.failed.emit(error)
        self._remember(now.project, now.keeper.current)
        now.keeper.close()
        now.slow.close()
        now.files.close()
        now.project.close()
        release_layers(self.session.viewer)
        self._open = self._wanted = None
        self.statuses, self._uncounted, self.order = {}, [], ()
        self.opened.emit()
        self.images_changed.emit()
        self.current_changed.emit()

    # ---- its images

    def add_open_image(self) -> None:
        """Take the plane that is painted on, with its strokes, into the project.

        Raises
        ------
        InputError
            If there is none, it is there already, or nothing may be written.
        """
        now = self._writable()
        image, layer = self.session.image, self.session.scribbles
        if image is None:
            raise InputError("There is no image to add: open one, or File > Open Sample.")
        require_plane_image(image)
        plane = visible_plane(image, self.session.viewer.dims)
        name = linked_name(image, now.project.path, plane_key(plane))
        if name is not None:
            raise InputError(f"{image.name!r} is in the project already, as {name!r}.")
        name = free_name(f"{image.name} {plane.text}".strip(), now.project.names)
        strokes = None
        if layer is not None:
            self._take_up_classes(now, layer)
            strokes = np.array(layer.data[plane.index], np.uint8)
        pixels = _all_channels(image, plane)
        self.status_changed.emit(f"Adding {name!r}…")
        task = partial(now.project.add_image, pixels, name=name)
        now.slow.run(task, lambda _: self._on_open_image_added(now, image, plane, name, strokes))

    def add_files(self, paths: Iterable[str | os.PathLike[str]], *, copy: bool = True) -> None:
        """Take image files into the project; each appears in the list as soon as it is there.

        Parameters
        ----------
        paths
            Image files.
        copy
            Whether to copy them; else the project refers to them where they lie.

        Raises
        ------
        InputError
            If there is no project, or nothing may be written.
        """
        now = self._writable()
        for path in map(Path, paths):
            now.slow.run(partial(now.add_file, path, copy=copy), self._on_file_added)

    def show(self, name: str) -> None:
        """Show an image of the project and paint on it; it is there once its file is read.

        Raises
        ------
        InputError
            If there is no such image.
        """
        now = self._opened()
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
        idle = not self._uncounted
        self._uncounted = list(dict.fromkeys([*self._uncounted, *(self.names if names is None else names)]))
        if idle and self._uncounted:
            self._count_some()

    def _opened(self) -> "_Open":
        if self._open is None:
            raise InputError("No project is open: press New or Open in the Project dock.")
        return self._open

    def _writable(self) -> "_Open":
        now = self._opened()
        if now.project.read_only:
            raise InputError(f"Nothing can be written to {now.project.path}: {now.project.read_only}.")
        return now

    def _adopt(self, project: Project) -> None:
        self.close()
        now = self._open = _Open(self.session, self.loop, project)
        for worker in (now.files, now.slow):
            worker.failed.connect(self.failed.emit)
        now.keeper.autosave.saved.connect(self._on_saved)
        now.keeper.autosave.failed.connect(self.failed.emit)
        now.keeper.current_changed.connect(self.current_changed.emit)
        self.opened.emit()
        self.images_changed.emit()
        self.refresh()

    def _remember(self, project: Project, current: str | None) -> None:
        settings = project.manifest.settings
        if current is None or project.read_only or settings.get(CURRENT) == current:
            return
        try:
            project.change(settings={**settings, CURRENT: current})
        except InputError:  # a full disk; a person has been told
            return

    def _take_up_classes(self, now: "_Open", layer: Labels) -> None:
        """Count the classes of a layer as the project does, which gets those that it lacks."""
        if now.project.names:
            classes, values = merge_classes(now.keeper.classes, self.session.classes)
            if any(before != after for before, after in values.items()):
                replace_strokes(layer, translate_strokes(np.asarray(layer.data), values))
            self.session.classes.reset(classes)
        now.keeper.put_classes()

    def _on_open_image_added(
        self, now: "_Open", image: Image, plane: Plane, name: str, strokes: Strokes | None
    ) -> None:
        link(image, now.project.path, name, plane_key(plane))
        if strokes is not None and strokes.any():
            now.keeper.autosave.put(name, strokes)
        now.keeper.follow()
        self.images_changed.emit()
        self.refresh([name])
        self.status_changed.emit(f"{name!r} is in the project now.")

    def _on_file_added(self, name: str) -> None:
        self.images_changed.emit()
        self.refresh([name])
        self.status_changed.emit(f"{name!r} is in the project now.")
        if self.current is None and self._wanted is None:
            self.show(name)

    def _put(self, now: "_Open", name: str, read: tuple[npt.NDArray[Any], Strokes]) -> None:
        """Put an image that was read into the viewer, unless something else is wanted by now."""
        if self._open is not now or self._wanted != name:
            return
        if QApplication.mouseButtons() != Qt.MouseButton.NoButton:  # a stroke is not torn in two
            QTimer.singleShot(50, partial(self._put, now, name, read))
            return
        self._wanted = None
        pixels, strokes = read
        strokes = now.keeper.autosave.pending.get(name, strokes)
        classes = ClassList()
        classes.reset(now.keeper.classes)
        with now.keeper.holding(name, strokes):
            put_on_stage(self.session, now.project.path, name, pixels, strokes.copy(), classes)

    def _on_saved(self, key: str) -> None:
        if key != CLASSES:
            self.refresh([key])
        self.saved.emit(key)

    def _count_some(self) -> None:
        now = self._open
        if now is not None:
            now.slow.run(partial(_statuses, now.project, list(self._uncounted)), self._on_counted)

    def _on_counted(self, found: dict[str, ImageStatus | None]) -> None:
        for name, status in found.items():
            if status is not None:
                self.statuses[name] = status
        self._uncounted = [name for name in self._uncounted if name not in found]
        self.images_changed.emit()
        if self._uncounted:
            self._count_some()


class _Open:
    """All that lives as long as one project is open."""

    def __init__(self, session: ScribbleSession, loop: SolveLoop, project: Project) -> None:
        self.project = project
        self.files, self.slow = Worker("files"), Worker("slow")
        self.keeper = StrokeKeeper(session, loop, project, self.files, self.slow)

    def add_file(self, path: Path, *, copy: bool) -> str:
        """Add an image file under a free name, and return that; called in a worker's thread."""
        name = free_name(path.stem.removesuffix(".ome"), self.project.names)
        self.project.add_image(path, name=name, copy=copy)
        return name


def _read(project: Project, name: str) -> tuple[npt.NDArray[Any], Strokes]:
    return project.read_image(name), project.read_scribbles(name)


def _statuses(project: Project, names: Sequence[str]) -> dict[str, ImageStatus | None]:
    """Return what is known of the first of these images, and of as many more as there is time for."""
    found: dict[str, ImageStatus | None] = {}
    end = time.monotonic() + SLICE_SECONDS
    for name in names:
        found[name] = project.status(name) if name in project.names else None
        if time.monotonic() > end:
            break
    return found


def _all_channels(image: Image, plane: Plane) -> npt.NDArray[Any]:
    """Return a copy of a plane with all its channels but alpha: (H, W) or (H, W, C)."""
    if channel_axis(image) is not None:
        return np.ascontiguousarray(np.moveaxis(image.data[(slice(None), *plane.index)], 0, -1))
    pixels = np.array(image.data[plane.index])
    return pixels[..., :3] if image.rgb else pixels
