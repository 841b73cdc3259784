"""A bounded memory of factorizations, which are found again by the content of the values.

Nothing in it can be stale.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.counters import timed_factoring, work
from pdeopt.sparse.solvers.direct.backends import Analyze, Factor, Factorize, without_frames
from pdeopt.sparse.solvers.scaling import Equilibrated, absolute_row_sums, equilibrated


@dataclass(eq=False)
class Factored:
    """A matrix, scaled where it needs it, and its factorizations so far.

    Attributes:
        pattern: The pattern of the matrix.
        data: The values (nnz,) that were given.
        scaled: The scaled matrix, which is factored.
        factors: The factorizations by backend; an exception where one failed.
    """

    pattern: SparsityPattern
    data: np.ndarray
    scaled: Equilibrated
    factors: dict[Analyze, Factor | RuntimeError] = field(default_factory=dict)

    @classmethod
    def of(cls, pattern: SparsityPattern, data: np.ndarray) -> Factored:
        """Return the entry for a matrix, with a copy of its values ``data`` (nnz,).

        Raises:
            SolveError: A value is not finite.
        """
        kept = data.copy()
        return cls(pattern, kept, equilibrated(pattern, kept))

    @cached_property
    def column_sums(self) -> np.ndarray:
        """The sums (n,) of the magnitudes of the values in each column of the scaled matrix."""
        if self.scaled.is_symmetric:
            return self.scaled.row_sums
        return absolute_row_sums(*_transposed(self.pattern, self.scaled.values))

    @property
    def nbytes(self) -> int:
        """The memory of the values and of the factors, about, in bytes."""
        own = 0 if self.scaled.values is self.data else self.scaled.values.nbytes
        return self.data.nbytes + own + sum(f.nbytes for f in self.factors.values() if not isinstance(f, RuntimeError))


class Memo:
    """A memory of symbolic analyses by pattern, and of numeric factors by values.

    The least recently used is dropped first.

    Attributes:
        max_bytes: The memory, in bytes, beyond which factored matrices are dropped.
        min_factored: The number of factored matrices that stay nevertheless, the last ones.
        max_factored: The largest number of factored matrices.
        max_analyses: The largest number of analyses.
        lock: The lock that is held while the memory is used.
    """

    def __init__(
        self, max_bytes: int = 512 * 2**20, min_factored: int = 4, max_factored: int = 64, max_analyses: int = 16
    ) -> None:
        self.max_bytes, self.min_factored, self.max_factored = max_bytes, min_factored, max_factored
        self.max_analyses = max_analyses
        self.lock = threading.RLock()
        self._factored: list[Factored] = []  # the most recent one comes last
        self._analyses: OrderedDict[tuple[SparsityPattern, Analyze], Factorize] = OrderedDict()

    def clear(self) -> None:
        """Forget all factorizations and analyses."""
        with self.lock:
            self._factored.clear()
            self._analyses.clear()

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Forget after the block what is factored in it; what was there before is there again, as it was."""
        before = [replace(entry, factors=dict(entry.factors)) for entry in self._factored]
        try:
            yield
        finally:
            with self.lock:
                self._factored[:] = before

    def lookup(self, pattern: SparsityPattern, data: np.ndarray) -> Factored:
        """Return the entry for these values (nnz,), found by comparing them all, or a new one.

        Raises:
            SolveError: A new value is not finite.
        """
        found = next((entry for entry in reversed(self._factored) if _holds(entry, pattern, data)), None)
        if found is None:
            found = Factored.of(pattern, data)
            self._make_room()
        else:
            self._factored.remove(found)
        self._factored.append(found)
        return found

    def _make_room(self) -> None:
        """Drop the oldest entries, so that there is room for one more."""
        size = sum(entry.nbytes for entry in self._factored)
        while len(self._factored) >= self.min_factored and (
            size > self.max_bytes or len(self._factored) >= self.max_factored
        ):
            size -= self._factored.pop(0).nbytes

    def factor(self, entry: Factored, analyze: Analyze) -> tuple[Factor, bool]:
        """Return the factorization of ``entry`` by one backend, and whether it is new.

        Raises:
            RuntimeError: The backend finds the matrix singular, now or at a former attempt, which is not repeated.
        """
        is_new = analyze not in entry.factors
        if is_new:
            with timed_factoring():
                entry.factors[analyze] = self._factored_anew(entry, analyze)
        factor = entry.factors[analyze]
        if isinstance(factor, RuntimeError):
            raise without_frames(factor)
        return factor, is_new

    def _factored_anew(self, entry: Factored, analyze: Analyze) -> Factor | RuntimeError:
        factorize = self._analysis(entry, analyze)
        work.factorizations += 1
        try:
            return factorize(entry.scaled.values)
        except RuntimeError as error:
            return without_frames(error)

    def _analysis(self, entry: Factored, analyze: Analyze) -> Factorize:
        key = (entry.pattern, analyze)
        if key not in self._analyses:
            self._analyses[key] = analyze(entry.pattern, entry.scaled.values)
            work.analyses += 1
            if len(self._analyses) > self.max_analyses:
                self._analyses.popitem(last=False)
        self._analyses.move_to_end(key)
        return self._analyses[key]


def _holds(entry: Factored, pattern: SparsityPattern, data: np.ndarray) -> bool:
    if entry.pattern != pattern or entry.data.dtype != data.dtype:
        return False
    sample = slice(None, None, 1 + len(data) // 100)  # most other values differ there already
    return np.array_equal(entry.data[sample], data[sample]) and np.array_equal(entry.data, data)


def _transposed(pattern: SparsityPattern, data: np.ndarray) -> tuple[SparsityPattern, np.ndarray]:
    transposed, order = pattern.transpose()
    return transposed, data[order]
