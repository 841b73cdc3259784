"""CHOLMOD's supernodal Cholesky factorization, through cvxopt, whose wheels contain SuiteSparse.

It is optional: pip install "pdeopt[cholmod]". cvxopt is under the GPL.
"""

from __future__ import annotations

import threading
import weakref
from functools import cache
from typing import Any

import numpy as np

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.direct.backends import Factor, Factorize, NotSuitedError, PositiveDiagonal, upper_triangle
from pdeopt.sparse.solvers.direct.installed import cholmod_is_installed
from pdeopt.sparse.solvers.direct.ordering import cholesky_entries


class _Cholmod:
    def __init__(self, analysis: _Analysis, factor: Any) -> None:
        self._analysis, self._factor = analysis, factor
        self.smallest_pivot = _smallest_pivot(factor)
        weakref.finalize(self, _give_back, weakref.ref(analysis), factor).atexit = False

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        from cvxopt import cholmod, matrix

        x = matrix(rhs)
        cholmod.solve(self._factor, x)
        return np.ascontiguousarray(x)

    @property
    def nbytes(self) -> int:
        return self._analysis.factor_nbytes


class _Analysis:
    """The symbolic factorizations of a pattern.

    A numeric factorization is written into a symbolic one, so each factor needs its own. The one of a factor that is no
    longer used is kept as a spare one for the next: ordering anew takes half as long as factoring, also where the
    permutation is given. Only one analysis of all has a spare one.
    """

    _with_spare: weakref.ref[_Analysis] | None = None

    def __init__(self, pattern: SparsityPattern) -> None:
        from cvxopt import matrix, spmatrix

        upper, self._kept = upper_triangle(pattern)
        # the entries of the lower triangle
        rows, cols = (matrix(index.astype(np.int64)) for index in (upper.indices, upper.rows))
        self._matrix = spmatrix(matrix(np.ones(upper.nnz)), rows, cols, pattern.shape)
        self.factor_nbytes = 10 * cholesky_entries(pattern)  # measured, with the zeros in supernodes
        self._spare = None
        self._lock = threading.RLock()  # another thread may factor a matrix of the same pattern

    def factor(self, data: np.ndarray) -> _Cholmod:
        """Return the factor of values (nnz,).

        Raises:
            RuntimeError: The matrix is not positive definite.
        """
        from cvxopt import cholmod, matrix

        with self._lock:
            self._matrix.V = matrix(data[self._kept])
            target, self._spare = self._spare, None
            factor = target or cholmod.symbolic(self._matrix)
            try:
                cholmod.numeric(self._matrix, factor)
            except ArithmeticError:
                self.keep(factor)
                raise RuntimeError("the matrix is not positive definite") from None
            return _Cholmod(self, factor)

    def keep(self, factor: Any) -> None:
        """Keep ``factor`` as the spare one, in place of that of any other analysis."""
        other = _Analysis._with_spare() if _Analysis._with_spare else None
        if other is not None:
            other._spare = None
        self._spare, _Analysis._with_spare = factor, weakref.ref(self)


def _smallest_pivot(factor: Any) -> float:
    from cvxopt import cholmod

    return float(np.min(cholmod.diag(factor), initial=np.inf)) ** 2


def _give_back(analysis: weakref.ref[_Analysis], factor: Any) -> None:
    alive = analysis()
    if alive is not None:
        alive.keep(factor)


def analyze_cholmod(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """Return a function that makes Cholesky factors of real symmetric positive definite matrices.

    The function refuses all other matrices (Hermitian ones, too).

    Raises:
        NotSuitedError: cvxopt is not installed.
    """
    if not cholmod_is_installed():
        raise NotSuitedError("cvxopt is not installed")
    may_be_definite = PositiveDiagonal(pattern)
    analysis = cache(lambda: _Analysis(pattern))

    def factorize(data: np.ndarray) -> Factor:
        if np.iscomplexobj(data):
            raise NotSuitedError("the values are complex")
        may_be_definite.require(data)
        return analysis().factor(data)

    return factorize


def analyze_cholmod_general(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """Refuse a matrix that is not symmetric, so that the user is told which library factors it instead.

    Raises:
        NotSuitedError: In every case.
    """
    raise NotSuitedError("the values are not symmetric")
