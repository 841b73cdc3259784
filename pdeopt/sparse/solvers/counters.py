"""Counters of the expensive operations; they can be deleted without changing a number."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field


@dataclass
class Work:
    """The counts of the expensive operations in this process, and the time that they took.

    Attributes:
        analyses: The number of symbolic analyses, one for each pattern and backend.
        factorizations: The number of numeric factorizations.
        solves: The number of solves with A; a block of right-hand sides counts as one.
        adjoint_solves: The number of solves with Aᵀ, counted in the same way.
        iterations: The number of iterations of Krylov methods, with A and Aᵀ.
        newton_iterations: The number of Newton steps of nonlinear state equations.
        time_steps: The number of time steps of marches, those that are computed again for an adjoint among them.
        adjoint_time_steps: The number of steps of their adjoints.
        set_ups: The number of set-ups of the preconditioners of Krylov methods.
        factoring_seconds: The time of analyses, factorizations and set-ups, in seconds.
        solving_seconds: The time of solves without these, in seconds.
        fallbacks: The number of matrices that another method than the first one solved, because that failed, by the
            names of both, "cg+ruge-stuben → rslab"; see `pdeopt.sparse.solvers.fallbacks`.
    """

    analyses: int = 0
    factorizations: int = 0
    solves: int = 0
    adjoint_solves: int = 0
    iterations: int = 0
    newton_iterations: int = 0
    time_steps: int = 0
    adjoint_time_steps: int = 0
    set_ups: int = 0
    factoring_seconds: float = 0.0
    solving_seconds: float = 0.0
    fallbacks: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Work:
        """Return a copy of the counts as they are now."""
        return Work(**asdict(self))

    def since(self, before: Work) -> Work:
        """Return the work that was done after ``before`` was copied."""
        return self._sum(before, -1)

    def add(self, other: Work) -> None:
        """Add the counts of another object to these."""
        vars(self).update(vars(self._sum(other, 1)))

    def _sum(self, other: Work, factor: int) -> Work:
        here, there = asdict(self), asdict(other)
        mine, theirs = here.pop("fallbacks"), there.pop("fallbacks")
        fallbacks = {name: mine.get(name, 0) + factor * theirs.get(name, 0) for name in {**mine, **theirs}}
        counts = {name: value + factor * there[name] for name, value in here.items()}
        return Work(**counts, fallbacks={name: count for name, count in fallbacks.items() if count})


#: The counts of this process.
work = Work()


@dataclass
class March:
    """The march in time that this process is at, which others may watch while it goes on.

    Attributes:
        steps: The number of its steps; 0 while there is none.
        is_adjoint: Whether it goes back.
        before: The number of steps of its kind, in `Work`, when it began.
        start: The time when it began, in seconds of `time.perf_counter`.
    """

    steps: int = 0
    is_adjoint: bool = False
    before: int = 0
    start: float = 0.0

    def where(self, seconds: float) -> str:
        """Return at which step it is, "time step 120 of 1000"; "" of a march that is shorter than so long.

        Args:
            seconds: The number of seconds.
        """
        steps, is_adjoint = self.steps, self.is_adjoint
        if not steps or time.perf_counter() - self.start < seconds:
            return ""
        done = (work.adjoint_time_steps if is_adjoint else work.time_steps) - self.before
        return f"{'adjoint ' * is_adjoint}time step {min(max(done, 0), steps)} of {steps}"

    def reach(self, step: int, steps: int) -> None:
        """Note the step, which `Work` has counted, of a march whose steps are calls of their own.

        Args:
            step: The number of the step, from 1 on.
            steps: The number of all.
        """
        if step == 1 or self.is_adjoint or self.steps != steps:
            self.start = time.perf_counter()
        self.is_adjoint, self.before = False, work.time_steps - step
        self.steps = 0 if step == steps else steps


#: The march of this process.
march = March()


@contextmanager
def watched_march(steps: int, is_adjoint: bool = False) -> Iterator[None]:
    """Let others see that the block is a march of so many steps."""
    march.is_adjoint, march.start = is_adjoint, time.perf_counter()
    march.before = work.adjoint_time_steps if is_adjoint else work.time_steps
    march.steps = steps
    try:
        yield
    finally:
        march.steps = 0


class _Factored(threading.local):
    """The time in seconds that this thread has factored so far."""

    seconds = 0.0


_factored = _Factored()


@contextmanager
def timed_factoring() -> Iterator[None]:
    """Count the time of the block as time of factoring."""
    start = time.perf_counter()
    try:
        yield
    finally:
        spent = time.perf_counter() - start
        _factored.seconds += spent
        work.factoring_seconds += spent


@contextmanager
def timed_solving() -> Iterator[None]:
    """Count the time of the block as time of solving, except for that of factoring in it by this thread."""
    start, factored = time.perf_counter(), _factored.seconds
    try:
        yield
    finally:
        spent = time.perf_counter() - start - (_factored.seconds - factored)
        work.solving_seconds += spent
