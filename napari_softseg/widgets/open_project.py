"""All that lives as long as one project is open: its workers, what it keeps, what is known of its images."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from psygnal import Signal

from napari_softseg.errors import InputError
from napari_softseg.project import ImageStatus, Project, export_labels
from napari_softseg.project.image_files import write_index_png
from napari_softseg.project.label_export import Kind
from napari_softseg.project.viewer_values import classes_to_viewer, swapped_value
from napari_softseg.widgets.autosave import Worker
from napari_softseg.widgets.class_keeper import CLASSES
from napari_softseg.widgets.project_names import free_name
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.stroke_history import StrokeHistories
from napari_softseg.widgets.stroke_keeper import StrokeKeeper

SLICE_SECONDS = 0.2
"""How long a worker counts strokes before the list shows what it has."""

CURRENT = "current_image"
"""Among the settings of a project: the image it is opened with."""


class OpenProject:
    """A project with two worker threads: one for what must not wait, one for what takes long."""

    counted = Signal()
    """More is known of the images."""

    def __init__(self, session: ScribbleSession, loop: SolveLoop, project: Project) -> None:
        self.project = project
        self.files, self.slow = Worker("files"), Worker("slow")
        self.keeper = StrokeKeeper(session, loop, project, self.files, self.slow)
        self.statuses: dict[str, ImageStatus] = {}
        """By name, as far as they are known."""
        self.histories = StrokeHistories()
        self._uncounted: list[str] = []
        self.keeper.classes.painted_in = self.painted_in
        self.keeper.autosave.saved.connect(self._on_saved)
        self.keeper.soft_labels_written.connect(lambda name: self.count([name]))

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        return self.files.busy or self.slow.busy or self.keeper.busy

    def count(self, names: Iterable[str]) -> None:
        """Find out again what there is to know of these images."""
        idle = not self._uncounted
        self._uncounted = list(dict.fromkeys([*self._uncounted, *names]))
        if idle and self._uncounted:
            self._count_some()

    def painted_in(self, value: int) -> list[str]:
        """Return the images that have strokes of a class, as far as is known."""
        return [name for name, status in self.statuses.items() if status.strokes.get(value)]

    def add_file(self, path: Path, *, copy: bool) -> str:
        """Add an image file under a free name, and return that; called in a worker's thread."""
        name = free_name(path.stem.removesuffix(".ome"), self.project.names)
        self.project.add_image(path, name=name, copy=copy)
        return name

    def export(self, folder: Path, kinds: Collection[Kind]) -> str:
        """Export labels, and return how it went in one line; called in a worker's thread."""

        def progress(done: int, total: int, name: str) -> bool:
            self.slow.told.emit(f"Exporting {done + 1} of {total}: {name}…")
            return not self.slow.closing

        export = export_labels(self.project, folder, kinds, progress)
        left_out = len(export.left_out)
        without = f" {left_out} images have no soft labels yet: solve or predict them first." * bool(left_out)
        return f"Exported {len(export.files)} files to {folder}.{without}"

    def close(self) -> Exception | None:
        """Write what is left and give the folder back; return why something could not be written."""
        error = None
        self.keeper.leave()
        try:
            self.keeper.autosave.flush()
        except InputError as problem:
            error = InputError(f"{problem} {self._rescue()}")
        self._remember(self.keeper.current)
        self.keeper.close()
        self.slow.close()
        self.files.close()
        self.project.close()
        return error

    def _rescue(self) -> str:
        """Write strokes that cannot be kept in the project to the home folder, and return where they are."""
        strokes = {key: value for key, value in self.keeper.autosave.pending.items() if key != CLASSES}
        folder = Path.home() / f"strokes of {self.project.path.name} {time.strftime('%Y-%m-%d %H.%M.%S')}"
        classes = classes_to_viewer(self.project.manifest)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, painted in strokes.items():
                write_index_png(folder / f"{name}.png", painted, classes)
        except OSError as error:
            return f"The last strokes cannot be written to {folder} either: {error.strerror or error}."
        return f"The last strokes are in {folder}: import them once the project can be written."

    def _remember(self, current: str | None) -> None:
        if current is None or self.project.read_only:
            return
        try:
            self.project.remember(**{CURRENT: current})
        except InputError:  # the disk is full or the folder gone, which a person has been told
            return

    def _on_saved(self, key: str) -> None:
        self.count(self.project.names if key == CLASSES else [key])

    def _count_some(self) -> None:
        self.slow.run(partial(_statuses, self.project, list(self._uncounted)), self._on_counted)

    def _on_counted(self, found: dict[str, ImageStatus | None]) -> None:
        self.statuses.update({name: status for name, status in found.items() if status is not None})
        self._uncounted = [name for name in self._uncounted if name not in found]
        self.counted.emit()
        if self._uncounted:
            self._count_some()


def _statuses(project: Project, names: Sequence[str]) -> dict[str, ImageStatus | None]:
    """Return what is known of the first of these images, and of as many more as there is time for."""
    found: dict[str, ImageStatus | None] = {}
    end = time.monotonic() + SLICE_SECONDS
    for name in names:
        found[name] = _status(project, name) if name in project.names else None
        if time.monotonic() > end:
            break
    return found


def _status(project: Project, name: str) -> ImageStatus:
    """Return the status of an image, its strokes counted by the viewer's values."""
    status, unlabelled = project.status(name), project.manifest.unlabelled
    strokes = {swapped_value(value, unlabelled): count for value, count in status.strokes.items()}
    return replace(status, strokes=strokes)
