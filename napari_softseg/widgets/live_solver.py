"""Runs one job at a time beside the GUI: the latest request wins, nothing is lost or leaked."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_softseg.widgets.worker_threads import yield_to_window

DEBOUNCE_MS = 60
"""A drag of a slider or a burst of strokes becomes one request."""

PROGRESS_INTERVAL = 0.05
"""Seconds between two progress reports, so that a fast solver does not flood the event loop."""

Report = Callable[[Any], None]
Job = Callable[[threading.Event, Report], Any]
"""Called in the worker with the stop event and the progress callback; returns the result."""


class LiveSolver(QObject):
    """A worker thread that always works on the latest request.

    All methods and signals belong to the GUI thread; jobs run in the one worker
    thread. A newer request stops the running job through its event and its result
    is dropped, whatever it was.
    """

    progress = Signal(object)
    """What the running job reported."""
    done = Signal(object)
    """The result of the latest request."""
    failed = Signal(object)
    """The exception that the latest request or the warm-up raised; none is lost."""
    busy_changed = Signal(bool)
    warm = Signal(object)
    """What the warm-up returned."""

    _ended = Signal(int, object)
    _reported = Signal(int, object)
    _warmed = Signal(object)

    def __init__(self, next_job: Callable[[], Job | None]) -> None:
        """Ask `next_job` for work, in the GUI thread, shortly after each :meth:`poke`."""
        super().__init__()
        self._next_job = next_job
        self._executor = ThreadPoolExecutor(
            1, thread_name_prefix="softseg-solve", initializer=yield_to_window
        )
        self._latest = 0
        self._running = 0
        self._pending: Job | None = None
        self._stop = threading.Event()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._ask)
        # The worker emits these; Qt carries them over to the thread this object lives in.
        self._ended.connect(self._on_ended)
        self._reported.connect(self._on_reported)
        self._warmed.connect(self._on_warmed)

    @property
    def busy(self) -> bool:
        """Whether a job runs, waits, or is about to be asked for."""
        return bool(self._running) or self._timer.isActive()

    @property
    def waiting(self) -> bool:
        """Whether a newer job waits for the running one to stop."""
        return self._pending is not None

    def poke(self) -> None:
        """Something may have changed: ask for a job once the changes pause."""
        self._timer.start()

    def submit(self, job: Job) -> None:
        """Run this job as soon as the running one has stopped."""
        self._latest += 1
        self._pending = job
        self._stop.set()
        if not self._running:
            self._launch()

    def stop(self) -> None:
        """Ask the running job for the result it has so far; forget what waits."""
        self._timer.stop()
        self._pending = None
        self._stop.set()

    def cancel(self) -> None:
        """Stop, and drop the result."""
        self.stop()
        self._latest += 1

    def warm_up(self, task: Callable[[], Any]) -> None:
        """Run a task in the worker before the next job, such as a slow import."""
        self._executor.submit(task).add_done_callback(self._warmed.emit)

    def close(self) -> None:
        """Stop and wait for the worker to end; nothing is emitted any more."""
        self.blockSignals(True)
        self.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _ask(self) -> None:
        job = self._next_job()
        if job is not None:
            self.submit(job)

    def _launch(self) -> None:
        job, self._pending = self._pending, None
        assert job is not None
        number = self._running = self._latest
        stop = self._stop = threading.Event()
        last_report = 0.0

        def report(progress: Any) -> None:
            nonlocal last_report
            now = time.monotonic()
            if now - last_report >= PROGRESS_INTERVAL:
                last_report = now
                self._reported.emit(number, progress)

        self.busy_changed.emit(True)
        future = self._executor.submit(job, stop, report)
        future.add_done_callback(lambda done: self._ended.emit(number, done))

    def _on_reported(self, number: int, progress: object) -> None:
        if number == self._latest:
            self.progress.emit(progress)

    def _on_ended(self, number: int, future: "Future[Any]") -> None:
        self._running = 0
        if self._pending is not None:
            self._launch()
            return
        self.busy_changed.emit(False)
        if number != self._latest:
            return  # cancelled, or overtaken by a request that was cancelled itself
        error = future.exception()
        if error is None:
            self.done.emit(future.result())
        else:
            self.failed.emit(error)

    def _on_warmed(self, future: "Future[Any]") -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self.warm.emit(future.result())
        else:
            self.failed.emit(error)
