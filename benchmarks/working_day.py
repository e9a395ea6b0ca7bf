"""A working day in a real window: strokes on two images of a project while a network trains beside.

Run with a display (or xvfb-run):  PYTHONPATH=. python benchmarks/working_day.py [--size 1024] [--strokes 300]

Every stroke is drawn with real mouse events and solved at once; every fifth is undone. It prints how long the
event loop was blocked (a 5 ms timer), and how the memory of the process grew; for memory alone
``--no-training --moves 2`` leaves out what takes longest. On a busy machine a trainer, which comes last, takes
minutes to begin.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
import numpy.typing as npt
import psutil
from qtpy.QtTest import QTest
from skimage.data import astronaut, coffee
from skimage.transform import resize

from benchmarks.common import header
from napari_softseg.widgets.workspace import Workspace
from tests.gui.hands import Pulse, drag

CLASSES = 4
TURN = 10
"""Strokes on one image before the other is shown."""
STROKE, SOLVE = "a stroke", "its solve"


class Day:
    """A window with the three docks and a project of two images."""

    def __init__(self, project: Path, size: int, journal: Path | None, moves: int = 8) -> None:
        self.journal, self.size, self.moves = journal, size, moves
        self.moments = 0
        self.random = np.random.default_rng()
        self.viewer = napari.Viewer()
        self.viewer.window._qt_window.resize(1500, 950)
        self.docks = {
            name: self.viewer.window.add_plugin_dock_widget("napari-softseg", name, tabify=True)[1]
            for name in ("Scribble and solve", "Project", "Train")
        }
        self.workspace = Workspace.of(self.viewer)
        projects = self.workspace.project
        if (project / "project.json").exists():
            projects.open(project)
        else:
            for number, image in enumerate((astronaut(), coffee())):
                pixels = (resize(image, (size, size)) * 255).astype(np.uint8)
                layer = self.viewer.add_image(pixels, name=("astronaut", "coffee")[number])
                self.workspace.session.choose(layer)
                self.workspace.session.start()
                while number == 0 and len(self.workspace.session.classes) < CLASSES:
                    self.workspace.session.classes.add()
                if number == 0:
                    projects.create(project)
                projects.add_open_image()
                self.settle()
        self.settle()

    def settle(self, seconds: float = 60) -> None:
        """Wait until files are written and the last stroke is solved."""
        end = time.monotonic() + seconds
        QTest.qWait(20)
        while time.monotonic() < end and (self.workspace.project.busy or not self.workspace.loop.is_idle):
            QTest.qWait(5)

    def note(self) -> None:
        """Write down what is painted now, for who kills this process and looks at what is left."""
        if self.journal is not None:
            self.moments += 1
            name = f"{self.moments:05}.npz"
            partial = self.journal / f"{name}.part"
            with partial.open("wb") as file:
                np.savez(
                    file, image=str(self.workspace.project.current), strokes=self.strokes, at=time.time()
                )
            partial.rename(self.journal / name)

    @property
    def strokes(self) -> npt.NDArray[Any]:
        """Of the image in the viewer."""
        return np.asarray(self.workspace.session.scribbles.data)

    def draw(self) -> Iterator[str]:
        """Draw strokes without end; yield what was just done."""
        for number in count(1):
            self.workspace.session.select_class(1 + number % CLASSES)
            y, x = self.size * self.random.uniform(0.1, 0.85, 2)
            drag(self.viewer, [(y, x), (y + self.size * 0.05, x + self.size * 0.1)], 0.005, self.moves)
            self.note()
            yield STROKE
            QTest.qWait(150)
            self.settle(30)
            yield SOLVE
            if number % 5 == 0:
                self.workspace.session.scribbles.undo()
                self.note()
                self.settle(30)
                yield "an undo and its solve"
            if number % TURN == 0:
                self.workspace.project.step(1)
                self.settle(30)
                yield "the next image"

    def train(self, epochs: int) -> None:
        """Train beside, unless a run is on."""
        if self.workspace.training.running is None:
            self.workspace.training.start(
                {"preset": "fast", "backbone": "mobilenet_v3_small", "weights": "none", "epochs": epochs}
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="side of the images in pixels")
    parser.add_argument("--strokes", type=int, default=300)
    parser.add_argument("--moves", type=int, default=8, help="of the mouse in a stroke: each is drawn anew")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--project", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--journal", type=Path, help="folder that what is painted is written down in")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        day = Day(args.project or Path(folder) / "project", args.size, args.journal, args.moves)
        report = work(day, args.strokes, None if args.no_training else 1000)
        training = day.workspace.training
        if training.running is not None:
            training.kill()
            while training.running is not None:
                QTest.qWait(50)
        day.viewer.close()
    print(header("torch", "napari", "numba"))
    print(report)


def work(day: Day, strokes: int, epochs: int | None) -> str:
    """Draw strokes, train after the first few; return what was measured as a table."""
    process, pulse = psutil.Process(), Pulse()
    memory: list[float] = []
    seconds = []
    gaps: dict[str, list[float]] = {}
    drawn, up, began = 0, 0.0, time.perf_counter()
    for what in day.draw():
        gaps.setdefault(what, []).extend(pulse.stop())
        if what == STROKE:
            drawn, up = drawn + 1, time.perf_counter()
        elif what == SOLVE:
            seconds.append(time.perf_counter() - up)
            if drawn % 25 == 0:
                gc.collect()
                memory.append(process.memory_info().rss / 2**20)
                minutes = (time.perf_counter() - began) / 60
                print(f"{drawn} strokes, {minutes:.1f} min, {memory[-1]:.0f} MiB", file=sys.stderr)
            if drawn == 2 * CLASSES:
                if epochs is not None:
                    day.train(epochs)
                    while (
                        day.workspace.training.running is None
                        or not day.workspace.training.running.state.step
                    ):
                        QTest.qWait(50)
                gaps.clear()
                seconds.clear()
            if drawn >= strokes:
                break
        pulse.start()
    half = len(memory) // 2
    rows = {
        "image": f"{day.size} x {day.size}, {CLASSES} classes",
        "strokes": f"{strokes}, every fifth undone, the other image shown after every {TURN}",
        "training beside": "no" if epochs is None else "yes",
        "event-loop gap, ms": _percentiles(list(chain.from_iterable(gaps.values()))),
        **{f"... {what}": _percentiles(of_it) for what, of_it in gaps.items()},
        "mouse up to updated layers, s": "p50 {:.2f}, p95 {:.2f}".format(*np.percentile(seconds, [50, 95])),
        "memory, MiB": json.dumps([round(m) for m in memory]),
    }
    if half:
        rows["memory, second half over first"] = f"{np.mean(memory[half:]) / np.mean(memory[:half]) - 1:+.1%}"
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def _percentiles(gaps: list[float]) -> str:
    ms = np.array(gaps) * 1000
    p50, p99 = np.percentile(ms, [50, 99])
    return f"p50 {p50:.0f}, p99 {p99:.0f}, max {ms.max():.0f} ({len(ms)} beats)"


if __name__ == "__main__":
    main()
