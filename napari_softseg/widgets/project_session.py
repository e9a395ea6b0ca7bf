"""The project that a person works in: what can be done with its images, every stroke on disk at once."""

import os
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from napari_softseg.project import RemovedImage
from napari_softseg.project.label_export import Kind
from napari_softseg.widgets.open_project import OpenProject
from napari_softseg.widgets.planes import plane_pixel_size
from napari_softseg.widgets.project_browser import ProjectBrowser
from napari_softseg.widgets.project_intake import OpenImage, import_strokes, take_open_image
from napari_softseg.widgets.project_layers import forget_name, link, plane_key
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_job import SolveResult
from napari_softseg.widgets.solve_loop import SolveLoop


class ProjectSession(ProjectBrowser):
    """An open project in the viewer, and what can be done with its images; without a view.

    Files are read and written in worker threads; strokes that cannot be written stay in memory and are
    tried again. All methods and signals belong to the GUI thread.
    """

    def __init__(self, session: ScribbleSession, loop: SolveLoop) -> None:
        super().__init__(session, loop)
        self._solved: SolveResult | None = None
        loop.solved.connect(self._on_solved)

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
        size = plane_pixel_size(added.image, added.plane)
        task = partial(now.project.add_image, added.pixels, name=added.name, pixel_size=size)
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

    def _on_solved(self, result: SolveResult) -> None:
        self._solved = result  # of an image that may be taken into the project later

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
