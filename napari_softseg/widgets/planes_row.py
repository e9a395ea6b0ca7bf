"""The rows of the dock that solve all planes of a stack."""

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_softseg.widgets.all_planes import FARTHEST


class PlanesRow(QWidget):
    """A button that starts and stops, how far strokes are carried over, and how far it has come."""

    start_asked = Signal(int)
    """Solve all planes, and carry strokes over so many of them."""
    stop_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._running = False
        self.button = QPushButton()
        self.reach_box = QSpinBox()
        self.reach_box.setRange(0, FARTHEST)
        self.reach_box.setPrefix("± ")
        self.reach_box.setSuffix(" planes")
        self.reach_box.setSpecialValueText("own strokes")
        self.reach_box.setToolTip(
            "Whose strokes solve a plane: its own, or those of planes near it. "
            "A plane with strokes of fewer than two classes is left out, or solved with those of the nearest "
            "plane that has them, at most so many planes away. No stroke is copied into it."
        )
        self.bar = QProgressBar()
        self.bar.setFormat("%v of %m planes")
        self.bar.setToolTip("Planes seen to so far. Painting goes on meanwhile.")
        row = QHBoxLayout()
        row.addWidget(self.button)
        row.addWidget(self.reach_box, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        self.button.clicked.connect(self._on_clicked)
        self.show_running(False)

    def show_running(self, running: bool) -> None:
        """Offer to stop while it runs, and else to start."""
        self._running = running
        self.button.setText("Stop all planes" if running else "All planes")
        self.button.setToolTip(
            "Stop; the planes that are solved stay."
            if running
            else "Solve every plane of the stack with its own strokes, one by one in the background."
        )
        self.reach_box.setEnabled(not running)
        self.bar.setVisible(running)

    def show_progress(self, done: int, total: int) -> None:
        """Show how many planes of how many are seen to."""
        self.bar.setMaximum(total)
        self.bar.setValue(done)

    def _on_clicked(self, *_args: Any) -> None:
        if self._running:
            self.stop_asked.emit()
        else:
            self.start_asked.emit(self.reach_box.value())
