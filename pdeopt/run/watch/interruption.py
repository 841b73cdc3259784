"""The handling of Ctrl-C, SIGTERM and SIGHUP, of which none is lost.

The first one asks an optimization to stop, the second one ends it at once. Batch systems send SIGTERM before they kill,
and a terminal that is closed sends SIGHUP; all three are one thing here, and arrive as a KeyboardInterrupt. They differ
in the exit status: 128 and the number of the signal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

#: The time after which an interrupt that was ignored comes again, in seconds.
REPEATED_AFTER_SECONDS = 0.05
#: The time within which two different signals count as one, in seconds: service managers send SIGTERM and SIGHUP, batch
#: systems signal a sweep together with its runs, to which it hands the signal on.
SAME_INTERRUPT_SECONDS = 1.0
#: The signals that ask a run to stop, as far as the system has them.
STOP_SIGNALS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
#: The exit statuses of a run that a signal stopped.
SIGNAL_EXIT_STATUSES = tuple(128 + number for number in STOP_SIGNALS)
Handler = Callable[[int, FrameType | None], object]


class _LastSignal:
    """The last signal that was acted upon.

    Attributes:
        number: The number of the signal.
        moment: The time of its arrival on the monotonic clock, in seconds.
    """

    number: int = signal.SIGINT
    moment: float = -SAME_INTERRUPT_SECONDS


def exit_status() -> int:
    """Return the exit status after an interrupt: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + _LastSignal.number


def forget_signals() -> None:
    """Forget the signals of a former command, so that a new one begins as if none had arrived."""
    _LastSignal.number, _LastSignal.moment = signal.SIGINT, -SAME_INTERRUPT_SECONDS


def handle_signals(handle: Handler, signals: Sequence[signal.Signals] = STOP_SIGNALS) -> dict[int, object]:
    """Let signals call a handler, and return the handlers from before.

    What is ignored stays so, as SIGHUP is under nohup, but for Ctrl-C: a shell lets what it starts in the background
    ignore it, and the runs of a sweep are told by it.

    Args:
        handle: Called with the number of the signal and the current stack frame.
        signals: The signals.

    Returns:
        The former handler by number of the signal.
    """

    def arrive(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == _LastSignal.number or now - _LastSignal.moment > SAME_INTERRUPT_SECONDS:
            _LastSignal.number, _LastSignal.moment = number, now
            handle(number, frame)

    kept = [one for one in STOP_SIGNALS if one != signal.SIGINT and signal.getsignal(one) == signal.SIG_IGN]
    return {number: signal.signal(number, arrive) for number in signals if number not in kept}


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _restore(handlers: dict[int, object]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)  # type: ignore[arg-type]  # `signal.signal` returned it


@contextmanager
def interrupts_come_through() -> Iterator[None]:
    """Let every signal raise KeyboardInterrupt inside the block.

    One that lands where Python ignores exceptions comes again a moment later. JAX has such a place, a callback of the
    garbage collector, which is busy while problems are built.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    forget_signals()
    pending: list[threading.Timer] = []
    hook, handlers = sys.unraisablehook, handle_signals(_raise)

    def again(ignored: sys.UnraisableHookArgs) -> None:
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            hook(ignored)
            return
        pending.append(threading.Timer(REPEATED_AFTER_SECONDS, os.kill, (os.getpid(), _LastSignal.number)))
        pending[-1].start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        for timer in pending:
            timer.cancel()
            timer.join()
        sys.unraisablehook = hook
        _restore(handlers)


class StopFlag:
    """A flag that tells whether the user asked to stop; it is called to be read.

    Attributes:
        requested: Whether the user asked to stop.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        """Return whether the user asked to stop."""
        return self.requested


@contextmanager
def stop_on_interrupt(
    announce: Callable[[str], None], signals: Sequence[signal.Signals] = STOP_SIGNALS
) -> Iterator[StopFlag]:
    """Yield a flag that the first of some signals sets; the second one raises KeyboardInterrupt.

    An exception raised by the signal itself could land in a callback of compiled code, which would turn it into an
    error of JAX; the flag is looked at between evaluations.

    Args:
        announce: Called with a text when the first signal arrives.
        signals: The signals.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag  # only the main thread may handle signals
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.requested:
            raise KeyboardInterrupt
        flag.requested = True
        again = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        announce(f"stopping after this evaluation ({again} again quits at once)")

    handlers = handle_signals(handle, signals)
    try:
        yield flag
    finally:
        _restore(handlers)
