"""Solvers of sparse linear systems on the host, which see NumPy arrays and never call JAX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from pdeopt.errors import did_you_mean
from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.auto import Auto, forget_failures, forgetting_failures
from pdeopt.sparse.solvers.counters import Work, work
from pdeopt.sparse.solvers.direct.installed import require_library
from pdeopt.sparse.solvers.direct.solver import CHOLMOD, PARDISO, RSLAB, SUPERLU, DirectSolver, memo
from pdeopt.sparse.solvers.fallbacks import forget_warnings
from pdeopt.sparse.solvers.krylov.block_diagonal import Block, BlockDiagonal
from pdeopt.sparse.solvers.krylov.by_name import CG, GMRES, KRYLOV_BY_NAME, MINRES, BiCGSTAB
from pdeopt.sparse.solvers.krylov.multigrid import AMG
from pdeopt.sparse.solvers.krylov.preconditioners import ILU, Applied, Jacobi, Preconditioner
from pdeopt.sparse.solvers.krylov.solver import KrylovSolver
from pdeopt.sparse.solvers.krylov.solver import memo as krylov_memo

__all__ = [
    "AMG",
    "CG",
    "GMRES",
    "ILU",
    "MINRES",
    "Applied",
    "Auto",
    "BiCGSTAB",
    "Block",
    "BlockDiagonal",
    "DirectSolver",
    "Jacobi",
    "Preconditioner",
    "Solver",
    "Work",
    "clear_memo",
    "forgetting",
    "informed",
    "resolve_solver",
    "solver_accuracy",
    "solver_names",
    "work",
]

_DIRECT: dict[str, Solver] = {"rslab": RSLAB, "superlu": SUPERLU, "cholmod": CHOLMOD, "pardiso": PARDISO}
_BY_NAME: dict[str, Solver] = {"auto": Auto(), **_DIRECT, **KRYLOV_BY_NAME}


#: The relative accuracy to which a direct solver solves the state equation of a well-posed problem.
DIRECT_ACCURACY = 1e-13


class Solver(Protocol):
    """A solver, which is immutable and hashable, and solves with a matrix and with its transpose."""

    @property
    def name(self) -> str:
        """The name of the solver, as in ``--solver`` and summary.json."""
        ...

    def solve(self, pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return X (n, k) with A X = rhs or Aᵀ X = rhs.

        Args:
            pattern: The pattern of A.
            data: The values (nnz,) of A.
            rhs: The right-hand sides (n, k).
            transposed: Whether to solve with Aᵀ.

        Raises:
            SolveError: No right X was found; a wrong one is never returned.
        """
        ...


@runtime_checkable
class Iterative(Protocol):
    """A solver that stops where ‖b − A x‖₂ ≤ rtol ‖b‖₂."""

    @property
    def rtol(self) -> float:
        """The largest norm of a residual, relative to that of the right-hand side."""
        ...


def solver_accuracy(solver: Solver) -> float:
    """Return the relative accuracy of what a solver computes, for stopping rules.

    It is the ``rtol`` of an iterative solver, and rounding for any other one.
    """
    return max(DIRECT_ACCURACY, float(solver.rtol)) if isinstance(solver, Iterative) else DIRECT_ACCURACY


def solver_names() -> list[str]:
    """Return the names that `resolve_solver` takes, also those whose library is not installed."""
    return list(_BY_NAME)


def resolve_solver(solver: str | Solver) -> Solver:
    """Return the solver of a name; a solver object is returned as it is.

    Raises:
        SolveError: The name is unknown, the library of the solver is not installed, or an object is no solver.
    """
    if not isinstance(solver, str):
        return _checked(solver)
    if solver not in _BY_NAME:
        hint = did_you_mean(solver, solver_names())
        raise SolveError(f"unknown solver {solver!r}; expected one of {', '.join(solver_names())}{hint}")
    require_library(solver)
    return _BY_NAME[solver]


def informed(solver: Solver, multigrid: AMG) -> Solver:
    """Return a solver whose multigrid knows near-null vectors, where it has one that knows none.

    Args:
        solver: The solver.
        multigrid: The multigrid that knows them.
    """
    if isinstance(solver, Auto) and solver == Auto():
        return replace(solver, preconditioner=multigrid)
    if isinstance(solver, KrylovSolver) and solver.preconditioner == AMG():
        return replace(solver, preconditioner=multigrid)
    return solver


def _checked(solver: Solver) -> Solver:
    if isinstance(solver, type) or not callable(getattr(solver, "solve", None)):
        what = f"the class {solver.__name__}" if isinstance(solver, type) else f"a {type(solver).__name__}"
        raise SolveError(f"a solver is given by its name or as an object, as CG(preconditioner=AMG()); got {what}")
    return solver


def clear_memo() -> None:
    """Forget all analyses, factorizations and set-ups, and free their memory.

    No result of a direct solver changes (those of PARDISO's LDLᵀ and LU change by no more than rounding), and no result
    of an iterative solver changes by more than its tolerance.
    """
    memo.clear()
    krylov_memo.clear()
    forget_failures()
    forget_warnings()


@contextmanager
def forgetting() -> Iterator[None]:
    """Forget the factorizations and set-ups of the block after it; what follows finds those from before.

    This is for work beside a computation that must neither lose its own memory nor be helped on. Analyses stay.
    """
    with memo.forgetting(), krylov_memo.forgetting(), forgetting_failures():
        yield
