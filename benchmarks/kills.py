"""Kill viewer and trainer at random moments of a working day, and see what is left.

Run with a display (or xvfb-run):  PYTHONPATH=. python benchmarks/kills.py [--kills 20] [--seed 0]

Every time the project must open, and hold every stroke that was finished a second before the kill.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.common import header
from napari_softseg.files import read_scribbles
from napari_softseg.project import open_project
from napari_softseg.runs import list_runs

GRACE = 1.0
"""Seconds a stroke may be on its way to the disk."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(header("torch", "napari"))
    print("| kill | strokes drawn | seconds after the window | run | opens | strokes lost, older than 1 s |")
    print("|---|---|---|---|---|---|")
    chance = random.Random(args.seed)
    bad = 0
    with TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        for number in range(args.kills):
            journal = Path(folder) / f"journal{number}"
            journal.mkdir()
            wait = chance.uniform(1, 20)
            killed = day_until(project, journal, args.size, wait)
            run, opens, lost = inspect(project, journal, killed)
            bad += not opens or lost > 0
            print(
                f"| {number + 1} | {len(list(journal.glob('*.npz')))} | {wait:.1f} | {run} | "
                f"{'yes' if opens else 'NO'} | {lost} |",
                flush=True,
            )
    sys.exit(bool(bad))


def day_until(project: Path, journal: Path, size: int, wait: float) -> float:
    """Start a working day, kill it and its trainer some seconds after its first stroke; return when."""
    command = f"-m benchmarks.working_day --size {size} --strokes 100000".split()
    day = subprocess.Popen(
        [sys.executable, *command, "--project", str(project), "--journal", str(journal)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not any(journal.glob("*.npz")):
        if day.poll() is not None:
            raise SystemExit(f"The working day ended by itself with {day.returncode}.")
        time.sleep(0.02)
    time.sleep(wait)
    day.send_signal(signal.SIGKILL)
    killed = time.time()
    day.wait()
    for run in list_runs(project):
        if run.pid is not None:
            os.kill(run.pid, signal.SIGKILL)
    time.sleep(0.2)
    return killed


def inspect(project: Path, journal: Path, killed: float) -> tuple[str, bool, int]:
    """Return how the last run stands, whether the project opens, and how many images lost a stroke."""
    opened = open_project(project)
    opens = not opened.read_only
    lost = 0
    moments = [np.load(file) for file in sorted(journal.glob("*.npz"))]
    for name in opened.names:
        opened.read_image(name)
        own = [moment for moment in moments if str(moment["image"]) == name]
        safe = [n for n, moment in enumerate(own) if float(moment["at"]) < killed - GRACE]
        if safe:
            path = opened.scribbles_path(name)
            found = None if path is None else read_scribbles(path)
            last = own[safe[-1]]["strokes"]
            later = [own[n]["strokes"] for n in range(safe[-1], len(own))]
            # a stroke under way at the kill may be there in part, above the last finished one
            grown = found is not None and bool((found[last > 0] > 0).all())
            lost += not (grown or any(found is not None and np.array_equal(found, one) for one in later))
    opened.close()
    runs = list_runs(project)
    return (str(runs[-1].state.status) if runs else "none"), opens, lost


if __name__ == "__main__":
    main()
