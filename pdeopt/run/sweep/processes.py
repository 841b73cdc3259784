"""Run commands of pdeopt as child processes, several at a time."""

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

#: What limits the threads of BLAS, MKL, rslab, and of XLA's two pools.
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"),
    *("NPROC", "PJRT_NPROC"),
)
#: Seconds between two looks at the children, and those that a child has to end after the second Ctrl-C.
PAUSE, PATIENCE = 0.1, 5.0


@dataclass(frozen=True)
class Task:
    """What one child does: the words after ``pdeopt``, under a name."""

    name: str
    words: list[str]


@dataclass(frozen=True)
class Ended:
    """A child that has ended: its exit status, negative where a signal ended it, and its standard error."""

    task: Task
    exit_status: int
    errors: str


@dataclass(frozen=True)
class Listener:
    """Who is told: when a child starts and ends, and at every look.

    Attributes:
        ended: may return a task that takes the place of the one that ended.
    """

    started: Callable[[Task], None]
    ended: Callable[[Ended], Task | None]
    looked: Callable[[], None]
    announce: Callable[[str], None]


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_children(tasks: Iterable[Task], jobs: int, listener: Listener, held: tuple[int, ...] = ()) -> bool:
    """Run all tasks, ``jobs`` at a time, and share the cores among them; returns False after Ctrl-C.

    Ctrl-C is handed on to each child once, and waits for them; a second one ends them. ``held``: file descriptors that
    the children keep open, as locks.
    """
    pool = _Pool(deque(tasks), listener, _environment(jobs), held)
    with stop_on_interrupt(listener.announce) as stop:
        try:
            while pool.running or (pool.waiting and not stop()):
                if stop():
                    pool.interrupt()
                else:
                    pool.fill(jobs)
                time.sleep(PAUSE)
                pool.look()
        except KeyboardInterrupt:
            return False
        finally:
            pool.kill()
    return not stop()


@dataclass
class _Child:
    task: Task
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    interrupted: bool = False


@dataclass
class _Pool:
    waiting: deque[Task]
    listener: Listener
    environment: dict[str, str]
    held: tuple[int, ...]
    running: list[_Child] = field(default_factory=list)

    def fill(self, jobs: int) -> None:
        while self.waiting and len(self.running) < jobs:
            self._start(self.waiting.popleft())

    def look(self) -> None:
        for child in [one for one in self.running if one.process.poll() is not None]:
            self.running.remove(child)
            follower = self.listener.ended(_ended(child))
            if follower is not None:
                self.waiting.appendleft(follower)
        self.listener.looked()

    def interrupt(self) -> None:
        """Once each: the second Ctrl-C would end a run without its results."""
        for child in self.running:
            if not child.interrupted:
                child.interrupted = True
                child.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """What still runs."""
        for child in self.running:
            child.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        for child in self.running:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            child.process.kill()
            child.process.wait()

    def _start(self, task: Task) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115  # read when the child has ended
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pdeopt", *task.words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=self.environment,
            pass_fds=self.held,
            process_group=0,  # else a terminal's Ctrl-C reaches the child beside the one that is handed on
        )
        self.running.append(_Child(task, process, errors))
        self.listener.started(task)


def _ended(child: _Child) -> Ended:
    with child.errors:
        child.errors.seek(0)
        text = child.errors.read().decode(errors="replace")
    return Ended(child.task, child.process.returncode, text)


def _environment(jobs: int) -> dict[str, str]:
    """What is set already stays."""
    share = dict.fromkeys(THREADS, str(max(1, cores() // jobs)))
    return {**share, **os.environ, "PYTHONIOENCODING": "utf-8"}  # what is said on standard error is read as that
