"""Intel MKL's PARDISO: supernodal LLᵀ, LDLᵀ and LU, real and complex.

It is optional: pip install "pdeopt[pardiso]". MKL is proprietary, free of charge, for x86-64 only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.counters import work
from pdeopt.sparse.solvers.direct import mkl
from pdeopt.sparse.solvers.direct.backends import Factor, Factorize, NotSuitedError, PositiveDiagonal, upper_triangle

#: The largest number of analyses of one pattern and matrix type that are kept, besides those of living factors.
MOST_ANALYSES = 2


class _Analyses:
    """The analyses of one pattern by matrix type.

    They are made when they are needed, and a new one is made when all slots are taken. Except for definite matrices, an
    analysis scales and matches by the values that it is made with. Where PARDISO cannot factor other values with it, a
    new one is made with these, which serves the next ones; one of values that cannot be factored is not kept. A failure
    that PARDISO tells is then one of the matrix, and not of what was factored before. Where it tells none, the solution
    differs by rounding from that with an analysis of their own.
    """

    def __init__(self, pattern: SparsityPattern) -> None:
        self._pattern, self._with_diagonal = _with_diagonal(pattern)
        self._by_kind: dict[int, list[mkl.Analysis]] = {}
        self._lock = threading.Lock()  # another thread may factor a matrix of the same pattern

    def factor(self, kind: int, data: np.ndarray) -> mkl.PardisoFactor:
        """Return the factor of values (nnz,) by PARDISO's number of the matrix type.

        Raises:
            RuntimeError: The values cannot be factored.
        """
        with self._lock:
            return self._factored(kind, data)

    def _factored(self, kind: int, data: np.ndarray) -> mkl.PardisoFactor:
        values = self._with_diagonal(data)
        analyses = self._by_kind.setdefault(kind, [])
        found = next((analysis for analysis in analyses if not analysis.is_full), None)
        if kind == mkl.REAL_DEFINITE:
            if found is None:
                found = mkl.Analysis(kind, self._pattern, values)
                analyses.append(found)
            return found.factor(values)
        if found is not None:
            with suppress(RuntimeError):
                return found.factor(values)
        own = mkl.Analysis(kind, self._pattern, values)
        factor = own.factor(values)
        if not np.isfinite(factor.solve(np.ones((self._pattern.shape[0], 1)), False)).all():
            raise RuntimeError("the factors are not finite")
        work.analyses += int(found is not None)  # the first one of a pattern is counted where it is remembered
        analyses.insert(0, own)
        del analyses[MOST_ANALYSES:]
        return factor


def _with_diagonal(pattern: SparsityPattern) -> tuple[SparsityPattern, Callable[[np.ndarray], np.ndarray]]:
    """Return the pattern with all its diagonal entries, and the function that sorts values into it.

    The values on the diagonal are zeros where no entry was stored.
    """
    n = pattern.shape[0]
    if np.count_nonzero(pattern.indices == pattern.rows) == n:
        return pattern, np.ascontiguousarray
    rows, cols = (np.append(entries, np.arange(n)) for entries in (pattern.rows, pattern.indices))
    union, place = SparsityPattern.from_entries(rows, cols, pattern.shape)

    def sorted_in(data: np.ndarray) -> np.ndarray:
        values = np.zeros(union.nnz, data.dtype)
        values[place[: len(data)]] = data
        return values

    return union, sorted_in


def analyze_pardiso_symmetric(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """Return a function that factors symmetric matrices of a pattern, by LLᵀ or LDLᵀ.

    It is LLᵀ where the matrix is real and positive definite, and LDLᵀ with Bunch–Kaufman pivots for any other one.

    Raises:
        NotSuitedError: pypardiso is not installed.
    """
    _require_library()
    upper, kept = upper_triangle(pattern)
    analyses, may_be_definite = _Analyses(upper), PositiveDiagonal(pattern)

    def factorize(data: np.ndarray) -> Factor:
        if np.iscomplexobj(data):
            return analyses.factor(mkl.COMPLEX_SYMMETRIC, data[kept])
        if may_be_definite(data):
            try:
                return analyses.factor(mkl.REAL_DEFINITE, data[kept])
            except mkl.PardisoError as error:
                if error.code != mkl.NOT_DEFINITE:
                    raise
        return analyses.factor(mkl.REAL_SYMMETRIC, data[kept])

    return factorize


def analyze_pardiso_general(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """Return a function that factors matrices of a pattern by LU.

    Pivots are chosen inside of supernodes, after a weighted matching for the first matrix of the pattern.

    Raises:
        NotSuitedError: pypardiso is not installed.
    """
    _require_library()
    analyses = _Analyses(pattern)
    return lambda data: analyses.factor(mkl.COMPLEX_GENERAL if np.iscomplexobj(data) else mkl.REAL_GENERAL, data)


def _require_library() -> None:
    if not mkl.pardiso_is_installed():
        raise NotSuitedError("pypardiso is not installed")
