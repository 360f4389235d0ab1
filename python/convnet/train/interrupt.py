"""Ctrl-C between two steps of a training, never within one."""

import signal
import threading
from typing import Any


class Interrupt:
    """Turns the first Ctrl-C within its block into a flag, so that a step is never cut in two.

    The second one raises KeyboardInterrupt. Outside the main thread signals are left alone.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "Interrupt":
        self._former: Any = None
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *exception: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)
