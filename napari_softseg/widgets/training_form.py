"""The options of training as a form, generated from TrainOptions: no default or text is repeated here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtWidgets import QComboBox, QFileDialog, QWidget

from napari_softseg.models.config import Backbone
from napari_softseg.runs import RunState
from napari_softseg.runs.imagenet import imagenet_is_here
from napari_softseg.training.options import PRESETS, Loss, Preset, TrainOptions, train_options
from napari_softseg.widgets.option_form import OptionForm
from napari_softseg.widgets.option_widgets import choice_box, common, narrow

IMAGENET, NONE, FILE = "imagenet", "none", "file…"


class TrainingForm(OptionForm):
    """A view of the options of the next run."""

    OPTIONS = TrainOptions
    LABELS: ClassVar = {
        "preset": "preset",
        "backbone": "network",
        "weights": "start from",
        "epochs": "epochs",
        "device": "device",
        "loss": "loss",
        "relaxation": "relaxation",
        "cross_entropy": "cross-entropy",
        "neighborhood": "neighbours",
        "eta": "trust in it, η",
        "lambda_": "smoothness",
        "batch": "crops a batch",
        "accumulate": "batches a step",
        "crop": "crop size",
        "lr": "learning rate",
    }
    BASIC = ("preset", "backbone", "weights", "epochs", "device")
    FOLDED = ("Loss and crops", "What a preset chooses, and is seldom turned.")
    LABEL_WIDTH = 96

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._touched = False
        self._models: dict[str, RunState] = {}
        defaults = train_options(preset=Preset.FAST)
        for name in self.LABELS:
            value = getattr(defaults, name)
            if name == "backbone":
                self._widgets[name] = choice_box(Backbone, common(self._specs[name], value), long=False)
            elif name != "weights":
                self.add(name, value)
        self.weights_box = QComboBox()
        narrow(self.weights_box)
        self.weights_box.setToolTip(
            "Weights the network begins with: ImageNet's, downloaded once; none; a file; or a network of this "
            "project, which is corrected rather than trained anew."
        )
        self._fill_weights(None)
        self._widgets["preset"].changed.connect(self._on_preset)
        self.weights_box.activated.connect(self._on_weights)
        self.lay_out()

    def native(self, name: str) -> QWidget:
        """Return what stands beside the label of an option."""
        return self.weights_box if name == "weights" else super().native(name)

    @property
    def weights(self) -> str:
        """none, imagenet, or a path."""
        return str(self.weights_box.currentData())

    @weights.setter
    def weights(self, weights: str) -> None:
        self._touched = True
        row = self.weights_box.findData(weights)
        if row < 0:
            row = self.weights_box.count() - 1  # before "file…"
            self.weights_box.insertItem(row, Path(weights).name, weights)
        self.weights_box.setCurrentIndex(row)
        self._on_changed()

    def given(self) -> dict[str, Any]:
        """Return what differs from the preset's defaults, for a command line as short as can be.

        Raises
        ------
        InputError
            If a value is one that TrainOptions refuses.
        """
        preset = str(self._widgets["preset"].value)
        defaults = train_options(preset=preset)
        chosen = {name: widget.value for name, widget in self._widgets.items()} | {"weights": self.weights}
        options = train_options(**chosen)
        values = {name: getattr(options, name) for name in self.LABELS}
        given = {name: value for name, value in values.items() if value != getattr(defaults, name)}
        plain = {name: str(value) if isinstance(value, str) else value for name, value in given.items()}
        return {"preset": preset, **plain}

    def options(self) -> TrainOptions:
        """Return the options of the next run; InputError if a value is refused."""
        return train_options(**self.given())

    @property
    def warning(self) -> str:
        """What a person has to know of the weights; empty if nothing."""
        if self.weights == NONE:
            return "Without trained weights it takes longer and comes out worse."
        if self.weights == IMAGENET and not imagenet_is_here(str(self._widgets["backbone"].value)):
            return "ImageNet weights will be downloaded once."
        return ""

    def set_models(self, states: Iterable[RunState]) -> None:
        """Offer the last network of these runs to start from, and choose it unless a person chose another."""
        with_model = [state for state in states if state.has_model and not state.status.alive]
        last = with_model[-1] if with_model else None
        if list(self._models) != ([] if last is None else [str(last.path)]):
            self._fill_weights(last)
            self._on_changed()

    def _fill_weights(self, last: RunState | None) -> None:
        """List where weights come from, and choose the best there is; a person's choice stays."""
        chosen = self.weights if self._touched else None
        self._models = {} if last is None else {str(last.path): last}
        box = self.weights_box
        box.clear()
        box.addItem("ImageNet", IMAGENET)
        box.addItem("nothing", NONE)
        for path, state in self._models.items():
            box.addItem(f"last network: {state.name}", path)
        box.addItem(FILE, FILE)
        if chosen is not None and box.findData(chosen) >= 0:
            box.setCurrentIndex(box.findData(chosen))
        elif chosen is not None and chosen not in (IMAGENET, NONE) and Path(chosen).is_file():
            box.insertItem(box.count() - 1, Path(chosen).name, chosen)
            box.setCurrentIndex(box.count() - 2)
        elif last is not None:
            box.setCurrentIndex(box.findData(str(last.path)))
        else:
            here = imagenet_is_here(str(self._widgets["backbone"].value))
            box.setCurrentIndex(box.findData(IMAGENET if here else NONE))

    def _on_weights(self, _row: int) -> None:
        if self.weights == FILE:
            chosen, _ = QFileDialog.getOpenFileName(
                self, "Weights to start from", "", "Weights (*.safetensors *.pth *.pt)"
            )
            if not chosen:
                self.weights_box.setCurrentIndex(0)
                self._on_changed()
                return
            self.weights = chosen
            return
        self._touched = True
        self._on_changed()

    def _on_preset(self, preset: str) -> None:
        defaults = train_options(preset=preset)
        for name in {name for values in PRESETS.values() for name in values} & self._widgets.keys():
            with self._widgets[name].changed.blocked():
                self._widgets[name].value = getattr(defaults, name)

    def _on_changed(self) -> None:
        widgets = self._widgets
        model = self._models.get(self.weights)
        backbone = widgets["backbone"]
        if model is not None:
            with backbone.changed.blocked():
                backbone.value = Backbone.named(model.options.get("backbone"))
        backbone.enabled = model is None
        solved = widgets["loss"].value in (Loss.SELF, Loss.HARD, Loss.GD)
        for name in ("relaxation", "neighborhood", "lambda_"):
            widgets[name].enabled = solved
        for name in ("cross_entropy", "eta"):
            widgets[name].enabled = widgets["loss"].value in (Loss.SELF, Loss.HARD)
        super()._on_changed()
