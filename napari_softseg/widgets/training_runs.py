"""The table of a project's runs."""

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_softseg.runs import RunState
from napari_softseg.widgets.dock_parts import paint_hint
from napari_softseg.widgets.training_texts import percent, run_text, settings_text

COLUMNS = ("run", "score", "epochs", "status")
TIPS = (
    "The folder of the run in the project's models.",
    "The best mean IoU on what was scored.",
    "Epochs done, of those planned.",
    "Where the run stands.",
)


class RunTable(QTableWidget):
    """Runs below each other, the last at the bottom; their settings in the tooltips."""

    chosen = Signal(str)
    """Name of the run that a person clicked."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.setHorizontalHeaderLabels(list(COLUMNS))
        for column, tip in enumerate(TIPS):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.setToolTip("The runs of this project. Click one for its curves, and to resume or use it.")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setMinimumHeight(96)
        self.itemSelectionChanged.connect(self._on_selected)

    def show_runs(self, states: Sequence[RunState], current: str | None) -> None:
        """Show these, the current one marked."""
        with QSignalBlocker(self):
            added = len(states) > self.rowCount()
            self.setRowCount(len(states))
            for row, state in enumerate(states):
                self._fill(row, state)
            names = [state.name for state in states]
            if current in names:
                self.selectRow(names.index(current))
            else:
                self.clearSelection()
        if added:
            self.scrollToBottom()

    def paintEvent(self, event: Any) -> None:
        """Say what will be listed while nothing is."""
        super().paintEvent(event)
        if not self.rowCount():
            paint_hint(self.viewport(), "Runs of this project are listed here.")

    def _fill(self, row: int, state: RunState) -> None:
        planned = "" if state.planned_epochs is None else f"/{state.planned_epochs}"
        texts = (
            state.name,
            "" if state.best is None else percent(state.best["miou"]),
            f"{state.epochs}{planned}",
            str(state.status),
        )
        tip = f"{run_text(state)}\n\n{settings_text(state.options)}".strip()
        for column, text in enumerate(texts):
            item = self.item(row, column)
            if item is None:
                item = QTableWidgetItem()
                self.setItem(row, column, item)
            item.setText(text)
            item.setToolTip(tip)

    def _on_selected(self) -> None:
        rows: list[Any] = self.selectionModel().selectedRows()
        if rows:
            self.chosen.emit(self.item(rows[0].row(), 0).text())

    def sizeHint(self) -> Any:
        """Return room for four runs."""
        hint = super().sizeHint()
        hint.setHeight(130)
        return hint
