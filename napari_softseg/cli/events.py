"""``--events jsonl``: what a command does as one JSON object per line on stdout, for programs that watch it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_softseg.solver.solution import SolveProgress


def add_events_flag(parser: Any) -> None:
    """Add ``--events`` to a command, or to a group of its flags."""
    parser.add_argument(
        "--events",
        choices=["jsonl"],
        help="print one JSON object per line on stdout, docs/training.md",
    )


class Events:
    """Prints events where they are wanted.

    Parameters
    ----------
    arguments
        Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.wanted = arguments.events is not None

    def __call__(self, kind: str, **fields: Any) -> None:
        """Print one event of that kind; its fields are what JSON can hold."""
        if self.wanted:
            print(json.dumps({"event": kind, **fields}, allow_nan=False), flush=True)

    def progress(self, progress: SolveProgress, **fields: Any) -> None:
        """Print how far something is."""
        self("progress", **fields, stage=progress.stage, step=progress.step, steps=progress.max_steps)
