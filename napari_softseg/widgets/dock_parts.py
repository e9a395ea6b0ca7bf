"""Parts that our docks are put together from, narrow enough for 300 pixels."""

from napari.utils.notifications import notification_manager, show_warning
from qtpy.QtCore import QEvent, QObject, QRectF, QSize, Qt
from qtpy.QtGui import QIcon, QPainter, QPalette, QTextOption
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_softseg.errors import InputError

LOWEST_PAGE = 100
"""Pixels of a page that are always seen."""


class Page(QScrollArea):
    """Parts below each other, which scroll where the window is too low for all of them.

    Else a dock would push the lower end of the window off a small screen.
    """

    def __init__(self) -> None:
        super().__init__()
        page = QWidget()
        self.parts = QVBoxLayout(page)
        self.parts.setSpacing(6)
        self.parts.setContentsMargins(0, 0, 0, 0)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(page)

    def sizeHint(self) -> QSize:
        """Return the size at which nothing scrolls."""
        border = self.height() - self.viewport().height()  # of napari's themes
        return self.widget().sizeHint() + QSize(0, border)

    def minimumSizeHint(self) -> QSize:
        """Return a size that no part is cut off at, the bar included."""
        width = self.widget().minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width()
        return QSize(width, LOWEST_PAGE)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take another height when a part unfolds; Qt's own scroll area does not."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class Fold(QCollapsible):
    """Parts that are folded away behind a title."""

    def __init__(self, title: str, tip: str, content: QWidget, parent: QWidget | None = None) -> None:
        # superqt's own arrows are black in every theme: ours are letters of the title
        super().__init__(title, parent, QIcon(), QIcon())
        self._title = title
        self.setDuration(0)
        self.setToolTip(tip)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.addWidget(content)
        self.toggled.connect(self._show_state)
        self._show_state(False)

    def _show_state(self, unfolded: bool) -> None:
        self.setText(f"{'▾' if unfolded else '▸'}  {self._title}")


def button(text: str, tip: str) -> QPushButton:
    """Return a button that explains itself."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setMinimumWidth(0)
    return made


def row(*parts: QWidget) -> QHBoxLayout:
    """Return a layout with widgets of equal width beside each other."""
    layout = QHBoxLayout()
    layout.setSpacing(4)
    for part in parts:
        layout.addWidget(part, 1)
    return layout


def words(tip: str, *, selectable: bool = False) -> QLabel:
    """Return a label for sentences, which may be selected to be copied."""
    label = QLabel()
    label.setWordWrap(True)
    label.setToolTip(tip)
    if selectable:
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def paint_hint(area: QWidget | None, text: str) -> None:
    """Say in the middle of an empty area what to do next; call it from the area's paint event."""
    assert area is not None
    wrapped = QTextOption(Qt.AlignmentFlag.AlignCenter)
    wrapped.setWrapMode(QTextOption.WrapMode.WordWrap)
    painter = QPainter(area)
    painter.setPen(area.palette().color(QPalette.ColorRole.WindowText))
    painter.setOpacity(0.7)
    painter.drawText(QRectF(area.rect().adjusted(16, 8, -16, -8)), text, wrapped)
    painter.end()


def tell(error: Exception) -> None:
    """Notify of a mishap: of bad input by its line, of anything else with all there is to report."""
    if isinstance(error, InputError):
        show_warning(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)


class Mishaps:
    """Notifies once of each bad input that comes again and again, after every stroke or every try to save."""

    def __init__(self) -> None:
        self._told = ""

    def tell(self, error: Exception) -> None:
        """Notify, unless this very line was the last one."""
        if not isinstance(error, InputError):
            tell(error)
        elif str(error) != self._told:
            self._told = str(error)
            tell(error)

    def forget(self) -> None:
        """All is well: the same mishap would be news."""
        self._told = ""
