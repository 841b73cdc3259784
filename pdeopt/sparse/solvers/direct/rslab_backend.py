"""The rslab wheel: supernodal LDLᵀ and LU."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.direct.backends import Factorize, NotSuitedError, upper_triangle


class _Rslab:
    smallest_pivot = 0.0

    def __init__(self, factor: Any) -> None:
        self._factor = factor

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        if transposed:  # the library has no transposed solve for a block
            return np.stack([self._factor.solve_transpose(column) for column in np.ascontiguousarray(rhs.T)], axis=1)
        if rhs.shape[1] == 1:
            x: np.ndarray = self._factor.solve(rhs[:, 0])
            return x[:, None]
        columns: np.ndarray = self._factor.solve_many(rhs)
        return columns

    @property
    def nbytes(self) -> int:
        return int(self._factor.heap_bytes)


class _SymmetricRslab(_Rslab):
    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        return super().solve(rhs, transposed=False)


def analyze_rslab_lu(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """Return a function that factors matrices of a pattern by rslab's LU with threshold pivoting.

    Raises:
        NotSuitedError: rslab is not installed.
    """
    rslab = _import_rslab()
    transposed, order = pattern.transpose()
    columns = sp.csc_matrix((sample[order], transposed.indices, transposed.indptr), pattern.shape)
    symbolic = rslab.analyze(columns, path="lu")
    return lambda data: _Rslab(symbolic.factor(data[order]))


def analyze_rslab_ldlt(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """Return a function that factors symmetric matrices of a pattern by rslab's LDLᵀ.

    It has Bunch–Kaufman pivoting, and takes complex symmetric and indefinite matrices, too. The upper triangle by rows
    is the lower one by columns, which is what the library reads.

    Raises:
        NotSuitedError: rslab is not installed.
    """
    rslab = _import_rslab()
    upper, kept = upper_triangle(pattern)
    lower_columns = sp.csc_matrix((sample[kept], upper.indices, upper.indptr), pattern.shape)
    symbolic = rslab.analyze(lower_columns, path="ldlt")
    return lambda data: _SymmetricRslab(symbolic.factor(data[kept]))


def _import_rslab() -> Any:
    try:
        import rslab
    except ImportError:
        raise NotSuitedError("rslab is not installed") from None
    rslab.set_log_level("error")  # it warns on stderr of what `SolveError` says better
    return rslab
