"""Ctrl-C: the first asks the run to stop after the evaluation at hand, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopFlag:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        return self.requested


@contextmanager
def stop_on_interrupt(announce: Callable[[str], None]) -> Iterator[StopFlag]:
    """A flag that Ctrl-C sets.

    An exception raised by the signal itself could land in a callback of compiled code, which would turn it into an
    error of JAX; the flag is looked at between evaluations.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag  # only the main thread may handle signals
        return

    def handle(signum: int, frame: object) -> None:
        if flag.requested:
            raise KeyboardInterrupt
        flag.requested = True
        announce("stopping after this evaluation (Ctrl-C again quits at once)")

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
