"""How long the window is blocked while a 1024 x 1024 image is solved after every stroke.

Run with a display (or xvfb-run):  PYTHONPATH=. python benchmarks/event_loop.py [--size 1024] [--strokes 8]

Strokes are drawn with real mouse events on a real napari window; a 5 ms timer in its event
loop records the gaps: of the window left alone, of strokes with auto-solve off and on, and
from the end of a stroke until its result is on the screen.
"""

import argparse
import time

import napari
import numpy as np
from qtpy.QtTest import QTest
from skimage.data import astronaut
from skimage.transform import resize

from tests.gui.hands import Pulse, drag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="side of the image in pixels")
    parser.add_argument("--strokes", type=int, default=8)
    args = parser.parse_args()

    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1500, 950)
    size = args.size
    pixels = (resize(astronaut(), (size, size)) * 255).astype(np.uint8)
    pulse = Pulse()
    pulse.start()
    viewer.add_image(pixels, name="astronaut")
    dock = viewer.window.add_plugin_dock_widget("napari-softseg", "Scribble and solve")[1]
    dock.start()
    pulse.start()
    while not dock.loop.devices:
        QTest.qWait(20)
    report("warm-up", pulse.stop())

    pulse.start()
    QTest.qWait(1500)
    report("idle", pulse.stop())

    for auto in (False, True):
        print("auto-solve on" if auto else "auto-solve off")
        dock.auto_box.setChecked(auto)
        drawing: list[float] = []
        after: list[float] = []
        seconds = []
        for number in range(args.strokes):
            dock.session.select_class(1 + number % 2)
            y, x = size * (0.1 + 0.8 * number / args.strokes), size * (0.3 if number % 2 else 0.7)
            QTest.qWait(100)
            pulse.start()
            drag(viewer, [(y, x), (y + size * 0.05, x + size * 0.1)], pause=0.01)
            drawing += pulse.stop()
            begin = time.perf_counter()
            pulse.start()
            while not dock.is_idle:
                QTest.qWait(5)
            seconds.append(time.perf_counter() - begin)
            QTest.qWait(200)  # until the result is on the screen
            after += pulse.stop()
        report("a stroke", drawing)
        if auto:
            report("its solve", after)
            p50, p95 = np.percentile(seconds, [50, 95])
            print(f"mouse up to updated layers: p50 {p50:.2f} s, p95 {p95:.2f} s; {dock.status.text()}")
        if not auto:
            dock.session.scribbles.data = np.zeros((size, size), dtype=np.uint8)

    print("strokes drawn while the one before is solved")
    pulse.start()
    for number in range(args.strokes):
        dock.session.select_class(1 + number % 2)
        y, x = size * (0.1 + 0.8 * number / args.strokes), size * (0.2 if number % 2 else 0.8)
        drag(viewer, [(y, x), (y + size * 0.05, x + size * 0.1)], pause=0.01)
        QTest.qWait(300)
    report("a stroke", pulse.stop())
    viewer.close()


def report(what: str, gaps: list[float]) -> None:
    ms = np.asarray(gaps) * 1000
    p50, p99 = np.percentile(ms, [50, 99])
    print(
        f"{what:9} event-loop gap: p50 {p50:5.1f} ms, p99 {p99:6.1f} ms, max {ms.max():6.1f} ms "
        f"({len(ms)} beats)"
    )


if __name__ == "__main__":
    main()
