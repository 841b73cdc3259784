"""The running of commands of pdeopt as child processes, several at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from pdeopt.run.watch.interruption import stop_on_interrupt

#: The environment variables that limit the threads of BLAS, MKL, rslab, and of XLA's two pools.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"),
    *("NPROC", "PJRT_NPROC"),
)
#: The time between two looks at the children, in seconds.
POLLING_SECONDS = 0.1
#: The time that a child has to end after the second Ctrl-C, in seconds.
ENDING_SECONDS = 5.0


@dataclass(frozen=True)
class ChildTask:
    """The task of one child process.

    Attributes:
        name: The name of the task.
        words: The words after ``pdeopt``.
    """

    name: str
    words: list[str]


@dataclass(frozen=True)
class EndedChild:
    """A child process that has ended.

    Attributes:
        task: The task of the child.
        exit_status: Its exit status, negative where a signal ended it.
        errors: Its standard error.
    """

    task: ChildTask
    exit_status: int
    errors: str


@dataclass(frozen=True)
class Listener:
    """The functions that are called when a child starts and ends, and at every poll of the children.

    Attributes:
        started: Called with the task of a child that has started.
        ended: Called with a child that has ended; may return a task that takes its place.
        polled: Called whenever the children have been looked at.
        announce: Called with a text when the user asks to stop.
    """

    started: Callable[[ChildTask], None]
    ended: Callable[[EndedChild], ChildTask | None]
    polled: Callable[[], None]
    announce: Callable[[str], None]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_children(tasks: Iterable[ChildTask], jobs: int, listener: Listener, held: tuple[int, ...] = ()) -> bool:
    """Run all tasks, several at a time, and share the cores among them; return False after Ctrl-C.

    Ctrl-C is handed on to each child once, and waits for them; a second one ends them.

    Args:
        tasks: The tasks.
        jobs: The number of tasks at a time.
        listener: The functions that are called on the way.
        held: File descriptors that the children keep open, as locks.
    """
    pool = _Pool(deque(tasks), listener, _environment(jobs), held)
    with stop_on_interrupt(listener.announce) as stop:
        try:
            while pool.running or (pool.waiting and not stop()):
                if stop():
                    pool.interrupt()
                else:
                    pool.fill(jobs)
                time.sleep(POLLING_SECONDS)
                pool.poll()
        except KeyboardInterrupt:
            return False
        finally:
            pool.kill()
    return not stop()


@dataclass
class _Child:
    task: ChildTask
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    interrupted: bool = False


@dataclass
class _Pool:
    waiting: deque[ChildTask]
    listener: Listener
    environment: dict[str, str]
    held: tuple[int, ...]
    running: list[_Child] = field(default_factory=list)

    def fill(self, jobs: int) -> None:
        """Start waiting tasks until ``jobs`` of them run."""
        while self.waiting and len(self.running) < jobs:
            self._start(self.waiting.popleft())

    def poll(self) -> None:
        """Report the children that have ended, and queue the tasks that take their places."""
        for child in [one for one in self.running if one.process.poll() is not None]:
            self.running.remove(child)
            follower = self.listener.ended(_ended(child))
            if follower is not None:
                self.waiting.appendleft(follower)
        self.listener.polled()

    def interrupt(self) -> None:
        """Interrupt each child once: the second Ctrl-C would end a run without its results."""
        for child in self.running:
            if not child.interrupted:
                child.interrupted = True
                child.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the children that still run: interrupt them, and kill those that do not end in time."""
        for child in self.running:
            child.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + ENDING_SECONDS
        for child in self.running:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            child.process.kill()
            child.process.wait()

    def _start(self, task: ChildTask) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115  # read when the child has ended
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pdeopt", *task.words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=self.environment,
            pass_fds=self.held,
            process_group=0,  # otherwise a terminal's Ctrl-C reaches the child, too
        )
        self.running.append(_Child(task, process, errors))
        self.listener.started(task)


def _ended(child: _Child) -> EndedChild:
    with child.errors:
        child.errors.seek(0)
        text = child.errors.read().decode(errors="replace")
    return EndedChild(child.task, child.process.returncode, text)


def _environment(jobs: int) -> dict[str, str]:
    """Return the environment of the children, which share the cores; variables that are set stay."""
    share = dict.fromkeys(THREAD_VARIABLES, str(max(1, cores() // jobs)))
    return {**share, **os.environ, "PYTHONIOENCODING": "utf-8"}  # in which standard error is read
