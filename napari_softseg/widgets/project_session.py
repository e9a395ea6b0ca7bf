"""The project that a person works in: its images one after another, every stroke on disk at once."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
from psygnal import Signal
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_softseg.errors import InputError
from napari_softseg.project import ImageStatus, Project, RemovedImage, create_project, open_project
from napari_softseg.project.label_export import Kind
from napari_softseg.widgets import keys
from napari_softseg.widgets.classes import ClassList, ScribbleClass
from napari_softseg.widgets.open_project import CURRENT, OpenProject
from napari_softseg.widgets.project_classes import kept_classes
from napari_softseg.widgets.project_intake import OpenImage, import_strokes, take_open_image
from napari_softseg.widgets.project_layers import (
    forget_name,
    link,
    linked_image,
    plane_key,
    put_on_stage,
    release_layers,
    relink,
    turn_to,
)
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_job import SolveResult
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.stroke_keeper import Strokes, read_strokes

_Read = tuple[npt.NDArray[Any], Strokes] | str | InputError
"""Pixels and strokes of an image, or what is wrong with it."""


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
        self.undoable: list[tuple[str, Callable[[], None]]] = []
        """What was removed from the project, the latest last, each with what brings it back."""
        self._wanted: str | None = None
        self._solved: SolveResult | None = None
        session.key_pressed.connect(self._on_key)
        loop.solved.connect(self._on_solved)

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

    # ---- its images

    def add_open_image(self) -> None:
        """Take the plane that is painted on, with its strokes, into the project.

        Raises
        ------
        InputError
            If there is none, it is there already, or nothing may be written.
        """
        now = self.writable()
        added = take_open_image(self.session, now)
        self.status_changed.emit(f"Adding {added.name!r}…")
        task = partial(now.project.add_image, added.pixels, name=added.name)
        now.slow.run(task, lambda _: self._on_open_image_added(now, added))

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
        now = self.writable()
        for path in map(Path, paths):
            now.slow.run(partial(now.add_file, path, copy=copy), self._on_file_added)

    def import_strokes(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Paint strokes that other programs wrote over those of the images of the same name.

        A single file of another name is for the image that is painted on, where undo takes it away again.

        Raises
        ------
        InputError
            If it is not clear which image a file is for, or nothing may be written. What is wrong with a
            file is told by `failed`.
        """
        import_strokes(self.writable(), map(Path, paths), self.current)

    def export(self, folder: str | os.PathLike[str], kinds: Collection[Kind]) -> None:
        """Write labels, soft labels or masks of all images that have soft labels to a folder.

        Raises
        ------
        InputError
            If no project is open. What is wrong with the folder is told by `failed`.
        """
        now = self.open_now()
        now.keeper.take()
        now.keeper.write_soft()
        now.slow.run(partial(now.export, Path(folder), kinds), self.status_changed.emit)

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

    def remove(self, name: str) -> None:
        """Take an image out of the project; its files are kept aside, and undoing brings it back.

        Raises
        ------
        InputError
            If there is no such image, or nothing may be written.
        """
        now = self.writable()
        now.project.manifest.image(name)
        names, was_current = self.names, name == self.current
        after = names[(names.index(name) + 1) % len(names)]
        now.keeper.leave()
        forget_name(self.session.viewer, now.project.path, name)
        now.keeper.follow()

        def removed(gone: RemovedImage) -> None:
            self.undoable.append((f"remove {name!r}", partial(self._restore, now, gone)))
            now.statuses.pop(name, None)
            self.images_changed.emit()
            self.status_changed.emit(f"{name!r} was taken out of the project.")
            if was_current and after != name:
                self.show(after)

        now.files.run(partial(now.project.remove_image, name), removed)

    def relocate(self, name: str, path: str | os.PathLike[str]) -> None:
        """Take the file at `path` for an image whose file is gone or changed, and show it.

        Raises
        ------
        InputError
            If nothing may be written. What is wrong with the file is told by `failed`.
        """
        now = self.writable()

        def relocated(remark: str) -> None:
            if remark:
                self.status_changed.emit(f"{remark}.")
            self.refresh([name])
            self.show(name)

        now.files.run(partial(now.project.relocate, name, path), relocated)

    def keep(self, name: str) -> None:
        """Go on with the file of an image as it is by now, and show it.

        Raises
        ------
        InputError
            If there is no such image, or nothing may be written.
        """
        self.relocate(name, self.open_now().project.image_path(name))

    def undo(self) -> None:
        """Bring back what was last removed from the project."""
        if self.undoable:
            _, bring_back = self.undoable.pop()
            bring_back()
            self.images_changed.emit()

    def confirm_class_removal(self, value: int) -> None:
        """Remove a class from the project, with its strokes in all images."""
        keeper = self.open_now().keeper.classes
        name = next((one.name for one in keeper.classes if one.value == value), str(value))
        keeper.confirm(value)
        self.undoable.append((f"remove class {name!r}", partial(keeper.bring_back, value)))
        self.images_changed.emit()

    def bring_class_back(self, value: int) -> None:
        """Let a class that was removed, and its strokes, be there as before."""
        self.open_now().keeper.classes.bring_back(value)

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

    def _on_key(self, action: str) -> None:
        steps = {keys.PREVIOUS_IMAGE: -1, keys.NEXT_IMAGE: +1}
        if self.now is not None and action in steps:
            self.step(steps[action])

    def _on_solved(self, result: SolveResult) -> None:
        self._solved = result  # of an image that may be taken into the project later

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
        self.now, self._wanted = None, None
        self.order, self.undoable = (), []
        error = now.close()
        if error is not None:
            self.failed.emit(error)

    def _adopt(self, project: Project) -> None:
        self.close()
        now = self.now = OpenProject(self.session, self.loop, project)
        for signal in (now.files.failed, now.slow.failed, now.keeper.autosave.failed):
            signal.connect(self.failed.emit)
        now.keeper.autosave.saved.connect(self.saved.emit)
        now.slow.told.connect(self.status_changed.emit)
        # psygnal calls a bare `emit` when it is connected, to see how many arguments it takes
        now.keeper.classes.removal_asked.connect(lambda *asked: self.removal_asked.emit(*asked))
        now.keeper.current_changed.connect(lambda: self.current_changed.emit())
        now.counted.connect(lambda: self.images_changed.emit())
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
        self._adopt(copy)
        for key, value in later.items():
            self.now.keeper.autosave.put(key, value)
        self.now.keeper.follow()
        if self.current is None and name is not None:
            self.show(name)
        self.status_changed.emit(f"The project is {copy.path} now.")

    def _restore(self, now: OpenProject, gone: RemovedImage) -> None:
        def restored(_: None) -> None:
            self.images_changed.emit()
            self.refresh([gone.image.name])
            self.show(gone.image.name)

        now.files.run(partial(now.project.restore_image, gone), restored)

    def _on_open_image_added(self, now: OpenProject, added: OpenImage) -> None:
        link(added.image, now.project.path, added.name, plane_key(added.plane))
        if added.strokes is not None and added.strokes.any():
            now.keeper.autosave.put(added.name, added.strokes)
        now.keeper.follow()
        if self._solved is not None:
            now.keeper.keep_solution(self._solved)
        self.images_changed.emit()
        self.refresh([added.name])
        self.status_changed.emit(f"{added.name!r} is in the project now.")

    def _on_file_added(self, name: str) -> None:
        self.images_changed.emit()
        self.refresh([name])
        self.status_changed.emit(f"{name!r} is in the project now.")
        if self.current is None and self._wanted is None:
            self.show(name)

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
            pixels, strokes = read
            strokes = now.keeper.autosave.pending.get(name, strokes)
            classes = ClassList()
            classes.reset(now.keeper.classes.classes)
            with now.keeper.holding(name, strokes):
                put_on_stage(self.session, now.project.path, name, pixels, strokes.copy(), classes)


def _read(project: Project, name: str) -> _Read:
    """Return pixels and strokes of an image, or what is wrong with it; called in a worker's thread."""
    try:
        problem = project.check(name)
        return problem or (project.read_image(name), read_strokes(project, name))
    except InputError as error:
        return error
