"""A bounded memory of factorizations, which are found again by the content of the values.

Nothing in it can be stale.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.counters import timed_factoring, work
from pdeopt.sparse.solvers.direct.backends import Analyze, Factor, Factorize, without_frames
from pdeopt.sparse.solvers.scaling import Equilibrated, absolute_row_sums, equilibrated

#: The number of dropped matrices that are remembered, the last ones.
REMEMBERED_DROPPED = 8
#: The number of values, about, by which a dropped matrix is recognized.
SAMPLED_VALUES = 100


@dataclass(eq=False)
class Factored:
    """A matrix, scaled where it needs it, and its factorizations so far.

    Attributes:
        pattern: The pattern of the matrix.
        data: The values (nnz,) that were given.
        scaled: The scaled matrix, which is factored.
        factors: The factorizations by backend; an exception where one failed.
        evaluation: The number of the evaluation in which the matrix was used last, see `Usage`; −1 before it was.
        lock: The lock that is held while the matrix is factored or solved with.
    """

    pattern: SparsityPattern
    data: np.ndarray
    scaled: Equilibrated
    factors: dict[Analyze, Factor | RuntimeError] = field(default_factory=dict)
    evaluation: int = -1
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @classmethod
    def of(cls, pattern: SparsityPattern, data: np.ndarray) -> Factored:
        """Return the entry for a matrix, with a copy of its values ``data`` (nnz,).

        Raises:
            SolveError: A value is not finite.
        """
        kept = data.copy()
        return cls(pattern, kept, equilibrated(pattern, kept))

    @cached_property
    def matrix(self) -> sp.csr_matrix:
        """The scaled matrix, which shares its arrays with this object."""
        return self.pattern.matrix(self.scaled.values)

    @cached_property
    def transposed(self) -> sp.csc_matrix:
        """The transpose of the scaled matrix, with the same arrays."""
        return self.matrix.T

    @cached_property
    def rows(self) -> Sums:
        """The sums (n,) of the magnitudes of the values in each row of the scaled matrix."""
        return Sums.of(self.scaled.row_sums)

    @cached_property
    def columns(self) -> Sums:
        """The sums (n,) of the magnitudes of the values in each column of the scaled matrix."""
        if self.scaled.is_symmetric:
            return self.rows
        return Sums.of(absolute_row_sums(*_transposed(self.pattern, self.scaled.values)))

    @property
    def nbytes(self) -> int:
        """The memory of the values and of the factors, about, in bytes."""
        own = 0 if self.scaled.values is self.data else self.scaled.values.nbytes
        factors = list(self.factors.values())  # another thread may add one meanwhile
        return self.data.nbytes + own + sum(f.nbytes for f in factors if not isinstance(f, RuntimeError))


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of the magnitudes in the rows of a matrix, and their range.

    Attributes:
        values: The sums (n,).
        least: The smallest one.
        largest: The largest one.
    """

    values: np.ndarray
    least: float
    largest: float

    @classmethod
    def of(cls, values: np.ndarray) -> Sums:
        """Return the sums ``values`` (n,) with their range."""
        return cls(values, float(values.min(initial=np.inf)), float(values.max(initial=0.0)))


@dataclass
class Usage:
    """A record of how many matrices of one pattern are needed at a time.

    An evaluation with its gradient is over where a new matrix comes after a solve with a transposed one. Kept are as
    many matrices as the present evaluation and the one before need: the memory of those that are dropped serves the
    next factors, which is faster than fresh memory, and an optimizer that steps back finds the factors of the point
    before. Where the transpose of a matrix is asked for after the matrix was dropped, because several threads evaluate
    at once for instance, one more is kept from then on.

    Attributes:
        evaluation: The number of the present evaluation.
        count: The number of matrices that it has used so far.
        has_adjoint: Whether it has solved with a transposed matrix.
        needed: The number of matrices that the evaluation before has used; 0 where there was none.
        missed: The number of matrices that were dropped before their transposes were asked for.
    """

    evaluation: int = 0
    count: int = 0
    has_adjoint: bool = False
    needed: int = 0
    missed: int = 0

    def use(self, entry: Factored, transposed: bool) -> None:
        """Note that a matrix, or its transpose, is solved with."""
        self.count += entry.evaluation != self.evaluation
        entry.evaluation = self.evaluation
        self.has_adjoint |= transposed

    def begin(self) -> None:
        """Note that a new matrix comes."""
        if self.has_adjoint:
            self.needed, self.count, self.has_adjoint = self.count, 0, False
            self.evaluation += 1

    @property
    def most(self) -> float:
        """The number of matrices that are to be kept."""
        return 2 * self.needed + self.missed if self.needed else math.inf


class Memo:
    """A memory of symbolic analyses by pattern, and of numeric factors by values.

    Of each pattern the matrices that were used last are kept, as many as `Usage` says. Beyond that the least recently
    used of all are dropped where there are too many.

    Attributes:
        max_bytes: The memory, in bytes, beyond which factored matrices are dropped.
        min_factored: The number of factored matrices that stay nevertheless, the last ones.
        max_factored: The largest number of factored matrices.
        max_analyses: The largest number of analyses.
        lock: The lock that is held while the lists are read or changed, and never while something is factored.
    """

    def __init__(
        self, max_bytes: int = 512 * 2**20, min_factored: int = 4, max_factored: int = 64, max_analyses: int = 16
    ) -> None:
        self.max_bytes, self.min_factored, self.max_factored = max_bytes, min_factored, max_factored
        self.max_analyses = max_analyses
        self.lock = threading.RLock()
        self._factored: list[Factored] = []  # the most recent one comes last
        self._analyses: OrderedDict[tuple[SparsityPattern, Analyze], Factorize] = OrderedDict()
        self._analyzing = threading.RLock()
        self._usages: OrderedDict[SparsityPattern, Usage] = OrderedDict()
        self._dropped: deque[tuple[SparsityPattern, bytes]] = deque(maxlen=REMEMBERED_DROPPED)

    def clear(self) -> None:
        """Forget all factorizations and analyses."""
        with self.lock:
            self._factored.clear()
            self._analyses.clear()
            self._dropped.clear()
            self._usages.clear()

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Forget after the block what is factored in it; what was there before is there again, as it was."""
        with self.lock:
            before = [replace(entry, factors=dict(entry.factors)) for entry in self._factored]
            usages = {pattern: replace(usage) for pattern, usage in self._usages.items()}
        try:
            yield
        finally:
            with self.lock:
                self._factored[:], self._usages = before, OrderedDict(usages)

    def lookup(self, pattern: SparsityPattern, data: np.ndarray, transposed: bool = False) -> Factored:
        """Return the entry for these values (nnz,), found by comparing them all, or a new one.

        Args:
            pattern: The pattern of the matrix.
            data: Its values (nnz,).
            transposed: Whether the solve is one with the transposed matrix.

        Raises:
            SolveError: A new value is not finite.
        """
        with self.lock:
            found = self._found(pattern, data)
        if found is None:
            made, dropped = Factored.of(pattern, data), list[Factored]()  # made and freed without the lock
            with self.lock:
                found = self._found(pattern, data)  # another thread may have been faster
                if found is None:
                    dropped, found = self._make_room(made, transposed), made
                    self._factored.append(made)
            del dropped
        self.note_use(found, transposed)
        return found

    def note_use(self, entry: Factored, transposed: bool) -> None:
        """Note that a matrix, or its transpose, is solved with."""
        with self.lock:
            self._usage(entry.pattern).use(entry, transposed)

    def _usage(self, pattern: SparsityPattern) -> Usage:
        usage = self._usages.setdefault(pattern, Usage())
        self._usages.move_to_end(pattern)
        if len(self._usages) > self.max_analyses:
            self._usages.popitem(last=False)
        return usage

    def _found(self, pattern: SparsityPattern, data: np.ndarray) -> Factored | None:
        """Return the entry for these values, now the most recent one; None where there is none."""
        found = next((entry for entry in reversed(self._factored) if _holds(entry, pattern, data)), None)
        if found is not None:
            self._factored.remove(found)
            self._factored.append(found)
        return found

    def _make_room(self, new: Factored, transposed: bool) -> list[Factored]:
        """Drop the matrices that are not needed any more or are too many beside a new one, and return them."""
        usage = self._usage(new.pattern)
        usage.begin()
        usage.missed += transposed and (new.pattern, _sample(new.data)) in self._dropped
        others = [entry for entry in self._factored if entry.pattern == new.pattern]
        dropped = others[: max(0, len(others) + 1 - int(min(usage.most, self.max_factored)))]
        kept = [entry for entry in self._factored if entry not in dropped]
        size = sum(entry.nbytes for entry in kept)
        while len(kept) >= self.min_factored and (size > self.max_bytes or len(kept) >= self.max_factored):
            size -= kept[0].nbytes
            dropped.append(kept.pop(0))
        self._factored[:] = kept
        self._dropped.extend((entry.pattern, _sample(entry.data)) for entry in dropped)
        return dropped

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
        with self._analyzing:
            found = self._analyses.pop(key, None)
            if found is None:
                found = analyze(entry.pattern, entry.scaled.values)
                work.analyses += 1
                if len(self._analyses) >= self.max_analyses:
                    self._analyses.popitem(last=False)
            self._analyses[key] = found
            return found


def _holds(entry: Factored, pattern: SparsityPattern, data: np.ndarray) -> bool:
    if entry.pattern != pattern or entry.data.dtype != data.dtype:
        return False
    middle = len(data) // 2  # most other values differ there already
    return np.array_equal(entry.data[middle : middle + 1], data[middle : middle + 1]) and np.array_equal(
        entry.data, data
    )


def _sample(data: np.ndarray) -> bytes:
    """Return some of the values (nnz,), by which a dropped matrix is recognized."""
    return data[:: 1 + len(data) // SAMPLED_VALUES].tobytes()


def _transposed(pattern: SparsityPattern, data: np.ndarray) -> tuple[SparsityPattern, np.ndarray]:
    transposed, order = pattern.transpose()
    return transposed, data[order]
