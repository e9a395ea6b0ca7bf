"""``napari-softseg demo``: a photo with strokes and their soft labels in napari."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.cli.result_files import ResultFiles, write_results
from napari_softseg.errors import InputError

if TYPE_CHECKING:
    from napari_softseg.samples import Sample
    from napari_softseg.widgets.solve_job import SolveResult

DEFAULT_SAMPLE = "astronaut"
DEFAULT_FOLDER = "demo_output"
PATIENCE = 300
"""Seconds to wait for the solved labels before giving up."""
WINDOW_SIZE = (1560, 960)

DESCRIPTION = f"""Open napari on a photo with prepared strokes and their soft labels, ready to paint on.

With no display the same happens on a virtual one (xvfb-run), which leaves a screenshot
and the soft labels in a folder ({DEFAULT_FOLDER} unless -o names another) and ends."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "demo",
        help="open napari on a photo with strokes and their soft labels",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--sample", metavar="NAME", default=DEFAULT_SAMPLE, help=_sample_help())
    parser.add_argument(
        "--screenshot", action="store_true", help="save a screenshot and the soft labels, then end"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default=DEFAULT_FOLDER,
        help=f"folder of the screenshot and the soft labels (default: {DEFAULT_FOLDER})",
    )
    parser.set_defaults(run=run)


def _sample_help() -> str:
    return "astronaut (default), coffee, cat or tissue"


def run(arguments: argparse.Namespace) -> int:
    """Open the window, on a virtual display if there is no other."""
    from napari_softseg.samples import load_sample

    sample = load_sample(arguments.sample)
    _require_napari()
    headless = not _has_display()
    folder = _folder(arguments.output) if headless or arguments.screenshot else None
    if headless:
        return _run_on_virtual_display(arguments)
    return _open(sample, folder)


def _has_display() -> bool:
    return not sys.platform.startswith("linux") or any(
        os.environ.get(v) for v in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def _require_napari() -> None:
    hint = 'install it with: pip install "napari[all]"'
    if find_spec("napari") is None or find_spec("qtpy") is None:
        raise InputError(f"The demo needs napari; {hint}")
    if not any(find_spec(binding) for binding in ("PyQt6", "PyQt5", "PySide6", "PySide2")):
        raise InputError(f"The demo needs a Qt binding for napari's window; {hint}")


def _folder(name: str) -> Path:
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot make the folder {folder}: {error.strerror}; choose another with -o."
        ) from None
    ResultFiles.of(str(folder / "sample")).check()
    return folder


def _run_on_virtual_display(arguments: argparse.Namespace) -> int:
    """Run this command again under xvfb-run and return its exit code."""
    xvfb = shutil.which("xvfb-run")
    if xvfb is None:
        raise InputError(
            "There is no display, and no xvfb-run to make a virtual one; install it "
            "(Debian, Ubuntu: sudo apt-get install xvfb), or run this on a desktop."
        )
    command = [xvfb, "-a", "-s", "-screen 0 1600x1000x24", sys.executable, "-m", "napari_softseg", "demo"]
    command += ["--sample", arguments.sample, "--screenshot", "--output", arguments.output]
    # napari's canvas needs OpenGL: the platform "offscreen" has none, xcb with Mesa has.
    env = {**os.environ, "QT_QPA_PLATFORM": "xcb", "LIBGL_ALWAYS_SOFTWARE": "1"}
    code = subprocess.run(command, env=env, check=False).returncode
    if code in (134, -signal.SIGABRT):
        raise InputError(
            "Qt could not open a window; on Debian and Ubuntu it needs: sudo apt-get install "
            "libgl1 libegl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-xinerama0"
        )
    return code


def _open(sample: Sample, folder: Path | None) -> int:
    """Show the sample; with a folder, end as soon as screenshot and soft labels are in it."""
    import napari
    from napari.layers import Layer
    from qtpy.QtCore import QTimer

    from napari_softseg.widgets.sample_data import sample_layers

    viewer = napari.Viewer(title=f"{sample.title} - napari-softseg")
    viewer.window.resize(*WINDOW_SIZE)
    for layer in sample_layers(sample.name):
        viewer.add_layer(Layer.create(*layer))
    _dock, widget = viewer.window.add_plugin_dock_widget("napari-softseg", "Scribble and solve")
    QTimer.singleShot(200, viewer.reset_view)  # once the docks have taken their room
    if folder is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Qt's loop would not let Python see Ctrl-C
        print("Paint another stroke and the soft labels follow. Close the window to end.")
        napari.run()
        return 0

    ended: list[Exception | None] = []

    def end(error: Exception | None) -> None:
        if not ended:
            ended.append(error)
            viewer.close()

    def save(result: SolveResult) -> None:
        try:
            _save(viewer, sample, result, folder)
            end(None)
        except Exception as error:  # noqa: BLE001, a slot must not raise: the window would stay open
            end(error)

    # The layers are painted in the pass of the event loop that follows.
    widget.solved.connect(lambda result: QTimer.singleShot(500, lambda: save(result)))
    widget.loop.failed.connect(end)
    QTimer.singleShot(
        1000 * PATIENCE,
        lambda: end(InputError(f"No soft labels after {PATIENCE} s; try a smaller --sample.")),
    )
    napari.run()
    if ended and ended[0] is not None:
        raise ended[0]
    return 0


def _save(viewer: Any, sample: Sample, result: SolveResult, folder: Path) -> None:
    from napari_softseg.saving import replacing, write_png

    files = ResultFiles.of(str(folder / sample.name))
    options = {name: getattr(result.job.options, name) for name in type(result.job.options).__slots__}
    write_results(files, sample.image, result.solution, sample.classes, options)
    picture = folder / "screenshot.png"
    with replacing(picture) as (temporary,):
        write_png(temporary, viewer.screenshot(canvas_only=False, flash=False)[..., :3])
    print(
        f"Saved the window as {picture}, the soft labels as {files.soft}, {files.labels} and {files.overlay}."
    )
