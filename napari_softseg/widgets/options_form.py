"""The solver's options as a form, generated from SolveOptions: no default or text is repeated here."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from magicgui.widgets import ComboBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_softseg.options import DEFAULTS, Neighborhood, SolveOptions, Unary
from napari_softseg.widgets.option_widgets import common, option_widget, sentence

LABELS = {
    "relaxation": "relaxation",
    "lambda_": "smoothness λ",
    "bandwidth": "bandwidth",
    "unary": "first guess",
    "eta": "trust in it, η",
    "cross_entropy": "cross-entropy",
    "neighborhood": "neighbours",
    "reach": "their reach",
    "method": "method",
    "device": "device",
    "max_sweeps": "most sweeps",
    "tolerance": "tolerance",
}
"""Options in the form, top to bottom, by the words people read. A painted layer's unlabelled
value is always 0, and planes are solved one by one, so these are not asked for."""

BASIC = ("relaxation", "lambda_", "bandwidth", "unary", "eta")
"""What people turn while they paint; the rest is folded away."""

SLIDERS = {"lambda_": (0.0, 50.0, 0.5), "bandwidth": (1.0, 60.0, 0.5), "eta": (0.0, 3.0, 0.05)}
"""Lowest, highest, step: the useful part of the range that SolveOptions allows."""


LABEL_WIDTH = 88
"""Pixels; the same in both groups, so that the fields line up."""


class OptionsForm(QWidget):
    """A view of one SolveOptions."""

    changed = Signal()
    """A person or :meth:`set_options` changed a value."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._specs = {spec.name: spec for spec in fields(SolveOptions)}
        self._widgets = {
            name: option_widget(self._specs[name], getattr(DEFAULTS, name), SLIDERS.get(name))
            for name in LABELS
            if name != "device"
        }
        self._device = self._widgets["device"] = ComboBox(
            choices=["auto", "cpu"], **common(self._specs["device"], DEFAULTS.device)
        )
        for widget in self._widgets.values():
            widget.changed.connect(self._on_changed)
        self.folded = QCollapsible("More options")
        self.folded.setDuration(0)
        self.folded.setToolTip("Options that are seldom turned.")
        self.folded.layout().setContentsMargins(0, 0, 0, 0)
        self.folded.addWidget(self._rows([name for name in LABELS if name not in BASIC]))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._rows(BASIC))
        layout.addWidget(self.folded)
        self._on_changed()

    def __getitem__(self, name: str) -> ValueWidget[Any]:
        """Return the widget of the option of this name."""
        return self._widgets[name]

    def options(self) -> SolveOptions:
        """Return what the form says.

        Raises
        ------
        InputError
            If a value is one that SolveOptions refuses.
        """
        return SolveOptions(**{name: widget.value for name, widget in self._widgets.items()})

    def set_options(self, options: SolveOptions) -> None:
        """Show these options."""
        for name, widget in self._widgets.items():
            widget.value = getattr(options, name)

    def set_devices(self, devices: list[str]) -> None:
        """Offer these devices; the chosen one stays if it is among them."""
        self._device.choices = devices

    def _rows(self, names: Iterable[str]) -> QWidget:
        """Return the options of these names below each other, with their labels."""
        rows = QWidget()
        layout = QFormLayout(rows)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(4)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name in names:
            label = QLabel(LABELS[name])
            label.setMinimumWidth(LABEL_WIDTH)
            label.setToolTip(sentence(self._specs[name].metadata["help"]))
            layout.addRow(label, self._widgets[name].native)
        return rows

    def _on_changed(self) -> None:
        guessed = self._widgets["unary"].value != Unary.NONE
        for name in ("eta", "cross_entropy"):
            self._widgets[name].enabled = guessed
        self._widgets["reach"].enabled = self._widgets["neighborhood"].value == Neighborhood.DN
        self.changed.emit()
