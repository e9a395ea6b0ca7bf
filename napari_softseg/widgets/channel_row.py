"""The row of the dock that says where an image's channels are and which of them the solver sees."""

from functools import partial
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QPoint, QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QWidget,
    QWidgetAction,
)

from napari_softseg.widgets import channels
from napari_softseg.widgets.option_widgets import narrow


class ChannelRow(QWidget):
    """A view of the choices in :mod:`napari_softseg.widgets.channels`; hidden for a plain image."""

    axis_chosen = Signal(object)
    """A person says which axis holds channels: its number, or None."""
    channels_chosen = Signal(list)
    """A person chose the channels that the solver sees."""

    def __init__(self, label_width: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.axis_box = QComboBox()
        narrow(self.axis_box)
        self.axis_box.setToolTip(
            "Which axis holds channels. It comes first then, and one layer of strokes is for all of them."
        )
        self.button = QPushButton()
        self.button.setToolTip(
            "The channels that the solver sees, whatever is shown of them. Click to choose."
        )
        self.menu = QMenu(self)
        self.boxes: list[QCheckBox] = []
        row = QHBoxLayout()
        row.addWidget(self.axis_box, 1)
        row.addWidget(self.button, 1)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        label = QLabel("channels")
        label.setMinimumWidth(label_width)
        label.setToolTip("Contrast limits and colours of the display play no part in solving.")
        layout.addRow(label, row)
        self.axis_box.activated.connect(self._on_axis)
        self.button.clicked.connect(lambda: self.menu.popup(self.button.mapToGlobal(self._below())))

    def show_image(self, image: Image | None) -> None:
        """Show the choices there are for this image."""
        axes = [] if image is None else channels.possible_axes(image)
        names = () if image is None or image.multiscale else channels.channel_names(image)
        self.setVisible(bool(axes or names))
        if image is None:
            return
        with QSignalBlocker(self.axis_box):
            self.axis_box.clear()
            self.axis_box.addItem("none", None)
            for axis, text in axes:
                self.axis_box.addItem(text, axis)
            self.axis_box.setCurrentIndex(max(0, self.axis_box.findData(channels.channel_axis(image))))
        self.axis_box.setVisible(bool(axes))
        self.button.setVisible(bool(names))
        if names:
            self.button.setText(channels.channels_text(image))
            self._fill_menu(names, channels.seen_channels(image))

    def _fill_menu(self, names: tuple[str, ...], seen: tuple[int, ...]) -> None:
        if [box.text() for box in self.boxes] != [f"channel {name}" for name in names]:
            self.menu.clear()
            self.boxes = []
            for name in names:
                box = QCheckBox(f"channel {name}")
                box.setToolTip(f"Whether the solver sees channel {name}.")
                box.clicked.connect(partial(self._on_clicked, box))
                action = QWidgetAction(self.menu)  # unlike an entry of the menu it leaves it open
                action.setDefaultWidget(box)
                self.menu.addAction(action)
                self.boxes.append(box)
        for number, box in enumerate(self.boxes):
            box.setChecked(number in seen)

    def _on_axis(self, row: int) -> None:
        self.axis_chosen.emit(self.axis_box.itemData(row))

    def _on_clicked(self, box: QCheckBox, *_args: Any) -> None:
        seen = [number for number, one in enumerate(self.boxes) if one.isChecked()]
        if not seen:
            box.setChecked(True)  # the last one stays: without any there is nothing to solve
        else:
            self.channels_chosen.emit(seen)

    def _below(self) -> QPoint:
        return self.button.rect().bottomLeft()
