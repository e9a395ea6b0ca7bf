"""Take the pictures of the documentation from the running program.

Run with a display (or xvfb-run):  python scripts/screenshots.py [--out docs/images]

Each picture shows the real window after real solves of a sample that ships with the program.
"""

import argparse
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_softseg.widgets.sample_data import sample_layers
from napari_softseg.widgets.solve_job import View

SIZE = (1480, 900)


def main() -> None:
    """Open the sample, solve it, and photograph the window."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--sample", default="astronaut")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    viewer = napari.Viewer()
    viewer.window._qt_window.resize(*SIZE)
    for data, options, kind in sample_layers(parser.parse_args().sample):
        getattr(viewer, f"add_{kind}")(data, **options)
    dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-softseg", "Scribble and solve")
    settle(dock)
    shoot(viewer, out / "scribble_and_solve.png")

    for view in (View.LIKELY, View.UNCERTAINTY):
        show(dock, view)
        shoot(viewer, out / f"view_{view.name.lower()}.png")
    show(dock, View.SOFT)

    viewer.theme = "light"
    viewer.window._qt_window.resizeDocks([dock_widget], [300], Qt.Orientation.Horizontal)
    dock.form.folded.expand()
    settle(dock)
    shoot(viewer, out / "light_theme_narrow_dock.png")
    viewer.close()


def show(dock: Any, view: View) -> None:
    """Choose a view as a person does."""
    row = list(View).index(view)
    dock.view_box.setCurrentIndex(row)
    dock.view_box.activated.emit(row)
    settle(dock)


def settle(dock: Any) -> None:
    """Wait until the results are solved and drawn."""
    QTest.qWait(200)
    while not dock.is_idle:
        QTest.qWait(50)
    QTest.qWait(500)


def shoot(viewer: napari.Viewer, path: Path) -> None:
    """Save the whole window, canvas included."""
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
