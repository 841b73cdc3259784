"""The choice of a solver by symmetry, definiteness, size and shape of the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from pdeopt.sparse.errors import SolveError, check_finite
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.backends import PositiveDiagonal
from pdeopt.sparse.solvers.direct import PARDISO, RSLAB, SUPERLU, DirectSolver
from pdeopt.sparse.solvers.installed import pardiso_is_installed, rslab_is_installed
from pdeopt.sparse.solvers.krylov import CG
from pdeopt.sparse.solvers.krylov_solver import KrylovSolver
from pdeopt.sparse.solvers.multigrid import AMG
from pdeopt.sparse.solvers.scaling import absolute_row_sums, is_symmetric

#: Widest level of a breadth-first search beyond which multigrid is taken. It is about the size of the separators that a
#: factorization works through: n^½ in 2-D, n^⅔ in 3-D. Measured with linear tetrahedra, value and gradient: 30³ nodes
#: 0.09 s by multigrid and 0.21 s by rslab, 50³ 0.5 s; factors at hand make further solves 5 times cheaper.
WIDE = 5000
#: Right-hand sides up to which it is worthwhile.
FEW = 4
#: Iterations beyond which a direct solver takes over.
PATIENCE = 200

MULTIGRID = CG(rtol=1e-10, max_iterations=PATIENCE, preconditioner=AMG("ruge-stuben"))

_unsuited: list[SparsityPattern] = []  # where multigrid failed, the last few
_largest: list[tuple[int, DirectSolver | KrylovSolver]] = []  # the largest system so far and its solver, for reports


@dataclass(frozen=True)
class Auto:
    """Multigrid-preconditioned CG for wide, real, symmetric matrices with a positive diagonal and few right-hand sides;
    otherwise, and where that fails, the fastest direct solver that is installed.
    """

    @property
    def name(self) -> str:
        """Of the solver that was used for the largest system so far."""
        return self._used.name

    @property
    def rtol(self) -> float | None:
        """Of the solver that was used for the largest system so far; None for a direct one."""
        return getattr(self._used, "rtol", None)

    @property
    def _used(self) -> DirectSolver | KrylovSolver:
        return _largest[0][1] if _largest else fastest_direct()

    def solve(self, pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """X (n, k) with A X = rhs, or Aᵀ X = rhs. Raises SolveError."""
        if _is_for_multigrid(pattern, data, rhs):
            check_finite("A", data)
            check_finite("b", rhs)
            try:
                return _noted(pattern, MULTIGRID).solve(pattern, data, rhs, transposed)
            except SolveError:
                _unsuited[:] = [*_unsuited, pattern][-8:]
        return _noted(pattern, fastest_direct()).solve(pattern, data, rhs, transposed)


def fastest_direct() -> DirectSolver:
    """PARDISO, rslab or SuperLU: the first that is installed."""
    if pardiso_is_installed():
        return PARDISO
    return RSLAB if rslab_is_installed() else SUPERLU


def forget() -> None:
    """What was noted, and where multigrid failed."""
    _unsuited.clear()
    _largest.clear()
    widest_level.cache_clear()


def _noted(pattern: SparsityPattern, solver: DirectSolver | KrylovSolver) -> DirectSolver | KrylovSolver:
    n = pattern.shape[0]
    if not _largest or n >= _largest[0][0]:
        _largest[:] = [(n, solver)]
    return solver


def _is_for_multigrid(pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray) -> bool:
    if np.iscomplexobj(data) or rhs.shape[1] > FEW or pattern in _unsuited or widest_level(pattern) <= WIDE:
        return False
    return PositiveDiagonal(pattern)(data) and is_symmetric(pattern, data, absolute_row_sums(pattern, data))


@lru_cache(maxsize=16)
def widest_level(pattern: SparsityPattern) -> int:
    """The largest number of unknowns at one distance from an outermost one, in the largest part of the graph."""
    if pattern.shape[0] <= WIDE:
        return 0
    graph = sp.csr_array((np.ones(pattern.nnz, np.int8), pattern.indices, pattern.indptr), pattern.shape)
    labels = connected_components(graph, directed=False)[1]
    start = int(np.argmax(labels == np.bincount(labels).argmax()))
    outermost = breadth_first_order(graph, start, return_predecessors=False)[-1]
    order, predecessors = breadth_first_order(graph, outermost)
    place = np.empty(pattern.shape[0], np.int64)
    place[order] = np.arange(len(order))
    parents = place[predecessors[order[1:]]]  # not decreasing
    ends = [0, 1]
    while ends[-1] < len(order):
        ends.append(1 + int(np.searchsorted(parents, ends[-1])))
    return int(np.diff(ends).max())
