"""The solver's options as a form, generated from SolveOptions: no default or text is repeated here."""

from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any

from magicgui.widgets import ComboBox, FloatSlider, FloatSpinBox, SpinBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_softseg.options import DEFAULTS, Choice, Neighborhood, SolveOptions, Unary

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
        self._widgets = {name: _make_widget(self._specs[name]) for name in LABELS if name != "device"}
        self._device = self._widgets["device"] = ComboBox(
            choices=["auto", "cpu"], **_common(self._specs["device"])
        )
        for widget in self._widgets.values():
            widget.changed.connect(self._on_changed)
        self.folded = QCollapsible("More options")
        self.folded.setDuration(0)
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
            label.setToolTip(_sentence(self._specs[name].metadata["help"]))
            layout.addRow(label, self._widgets[name].native)
        return rows

    def _on_changed(self) -> None:
        guessed = self._widgets["unary"].value != Unary.NONE
        for name in ("eta", "cross_entropy"):
            self._widgets[name].enabled = guessed
        self._widgets["reach"].enabled = self._widgets["neighborhood"].value == Neighborhood.DN
        self.changed.emit()


def _make_widget(spec: "Field[Any]") -> ValueWidget[Any]:
    """Return a widget for one field of SolveOptions, with its texts and limits."""
    meta, common = spec.metadata, _common(spec)
    if "choices" in meta:
        return _choice_box(meta["choices"], common)
    if spec.name in SLIDERS:
        low, high, step = SLIDERS[spec.name]
        return FloatSlider(min=low, max=high, step=step, **common)
    if spec.type == "int":
        return SpinBox(min=meta["minimum"], max=meta["maximum"], **common)
    return FloatSpinBox(min=meta["minimum"], max=meta["maximum"], step=common["value"], **common)


def _common(spec: "Field[Any]") -> dict[str, Any]:
    """Return what every widget of an option is made with."""
    return {
        "name": spec.name,
        "tooltip": _sentence(spec.metadata["help"]),
        "value": getattr(DEFAULTS, spec.name),
    }


def _choice_box(choices: type[Choice], common: dict[str, Any]) -> ComboBox:
    """Return a box whose entries and tooltip explain themselves."""
    box = ComboBox(choices=[(_entry(choice), choice) for choice in choices], **common)
    native: QComboBox = box.native
    # An entry may be longer than a narrow dock: the box shrinks, its list does not.
    native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    native.setMinimumContentsLength(6)
    for row, choice in enumerate(choices):
        native.setItemData(row, _sentence(choice.explanation), Qt.ItemDataRole.ToolTipRole)

    def explain(value: Any) -> None:
        box.tooltip = f"{common['tooltip']}\n{value}: {value.explanation}"

    box.changed.connect(explain)
    explain(box.value)
    return box


def _entry(choice: Any) -> str:
    """Return a choice's name and, if its explanation opens with one, its long name."""
    words, colon, _ = choice.explanation.partition(":")
    return f"{choice.value}: {words}" if colon else str(choice.value)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
