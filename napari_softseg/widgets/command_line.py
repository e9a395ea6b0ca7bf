"""The call of the command line that does what the dock would do now, with the files it reads."""

import shlex
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from psygnal import Signal

from napari_softseg.cli.option_flags import flag_of
from napari_softseg.errors import InputError
from napari_softseg.files import read_image
from napari_softseg.options import DEFAULTS, MAX_CLASS_VALUE
from napari_softseg.saving import write_png
from napari_softseg.widgets.class_files import write_classes
from napari_softseg.widgets.classes import ScribbleClass
from napari_softseg.widgets.live_solver import LiveSolver, Report
from napari_softseg.widgets.scribbles import stroke_counts
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_job import SolveJob
from napari_softseg.widgets.solve_loop import SolveLoop

MOST_COLORS = 4
"""Of so many channels a .npy file needs no word about which axis they are."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call and where its files lie."""

    text: str
    """For a shell."""
    folder: Path


class CommandLine:
    """Writes the files of a call in a worker thread; no view of its own."""

    ready = Signal(object)
    """A :class:`Call`."""
    failed = Signal(object)
    """An exception that a person has to see."""

    def __init__(self, session: ScribbleSession, loop: SolveLoop) -> None:
        self._session = session
        self._loop = loop
        self._worker = LiveSolver(lambda: None)
        self._worker.done.connect(self.ready.emit)
        self._worker.failed.connect(self.failed.emit)

    def write(self) -> None:
        """Write the visible plane's strokes, and what else the call needs, and report it by :attr:`ready`.

        Raises
        ------
        InputError
            If there are too few strokes to solve anything.
        """
        job = self._loop.visible_job()
        image = self._session.image
        source = None if image is None or image.source.path is None else Path(image.source.path)
        self._worker.submit(partial(_in_worker, job, tuple(self._session.classes), source))

    def close(self) -> None:
        """Wait for the worker to end."""
        self._worker.close()


def write_call(job: SolveJob, classes: Sequence[ScribbleClass], source: Path | None, folder: Path) -> Call:
    """Write the files of a call into `folder`, and return it.

    Parameters
    ----------
    job
        What the dock would do.
    classes
        Names of the classes of the strokes.
    source
        File that the image came from; named in the call if it holds the very pixels of the job.
    folder
        An empty one.

    Raises
    ------
    InputError
        If the command line cannot do it.
    """
    largest = int(job.strokes.max())
    if largest > MAX_CLASS_VALUE:
        raise InputError(
            f"Expected class values from 0 to {MAX_CLASS_VALUE}, but the strokes hold {largest}."
        )
    strokes, classes_file = folder / "strokes.png", folder / "classes.txt"
    write_png(strokes, job.strokes.astype(np.uint8))
    write_classes(classes_file, classes)
    image = source if source is not None and _holds(source, job.pixels) else _write_image(folder, job.pixels)
    words = ["napari-softseg", "solve", str(image), str(strokes), "-o", "result"]
    for spec in fields(job.options):
        value = getattr(job.options, spec.name)
        if spec.name == "unary" and job.model is not None:
            value = _write_guess(folder, job)
        if value != getattr(DEFAULTS, spec.name):
            words += [flag_of(spec.name), str(value)]
    words += ["--class-names", str(classes_file)]
    return Call(shlex.join(words), folder)


def _in_worker(
    job: SolveJob,
    classes: Sequence[ScribbleClass],
    source: Path | None,
    _stop: threading.Event,
    _report: Report,
) -> Call:
    with ExitStack() as undo:
        try:
            folder = Path(tempfile.mkdtemp(prefix="napari-softseg-"))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            call = write_call(job, classes, source, folder)
        except OSError as error:
            raise InputError(
                f"The strokes for the command line cannot be written to {tempfile.gettempdir()}: "
                f"{error.strerror or error}."
            ) from None
        undo.pop_all()
    return call


def _holds(path: Path, pixels: npt.NDArray[Any]) -> bool:
    """Return whether the command line would read these pixels from a file."""
    try:
        return path.is_file() and np.array_equal(read_image(path), pixels)
    except InputError:
        return False


def _write_image(folder: Path, pixels: npt.NDArray[Any]) -> Path:
    if pixels.ndim == 2 or pixels.shape[2] <= MOST_COLORS:
        path = folder / "image.npy"
        np.save(path, pixels)
    else:
        path = folder / "image.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "YXC"})
    return path


def _write_guess(folder: Path, job: SolveJob) -> Path:
    """Write what the network says; the command line takes its classes from the strokes."""
    assert job.model is not None
    missing = sorted(set(job.model.values) - set(stroke_counts(job.strokes)))
    if missing:
        raise InputError(
            f"The command line knows classes by their strokes, but the network's class {missing[0]} has none: "
            "paint one of it, or choose another first guess."
        )
    guess = job.model.guess(job.pixels, job.strokes, device=job.options.device, stop=threading.Event())
    path = folder / "guess.npy"
    np.save(path, guess)
    return path
