"""Parts that our docks are put together from, narrow enough for 300 pixels."""

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget


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
