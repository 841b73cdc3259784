"""SuperLU through SciPy. Its analysis cannot be kept, only the reordering of the values can."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.direct.backends import Factor, Factorize, PositiveDiagonal
from pdeopt.sparse.solvers.direct.ordering import narrow_band, permuted
from pdeopt.sparse.solvers.direct.superlu_thread import superlu_factors

#: An off-diagonal pivot is taken only where the diagonal one is smaller than this times the largest of its column.
SYMMETRIC_PIVOT_THRESHOLD = 0.01


class _SuperLU:
    smallest_pivot = 0.0  # SciPy would copy the whole factor to tell

    def __init__(self, matrix: sp.csc_matrix, **options: Any) -> None:
        self._lu = superlu_factors(matrix, **options)

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        return self._lu.solve(rhs, transposed)

    @property
    def nbytes(self) -> int:
        return 12 * self._lu.nnz  # a value and a 4-byte index an entry


def analyze_superlu(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """LU with partial pivoting, columns ordered by COLAMD."""
    transposed, order = pattern.transpose()

    def factorize(data: np.ndarray) -> Factor:
        return _SuperLU(sp.csc_matrix((data[order], transposed.indices, transposed.indptr), pattern.shape))

    return factorize


class _PermutedSuperLU(_SuperLU):
    """Of P A Pᵀ."""

    def __init__(self, matrix: sp.csc_matrix, permutation: np.ndarray) -> None:
        mode = {"SymmetricMode": True}
        threshold = SYMMETRIC_PIVOT_THRESHOLD
        super().__init__(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=threshold, options=mode)
        self._permutation = permutation

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        x = np.empty_like(rhs)
        x[self._permutation] = super().solve(rhs[self._permutation], transposed)
        return x


def analyze_superlu_symmetric(pattern: SparsityPattern, sample: np.ndarray) -> Factorize:
    """LU of a symmetric matrix with pivots on the diagonal, ordered by minimum degree of A + Aᵀ.

    For positive definite matrices, and complex ones with such a real part: with half the fill of COLAMD, and about
    twice as fast in 2-D, three times in 3-D. Minimum degree starts from a narrow band, because on the numbering of a
    refined mesh it leaves more entries than COLAMD. Refuses, without an attempt, where the diagonal is not positive.
    By columns a symmetric matrix has the arrays that it has by rows.
    """
    may_be_definite = PositiveDiagonal(pattern)
    permutation = narrow_band(pattern)
    banded, order = permuted(pattern, permutation)

    def factorize(data: np.ndarray) -> Factor:
        may_be_definite.require(data)
        return _PermutedSuperLU(sp.csc_matrix((data[order], banded.indices, banded.indptr), pattern.shape), permutation)

    return factorize
