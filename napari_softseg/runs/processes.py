"""A process that outlives the one that starts it, and is found again by whoever comes later."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from napari_softseg.errors import InputError

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Started by this process, by their number: who started one has to ask how it ended, or it stays a zombie."""

if sys.platform == "win32":
    _FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    _LOW_PRIORITY = psutil.BELOW_NORMAL_PRIORITY_CLASS
else:
    _FLAGS, _LOW_PRIORITY = 0, 10

_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for others spin by default, on a processor that these may need. Beside a busy program that made
training take five times as long; alone, it makes small steps a fifth faster."""

_LOWEST_PRIORITY = 19
"""On the scale of nice, where that is the scale."""

_BETWEEN_CHANGES = 0.1
"""Seconds that Linux wants between two changes of an autogroup's priority, by whomever."""

_SAME_MOMENT = 1.0
"""Seconds within which two readings of when a process was made agree."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process on a machine; numbers alone are used again."""

    pid: int
    created: float
    """Seconds since 1970, by the system's clock."""
    host: str

    @property
    def here(self) -> bool:
        """Whether it is, or was, on this machine."""
        return self.host == platform.node()

    def find(self) -> psutil.Process | None:
        """Return the process if it lives, on this machine."""
        child = _CHILDREN.get(self.pid)
        if child is not None:
            child.poll()
        if not self.here:
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _SAME_MOMENT
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None if it lives, or this process is not who started it."""
        child = _CHILDREN.get(self.pid)
        return None if child is None else child.poll()


def start_detached(command: Sequence[str], output: Path) -> ProcessId:
    """Start a program that goes on when this one ends, at low priority.

    Parameters
    ----------
    command
        The program and its arguments.
    output
        What it prints is added to this file.

    Raises
    ------
    InputError
        If it cannot be started.
    """
    try:
        with output.open("ab") as file:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # neither the terminal's Ctrl-C nor its end reaches it
                creationflags=_FLAGS,
                env={**_PATIENT, **os.environ, "PYTHONFAULTHANDLER": "1", "PYTHONIOENCODING": "utf-8"},
            )
    except OSError as error:
        raise InputError(f"Cannot start {command[0]}: {error.strerror or error}.") from None
    _CHILDREN[child.pid] = child
    created = 0.0
    with suppress(psutil.Error):  # ended already
        process = psutil.Process(child.pid)
        created = process.create_time()
        # before it has threads, which inherit it: the window goes first where both want the processor
        process.nice(_LOW_PRIORITY)
        _count_as_idle(child.pid)
        _yield_to_other_sessions(child.pid, _LOW_PRIORITY)
    return ProcessId(child.pid, created, platform.node())


def _yield_to_other_sessions(pid: int, priority: int) -> None:
    """Lower a session as a whole: with autogroups, Linux weighs nice values within a session alone."""
    for pause in (_BETWEEN_CHANGES, _BETWEEN_CHANGES, 0.0):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(priority), encoding="ascii")
        except BlockingIOError:  # anybody's last change was a moment ago
            time.sleep(pause)
        except OSError:  # none here, or it has ended
            return
        else:
            return


def _count_as_idle(pid: int) -> None:
    """Let Linux take a processor that runs this process alone for a free one, where another's thread wakes up.

    Else it puts the threads that draw the window on one processor and leaves the other to the trainer. The price: a
    stranger that keeps all processors busy, with no session or service of its own to be weighed as, leaves next to
    nothing.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def make_way(process: psutil.Process, *, now: bool) -> None:
    """Let a process that was started detached leave the processor to a person at work, or no longer.

    This is for Linux with autogroups alone: elsewhere who has lowered a priority must not raise it again.
    """
    _yield_to_other_sessions(process.pid, _LOWEST_PRIORITY if now else _LOW_PRIORITY)


def interrupt(process: psutil.Process) -> None:
    """Ask a process to end, as Ctrl-C does; on Windows, where that is not possible, end it."""
    with suppress(psutil.NoSuchProcess):
        process.terminate() if sys.platform == "win32" else process.send_signal(signal.SIGINT)


def kill(process: psutil.Process, timeout: float = 10.0) -> None:
    """End a process and those it started, at once, and wait until they are gone."""
    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        child = _CHILDREN.get(process.pid)
        if child is not None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout)
        psutil.wait_procs(family, timeout)


def wait(process: ProcessId, timeout: float) -> bool:
    """Wait until a process has ended; return whether it has."""
    pause = threading.Event()
    for _ in range(int(timeout / 0.05) + 1):
        if process.find() is None:
            return True
        pause.wait(0.05)
    return False
