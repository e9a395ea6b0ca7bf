"""What long commands share: Ctrl-C and the progress bar."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_softseg.solver.solution import SolveProgress

_STAGES = {
    "survey": "looking",
    "weights": "loading weights",
    "unary": "first guess",
    "solve": "solving",
    "context": "looking at the whole",
    "predict": "predicting",
    "pyramid": "coarser copies",
}


def add_progress_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress`` to a command."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="progress bar on stderr (default: if that is a terminal)",
    )


def shows_bar(wanted: bool | None) -> bool:
    """Return whether a progress bar is shown: as wanted, and if nothing was said where stderr is a terminal."""
    return sys.stderr.isatty() if wanted is None else wanted


@contextmanager
def interrupt_sets(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C set `stop`, so that the solve ends between two sweeps; a second one ends at once."""

    def on_interrupt(_signal: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_bar(wanted: bool | None, unit: str) -> Iterator[Callable[[SolveProgress], None]]:
    """Yield a function that shows a SolveProgress on stderr.

    Parameters
    ----------
    wanted
        None shows it where stderr is a terminal.
    unit
        What a step of the solve is called.
    """
    from tqdm import tqdm

    shown = shows_bar(wanted)
    with tqdm(file=sys.stderr, disable=not shown, leave=False, unit=unit) as bar:
        stages: list[str] = []

        def show(progress: SolveProgress) -> None:
            if not shown:
                return
            if progress.stage not in stages:
                stages.append(progress.stage)
                bar.set_description(_STAGES[progress.stage], refresh=False)
                bar.reset(progress.max_steps)
            if progress.energy is not None:
                bar.set_postfix_str(f"energy {progress.energy:.6g}", refresh=False)
            bar.update(progress.step - bar.n)

        yield show


@contextmanager
def counting_bar(wanted: bool | None, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many of how many are done, and the time left, on stderr.

    Parameters
    ----------
    wanted
        None shows it where stderr is a terminal.
    unit
        What is counted.
    """
    from tqdm import tqdm

    shown = shows_bar(wanted)
    with tqdm(file=sys.stderr, disable=not shown, leave=False, unit=unit) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            bar.refresh()

        yield show
