"""The choice of a solver by symmetry, definiteness, size and shape of the matrix."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from pdeopt.sparse.errors import SolveError, check_finite
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.direct.backends import PositiveDiagonal
from pdeopt.sparse.solvers.direct.installed import rslab_is_installed
from pdeopt.sparse.solvers.direct.mkl import pardiso_is_installed
from pdeopt.sparse.solvers.direct.solver import PARDISO, RSLAB, SUPERLU, DirectSolver
from pdeopt.sparse.solvers.fallbacks import note_fallback
from pdeopt.sparse.solvers.krylov.by_name import CG
from pdeopt.sparse.solvers.krylov.multigrid import AMG
from pdeopt.sparse.solvers.krylov.set_up_memo import digest
from pdeopt.sparse.solvers.krylov.solver import KrylovSolver
from pdeopt.sparse.solvers.scaling import absolute_row_sums, is_symmetric

#: The number of unknowns in the widest level of a breadth-first search beyond which multigrid is taken. It is about the
#: size of the separators that a factorization works through: n^½ in 2-D, n^⅔ in 3-D. Measured with linear tetrahedra,
#: value and gradient: 30³ nodes take 0.09 s by multigrid and 0.21 s by rslab, 50³ take 0.5 s; factors at hand make
#: further solves 5 times cheaper.
MAX_DIRECT_WIDTH = 5000
#: The largest number of right-hand sides for which multigrid is worthwhile.
MAX_MULTIGRID_COLUMNS = 4
#: The number of iterations beyond which a direct solver takes over.
MAX_MULTIGRID_ITERATIONS = 200

#: The multigrid that is taken where nothing is known of the unknowns.
RUGE_STUBEN = AMG("ruge-stuben")
#: The iterative solver that is taken there.
MULTIGRID = CG(rtol=1e-10, max_iterations=MAX_MULTIGRID_ITERATIONS, preconditioner=RUGE_STUBEN)

_log = logging.getLogger(__name__)
#: The last matrices on which multigrid failed, with the digests of their values. It would fail again, so that only time
#: is saved. (A right-hand side with which it would not is then solved directly, more exactly than is stated.)
_failed: deque[tuple[SparsityPattern, bytes, AMG]] = deque(maxlen=8)


@dataclass(frozen=True)
class Auto:
    """A solver that chooses between multigrid and the fastest direct solver that is installed.

    It takes CG preconditioned by multigrid for wide, real, symmetric matrices with a positive diagonal and few
    right-hand sides; otherwise, and where that fails, the direct solver. The choice depends on the matrix and on the
    number of right-hand sides, and not on what was solved before.

    Attributes:
        preconditioner: The multigrid that is taken; for a displacement a `LinearStateEquation` gives one that knows the
            rigid motions.
    """

    preconditioner: AMG = RUGE_STUBEN

    @property
    def name(self) -> str:
        """The name "auto", as in ``--solver``; what `chosen` returns has the name of the solver that solves."""
        return "auto"

    def may_be_multigrid(self, pattern: SparsityPattern, dtype: np.dtype, columns: int) -> bool:
        """Return whether multigrid is taken for some values of a pattern.

        Args:
            pattern: The pattern of the matrix.
            dtype: The type of its values.
            columns: The number of right-hand sides.
        """
        return (
            dtype.kind != "c"
            and columns <= MAX_MULTIGRID_COLUMNS
            and pattern.shape[0] > MAX_DIRECT_WIDTH < widest_level(pattern)
        )

    def chosen(self, pattern: SparsityPattern, data: np.ndarray, columns: int) -> DirectSolver | KrylovSolver:
        """Return the solver for a matrix with values ``data`` (nnz,) and for ``columns`` right-hand sides."""
        if (
            self.may_be_multigrid(pattern, data.dtype, columns)
            and PositiveDiagonal(pattern)(data)
            and is_symmetric(pattern, data, absolute_row_sums(pattern, data))
        ):
            return self.multigrid
        return fastest_direct()

    @property
    def multigrid(self) -> KrylovSolver:
        """The iterative solver that is taken."""
        if self.preconditioner is RUGE_STUBEN:
            return MULTIGRID
        return replace(MULTIGRID, preconditioner=self.preconditioner)

    def solve(self, pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return X (n, k) with A X = rhs or Aᵀ X = rhs, by the solver that `chosen` returns.

        Raises:
            SolveError: A value of A or of rhs is not finite, or no solver solves the system.
        """
        solver = self.chosen(pattern, data, rhs.shape[1])
        if isinstance(solver, DirectSolver):
            return solver.solve(pattern, data, rhs, transposed)
        check_finite("A", data)
        check_finite("b", rhs)
        matrix, direct = (pattern, digest(data), self.preconditioner), fastest_direct()
        if matrix in _failed:
            return direct.solve(pattern, data, rhs, transposed)
        try:
            return solver.solve(pattern, data, rhs, transposed)
        except SolveError as error:
            _failed.append(matrix)
            x = direct.solve(pattern, data, rhs, transposed)
            note_fallback(pattern, solver.name, direct.name, str(error))
            return x


def fastest_direct() -> DirectSolver:
    """Return the first of PARDISO, rslab and SuperLU that is installed; it is logged once."""
    solver = PARDISO if pardiso_is_installed() else RSLAB if rslab_is_installed() else SUPERLU
    _log_choice(solver.name)
    return solver


@cache
def _log_choice(name: str) -> None:
    _log.info("solver 'auto' takes %s, the first of pardiso, rslab and superlu that is installed", name)


def forget_failures() -> None:
    """Forget on which matrices multigrid failed, and the widest levels of patterns."""
    _failed.clear()
    widest_level.cache_clear()


@contextmanager
def forgetting_failures() -> Iterator[None]:
    """Forget after the block the failures of multigrid in it, and know again those from before."""
    before = tuple(_failed)
    try:
        yield
    finally:
        _failed.clear()
        _failed.extend(before)


@lru_cache(maxsize=16)
def widest_level(pattern: SparsityPattern) -> int:
    """Return the largest number of unknowns at one distance from an outermost unknown.

    They are those of the largest connected part of the graph of the pattern.
    """
    graph = sp.csr_array((np.ones(pattern.nnz, np.int8), pattern.indices, pattern.indptr), pattern.shape)
    labels = connected_components(graph, directed=False)[1]
    start = int(np.argmax(labels == np.bincount(labels).argmax()))
    outermost = breadth_first_order(graph, start, return_predecessors=False)[-1]
    order, predecessors = breadth_first_order(graph, outermost)
    place = np.empty(pattern.shape[0], np.int64)
    place[order] = np.arange(len(order))
    parents = place[predecessors[order[1:]]]  # these do not decrease
    ends = [0, 1]
    while ends[-1] < len(order):
        ends.append(1 + int(np.searchsorted(parents, ends[-1])))
    return int(np.diff(ends).max())
