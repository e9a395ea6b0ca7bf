"""A box for where weights come from: a download, or a file that a person chooses."""

from dataclasses import Field
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QFileDialog

from napari_softseg.widgets.option_widgets import common, narrow

IMAGENET, FILE = "imagenet", "file…"
FILES = "Weights (*.safetensors *.pth *.pt)"


def weights_box(spec: "Field[Any]", value: str) -> ComboBox:
    """Return a box for an option that is ``imagenet`` or the path of a file of weights."""
    box = ComboBox(choices=_choices(value), **common(spec, value))
    narrow(box.native)
    shown = [value]

    def ask(chosen: str) -> None:
        if chosen != FILE:
            shown[:] = [chosen]
            return
        with box.changed.blocked():
            box.value = shown[0]
        path, _ = QFileDialog.getOpenFileName(box.native, "Weights of the first guess's network", "", FILES)
        if path:
            show_weights(box, path)

    box.changed.connect(ask)
    return box


def show_weights(box: ValueWidget[Any], weights: str) -> None:
    """Show weights in the box, a file's path as an entry of its own."""
    with box.changed.blocked():
        box.choices = _choices(weights)  # type: ignore[attr-defined]
        box.value = weights
    box.changed.emit(weights)


def _choices(weights: str) -> list[tuple[str, str]]:
    files = [] if weights == IMAGENET else [(Path(weights).name, weights)]
    return [("ImageNet", IMAGENET), *files, (FILE, FILE)]
