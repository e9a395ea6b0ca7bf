"""The solver's options as a form, generated from SolveOptions: no default or text is repeated here."""

from math import ceil, floor
from typing import ClassVar

from qtpy.QtWidgets import QWidget

from napari_softseg.options import DEFAULTS, Neighborhood, SolveOptions, Unary
from napari_softseg.widgets.option_form import OptionForm
from napari_softseg.widgets.weights_box import show_weights, weights_box


class OptionsForm(OptionForm):
    """A view of one SolveOptions.

    A painted layer's unlabelled value is always 0, and planes are solved one by one, so these are not asked for.
    """

    OPTIONS = SolveOptions
    LABELS: ClassVar = {
        "relaxation": "relaxation",
        "lambda_": "smoothness",
        "bandwidth": "bandwidth",
        "unary": "first guess",
        "weights": "weights",
        "eta": "trust in it, η",
        "cross_entropy": "cross-entropy",
        "neighborhood": "neighbours",
        "reach": "their reach",
        "method": "method",
        "device": "device",
        "max_sweeps": "most sweeps",
        "tolerance": "tolerance",
    }
    BASIC = ("relaxation", "lambda_", "bandwidth", "unary", "eta")
    SLIDERS: ClassVar = {"lambda_": (0.0, 50.0, 0.5), "bandwidth": (1.0, 60.0, 0.5), "eta": (0.0, 3.0, 0.05)}
    FOLDED = ("More options", "Options that are seldom turned.")
    LABEL_WIDTH = 88

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._by_network = False
        self._filling = False
        for name in self.LABELS:
            if name == "weights":
                self._widgets[name] = weights_box(self._specs[name], DEFAULTS.weights)
            else:
                self.add(name, getattr(DEFAULTS, name))
        self.lay_out()

    @property
    def by_network(self) -> bool:
        """Whether a network makes the first guess, so that nothing else is to be chosen for it."""
        return self._by_network

    @by_network.setter
    def by_network(self, by_network: bool) -> None:
        self._by_network = by_network
        self._enable()

    def options(self) -> SolveOptions:
        """Return what the form says.

        Raises
        ------
        InputError
            If a value is one that SolveOptions refuses.
        """
        return SolveOptions(**{name: widget.value for name, widget in self._widgets.items()})

    def set_options(self, options: SolveOptions) -> None:
        """Show these options, rounded to what the boxes show; `changed` is emitted once."""
        self._filling = True
        try:
            devices = self["device"].choices  # type: ignore[attr-defined]
            if options.device not in devices:
                self.set_devices([*devices, options.device])
            show_weights(self["weights"], options.weights)
            for name, widget in self._widgets.items():
                value = getattr(options, name)
                if name in self.SLIDERS:  # its range is the useful part of what is allowed
                    low, high, _ = self.SLIDERS[name]
                    widget.min, widget.max = min(low, floor(value)), max(high, ceil(value))  # type: ignore[attr-defined]
                widget.value = value
        finally:
            self._filling = False
        self._on_changed()

    def _on_changed(self) -> None:
        if not self._filling:
            self._enable()
            super()._on_changed()

    def _enable(self) -> None:
        guessed = self["unary"].value != Unary.NONE
        for name in ("eta", "cross_entropy"):
            self[name].enabled = guessed
        self["unary"].enabled = not (guessed and self.by_network)
        self["weights"].enabled = self["unary"].value == Unary.PRETRAINED and not self.by_network
        self["reach"].enabled = self["neighborhood"].value == Neighborhood.DN
