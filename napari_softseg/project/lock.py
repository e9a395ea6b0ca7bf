"""One program writes to a project at a time: a lock that ends with the process, however it ends."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
OWNER = ".opened_by"
"""Says which process holds the lock; of no meaning while nobody does."""


class ProjectLock:
    """The lock of a project folder. The system gives it back when its process dies, SIGKILL included."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK, thread_local=False)  # taken and given back by any thread

    def acquire(self) -> str:
        """Take the lock; return why it cannot be had, empty if it is ours now."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return f"it is open in another window ({self._owner()})"
        except OSError as error:
            return f"there is no way to write in it ({error.strerror or error})"
        owner = {"process": os.getpid(), "host": platform.node()}
        with suppress(OSError):  # a full disk: the lock holds without it
            (self._folder / OWNER).write_text(json.dumps(owner), encoding="utf-8")
        return ""

    def release(self) -> None:
        """Give the lock back, if it was had."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self._folder / OWNER).unlink(missing_ok=True)
            self._lock.release()

    def _owner(self) -> str:
        try:
            owner = json.loads((self._folder / OWNER).read_text(encoding="utf-8"))
            process, host = int(owner["process"]), str(owner["host"])
        except (OSError, ValueError, KeyError, TypeError):
            return "of an unknown process"
        if host != platform.node():
            return f"process {process} on {host}"
        return "of this program" if process == os.getpid() else f"process {process}"
