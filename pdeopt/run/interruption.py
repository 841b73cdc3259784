"""Ctrl-C: it is never lost; in an optimization the first one asks it to stop, and the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds after which an interrupt that was ignored comes again.
AGAIN = 0.05


@contextmanager
def interrupts_come_through() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt; one that lands where Python ignores exceptions comes again a moment later.

    JAX has such a place, a callback of the garbage collector, which is busy while problems are built.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    pending: list[threading.Timer] = []
    hook, handler = sys.unraisablehook, signal.signal(signal.SIGINT, signal.default_int_handler)

    def again(ignored: sys.UnraisableHookArgs) -> None:
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            hook(ignored)
            return
        pending.append(threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGINT)))
        pending[-1].start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        for timer in pending:
            timer.cancel()
            timer.join()
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, handler)


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
