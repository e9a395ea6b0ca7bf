"""The trained network that makes the solver's first guess: which one, whether it fits, when it is read again."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_softseg.colors import class_color
from napari_softseg.errors import InputError
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.widgets.classes import ScribbleClass
from napari_softseg.widgets.live_solver import LiveSolver
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_loop import SolveLoop

if TYPE_CHECKING:
    from napari_softseg.training.first_guess import FileVersion, TrainedNetwork

FOLLOW_MS = 1000
"""How often a running training is asked for a better network."""


class ModelSession:
    """Which network is used in one viewer.

    Its classes are matched by name to those of the scribbles. For a class that it does not know the strokes speak;
    where it knows others, the strokes alone are solved, and :attr:`mismatch` says why.
    """

    changed = Signal()
    """Another network, none, another error, other unknown classes, or another run is followed."""
    failed = Signal(object)
    """A network that was asked for cannot be used: an exception that a person has to see."""

    def __init__(self, session: ScribbleSession, loop: SolveLoop) -> None:
        self.session = session
        self.loop = loop
        self.mismatch = ""
        """Why the network is not used for the classes of now; empty if it is, or if there is none."""
        self.unknown: tuple[str, ...] = ()
        """Names of the classes that the network in use does not know."""
        self._refused = ""
        self._network: TrainedNetwork | None = None
        self._path: Path | None = None
        self._follow: Path | None = None
        self._last_read: FileVersion | None = None
        self._asked: Path | None = None
        self._must_fit = True
        self._reader = LiveSolver(lambda: None)
        self._reader.done.connect(self._on_read)
        self._reader.failed.connect(self._on_failed)
        self._timer = QTimer()
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self._look_again)
        session.classes.changed.connect(self._match)
        session.layers_changed.connect(self._match)

    @property
    def path(self) -> Path | None:
        """The file, or folder of a run, that is used; None while strokes alone are solved."""
        return self._path

    @property
    def error(self) -> str:
        """What a person has to know: why the network is not used, or another was refused; empty if nothing."""
        return self.mismatch or self._refused

    @property
    def name(self) -> str:
        """What people know the network by; empty without one."""
        if self._path is None:
            return ""
        return self._path.stem if self._path.suffix == ".safetensors" else self._path.name

    @property
    def follow(self) -> Path | None:
        """Folder of a run whose best network is taken again whenever there is a better one."""
        return self._follow

    @follow.setter
    def follow(self, run: Path | None) -> None:
        if run is None:
            self._timer.stop()
            self._look_again()  # for what came since the last look
        self._follow = run
        if run is not None:
            self._timer.start()
            self._look_again()
        self.changed.emit()

    @property
    def is_idle(self) -> bool:
        """Whether no network is being read."""
        return not self._reader.busy

    def use(self, path: Path | None, *, must_fit: bool = True) -> None:
        """Use the network of this file or run as soon as it is read; None returns to the strokes alone.

        One that cannot be read is refused by :attr:`failed`, and so is one of other classes if it must fit:
        the one in use stays.
        """
        self._timer.stop()
        self._follow, self._refused = None, ""
        if path is None:
            self._reader.cancel()
            self._network, self._path, self._last_read = None, None, None
            self._match()
            self.changed.emit()
        else:
            self._asked, self._must_fit = path, must_fit
            self._reader.submit(partial(_read, path))

    def close(self) -> None:
        """Let go of the session, and wait for the reader to end."""
        self._timer.stop()
        self.session.classes.changed.disconnect(self._match)
        self.session.layers_changed.disconnect(self._match)
        self._reader.close()

    def _look_again(self) -> None:
        if self._follow is not None and not self._reader.busy:
            self._asked, self._must_fit = self._follow, True
            self._reader.submit(partial(_read_newer, self._follow, self._last_read))

    def _on_read(self, network: "TrainedNetwork | None") -> None:
        if network is None:  # the followed run has no better one yet
            return
        self._last_read = network.version
        before = self._network, self._path
        self._network, self._path = network, self._asked
        self._match()
        if self.mismatch and self._must_fit:
            error = InputError(self.mismatch)
            self._network, self._path = before
            self._match()
            self._on_failed(error)
        else:
            self._refused = ""
            self.changed.emit()

    def _on_failed(self, error: Exception) -> None:
        self._timer.stop()  # the next look would fail as well
        self._follow = None
        self._refused = str(error)
        self.failed.emit(error)
        self.changed.emit()

    def _match(self) -> None:
        """Give the loop the network for the classes as they are now."""
        if self._network is None or self.session.scribbles is None:
            self.loop.model, self.mismatch, self.unknown = None, "", ()
            return
        from napari_softseg.training.first_guess import NetworkUnary  # loaded already, by the reader

        self._name_new_classes(self._network)
        before = self.mismatch, self.unknown
        try:
            names = {entry.value: entry.name for entry in self.session.classes}
            unary = NetworkUnary.matching(self._network, names)
            self.loop.model, self.mismatch = unary, ""
            self.unknown = tuple(names[value] for value in unary.unknown)
        except InputError as reason:
            self.loop.model, self.mismatch, self.unknown = None, str(reason), ()
        if (self.mismatch, self.unknown) != before:
            self.changed.emit()

    def _name_new_classes(self, network: "TrainedNetwork") -> None:
        """Take over the network's classes where a person has neither named nor painted any."""
        session = self.session
        untouched = all(entry.name == f"class {entry.value}" for entry in session.classes)
        if not untouched or session.scribbles is None or session.scribbles.data.any():
            return
        values = network.class_values
        shift = 1 if min(values) == 0 else 0  # 0 is where nothing is painted
        if max(values) + shift > MAX_CLASS_VALUE:
            return
        session.classes.reset(
            ScribbleClass(value + shift, name, class_color(value + shift))
            for value, name in zip(values, network.class_names, strict=True)
        )


def _read(path: Path, _stop: Any, _report: Any) -> "TrainedNetwork":
    """Read a network; called in the worker."""
    from napari_softseg.training.first_guess import TrainedNetwork

    return TrainedNetwork(path)


def _read_newer(run: Path, known: "FileVersion | None", _stop: Any, _report: Any) -> "TrainedNetwork | None":
    """Read a run's best network; None if it is the known one, or a young run has none yet."""
    from napari_softseg.models.files import BEST
    from napari_softseg.training.first_guess import FileVersion, TrainedNetwork

    if not (run / BEST).is_file() or FileVersion.of(run) == known:
        return None
    return TrainedNetwork(run)
