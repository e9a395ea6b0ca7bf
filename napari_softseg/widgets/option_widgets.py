"""One widget for one option, made from the texts and limits of its field."""

import math
from dataclasses import Field
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSlider, FloatSpinBox, SpinBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QStyle, QStyleOptionComboBox, QStylePainter

from napari_softseg.options import Choice

TEXT_MARGIN = 2
"""Pixels that a style leaves free on either side of a box's text."""


def option_widget(
    spec: "Field[Any]", value: Any, slider: tuple[float, float, float] | None = None
) -> ValueWidget[Any]:
    """Return a widget for one field of a dataclass of options, with its texts and limits.

    Parameters
    ----------
    spec
        The field.
    value
        What it shows first.
    slider
        Lowest, highest, step: the useful part of the range; None for a box that allows all of it.
    """
    meta, shared = spec.metadata, common(spec, value)
    if "choices" in meta:
        return choice_box(meta["choices"], shared)
    if slider is not None:
        low, high, step = slider
        box = FloatSlider(min=low, max=high, step=step, **shared)
        box.native.setToolTip(shared["tooltip"])  # magicgui gives it to the slider, not to its number
        return box
    kind = str(spec.type)
    if kind == "bool":
        return CheckBox(**shared)
    if kind == "int":
        return SpinBox(min=meta["minimum"], max=meta["maximum"], **shared)
    number = FloatSpinBox(min=meta["minimum"], max=meta["maximum"], step=value, **shared)
    native: QDoubleSpinBox = number.native
    native.setDecimals(max(native.decimals(), 2 - math.floor(math.log10(value))) if value else 4)
    number.value = value  # was rounded
    return number


def common(spec: "Field[Any]", value: Any) -> dict[str, Any]:
    """Return what every widget of an option is made with."""
    return {"name": spec.name, "tooltip": sentence(spec.metadata["help"]), "value": value}


def choice_box(choices: type[Choice], shared: dict[str, Any], *, long: bool = True) -> ComboBox:
    """Return a box whose entries and tooltips explain themselves; `long` puts long names into the entries."""
    entries = [(_entry(choice) if long else str(choice.value), choice) for choice in choices]
    box = ComboBox(choices=entries, **shared)
    native: QComboBox = box.native
    narrow(native)
    for row, choice in enumerate(choices):
        native.setItemData(row, sentence(choice.explanation), Qt.ItemDataRole.ToolTipRole)

    def explain(value: Any) -> None:
        box.tooltip = f"{shared['tooltip']}\n{value}: {value.explanation}"

    box.changed.connect(explain)
    explain(box.value)
    return box


def narrow(box: QComboBox) -> None:
    """Let a box be narrower than its longest entry, as a dock is; its list is not."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(6)
    box.installEventFilter(_Elider(box))


def seen_entry(box: QComboBox) -> QStyleOptionComboBox:
    """Return how a box is drawn: a text that it has no room for ends in an ellipsis."""
    option = QStyleOptionComboBox()
    box.initStyleOption(option)
    style = box.style()
    room = style.subControlRect(
        QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, box
    )
    option.currentText = option.fontMetrics.elidedText(
        option.currentText, Qt.TextElideMode.ElideRight, room.width() - 2 * TEXT_MARGIN
    )
    return option


class _Elider(QObject):
    """Draws a box: with a style sheet, as napari has one, Qt cuts its text off in the middle of a letter."""

    def eventFilter(self, box: Any, event: Any) -> bool:
        if event.type() != QEvent.Type.Paint:
            return False
        painter, option = QStylePainter(box), seen_entry(box)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        return True


def sentence(text: str) -> str:
    """Return the text with a capital letter."""
    return text[:1].upper() + text[1:]


def _entry(choice: Any) -> str:
    """Return a choice's name and, if its explanation opens with one, its long name."""
    words, colon, _ = choice.explanation.partition(":")
    return f"{choice.value}: {words}" if colon else str(choice.value)
