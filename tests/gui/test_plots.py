"""The charts of the Train dock, as matplotlib draws them."""

import pytest
from matplotlib.figure import Figure

from napari_softseg.widgets.plots import Panel, _draw_panel


@pytest.mark.parametrize("losses", [[0.65, 1.05, 0.8], [0.3, 0.31, 0.35], [2.3, 0.5], [20, 0.01, 3], [4, 4]])
def test_there_are_numbers_to_read_a_loss_by(losses: list[float]) -> None:
    axes = Figure((3, 3)).add_subplot()
    curves = {"loss": (list(range(len(losses))), losses)}
    _draw_panel(axes, Panel("Loss", curves, unit="step", logarithmic=True), "#ffffff")
    low, high = axes.get_ylim()
    assert 2 <= len([tick for tick in axes.get_yticks() if low <= tick <= high]) <= 8
