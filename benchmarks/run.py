"""All benchmarks in one run, into docs/benchmarks.md and docs/images. ``make bench``; some 15 minutes on 2 cores."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import curves
import scaling
import speed
from common import ROOT, header

PAGE = ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """# Benchmarks

Written by `make bench`. All figures of a table come from one run; medians where not said otherwise.
{header}

The paper's solver is plain gradient descent (200 steps, rate 0.075) in PyTorch autograd. Images are
512 x 512 unless said otherwise: scikit-image's astronaut with two random short strokes per class, unaries
our classifier's (clean) or colour histograms of the strokes (confident and noisy). Dense CRF packages
(pydensecrf) did not install, so none is compared.

![Energy against time, every trick](images/energy_tricks.png)

![Energy against time, every relaxation](images/energy_relaxations.png)
"""


def printed(title: str, *command: str, **environment: str) -> str:
    """Return the section of a benchmark that runs in a process of its own."""
    ran = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False
    )
    said = ran.stdout if ran.returncode == 0 else f"failed with exit code {ran.returncode}"
    print(said, flush=True)
    return f"\n## {title}\n\n{said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gallery", type=Path, help="folder of images, masks and scribbles: adds mean IoU")
    args = parser.parse_args()
    page = [INTRODUCTION.format(header="\n" + header("torch", "numba", "numpy", "scikit-image", "PyMaxflow"))]
    for title, table in {**speed.TABLES, **scaling.TABLES}.items():
        print(f"{title} ...", flush=True)
        page.append(f"\n## {title}\n\n{table()}\n")
    curves.main()
    python = sys.executable
    page.append(printed("On a GPU", python, "benchmarks/gpu.py"))
    if args.gallery:
        page.append(
            printed("Gallery", python, "benchmarks/gallery.py", "--data", str(args.gallery.resolve()))
        )
    window = [python, "benchmarks/event_loop.py"]
    if shutil.which("xvfb-run"):
        window = ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1600x1200x24", *window]
    live = printed(
        "In the viewer, 1024 x 1024", *window, PYTHONPATH=".", QT_API=os.environ.get("QT_API", "pyqt6")
    )
    head, _, lines = live.partition("\n\n")
    page.append(f"{head}\n\n```\n{lines.strip()}\n```\n")
    PAGE.write_text("\n".join(page).replace("\n\n\n", "\n\n"))
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
