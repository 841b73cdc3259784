"""Algebraic multigrid: pyamg's hierarchies, and a V-cycle with its transpose.

The transpose is the same V-cycle on transposed levels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, report
from pdeopt.sparse.solvers.direct.superlu_thread import superlu_factors
from pdeopt.sparse.solvers.krylov.preconditioners import DIRECT_SOLVER_REMEDY, Applied
from pdeopt.sparse.solvers.krylov.row_blocks import RowBlocks

#: The kinds of multigrid, and the name of the preconditioner of each.
PRECONDITIONER_NAMES = {"smoothed-aggregation": "amg", "ruge-stuben": "ruge-stuben"}
#: The number of unknowns up to which a level is not coarsened further.
MAX_COARSE_UNKNOWNS = 100
#: The number of unknowns up to which the coarsest system is solved with its pseudo-inverse; a larger one (of a stuck
#: coarsening) is solved with LU.
MAX_PSEUDO_INVERSE_UNKNOWNS = 500
#: The difference of entries, relative to the largest one, up to which a matrix counts as symmetric in the choice of the
#: restriction.
SYMMETRY_TOLERANCE = 1e-13
#: The size of entries, relative to the diagonal, up to which they are rounding of the assembly.
ROUNDING_OF_ENTRIES = 1e-14

#: A function r (n,) ↦ x (n,) that solves the coarsest system.
CoarseSolve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class AMG:
    """A preconditioner that is one V-cycle of algebraic multigrid, started from zero.

    There is a Gauss–Seidel sweep forward before each coarse correction, and one backward after it: the cycle is
    symmetric (Hermitian) where A is. Smoothed aggregation (Vaněk, Mandel and Brezina 1996) takes real and complex
    matrices, and for a non-symmetric one a restriction of its own (Sala and Tuminaro 2008); Ruge–Stüben (1987) takes
    real ones only. Both are described in Trottenberg, Oosterlee and Schüller 2001, "Multigrid", appendix A. They are
    made for elliptic problems; on indefinite matrices they may fail. Two of these objects are equal where their
    attributes are.

    Attributes:
        kind: The kind of multigrid, "smoothed-aggregation" or "ruge-stuben".
        near_nullspace: The columns v (n, m) with A v ≈ 0, as the rigid motions in elasticity; None: the constants. Only
            smoothed aggregation takes it.

    Raises:
        SolveError: The kind is unknown, or the near_nullspace is no array (n, m) of finite numbers, or is given for
            "ruge-stuben".
    """

    kind: str = "smoothed-aggregation"
    near_nullspace: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.kind not in PRECONDITIONER_NAMES:
            raise SolveError(f"AMG: kind is {self.kind!r}; expected {' or '.join(map(repr, PRECONDITIONER_NAMES))}")
        if self.near_nullspace is not None:
            modes = _checked_modes(self.near_nullspace)
            if self.kind == "ruge-stuben":
                raise SolveError("AMG: ruge-stuben takes no near_nullspace; use kind='smoothed-aggregation'")
            object.__setattr__(self, "near_nullspace", modes)

    @property
    def name(self) -> str:
        """The name of the preconditioner, "amg" or "ruge-stuben"."""
        return PRECONDITIONER_NAMES[self.kind]

    @cached_property
    def _content(self) -> tuple[Any, ...]:
        modes = self.near_nullspace
        return (self.kind, None if modes is None else (modes.shape, modes.dtype.str, modes.tobytes()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AMG) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def set_up(self, matrix: sp.csr_matrix) -> Applied:
        """Return the hierarchy of levels for ``matrix`` (n, n).

        Raises:
            SolveError: No hierarchy is found, or the near_nullspace or the kind does not fit the matrix.
        """
        self._check_fits(matrix)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # pyamg warns of what is checked here
                return self._hierarchy(sp.csr_array(matrix, copy=True))
        except Exception as error:  # the library fails in many ways on matrices that are not elliptic
            raise report(_no_hierarchy(matrix, self.name, error)) from error

    def _check_fits(self, matrix: sp.csr_matrix) -> None:
        n, modes = matrix.shape[0], self.near_nullspace
        if modes is not None and len(modes) != n:
            raise report(SolveError(f"AMG: near_nullspace has {len(modes)} rows, but the matrix is {n} x {n}"))
        if modes is not None and np.iscomplexobj(modes) and not np.iscomplexobj(matrix.data):
            raise report(SolveError("AMG: near_nullspace is complex, but the matrix is real"))
        if self.kind == "ruge-stuben" and np.iscomplexobj(matrix.data):
            raise report(
                SolveError("ruge-stuben takes real matrices only, this one is complex; use amg (smoothed aggregation)")
            )

    def _hierarchy(self, matrix: sp.csr_array) -> Applied:
        levels = self._pyamg_levels(matrix)
        coarsest = sp.csr_array(levels[-1].A)
        if not all(np.isfinite(level.A.data).all() for level in levels):
            raise ArithmeticError("its coarse matrices are not finite")
        kept = tuple(Level.of(level.A, level.P, level.R) for level in levels[:-1])
        return Hierarchy(kept, *_coarse_solves(coarsest))

    def _pyamg_levels(self, matrix: sp.csr_array) -> list[Any]:
        import pyamg

        none = {"presmoother": None, "postsmoother": None, "max_coarse": MAX_COARSE_UNKNOWNS}
        if self.kind == "ruge-stuben":
            return list(pyamg.ruge_stuben_solver(matrix, **none).levels)
        smoothed = pyamg.smoothed_aggregation_solver(
            _without_zeros(matrix),
            B=None if self.near_nullspace is None else self.near_nullspace.astype(matrix.dtype),
            symmetry=_symmetry(matrix),
            smooth=("jacobi", {"weighting": "local"}),  # the other weights use random numbers
            **none,
        )
        return list(smoothed.levels)


@dataclass(frozen=True, eq=False)
class Level:
    """A level of a multigrid hierarchy, with a matrix L + D + U (n, n).

    A sweep reads each entry of L + D and D + U once, and what is left after a sweep from zero is −U x.

    Attributes:
        lower: The lower triangle L + D (n, n).
        upper: The upper triangle D + U (n, n).
        prolongation: The prolongation (n, m) from the next coarser level.
        restriction: The restriction (m, n) to the next coarser level.
    """

    lower: sp.csr_array
    upper: sp.csr_array
    prolongation: sp.csr_array
    restriction: sp.csr_array

    @classmethod
    def of(cls, matrix: sp.csr_array, prolongation: sp.csr_array, restriction: sp.csr_array) -> Level:
        """Return the level with a matrix (n, n), a prolongation (n, m) and a restriction (m, n)."""
        parts = (sp.tril(matrix, format="csr"), sp.triu(matrix, format="csr"), prolongation, restriction)
        return cls(*map(sp.csr_array, parts))

    def transposed(self) -> Level:
        """Return the level of the transposed matrix."""
        parts = (self.upper, self.lower, self.restriction, self.prolongation)
        return Level(*(part.T.tocsr() for part in parts))

    @cached_property
    def diagonal(self) -> np.ndarray:
        """The diagonal D (n,)."""
        diagonal: np.ndarray = self.lower.diagonal()
        return diagonal

    @cached_property
    def left_out(self) -> np.ndarray:
        """The numbers of the rows with a zero on the diagonal, which a sweep leaves as they are."""
        return np.flatnonzero(self.diagonal == 0)

    @cached_property
    def products(self) -> tuple[RowBlocks, RowBlocks, RowBlocks, RowBlocks]:
        """The four matrices in the order of the attributes, as products that several cores compute."""
        lower, upper, prolongation, restriction = map(
            RowBlocks, (self.lower, self.upper, self.prolongation, self.restriction)
        )
        return lower, upper, prolongation, restriction


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """A multigrid hierarchy, applied by one V-cycle.

    Attributes:
        levels: The levels, the finest first, without the coarsest one.
        coarse: The function that solves the coarsest system.
        coarse_transposed: The function that solves its transpose.
    """

    levels: tuple[Level, ...]
    coarse: CoarseSolve
    coarse_transposed: CoarseSolve

    def apply(self, r: np.ndarray) -> np.ndarray:
        """Return M r for r (n,), by one V-cycle."""
        return _cycle(self.levels, self.coarse, np.ascontiguousarray(r))

    def apply_transposed(self, r: np.ndarray) -> np.ndarray:
        """Return Mᵀ r for r (n,), with the transpose of the cycle M, by the same code.

        With the pre-smoother X, the coarse correction Y = P C R and the post-smoother Z of a cycle M::

            I − M A = (I − Z A)(I − Y A)(I − X A),  hence  I − Mᵀ Aᵀ = (I − Xᵀ Aᵀ)(I − Yᵀ Aᵀ)(I − Zᵀ Aᵀ)

        Zᵀ comes first and Xᵀ last. X = (D + L)⁻¹ is a sweep forward and Z = (D + U)⁻¹ one backward, so Zᵀ is a sweep
        forward with Aᵀ, Xᵀ one backward, and Yᵀ = Rᵀ Cᵀ Pᵀ.
        """
        return self._transposed.apply(r)

    @cached_property
    def _transposed(self) -> Hierarchy:
        return Hierarchy(tuple(level.transposed() for level in self.levels), self.coarse_transposed, self.coarse)


def _cycle(levels: tuple[Level, ...], coarse: CoarseSolve, r: np.ndarray) -> np.ndarray:
    from pyamg.relaxation.relaxation import gauss_seidel

    if not levels:
        return coarse(r)
    level, x = levels[0], np.zeros_like(r)
    lower, upper, prolongation, restriction = level.products
    gauss_seidel(level.lower, x, r, sweep="forward")
    excess = upper @ x  # becomes A x − r
    excess -= level.diagonal * x
    if len(level.left_out):
        excess[level.left_out] += (lower @ x - r)[level.left_out]
    x -= prolongation @ _cycle(levels[1:], coarse, restriction @ excess)
    remaining = lower @ x
    remaining -= level.diagonal * x
    gauss_seidel(level.upper, x, np.subtract(r, remaining, out=remaining), sweep="backward")
    return x


def _coarse_solves(matrix: sp.csr_array) -> tuple[CoarseSolve, CoarseSolve]:
    if matrix.shape[0] <= MAX_PSEUDO_INVERSE_UNKNOWNS:
        inverse = scipy.linalg.pinv(matrix.toarray())
        return inverse.__matmul__, inverse.T.__matmul__
    factors = superlu_factors(matrix.tocsc())
    return factors.solve, lambda r: factors.solve(r, transposed=True)


def _without_zeros(matrix: sp.csr_array) -> sp.csr_array:
    """Return a matrix without the stored entries that are zero or rounding.

    Aggregates would be made of unknowns that only these connect, as the components of a velocity.
    """
    size = np.sqrt(np.abs(matrix.diagonal()))
    entries = matrix.tocoo()
    kept = np.abs(entries.data) > ROUNDING_OF_ENTRIES * size[entries.row] * size[entries.col]
    return sp.csr_array((entries.data[kept], (entries.row[kept], entries.col[kept])), matrix.shape)


def _symmetry(matrix: sp.csr_array) -> str:
    """Return which of pyamg's three kinds a matrix is: "hermitian", "symmetric" or "nonsymmetric"."""
    for name, mirrored in (("hermitian", matrix.conj().T), ("symmetric", matrix.T)):
        if abs(matrix - mirrored).max() <= SYMMETRY_TOLERANCE * abs(matrix).max():
            return name
    return "nonsymmetric"


def _checked_modes(modes: np.ndarray) -> np.ndarray:
    """Return a copy of near-null vectors (n, m) that cannot be written to.

    Raises:
        SolveError: They are no array (n, m) of finite numbers.
    """
    modes = np.array(modes)
    if modes.ndim != 2 or not modes.size or modes.dtype.kind not in "iufc" or not np.isfinite(modes).all():
        raise SolveError(f"AMG: near_nullspace has shape {modes.shape}; expected (n, m) finite numbers, m modes")
    modes.flags.writeable = False
    return modes


def _no_hierarchy(matrix: sp.csr_matrix, name: str, error: Exception) -> SolveError:
    return SolveError(
        f"{name} finds no multigrid hierarchy for the {matrix.shape[0]} x {matrix.shape[1]} matrix "
        f"({type(error).__name__}: {error}); multigrid is for elliptic problems. Take another preconditioner (jacobi, "
        f"ilu), {DIRECT_SOLVER_REMEDY}"
    )
