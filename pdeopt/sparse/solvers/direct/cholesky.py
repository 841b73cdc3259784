"""A Cholesky factor of a sparse matrix, which gives the two halves of a solve."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.solvers.counters import timed_factoring, work
from pdeopt.sparse.solvers.direct.superlu_thread import SuperLUFactors, superlu_factors


class Cholesky:
    """A factorization A = (S Sᵀ)⁻¹ of a symmetric positive definite matrix A (n, n).

    S is P L^-ᵀ D^-½ from P A Pᵀ = L D Lᵀ. SuperLU in its symmetric mode pivots on the diagonal, and its U is then D Lᵀ.
    L alone is kept, as a SuperLU object of its own, because that solves with it fastest (measured on 263 k unknowns of
    linear triangles: 30 ms a half, SciPy's `spsolve_triangular` 130 to 240 ms; factoring takes 2.8 s).

    Args:
        matrix: The matrix A.

    Raises:
        SolveError: A is not positive definite.
    """

    def __init__(self, matrix: sp.csr_matrix) -> None:
        matrix = sp.csc_matrix(matrix)
        work.factorizations += 1
        try:
            with timed_factoring():
                lu = _in_symmetric_mode(matrix, "MMD_AT_PLUS_A")
        except RuntimeError as error:
            raise SolveError(_not_definite(matrix, str(error))) from None
        pivots = lu.upper.diagonal()
        rows, columns = lu.permutations
        if not np.array_equal(rows, columns) or not (pivots > 0).all():
            raise SolveError(_not_definite(matrix, f"smallest pivot {pivots.min():.1e}"))
        self._place = columns  # the place of each unknown among the permuted ones
        self._roots = np.sqrt(pivots)
        lower = lu.lower
        del lu
        self._lower = _in_symmetric_mode(lower, "NATURAL")

    def primal(self, z: np.ndarray) -> np.ndarray:
        """Return S z for z (n,)."""
        product: np.ndarray = self._lower.solve(z / self._roots, transposed=True)[self._place]
        return product

    def transposed(self, d: np.ndarray) -> np.ndarray:
        """Return Sᵀ d for d (n,)."""
        permuted = np.empty_like(d)
        permuted[self._place] = d
        product: np.ndarray = self._lower.solve(permuted) / self._roots
        return product

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return A⁻¹ b = S Sᵀ b for b (n,)."""
        return self.primal(self.transposed(b))


def _in_symmetric_mode(columns: sp.csc_matrix, ordering: str) -> SuperLUFactors:
    return superlu_factors(columns, permc_spec=ordering, diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _not_definite(columns: sp.csc_matrix, reason: str) -> str:
    return f"the {columns.shape[0]} x {columns.shape[1]} matrix is not positive definite ({reason})"
