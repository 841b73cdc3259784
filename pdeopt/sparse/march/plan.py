"""What a march in time is, without its numbers: which matrices, in which steps, and what is read.

A march finds states u_1, …, u_K from those before them, with the matrices X_m and numbers a that the kind of each step
states:

    Σ_lag Σ_m a[lag][m] X_m u_{k−lag} = f_k,        f_k = Σ_s W[k, s] q_s + F_k.

Every scheme for a linear equation with constant coefficients is one: implicit Euler has A = M + Δt K at lag 0 and −M at
lag 1. A step is of one of a few kinds, so that first steps, stages and steps of another size have their own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.march.schedule import Checkpoints
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers import Solver

#: The numbers a[lag][m] of one kind of steps.
StepKind = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class MarchPlan:
    """A march without its numbers; it is compared by content, so that compiled programs are found again.

    Attributes:
        patterns: The patterns of the matrices X_m.
        kinds: The numbers a[lag][m] of each kind of steps, lag 0 first; all have the same number of lags.
        kind_of: The number of the kind of each step 1, …, K.
        times: The time at the end of each step, for messages, in the problem's unit.
        dofs: The degrees of freedom that are read; None for all.
        steps: The steps after which they are read, increasing; 0 is the start.
        solver: The solver of systems with A = Σ_m a[0][m] X_m.
        checkpoints: Which states are kept for the adjoint.
    """

    patterns: tuple[SparsityPattern, ...]
    kinds: tuple[StepKind, ...]
    kind_of: tuple[int, ...]
    times: tuple[float, ...]
    dofs: tuple[int, ...] | None
    steps: tuple[int, ...]
    solver: Solver
    checkpoints: Checkpoints

    @property
    def size(self) -> int:
        """The number n of unknowns."""
        return self.patterns[0].shape[0]

    @property
    def count(self) -> int:
        """The number K of steps."""
        return len(self.kind_of)

    @property
    def lags(self) -> int:
        """The number of states before a step that it needs."""
        return len(self.kinds[0]) - 1

    @cached_property
    def read_dofs(self) -> np.ndarray | None:
        """The degrees of freedom that are read, (d,); None for all."""
        return None if self.dofs is None else np.array(self.dofs, np.int64)

    @cached_property
    def places(self) -> dict[int, int]:
        """The place of each step that is read among all that are."""
        return {step: place for place, step in enumerate(self.steps)}

    def read_shape(self, columns: int) -> tuple[int, int, int]:
        """Return the shape (T, d, r) of what is read of r columns."""
        return len(self.steps), self.size if self.dofs is None else len(self.dofs), columns

    def check(self) -> None:
        """Refuse a plan whose parts do not fit each other.

        Raises:
            SolveError: A matrix is not square or of another size, a kind has other numbers of lags or of matrices, or a
                step that is read does not exist.
        """
        n = self.size
        for pattern in self.patterns:
            if pattern.shape != (n, n):
                raise SolveError(f"a matrix of a march has shape {pattern.shape}; expected {(n, n)} of all")
        for kind in self.kinds:
            if len(kind) != self.lags + 1 or any(len(row) != len(self.patterns) for row in kind):
                raise SolveError(f"a kind of steps has the numbers {kind}; expected one a lag and matrix")
        outside = [step for step in self.steps if not 1 - self.lags <= step <= self.count]
        if outside or list(self.steps) != sorted(set(self.steps)):
            raise SolveError(
                f"the steps that are read are {self.steps}; expected increasing ones between 0 and {self.count}"
            )


@dataclass(frozen=True, eq=False)
class Combination:
    """A pattern that holds several ones, and the places of their entries in it.

    Attributes:
        pattern: The pattern of the sum.
        places: For each of the patterns the places (nnz,) of its entries; None where it is the whole one.
    """

    pattern: SparsityPattern
    places: tuple[np.ndarray | None, ...]

    def values(self, factors: Sequence[float], data: Sequence[np.ndarray]) -> np.ndarray:
        """Return the values (nnz,) of Σ factor X."""
        total = np.zeros(self.pattern.nnz, np.result_type(*data))
        for factor, values, place in zip(factors, data, self.places, strict=True):
            total[slice(None) if place is None else place] += factor * values
        return total


@lru_cache(maxsize=32)
def combination(patterns: tuple[SparsityPattern, ...]) -> Combination:
    """Return the pattern that holds all of the given ones."""
    if all(pattern == patterns[0] for pattern in patterns):
        return Combination(patterns[0], (None,) * len(patterns))
    rows = np.concatenate([pattern.rows for pattern in patterns])
    cols = np.concatenate([pattern.indices for pattern in patterns])
    union, place = SparsityPattern.from_entries(rows, cols, patterns[0].shape)
    starts = np.cumsum([pattern.nnz for pattern in patterns])[:-1]
    return Combination(union, tuple(np.split(place, starts)))


@lru_cache(maxsize=32)
def is_diagonal(pattern: SparsityPattern) -> bool:
    """Return whether a pattern has the diagonal entries, all of them, and no others."""
    return pattern.nnz == pattern.shape[0] and bool((pattern.indices == np.arange(pattern.nnz)).all())
