"""Small charts, drawn beside the GUI: the event loop only copies the finished picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QSize, QTimer
from qtpy.QtGui import QImage, QPainter, QPalette
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_softseg.widgets.autosave import Worker
from napari_softseg.widgets.dock_parts import paint_hint

Points = tuple[Sequence[float], Sequence[float]]
"""x and y."""

POINTS_TO_A_PIXEL = 72 / 96
"""Typographic points, as matplotlib counts them."""

LINE_COLORS = ("#4c9be8", "#e8894c", "#5cb85c", "#c678dd", "#d9534f")
"""Readable on dark and on light."""

REST_MS = 2000
"""Between two drawings: one takes turns with the GUI's thread for a tenth of that."""

MARGINS = (36, 8, 18, 30)
"""Pixels left, right, above and below of a panel, for numbers and names."""

MOST_POINTS = 2000
"""Of a line; more are not seen on so few pixels."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: lines by name."""

    title: str
    curves: Mapping[str, Points]
    unit: str = ""
    """Of x."""
    logarithmic: bool = False
    dots: bool = False
    names: Sequence[str] = ()
    """Of the places 0, 1, 2 on x, in place of numbers."""


class Chart(QWidget):
    """Panels below each other, in the colours of the window.

    matplotlib draws them in a worker's thread: in the GUI's it would be felt as a hitch in every stroke
    that is painted meanwhile.
    """

    def __init__(self, worker: Worker, height: int, hint: str) -> None:
        """Draw with this worker; while there is nothing to draw, `hint` says when there will be."""
        super().__init__()
        self._hint = hint
        self.panels: Sequence[Panel] = ()
        self._worker = worker
        self._drawing = False
        self._wanted = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._draw_if_wanted)
        self._image: QImage | None = None
        self._height = height
        self.setMinimumHeight(height)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        """Return a size that fits a narrow dock."""
        return QSize(260, self._height)

    def show_panels(self, panels: Sequence[Panel]) -> None:
        """Show these as soon as they are drawn."""
        if panels != self.panels:
            self.panels = panels
            self._draw()
            self.update()

    @property
    def is_drawn(self) -> bool:
        """Whether what is seen is what was asked for."""
        return not self._drawing and not self._wanted

    def paintEvent(self, _event: Any) -> None:
        """Copy the picture; one of another size is stretched until the new one is there."""
        if self._image is not None and self.panels:
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(self.rect(), self._image)
            painter.end()
        elif not self.panels:
            paint_hint(self, self._hint)

    def resizeEvent(self, event: Any) -> None:
        """Draw at the new size."""
        super().resizeEvent(event)
        self._draw()

    def showEvent(self, event: Any) -> None:
        """Draw what was put off while nobody saw it."""
        super().showEvent(event)
        self._draw()

    def changeEvent(self, event: Any) -> None:
        """Draw in the colours of another theme."""
        super().changeEvent(event)
        if event.type() in (event.Type.PaletteChange, event.Type.StyleChange):
            self._draw()

    def _draw(self) -> None:
        self._wanted = bool(self.panels)
        if not self._wanted or self._drawing or self._rest.isActive() or not self.isVisible():
            return
        self._drawing, self._wanted = True, False
        palette = self.palette()
        ink = palette.color(QPalette.ColorRole.WindowText).name()
        size = (self.width(), self.height())
        task = partial(render, self.panels, size, self.devicePixelRatioF(), ink)
        # The chart may be gone by the time it is drawn.
        self._worker.run(task, partial(_show, self))

    def _take(self, image: QImage) -> None:
        self._drawing, self._image = False, image
        self.update()
        self._rest.start()

    def _draw_if_wanted(self) -> None:
        if self._wanted:
            self._draw()


def _show(chart: Chart, image: QImage) -> None:
    if isalive(chart):  # type: ignore[no-untyped-call]
        chart._take(image)


def render(panels: Sequence[Panel], size: tuple[int, int], ratio: float, ink: str) -> QImage:
    """Draw panels; called in a worker's thread, and safe there: nothing of matplotlib's is shared.

    Parameters
    ----------
    panels
        Top to bottom.
    size
        Width and height in pixels of the window system.
    ratio
        Pixels of the screen to one of these.
    ink
        Colour of text and axes, ``#rrggbb``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = max(size[0], 80), max(size[1], 60 * len(panels))
    figure = Figure(figsize=(width / 96, height / 96), dpi=96 * ratio, facecolor="none", layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    for number, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(len(panels), 1, number + 1), panel, ink)
    canvas.draw()
    pixels = canvas.buffer_rgba()
    rows, columns = pixels.shape[:2]
    image = QImage(pixels, columns, rows, 4 * columns, QImage.Format.Format_RGBA8888)
    return image.copy()  # the pixels are the canvas's


def _draw_panel(axes: Any, panel: Panel, ink: str) -> None:
    from matplotlib.ticker import MaxNLocator

    small = 11 * POINTS_TO_A_PIXEL
    axes.set_title(panel.title, loc="left", fontsize=12 * POINTS_TO_A_PIXEL, color=ink, pad=3)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink)
        spine.set_alpha(0.4)
    axes.tick_params(colors=ink, labelsize=small, length=2, pad=2)
    axes.grid(color=ink, alpha=0.15, linewidth=0.6)
    positive = [y for _, ys in panel.curves.values() for y in ys if y > 0]
    if panel.logarithmic and positive:
        axes.set_yscale("log")
        axes.minorticks_off()
        if max(positive) < 30 * min(positive):  # powers of ten alone would leave one number to read, or none
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter("{x:g}")  # powers of ten are set like formulas, which is slow
    for color, (name, (xs, ys)) in zip(LINE_COLORS, panel.curves.items(), strict=False):
        every = max(len(xs) // MOST_POINTS, 1)
        few = panel.dots or len(xs) < 3
        axes.plot(
            xs[::every],
            ys[::every],
            label=name,
            color=color,
            linewidth=1.2,
            marker="o" if few else "",
            markersize=3,
        )
    if panel.names:
        axes.set_xticks(range(len(panel.names)), panel.names, rotation=0)
    elif panel.unit:
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    if panel.unit:
        axes.set_xlabel(panel.unit, fontsize=small, color=ink, labelpad=1)
    if len(panel.curves) > 1:
        axes.legend(
            fontsize=small,
            labelcolor=ink,
            frameon=False,
            ncols=len(panel.curves),
            handlelength=1,
            columnspacing=1,
            borderpad=0,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            borderaxespad=0,
        )
