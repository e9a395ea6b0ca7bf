"""What napari takes long for, one thing after another: the window goes on in between."""

import time
from collections import deque
from collections.abc import Callable

from qtpy.QtCore import QTimer

TURN_SECONDS = 0.02
"""How long the GUI thread is at it before it lets other events pass."""


class OneByOne:
    """Does things in the order they are given, as many per turn of the event loop as there is time for.

    For every layer that is shown or hidden napari arranges and draws all of them. To turn to another image
    takes six: at once they hold up the window for as long as a person notices.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._timer = QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._do_some)

    @property
    def busy(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def add(self, thing: Callable[[], object]) -> None:
        """Do this after those given before."""
        self._waiting.append(thing)
        self._timer.start()

    def finish(self) -> None:
        """Do all that waits now."""
        self._timer.stop()
        while self._waiting:
            self._waiting.popleft()()

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._timer.stop()

    def _do_some(self) -> None:
        until = time.perf_counter() + TURN_SECONDS
        while self._waiting and time.perf_counter() < until:
            self._waiting.popleft()()
        if not self._waiting:
            self._timer.stop()
