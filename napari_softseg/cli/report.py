"""``napari-softseg report``: one HTML page about a training run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """Write one self-contained HTML page about a training run: curves, classes, settings,
pseudo-labels and predictions of sample images over time.

It needs no server and loads nothing from elsewhere; a run that is still going on,
was stopped or has diverged gives a page as well."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "report",
        help="write an HTML page about a training run",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("path", metavar="RUN", help="folder of the run, as given to train -o")
    parser.add_argument(
        "-o", "--output", metavar="FILE.html", help="page to write (default: RUN/report.html)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the page; see `napari_softseg.cli.main` for errors and exit codes."""
    from napari_softseg.saving import check_outputs
    from napari_softseg.training.report.page import write_report
    from napari_softseg.training.report.run_log import check_run

    folder = Path(arguments.path)
    check_run(folder)
    output = Path(arguments.output) if arguments.output else folder / "report.html"
    check_outputs([output], [path for path in folder.iterdir() if path.suffix != ".html"])
    write_report(folder, output)
    print(f"Wrote {output}")
    return 0
