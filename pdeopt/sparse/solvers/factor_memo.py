"""A bounded memory of factorizations, found again by the content of the values: nothing in it can be stale."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.backends import Analyze, Factor, Factorize
from pdeopt.sparse.solvers.counters import work


@dataclass(eq=False)
class Factored:
    """A matrix, its norms, and the factorizations of it so far by backend (an exception where one failed)."""

    pattern: SparsityPattern
    data: np.ndarray
    row_sums: np.ndarray
    is_symmetric: bool
    factors: dict[Analyze, Factor | RuntimeError] = field(default_factory=dict)


class Memo:
    """Symbolic analyses by pattern, numeric factors by values; the least recently used goes first."""

    def __init__(self, max_factored: int = 4, max_analyses: int = 16) -> None:
        self.max_factored = max_factored
        self.max_analyses = max_analyses
        self.lock = threading.RLock()
        self._factored: list[Factored] = []  # most recent last
        self._analyses: OrderedDict[tuple[SparsityPattern, Analyze], Factorize] = OrderedDict()

    def clear(self) -> None:
        with self.lock:
            self._factored.clear()
            self._analyses.clear()

    def lookup(self, pattern: SparsityPattern, data: np.ndarray) -> Factored:
        """The entry for these values, found by comparing them all, or a new one with a copy of them."""
        found = next((entry for entry in reversed(self._factored) if _holds(entry, pattern, data)), None)
        if found is None:
            found = Factored(pattern, data.copy(), _row_sums(pattern, data), _is_symmetric(pattern, data))
        else:
            self._factored.remove(found)
        self._factored = [*self._factored, found][-self.max_factored :]
        return found

    def factor(self, entry: Factored, analyze: Analyze) -> tuple[Factor, bool]:
        """The factorization of ``entry`` by one backend, and whether the backend saw this pattern for the first time.

        Raises RuntimeError, again without a new attempt, where the backend finds the matrix singular.
        """
        is_first = False
        if analyze not in entry.factors:
            factorize, is_first = self._analysis(entry, analyze)
            work.factorizations += 1
            try:
                entry.factors[analyze] = factorize(entry.data)
            except RuntimeError as error:
                entry.factors[analyze] = error
        factor = entry.factors[analyze]
        if isinstance(factor, RuntimeError):
            raise factor
        return factor, is_first

    def _analysis(self, entry: Factored, analyze: Analyze) -> tuple[Factorize, bool]:
        key = (entry.pattern, analyze)
        is_first = key not in self._analyses
        if is_first:
            work.analyses += 1
            self._analyses[key] = analyze(entry.pattern, entry.data)
            if len(self._analyses) > self.max_analyses:
                self._analyses.popitem(last=False)
        self._analyses.move_to_end(key)
        return self._analyses[key], is_first


def _holds(entry: Factored, pattern: SparsityPattern, data: np.ndarray) -> bool:
    return entry.pattern == pattern and entry.data.dtype == data.dtype and np.array_equal(entry.data, data)


def _row_sums(pattern: SparsityPattern, data: np.ndarray) -> np.ndarray:
    magnitude = sp.csr_matrix((np.abs(data), pattern.indices, pattern.indptr), pattern.shape)
    return magnitude @ np.ones(pattern.shape[1])


def _is_symmetric(pattern: SparsityPattern, data: np.ndarray) -> bool:
    """Equal to the transpose up to rounding of the assembly (the order of sums differs between a_ij and a_ji)."""
    transposed, order = pattern.transpose()
    if transposed != pattern or not len(data):
        return False
    return bool(np.abs(data - data[order]).max() <= 16 * np.finfo(float).eps * np.abs(data).max())
