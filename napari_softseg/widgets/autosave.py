"""Work for a project's files beside the GUI: tasks in order, and strokes until they are on disk."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_softseg.widgets.worker_threads import yield_to_window

RETRY_MS = 2000
"""After a write that failed, such as on a full disk."""

Then = Callable[[Any], None]


class Worker(QObject):
    """One thread that does tasks in the order they are given; what follows happens in the GUI thread."""

    failed = Signal(object)
    """The exception of a task."""
    told = Signal(str)
    """What a task says about itself; tasks emit it."""

    _ended = Signal(object, object)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._executor = ThreadPoolExecutor(
            1, thread_name_prefix=f"softseg-{name}", initializer=yield_to_window
        )
        self._waiting = 0
        self._closing = threading.Event()
        self._may_begin = threading.Event()
        self._may_begin.set()
        # The thread emits it; Qt carries it over to the thread this object lives in.
        self._ended.connect(self._on_ended)

    @property
    def busy(self) -> bool:
        """Whether a task runs or waits, or what follows on it has not happened yet."""
        return self._waiting > 0

    @property
    def closing(self) -> bool:
        """Whether a task that can stop early has to."""
        return self._closing.is_set()

    def run(self, task: Callable[[], Any], then: Then | None = None) -> "Future[Any]":
        """Do a task after those given before; call `then` with its result in the GUI thread."""
        self._waiting += 1
        future = self._executor.submit(self._begin, task)
        future.add_done_callback(partial(self._ended.emit, then))
        return future

    def hold(self) -> None:
        """Begin no task until :meth:`go_on`."""
        self._may_begin.clear()

    def go_on(self) -> None:
        """Begin with what has waited."""
        self._may_begin.set()

    def close(self) -> None:
        """Finish all tasks; nothing is emitted and nothing follows any more."""
        self._closing.set()
        self.blockSignals(True)
        self.go_on()
        self._executor.shutdown(wait=True)

    def _begin(self, task: Callable[[], Any]) -> Any:
        """Do a task as soon as it may begin; called in the thread."""
        self._may_begin.wait()
        return task()

    def _on_ended(self, then: Then | None, future: "Future[Any]") -> None:
        self._waiting -= 1
        if self.closing:  # it was on its way to this thread
            return
        error = future.exception()
        if error is not None:
            self.failed.emit(error)
        elif then is not None:
            then(future.result())


class Autosave(QObject):
    """Writes the latest value of every key in the thread of a worker, again and again until it is written.

    A value that cannot be written stays in memory. All methods and signals belong to the GUI thread.
    """

    saved = Signal(str)
    """The latest value of this key is on disk."""
    failed = Signal(object)
    """The exception of a write; once until a write succeeds again."""

    _wrote = Signal(str, object)

    def __init__(self, worker: Worker, write: Callable[[str, Any], None]) -> None:
        """Call ``write(key, value)`` in the worker's thread; nobody may change a value after :meth:`put`."""
        super().__init__()
        self._worker = worker
        self._write = write
        self.recent: dict[str, Any] = {}
        """The last value of every key, since somebody emptied this."""
        self._values: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._in_trouble = False
        self._retry = QTimer(self)
        self._retry.setSingleShot(True)
        self._retry.setInterval(RETRY_MS)
        self._retry.timeout.connect(self._write_all)
        self._wrote.connect(self._on_wrote)

    @property
    def pending(self) -> dict[str, Any]:
        """What is not on disk yet, the oldest key first."""
        with self._lock:
            return dict(self._values)

    def put(self, key: str, value: Any) -> None:
        """Write this value as soon as possible; an older one of the same key is dropped."""
        self.recent[key] = value
        with self._lock:
            self._values[key] = value
        self._worker.run(partial(self._write_latest, key))

    def flush(self) -> None:
        """Wait until everything is on disk.

        Raises
        ------
        Exception
            Whatever the first write that failed raised; its value is kept and tried again.
        """
        errors = [future.result() for future in self._write_all()]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        """Try no more; nothing is emitted any more."""
        self.blockSignals(True)
        self._retry.stop()

    def _write_all(self) -> "list[Future[Any]]":
        return [self._worker.run(partial(self._write_latest, key)) for key in self.pending]

    def _write_latest(self, key: str) -> Exception | None:
        with self._lock:
            if key not in self._values:  # a task before this one wrote it
                return None
            value = self._values[key]
        try:
            self._write(key, value)
        except Exception as error:  # noqa: BLE001 - whatever it is, the strokes are kept and it is shown
            self._wrote.emit(key, error)
            return error
        with self._lock:
            if self._values.get(key) is value:
                del self._values[key]
        self._wrote.emit(key, None)
        return None

    def _on_wrote(self, key: str, error: Exception | None) -> None:
        if self._worker.closing:  # it was on its way to this thread
            return
        if error is None:
            self._in_trouble = self._in_trouble and bool(self.pending)
            self.saved.emit(key)
            return
        self._retry.start()
        if not self._in_trouble:
            self._in_trouble = True
            self.failed.emit(error)
