"""Counters of the expensive operations; they can be deleted without changing a number."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field


@dataclass
class Work:
    """How often each operation ran in this process, and for how long. A block of right-hand sides counts as one solve.

    Attributes:
        analyses: symbolic analyses, one per pattern and backend.
        factorizations: numeric factorizations.
        solves: solves with A. adjoint_solves: solves with Aᵀ.
        iterations: of Krylov methods, with A and Aᵀ. set_ups: of their preconditioners.
        fallbacks: matrices that another method than the first one solved, because that failed, by the names of both,
            "cg+ruge-stuben → rslab"; see `pdeopt.sparse.solvers.fallbacks`.
        factoring_seconds: of analyses, factorizations and set-ups. solving_seconds: of solves without these.
    """

    analyses: int = 0
    factorizations: int = 0
    solves: int = 0
    adjoint_solves: int = 0
    iterations: int = 0
    set_ups: int = 0
    factoring_seconds: float = 0.0
    solving_seconds: float = 0.0
    fallbacks: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Work:
        """The counts as they are now."""
        return Work(**asdict(self))

    def since(self, before: Work) -> Work:
        """The work done after ``before`` was copied."""
        return self._sum(before, -1)

    def add(self, other: Work) -> None:
        """Count what another counted, too."""
        vars(self).update(vars(self._sum(other, 1)))

    def _sum(self, other: Work, factor: int) -> Work:
        here, there = asdict(self), asdict(other)
        mine, theirs = here.pop("fallbacks"), there.pop("fallbacks")
        fallbacks = {name: mine.get(name, 0) + factor * theirs.get(name, 0) for name in {**mine, **theirs}}
        counts = {name: value + factor * there[name] for name, value in here.items()}
        return Work(**counts, fallbacks={name: count for name, count in fallbacks.items() if count})


work = Work()


@contextmanager
def timed_factoring() -> Iterator[None]:
    """Count the time of the block as that of factoring."""
    start = time.perf_counter()
    try:
        yield
    finally:
        work.factoring_seconds += time.perf_counter() - start


@contextmanager
def timed_solving() -> Iterator[None]:
    """Count the time of the block as that of solving, but for what is factored in it."""
    start, factored = time.perf_counter(), work.factoring_seconds
    try:
        yield
    finally:
        work.solving_seconds += time.perf_counter() - start - (work.factoring_seconds - factored)
