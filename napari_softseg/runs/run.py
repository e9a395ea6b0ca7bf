"""One run of training in a project: followed by its files, stopped by its process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from napari_softseg.errors import InputError
from napari_softseg.runs import processes
from napari_softseg.runs.command import process_command, train_arguments
from napari_softseg.runs.last_words import PROMPT, complaint, printed
from napari_softseg.runs.log_tail import BEGINNING, NewEvents, Position, read_new
from napari_softseg.runs.record import Record, read_record, write_record
from napari_softseg.runs.state import RunState, Status
from napari_softseg.training.report.run_log import CONFIG, RunLog, take

MODELS, SNAPSHOTS = "models", "snapshots"
PRINTED = "train.log"
"""What the process of a run printed, beside its snapshot."""
BEST = "best.safetensors"
LINGERS = 30.0
"""Seconds that a process may take to end once its run has: it holds the folder until then."""

GONE = (
    "Its process ended without a word: killed, or out of memory. Resume goes on; a smaller batch takes less."
)
NOT_BEGUN = "It was ended before the first step; Resume begins anew."


class Run:
    """A run in a project folder.

    Nothing is kept in memory that its files do not tell, so that any program, at any time, sees the same.

    Parameters
    ----------
    project
        The project folder.
    name
        Of the run in it.
    """

    def __init__(self, project: Path, name: str) -> None:
        self.name = name
        self.path = project / MODELS / name
        """The RUN folder of ``napari-softseg train``."""
        self.snapshot = project / SNAPSHOTS / name
        """The strokes it is trained on, and how it was started."""
        self._log = RunLog(self.path)
        self._position = BEGINNING
        self._began: float | None = None
        self._lock = threading.Lock()
        self.state = self.look()
        """As last looked at."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def status(self) -> Status:
        """Where it stands now."""
        return self.look().status

    @property
    def options(self) -> dict[str, Any]:
        """Options of the run."""
        return dict(self.look().options)

    @property
    def best(self) -> dict[str, Any] | None:
        """Epoch and mean IoU of its best network; None if nothing was scored."""
        best = self.look().best
        return None if best is None else dict(best)

    @property
    def last_words(self) -> str:
        """Why it ended, in one line; empty while it is on."""
        return self.look().last_words

    @property
    def pid(self) -> int | None:
        """Number of its process, None if there is none."""
        process = self._process()
        return None if process is None else process.pid

    def events(self, after: Position = BEGINNING) -> NewEvents:
        """Return what the log holds behind a position."""
        return read_new(self.path, after)

    def printed(self) -> list[str]:
        """Return the last lines its process printed."""
        return printed(self.snapshot / PRINTED)

    def look(self) -> RunState:
        """Find out how it stands now; cheap where nothing changed. Any thread may ask."""
        with self._lock:
            self.state = self._look()
            return self.state

    def stop(self) -> None:
        """Ask it to end with everything saved; a run that only loads is ended at once.

        Raises
        ------
        InputError
            If it runs in a terminal, or on another machine.
        """
        state, process = self.look(), self._process()
        if process is None:
            if state.status.alive:
                raise InputError(
                    f"{self.name} was not started from here: stop it with Ctrl-C in its terminal."
                )
            return
        if state.status is Status.STARTING:  # nothing is lost, and it could not hear us yet
            processes.kill(process)
        else:
            processes.interrupt(process)

    def make_way(self, *, now: bool) -> None:
        """Let it leave the processor to a person at work, or no longer; no use outside Linux."""
        process = self._process()
        if process is not None:
            processes.make_way(process, now=now)

    def kill(self) -> None:
        """End it at once; what was saved after the last epoch stays."""
        process = self._process()
        if process is not None:
            processes.kill(process)

    def resume(self, python: str = sys.executable) -> None:
        """Go on with it, in a new process.

        Raises
        ------
        InputError
            If it is on already, or the process cannot be started.
        """
        if self.look().status.alive:
            raise InputError(f"{self.name} is on already.")
        record = read_record(self.snapshot)
        if record is not None and not processes.wait(record.process, LINGERS):
            raise InputError(f"The process of {self.name} has not ended yet: try again, or end it.")
        if record is None:  # begun in a terminal: its folder knows everything
            arguments = train_arguments(None, self.path, {}, resume=True)
        else:
            arguments = train_arguments(self.snapshot, self.path, record.options, resume=True)
        self.launch(python, arguments, {} if record is None else record.options, self.state.began)

    def launch(
        self, python: str, arguments: Sequence[str], options: Mapping[str, Any], began: float | None = None
    ) -> None:
        """Start its process and keep how that was done; InputError if it fails."""
        self.snapshot.mkdir(parents=True, exist_ok=True)
        output = self.snapshot / PRINTED
        command = process_command(python, arguments)
        with output.open("a", encoding="utf-8") as file:
            file.write(f"{PROMPT}{' '.join(command)}\n")
        record = Record(processes.start_detached(command, output), options, self._position.offset)
        write_record(self.snapshot, record if began is None else replace(record, began=began))
        self.look()

    def _look(self) -> RunState:
        # the record first, the log last: what a process wrote before it ended is seen
        record = read_record(self.snapshot)
        process = None if record is None else record.process.find()
        new = read_new(self.path, self._position)
        if new.anew:
            self._log = RunLog(self.path)
        for event in new.events:
            try:
                take(self._log, event)
            except (ValueError, KeyError, TypeError):
                self._log.unreadable += 1
        self._position = new.position
        status, words = self._status(record, process is not None)
        log, best = self._log, self._log.best
        done = len(log.epochs)
        per_epoch = log.planned_steps // log.planned_epochs if log.planned_steps and log.planned_epochs else 0
        return RunState(
            name=self.name,
            path=self.path,
            status=status,
            options=log.options or ({} if record is None else record.options),
            best=None if best is None or best.val is None else {"epoch": best.number, "miou": best.val.miou},
            scored_on="" if best is None or best.val is None else best.val.source,
            has_model=(self.path / BEST).is_file(),
            last_words=words,
            epochs=done,
            planned_epochs=log.planned_epochs,
            step=log.steps[-1][0] if log.steps else 0,
            steps=log.planned_steps,
            eta=log.eta if status.alive else None,
            seconds_per_step=log.seconds / (done * per_epoch) if done and per_epoch else None,
            images=log.images,
            began=self._when(record),
        )

    def _process(self) -> psutil.Process | None:
        record = read_record(self.snapshot)
        return None if record is None else record.process.find()

    def _status(self, record: Record | None, process_lives: bool) -> tuple[Status, str]:
        """Return the status and the last words."""
        log = self._log
        silent = record is not None and self._position.offset == record.log_size
        ended = log.status is not None and not silent
        if process_lives and not ended:
            return (Status.STARTING if silent or not log.starts else Status.RUNNING), ""
        if ended:
            return Status.named(log.status), log.message
        if self._locked():
            return Status.RUNNING, ""
        lines = self.printed()
        error = complaint(lines)
        if error:
            return Status.FAILED, error
        code = None if record is None else record.process.exit_code
        if silent and lines and (code is None or code > 0):
            return Status.FAILED, lines[-1]
        return Status.INTERRUPTED, GONE if log.steps else NOT_BEGUN

    def _locked(self) -> bool:
        """Return whether somebody else's process trains in the folder."""
        lock = self.path / ".lock"
        if not lock.exists():
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def _when(self, record: Record | None) -> float:
        if record is not None:
            return record.began
        if self._began is None:
            config = self.path / CONFIG
            self._began = config.stat().st_mtime if config.is_file() else 0.0
        return self._began
