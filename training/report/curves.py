"""Curves of a run as SVG that takes its colours from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from napari_softseg.training.report.run_log import RunLog

_SIZE = (4.6, 2.7)
"""Inches of 72 units."""
# Stand-ins, replaced by what the style sheet of the page defines for light and dark.
_INK, _GRID, _FIRST, _SECOND = "#010203", "#010204", "#010205", "#010206"
_CSS = {_INK: "currentColor", _GRID: "var(--grid)", _FIRST: "var(--first)", _SECOND: "var(--second)"}
_STYLE: Any = {  # matplotlib's own type of it differs between versions
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
}


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: its name and what it goes through."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def run_curves(run: RunLog) -> list[str]:
    """Return an SVG per quantity of the log: losses per epoch, validation; per step before an epoch has ended.

    Every term of the loss has axes of its own: they differ by orders of magnitude.
    """
    panels: list[tuple[str, str, list[Curve]]] = []
    at = [epoch.number for epoch in run.epochs]
    if len(at) < 2 and run.steps:
        panels.append(("Loss of the steps", "step", [Curve("", *zip(*run.steps, strict=True))]))
    if at:
        panels.append(("Loss", "epoch", [Curve("", at, [epoch.loss for epoch in run.epochs])]))
        names = dict.fromkeys(name for epoch in run.epochs for name in epoch.terms)
        for name in names:
            there = [epoch for epoch in run.epochs if name in epoch.terms]
            line = Curve("", [epoch.number for epoch in there], [epoch.terms[name] for epoch in there])
            panels.append((f"Term {name}", "epoch", [line]))
    scored = [(epoch.number, epoch.val) for epoch in run.epochs if epoch.val is not None]
    if scored:
        at = [number for number, _ in scored]
        miou = Curve("mean IoU", at, [100 * val.miou for _, val in scored])
        accuracy = Curve("pixel accuracy", at, [100 * val.pixel_accuracy for _, val in scored])
        panels.insert(0, (f"Validation on {scored[-1][1].source}, %", "epoch", [miou, accuracy]))
    return [_svg(f"c{i}", title, unit, curves) for i, (title, unit, curves) in enumerate(panels)]


def _svg(prefix: str, title: str, unit: str, curves: Sequence[Curve]) -> str:
    """Draw one panel, all text escaped; `prefix` keeps its ids apart from those of others in the page."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": prefix}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        for curve, color in zip(curves, (_FIRST, _SECOND), strict=False):
            marker = "o" if len(curve.x) <= 40 else ""
            axes.plot(
                curve.x, curve.y, label=curve.label, color=color, linewidth=1.8, marker=marker, markersize=3
            )
        axes.set_title(title)
        axes.set_xlabel(unit)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=9)
        buffer = io.StringIO()
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for stand_in, color in _CSS.items():
        svg = svg.replace(stand_in, color)
    return svg
