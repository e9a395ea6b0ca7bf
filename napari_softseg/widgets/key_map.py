"""The keys there are, folded away at the bottom of the dock."""

from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_softseg.widgets.dock_parts import Fold
from napari_softseg.widgets.keys import KEY_HELP


class KeyMap(Fold):
    """A table of keys and what they do."""

    def __init__(self, parent: QWidget | None = None) -> None:
        table = QWidget()
        grid = QGridLayout(table)
        grid.setContentsMargins(6, 0, 0, 0)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(1, 1)
        for row, (key, what) in enumerate(KEY_HELP):
            grid.addWidget(QLabel(f"<b>{key}</b>"), row, 0)
            text = QLabel(what)
            text.setMinimumWidth(1)  # no text of it makes the dock wider
            grid.addWidget(text, row, 1)
        super().__init__("Keys", "Keys on the canvas while the scribbles layer is chosen.", table, parent)
