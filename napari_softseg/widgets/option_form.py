"""A form over a dataclass of options: its labels and texts come from the fields, nothing is repeated here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar

from magicgui.widgets import ComboBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_softseg.widgets.dock_parts import Fold
from napari_softseg.widgets.option_widgets import common, option_widget, sentence


class OptionForm(QWidget):
    """Options below each other; those that are seldom turned are folded away.

    Subclasses make what needs more than :func:`option_widget`, then call :meth:`lay_out`.
    """

    changed = Signal()
    """A person or the program changed a value."""

    OPTIONS: ClassVar[type[Any]]
    """The dataclass."""
    LABELS: ClassVar[Mapping[str, str]]
    """Its options in the form, top to bottom, by the words people read."""
    BASIC: ClassVar[Sequence[str]]
    """What is not folded away."""
    SLIDERS: ClassVar[Mapping[str, tuple[float, float, float]]] = {}
    """Lowest, highest, step: the useful part of the range that the dataclass allows."""
    FOLDED: ClassVar[tuple[str, str]]
    """Title and tooltip of the rest."""
    LABEL_WIDTH: ClassVar[int]
    """Pixels; the same in both groups, so that the fields line up."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._specs = {spec.name: spec for spec in fields(self.OPTIONS)}
        self._widgets: dict[str, ValueWidget[Any]] = {}

    def __getitem__(self, name: str) -> ValueWidget[Any]:
        """Return the widget of the option of this name."""
        return self._widgets[name]

    def add(self, name: str, value: Any) -> None:
        """Make the widget of an option, showing `value`."""
        if name == "device":
            devices = ComboBox(choices=["auto", "cpu"], **common(self._specs[name], value))
            self._widgets[name] = self._device = devices
        else:
            self._widgets[name] = option_widget(self._specs[name], value, self.SLIDERS.get(name))

    def native(self, name: str) -> QWidget:
        """Return what stands beside the label of an option."""
        native: QWidget = self._widgets[name].native
        return native

    def set_devices(self, devices: Sequence[str]) -> None:
        """Offer these devices; the chosen one stays if it is among them."""
        self._device.choices = list(devices)

    def lay_out(self) -> None:
        """Put all widgets where they belong, and follow them."""
        for widget in self._widgets.values():
            widget.changed.connect(self._on_changed)
        rest = self._rows([name for name in self.LABELS if name not in self.BASIC])
        self.folded = Fold(*self.FOLDED, rest)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._rows(self.BASIC))
        layout.addWidget(self.folded)
        self._on_changed()

    def _rows(self, names: Iterable[str]) -> QWidget:
        rows = QWidget()
        layout = QFormLayout(rows)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(4)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name in names:
            label = QLabel(self.LABELS[name])
            label.setMinimumWidth(self.LABEL_WIDTH)
            label.setToolTip(sentence(self._specs[name].metadata["help"]))
            layout.addRow(label, self.native(name))
        return rows

    def _on_changed(self) -> None:
        """Enable what matters with the values of now; subclasses begin with their own."""
        self.changed.emit()
