"""The class table: number, colour, name and painted pixels of every class."""

from pathlib import Path

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QIcon, QKeySequence, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QMenu,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_softseg.widgets.classes import FEWEST_CLASSES, ClassList, Rgb

SWATCH, NAME, KEY, PAINTED = range(4)
ROW_HEIGHT = 26
SWATCH_SIZE = QSize(30, 20)
FILES = "Classes (*.json *.txt);;All files (*)"
"""What the file dialogs show first."""
KEYS = 9
"""Rows whose class has a key."""
MOST_ROWS = 8
"""Rows shown before the table scrolls."""


class ClassTable(QWidget):
    """A view of a ClassList; the chosen row is the class that the brush paints."""

    chosen = Signal(int)
    """A person chose the class of this value."""
    add_asked = Signal()
    remove_asked = Signal(int)
    read_asked = Signal(Path)
    """A person wants classes from this file."""
    write_asked = Signal(Path)
    """A person wants the classes in this file."""

    def __init__(self, classes: ClassList, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._classes = classes
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["", "class", "key", "painted"])
        self.table.setToolTip("Click: paint this class. Double-click: change its colour or name.")
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.table.setIconSize(SWATCH_SIZE)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(SWATCH, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(KEY, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(PAINTED, QHeaderView.ResizeMode.ResizeToContents)
        self.table.setColumnWidth(SWATCH, SWATCH_SIZE.width() + 12)
        self.add_button = QPushButton("Add class")
        self.add_button.setToolTip("Add a class with the next free number.")
        self.remove_button = QPushButton("Remove class")
        self.file_button = QPushButton("File…")
        self.file_button.setToolTip("Classes from a file, or into one.")
        self.file_menu = QMenu(self.file_button)
        self.file_menu.setToolTipsVisible(True)
        for text, tip, slot in (
            (
                "Import classes…",
                "Names and colours from JSON, a project.json or classes.txt.",
                self._on_read,
            ),
            (
                "Export classes…",
                "JSON with names and colours, or classes.txt for the command line.",
                self._on_write,
            ),
        ):
            action = self.file_menu.addAction(text)
            action.setToolTip(tip)
            action.triggered.connect(slot)
        self.file_button.clicked.connect(
            lambda: self.file_menu.popup(self.file_button.mapToGlobal(self.file_button.rect().bottomLeft()))
        )
        buttons = QHBoxLayout()
        buttons.addWidget(self.add_button, 1)
        buttons.addWidget(self.remove_button, 1)
        buttons.addWidget(self.file_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

        self.table.itemSelectionChanged.connect(self._on_row_chosen)
        self.table.itemChanged.connect(self._on_item_edited)
        self.table.cellDoubleClicked.connect(self._on_double_click)
        self.add_button.clicked.connect(lambda: self.add_asked.emit())
        self.remove_button.clicked.connect(self._on_remove_clicked)
        classes.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the classes as they are now."""
        chosen = self.chosen_value()
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(self._classes))
            for row, entry in enumerate(self._classes):
                swatch = QTableWidgetItem(_swatch(entry.value, entry.color), "")
                swatch.setData(Qt.ItemDataRole.UserRole, entry.value)
                swatch.setFlags(swatch.flags() & ~Qt.ItemFlag.ItemIsEditable)
                swatch.setToolTip("Double-click to change the colour.")
                name = QTableWidgetItem(entry.name)
                name.setToolTip(f"{entry.name}: double-click to rename.")
                key = QTableWidgetItem(_key_text(row))
                key.setFlags(key.flags() & ~Qt.ItemFlag.ItemIsEditable)
                key.setToolTip("Chooses this class while the mouse is over the canvas.")
                painted = QTableWidgetItem("")
                painted.setFlags(painted.flags() & ~Qt.ItemFlag.ItemIsEditable)
                painted.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                painted.setToolTip("Painted pixels in the visible plane.")
                for column, item in (
                    (SWATCH, swatch),
                    (NAME, name),
                    (KEY, key),
                    (PAINTED, painted),
                ):
                    self.table.setItem(row, column, item)
        enough = len(self._classes) > FEWEST_CLASSES
        self.remove_button.setEnabled(enough)
        self.remove_button.setToolTip(
            "Remove the chosen class and its strokes; Ctrl+Z on the canvas brings both back."
            if enough
            else f"At least {FEWEST_CLASSES} classes are needed."
        )
        self._fit_height()
        if chosen is not None:
            self.show_chosen(chosen)

    def show_counts(self, counts: dict[int, int]) -> None:
        """Show how many pixels of each class are painted."""
        with QSignalBlocker(self.table):
            for row, value in enumerate(self._classes.values):
                self.table.item(row, PAINTED).setText(
                    f"{counts.get(value, 0):,}" if counts.get(value) else "–"
                )

    def show_chosen(self, value: int | None) -> None:
        """Mark the class that the brush paints."""
        with QSignalBlocker(self.table):
            if value in self._classes:
                self.table.selectRow(self._classes.values.index(value))
            else:
                self.table.clearSelection()

    def chosen_value(self) -> int | None:
        """Return the value of the marked class."""
        rows = self.table.selectionModel().selectedRows()
        return (
            None if not rows else int(self.table.item(rows[0].row(), SWATCH).data(Qt.ItemDataRole.UserRole))
        )

    def _fit_height(self) -> None:
        rows = min(max(len(self._classes), FEWEST_CLASSES), MOST_ROWS)
        header = max(self.table.horizontalHeader().sizeHint().height(), ROW_HEIGHT)
        self.table.setFixedHeight(header + rows * ROW_HEIGHT + 2 * self.table.frameWidth() + 2)

    def _on_row_chosen(self) -> None:
        value = self.chosen_value()
        if value is not None:
            self.chosen.emit(value)

    def _on_item_edited(self, item: QTableWidgetItem) -> None:
        if item.column() == NAME:
            self._classes.rename(self._value_at(item.row()), item.text())

    def _on_double_click(self, row: int, column: int) -> None:
        if column != SWATCH:
            return
        entry = self._classes[self._value_at(row)]
        color = QColorDialog.getColor(QColor(*entry.color), self, f"Colour of {entry.name}")
        if color.isValid():
            self._classes.recolor(entry.value, (color.red(), color.green(), color.blue()))

    def _on_remove_clicked(self) -> None:
        value = self.chosen_value()
        if value is not None:
            self.remove_asked.emit(value)

    def _on_read(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import classes", "", FILES)
        if path:
            self.read_asked.emit(Path(path))

    def _on_write(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export classes", "classes.json", FILES)
        if path:
            self.write_asked.emit(Path(path))

    def _value_at(self, row: int) -> int:
        return int(self.table.item(row, SWATCH).data(Qt.ItemDataRole.UserRole))


def _key_text(row: int) -> str:
    """Return the key of the class in this row as the system writes it; only nine rows have one."""
    keys = QKeySequence(f"Ctrl+{row + 1}")
    return keys.toString(QKeySequence.SequenceFormat.NativeText) if row < KEYS else ""


def _swatch(value: int, color: Rgb) -> QIcon:
    """Return a patch of the class's colour with its number on it."""
    pixmap = QPixmap(SWATCH_SIZE)
    pixmap.fill(QColor(*color))
    painter = QPainter(pixmap)
    red, green, blue = color
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140  # the ink must stand out from the patch
    painter.setPen(QColor("white" if dark else "black"))
    font = QFont(painter.font())
    font.setBold(True)
    painter.setFont(font)
    painter.drawText(pixmap.rect(), int(Qt.AlignmentFlag.AlignCenter), str(value))
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # Qt would tint the chosen row's colour
    return icon
