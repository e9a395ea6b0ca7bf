"""The question that is asked when the window is closed while a run is on."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

from napari_softseg.runs import Run

STOP, LEAVE = "Stop it", "Leave it running"


class CloseQuestion(QObject):
    """Asks what becomes of a run before a window closes; lives as long as the window.

    Parameters
    ----------
    window
        The main window of a viewer.
    running
        Returns the run that is on, or None.
    """

    def __init__(self, window: QMainWindow, running: Callable[[], Run | None]) -> None:
        super().__init__(window)
        self._window = window
        self._running = running
        window.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Let the window close, or keep it open."""
        if watched is not self._window or event.type() != QEvent.Type.Close:
            return False
        run = self._running()
        if run is None or _is_torn_down(self._window) or self._ask(run):
            return False
        event.ignore()
        return True

    def _ask(self, run: Run) -> bool:
        """Ask, do as told, and return whether the window may close."""
        box = QMessageBox(self._window)
        box.setWindowTitle("Training goes on")
        box.setText(f"{run.name} is still being trained.")
        box.setInformativeText(
            "Left running, it goes on without the viewer, and is found again when the project is opened."
        )
        leave = box.addButton(LEAVE, QMessageBox.ButtonRole.AcceptRole)
        stop = box.addButton(STOP, QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        leave.setToolTip("Training does not need the viewer.")
        stop.setToolTip("End it after its step; it can be resumed.")
        box.setDefaultButton(leave)
        box.exec()
        clicked = box.clickedButton()
        if clicked is stop:
            run.stop()
        closes = clicked is stop or clicked is leave
        box.deleteLater()
        return closes


def _is_torn_down(window: QMainWindow) -> bool:
    """Return whether a program closes the viewer: napari has hidden its canvas, and nothing can hold it up."""
    center = window.centralWidget()
    children = center.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
    return bool(children) and all(child.isHidden() for child in children)
