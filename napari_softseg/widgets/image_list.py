"""The table of a project's images: how far each is, sortable, so that the most uncertain can come next."""

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QRect, QSize, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_softseg.project import ImageStatus
from napari_softseg.widgets.classes import ScribbleClass
from napari_softseg.widgets.dock_parts import paint_hint

NAME, STROKES, PAINTED, UNSURE = range(4)
HEADERS = ("image", "strokes", "painted", "unsure")
HEADER_TIPS = (
    "Name in the project. Click a heading to sort by it.",
    "Classes that have strokes, in their colours; an empty square has none yet.",
    "Share of the pixels that are painted.",
    "Mean uncertainty of the soft labels, 0 to 1. Sort by it to annotate the most uncertain image next.",
)
ROW_HEIGHT = 24
SQUARE, GAP, MOST_SQUARES = 8, 3, 7
TROUBLE = QColor(225, 120, 60)
"""Readable on a dark and on a light ground."""

SORT_ROLE, NAME_ROLE = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1

_Index = QModelIndex


class ImageModel(QAbstractTableModel):
    """Names and what is known of them so far, as a Qt model."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.names: list[str] = []
        self.statuses: Mapping[str, ImageStatus] = {}
        self.classes: Sequence[ScribbleClass] = ()
        self.current: str | None = None

    def show(
        self,
        names: Sequence[str],
        statuses: Mapping[str, ImageStatus],
        classes: Sequence[ScribbleClass],
        current: str | None,
    ) -> None:
        """Show these images; rows stay what they are if the names do."""
        if list(names) != self.names:
            self.beginResetModel()
            self.names = list(names)
            self.statuses, self.classes, self.current = dict(statuses), list(classes), current
            self.endResetModel()
            return
        self.statuses, self.classes, self.current = dict(statuses), list(classes), current
        if self.names:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.names) - 1, UNSURE))

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own default
        """Return the number of images."""
        return 0 if parent.isValid() else len(self.names)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own default
        """Return the number of columns."""
        return 0 if parent.isValid() else len(HEADERS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a heading or what it means."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        return HEADER_TIPS[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows, explains or is sorted by."""
        name = self.names[index.row()]
        status, column = self.statuses.get(name), index.column()
        if role == NAME_ROLE:
            return name
        if role == SORT_ROLE:
            return self._sort_key(name, status, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(name, status)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(name, status, column)
        if role == Qt.ItemDataRole.FontRole and column == NAME and name == self.current:
            font = QFont()
            font.setBold(True)
            return font
        if role == Qt.ItemDataRole.ForegroundRole and status is not None and status.problem:
            return TROUBLE
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (PAINTED, UNSURE):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def painted(self, name: str) -> list[tuple[QColor, bool]]:
        """Return the colour of every class, and whether the image has strokes of it."""
        status = self.statuses.get(name)
        counts = {} if status is None else status.strokes
        return [(QColor(*one.color), counts.get(one.value, 0) > 0) for one in self.classes]

    def _text(self, name: str, status: ImageStatus | None, column: int) -> str:
        if column == NAME:
            return f"⚠ {name}" if status is not None and status.problem else name
        if status is None or column == STROKES:
            return ""
        if column == PAINTED:
            return f"{100 * status.labelled:.1f} %" if status.labelled else "–"
        return "–" if status.entropy is None else f"{status.entropy:.2f}"

    def _sort_key(self, name: str, status: ImageStatus | None, column: int) -> Any:
        if column == NAME:
            return name.casefold()
        if status is None:
            return -1.0
        if column == STROKES:
            return float(sum(count > 0 for count in status.strokes.values()))
        if column == PAINTED:
            return status.labelled
        return -1.0 if status.entropy is None else status.entropy

    def _tip(self, name: str, status: ImageStatus | None) -> str:
        if status is None:
            return f"{name}: being looked at…"
        counts = [
            f"{one.name}: {status.strokes.get(one.value, 0):,} pixels"
            for one in self.classes
            if status.strokes.get(one.value, 0)
        ]
        return "\n".join(
            [name, *([status.problem] if status.problem else []), *(counts or ["no strokes yet"])]
        )


class ImageList(QTableView):
    """A view of an ImageModel; double-click or Enter shows an image."""

    asked = Signal(str)
    """A person wants to see this image."""
    sorted_anew = Signal()
    """The rows may stand in another order."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.hint = ""
        """What to do while there are no images."""
        self.images = ImageModel(self)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self.images)
        self._proxy.setSortRole(SORT_ROLE)
        self._proxy.setDynamicSortFilter(False)  # rows do not jump while a person paints
        self.setModel(self._proxy)
        self.setItemDelegateForColumn(STROKES, _Squares(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setToolTip("Double-click: paint on this image.")
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = self.horizontalHeader()
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column, width in ((STROKES, 80), (PAINTED, 58), (UNSURE, 52)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            self.setColumnWidth(column, width)
        header.setHighlightSections(False)
        if hasattr(
            header, "setSortIndicatorClearable"
        ):  # Qt 6 alone: a third click brings the project's order back
            header.setSortIndicatorClearable(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        header.sortIndicatorChanged.connect(lambda *_: self.sorted_anew.emit())
        self.activated.connect(lambda index: self.asked.emit(index.data(NAME_ROLE)))

    def paintEvent(self, event: Any) -> None:
        """Say what to do while there is nothing to list."""
        super().paintEvent(event)
        if not self._proxy.rowCount():
            paint_hint(self.viewport(), self.hint)

    @property
    def order(self) -> list[str]:
        """The names from top to bottom."""
        rows = range(self._proxy.rowCount())
        return [self._proxy.index(row, NAME).data(NAME_ROLE) for row in rows]

    @property
    def chosen(self) -> str | None:
        """Name of the marked image."""
        index = self.currentIndex()
        return index.data(NAME_ROLE) if index.isValid() else None

    def mark(self, name: str | None) -> None:
        """Mark an image, and scroll to it."""
        order = self.order
        if name in order:
            index = self._proxy.index(order.index(name), NAME)
            self.setCurrentIndex(index)
            self.scrollTo(index)


class _Squares(QStyledItemDelegate):
    """A square for every class: filled if it has strokes."""

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: Any) -> None:
        super().paint(painter, option, index)  # the ground, chosen or not
        assert painter is not None
        model = index.model().sourceModel()
        squares = model.painted(index.data(NAME_ROLE))
        area = option.rect
        top = area.center().y() - SQUARE // 2
        painter.save()
        for place, (color, filled) in enumerate(squares[:MOST_SQUARES]):
            square = QRect(area.left() + GAP + place * (SQUARE + GAP), top, SQUARE, SQUARE)
            if square.right() > area.right():
                break
            painter.setPen(color)
            painter.setBrush(color if filled else Qt.BrushStyle.NoBrush)
            painter.drawRect(square.adjusted(0, 0, -1, -1))
        painter.restore()

    def sizeHint(self, _option: QStyleOptionViewItem, _index: Any) -> QSize:
        return QSize(MOST_SQUARES * (SQUARE + GAP) + GAP, ROW_HEIGHT)
