"""Preconditioners: cheap approximations of A⁻¹, each with its exact transpose for the adjoint solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, report
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.direct.superlu_thread import SuperLUFactors, incomplete_factors
from pdeopt.sparse.solvers.scaling import Scaling, equilibrated, times_power_of_two

#: The end of messages: what always remains to be tried.
DIRECT_SOLVER_REMEDY = "or a direct solver, as rslab or superlu"


class Applied(Protocol):
    """A linear map M ≈ A⁻¹, made for the values of one matrix."""

    def apply(self, r: np.ndarray) -> np.ndarray:
        """Return M r for r (n,)."""
        ...

    def apply_transposed(self, r: np.ndarray) -> np.ndarray:
        """Return Mᵀ r for r (n,), without conjugation."""
        ...


class Preconditioner(Protocol):
    """A preconditioner, which is immutable and hashable, and makes an approximate inverse."""

    @property
    def name(self) -> str:
        """The name of the preconditioner, as after the + of a solver's name, "cg+amg"."""
        ...

    def set_up(self, matrix: sp.csr_matrix) -> Applied:
        """Return the approximate inverse of a matrix.

        Args:
            matrix: The matrix (n, n), real or complex, whose arrays are not kept.

        Raises:
            SolveError: There is none for this matrix.
        """
        ...


@dataclass(frozen=True)
class Jacobi:
    """The Jacobi preconditioner M = D⁻¹ with the diagonal D of A, and 1 in place of zeros.

    It is described in Saad 2003, "Iterative Methods for Sparse Linear Systems", section 10.2.

    Attributes:
        absolute: Whether ``|D|`` is taken, so that M is positive definite for every A; `MINRES` does this by itself.
    """

    absolute: bool = False

    @property
    def name(self) -> str:
        """The name of the preconditioner, "jacobi"."""
        return "jacobi"

    def set_up(self, matrix: sp.csr_matrix) -> Applied:
        """Return the inverse of the diagonal of ``matrix`` (n, n)."""
        diagonal = matrix.diagonal()
        diagonal = np.abs(diagonal) if self.absolute else diagonal
        return _Diagonal(np.where(diagonal == 0, 1, diagonal))


@dataclass(frozen=True, eq=False)
class _Diagonal:
    divisor: np.ndarray

    def apply(self, r: np.ndarray) -> np.ndarray:
        quotient: np.ndarray = r / self.divisor
        return quotient

    apply_transposed = apply


@dataclass(frozen=True)
class ILU:
    """The preconditioner by incomplete LU factors with threshold and pivoting: SuperLU's ILUTP.

    It is described in Li and Shao 2011, "A supernodal approach to incomplete LU factorization with partial pivoting".
    M is not symmetric, also where A is.

    Attributes:
        drop_tolerance: The part of their column below which entries are dropped; 0 keeps all.
        fill_factor: The largest number of entries of the factors, relative to those of A.

    Raises:
        SolveError: The drop_tolerance is negative or not finite, or the fill_factor is less than 1 or not finite.
    """

    drop_tolerance: float = 1e-4
    fill_factor: float = 10

    def __post_init__(self) -> None:
        if not 0 <= self.drop_tolerance < np.inf:
            raise SolveError(f"ILU: drop_tolerance is {self.drop_tolerance}; expected a number of at least 0")
        if not 1 <= self.fill_factor < np.inf:
            raise SolveError(f"ILU: fill_factor is {self.fill_factor}; expected a number of at least 1")

    @property
    def name(self) -> str:
        """The name of the preconditioner, "ilu"."""
        return "ilu"

    def set_up(self, matrix: sp.csr_matrix) -> Applied:
        """Return the incomplete factors of ``matrix`` (n, n), which is scaled where it needs it.

        Raises:
            SolveError: A pivot vanishes.
        """
        pattern = SparsityPattern.from_scipy(matrix)
        scaled = equilibrated(pattern, matrix.data)
        matrix = sp.csr_matrix((scaled.values, pattern.indices, pattern.indptr), pattern.shape)
        try:
            options = {"drop_tol": self.drop_tolerance, "fill_factor": self.fill_factor}
            return _Factors(incomplete_factors(matrix.tocsc(), **options), scaled.scaling)
        except RuntimeError:
            raise report(
                SolveError(
                    f"the incomplete LU factorization of the {matrix.shape[0]} x {matrix.shape[1]} matrix meets a zero "
                    "pivot: the matrix is singular, or too much is dropped. Take a smaller drop_tolerance, a larger "
                    f"fill_factor, another preconditioner (jacobi, amg), {DIRECT_SOLVER_REMEDY}"
                )
            ) from None


@dataclass(frozen=True, eq=False)
class _Factors:
    factors: SuperLUFactors
    scaling: Scaling

    def apply(self, r: np.ndarray) -> np.ndarray:
        return self._apply(r, transposed=False)

    def apply_transposed(self, r: np.ndarray) -> np.ndarray:
        return self._apply(r, transposed=True)

    def _apply(self, r: np.ndarray, transposed: bool) -> np.ndarray:
        if self.scaling.is_trivial:
            return self.factors.solve(r, transposed)
        left, right = self.scaling.sides(transposed)
        return times_power_of_two(self.factors.solve(times_power_of_two(r, left), transposed), right)
