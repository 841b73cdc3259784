"""The direct solver libraries, each behind the same three steps: analyze a pattern, factor values, solve."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from pdeopt.sparse.pattern import SparsityPattern


class Factor(Protocol):
    """A numeric factorization."""

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """X of shape (n, k) with A X = rhs, or Aᵀ X = rhs."""
        ...

    @property
    def nbytes(self) -> int:
        """About how much memory it holds."""
        ...


Factorize = Callable[[np.ndarray], Factor]
"""Takes the values (nnz,) in the pattern's order; raises RuntimeError where they are singular."""

Analyze = Callable[[SparsityPattern, np.ndarray], Factorize]
"""Takes a pattern and sample values (some analyses look at them); done once per pattern."""


class _SuperLU:
    def __init__(self, matrix: sp.csc_matrix) -> None:
        self._lu = sla.splu(matrix)

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        return self._lu.solve(rhs, "T" if transposed else "N")

    @property
    def nbytes(self) -> int:
        return 12 * self._lu.nnz  # a value and a 4-byte index an entry


def analyze_superlu(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """SuperLU through SciPy: LU with partial pivoting. Its analysis cannot be kept, only the reordering can."""
    transposed, order = pattern.transpose()

    def factorize(data: np.ndarray) -> Factor:
        return _SuperLU(sp.csc_matrix((data[order], transposed.indices, transposed.indptr), pattern.shape))

    return factorize


class _Rslab:
    def __init__(self, factor) -> None:
        self._factor = factor

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        if transposed:  # the library has no transposed solve for a block
            return np.stack([self._factor.solve_transpose(column) for column in np.ascontiguousarray(rhs.T)], axis=1)
        if rhs.shape[1] == 1:
            return self._factor.solve(rhs[:, 0])[:, None]
        return self._factor.solve_many(rhs)

    @property
    def nbytes(self) -> int:
        return 20 * self._factor.factor_nnz  # measured: 20 for LDLᵀ, 16 for LU


class _SymmetricRslab(_Rslab):
    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        return super().solve(rhs, transposed=False)


def analyze_rslab_lu(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """rslab's supernodal LU with threshold pivoting."""
    rslab = _import_rslab()
    transposed, order = pattern.transpose()
    columns = sp.csc_matrix((sample[order], transposed.indices, transposed.indptr), pattern.shape)
    symbolic = rslab.analyze(columns, path="lu")
    return lambda data: _Rslab(symbolic.factor(data[order]))


def analyze_rslab_ldlt(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """rslab's LDLᵀ with Bunch–Kaufman pivoting, for symmetric (also complex symmetric and indefinite) matrices.

    The upper triangle by rows is the lower one by columns, which is what the library reads.
    """
    rslab = _import_rslab()
    upper = np.flatnonzero(pattern.indices >= pattern.rows)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(pattern.rows[upper], minlength=pattern.shape[0]))])
    lower_columns = sp.csc_matrix((sample[upper], pattern.indices[upper], indptr), pattern.shape)
    symbolic = rslab.analyze(lower_columns, path="ldlt")
    return lambda data: _SymmetricRslab(symbolic.factor(data[upper]))


def _import_rslab():
    import rslab

    rslab.set_log_level("error")  # it warns on stderr of what `SolveError` says better
    return rslab


def rslab_is_installed() -> bool:
    """Whether the rslab wheel can be imported on this machine."""
    try:
        _import_rslab()
    except ImportError:
        logging.getLogger(__name__).info("rslab is not installed; solver 'auto' uses SuperLU")
        return False
    return True
