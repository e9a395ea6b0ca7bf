"""What the docks of one viewer share: whichever opens first makes it, whichever closes last ends it."""

import atexit
from collections.abc import Callable
from functools import partial
from typing import Any

from napari.components import ViewerModel
from psygnal import SignalInstance
from qtpy.QtWidgets import QWidget

from napari_softseg.widgets.all_planes import AllPlanes
from napari_softseg.widgets.command_line import CommandLine
from napari_softseg.widgets.hand_first import HandFirst
from napari_softseg.widgets.model_session import ModelSession
from napari_softseg.widgets.network_memory import NetworkMemory
from napari_softseg.widgets.options_memory import OptionsMemory
from napari_softseg.widgets.partial_drawing import PartialDrawing
from napari_softseg.widgets.predict_all import PredictAll
from napari_softseg.widgets.project_session import ProjectSession
from napari_softseg.widgets.session import ScribbleSession
from napari_softseg.widgets.solve_loop import SolveLoop
from napari_softseg.widgets.training_session import TrainingSession
from napari_softseg.widgets.uncertain_spots import UncertainSpots

_WORKSPACES: dict[int, "Workspace"] = {}
"""By the identity of the viewer."""


class Workspace:
    """One person at work in one viewer; no view of its own.

    Its parts know each other only in the order in which they are made here.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.session = ScribbleSession(viewer)
        self.drawing = PartialDrawing(viewer)
        self.session.image_chosen.connect(self.drawing.wait)
        self.hand_first = HandFirst(viewer, self.session.hand)
        self.loop = SolveLoop(self.session)
        self.all_planes = AllPlanes(self.session, self.loop)
        self.command_line = CommandLine(self.session, self.loop)
        self.project = ProjectSession(self.session, self.loop)
        self.model = ModelSession(self.session, self.loop)
        self.network_memory = NetworkMemory(self.project, self.model)
        self.options_memory = OptionsMemory(self.project, self.loop)
        self.training = TrainingSession(self.project)
        self.predict_all = PredictAll(self.project, self.model, self.loop)
        self.spots = UncertainSpots(self.session, self.loop)
        self._docks: set[int] = set()

    @classmethod
    def of(cls, viewer: ViewerModel) -> "Workspace":
        """Return the viewer's workspace; made now if it has none."""
        key = id(getattr(viewer, "__wrapped__", viewer))  # napari hands plugins a proxy, a new one each time
        if key not in _WORKSPACES:
            workspace = _WORKSPACES[key] = cls(viewer)
            # a script that ends without an event loop: before Qt goes, what was painted is written
            atexit.register(workspace.close)
        return _WORKSPACES[key]

    def join(self, dock: int) -> None:
        """Live on at least until this dock leaves."""
        self._docks.add(dock)

    def leave(self, dock: int) -> None:
        """Close when the last dock leaves."""
        if dock not in self._docks:
            return
        self._docks.remove(dock)
        if not self._docks:
            self.close()

    def close(self) -> None:
        """End all parts, the last made first."""
        self._docks.clear()
        atexit.unregister(self.close)
        del _WORKSPACES[next(key for key, workspace in _WORKSPACES.items() if workspace is self)]
        self.spots.close()
        self.predict_all.close()
        self.training.close()
        self.options_memory.close()
        self.network_memory.close()
        self.model.close()
        self.project.close()
        self.command_line.close()
        self.all_planes.close()
        self.loop.close()
        self.hand_first.close()
        self.drawing.close()
        self.session.close()


class Dock(QWidget):
    """A dock widget of ours: it joins the viewer's workspace, and leaves it when it is closed."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.workspace = Workspace.of(viewer)
        self._links: list[tuple[SignalInstance, Callable[..., Any]]] = []
        self.workspace.join(id(self))
        self._leave_with(self.destroyed)

    def follow(self, signal: SignalInstance, slot: Callable[..., Any]) -> None:
        """Connect a signal of the workspace, which may outlive this dock, for as long as the dock lives."""
        signal.connect(slot)
        self._links.append((signal, slot))

    def showEvent(self, event: Any) -> None:
        """Follow the dock we live in: napari deletes it when its x is clicked, but not us."""
        super().showEvent(event)
        dock = self.parentWidget()
        if dock is not None and not self.property("follows_dock"):
            self.setProperty("follows_dock", True)
            self._leave_with(dock.destroyed)

    def _leave_with(self, signal: Any) -> None:
        # A plain function with plain values: at `destroyed` this object is half gone already.
        signal.connect(partial(_leave, self.workspace, id(self), self._links))


def _leave(workspace: Workspace, dock: int, links: list[tuple[SignalInstance, Any]], *_args: Any) -> None:
    while links:
        signal, slot = links.pop()
        signal.disconnect(slot)
    workspace.leave(dock)
