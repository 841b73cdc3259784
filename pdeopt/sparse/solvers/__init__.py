"""Solvers of sparse linear systems on the host. They see NumPy arrays and never call JAX."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np

from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.auto import Auto, forget_failures, forgetting_failures
from pdeopt.sparse.solvers.counters import Work, work
from pdeopt.sparse.solvers.direct.installed import require_library
from pdeopt.sparse.solvers.direct.solver import CHOLMOD, PARDISO, RSLAB, SUPERLU, DirectSolver, memo
from pdeopt.sparse.solvers.fallbacks import forget_warnings
from pdeopt.sparse.solvers.krylov.by_name import CG, GMRES, KRYLOV_BY_NAME, MINRES, BiCGSTAB
from pdeopt.sparse.solvers.krylov.multigrid import AMG
from pdeopt.sparse.solvers.krylov.preconditioners import ILU, Applied, Jacobi, Preconditioner
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
    "DirectSolver",
    "Jacobi",
    "Preconditioner",
    "Solver",
    "Work",
    "clear_memo",
    "forgetting",
    "resolve_solver",
    "solver_accuracy",
    "solver_names",
    "work",
]

_DIRECT: dict[str, Solver] = {"rslab": RSLAB, "superlu": SUPERLU, "cholmod": CHOLMOD, "pardiso": PARDISO}
_BY_NAME: dict[str, Solver] = {"auto": Auto(), **_DIRECT, **KRYLOV_BY_NAME}


#: To which a direct solver solves the state equation of a well-posed problem, relative.
ROUNDING = 1e-13


class Solver(Protocol):
    """Anything immutable and hashable that solves with a matrix and with its transpose."""

    @property
    def name(self) -> str:
        """As in ``--solver`` and summary.json."""
        ...

    def solve(self, pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """X (n, k) with A X = rhs (or Aᵀ X = rhs); raises SolveError rather than return a wrong X."""
        ...


@runtime_checkable
class Iterative(Protocol):
    """A solver that stops where ‖b − A x‖₂ ≤ rtol ‖b‖₂."""

    @property
    def rtol(self) -> float:
        """Of the residual, relative to the right-hand side."""
        ...


def solver_accuracy(solver: Solver) -> float:
    """Return the relative accuracy of what a solver computes, for stopping rules: its rtol, or rounding."""
    return max(ROUNDING, float(solver.rtol)) if isinstance(solver, Iterative) else ROUNDING


def solver_names() -> list[str]:
    """The names that `resolve_solver` takes, also those whose library is not installed."""
    return list(_BY_NAME)


def resolve_solver(solver: str | Solver) -> Solver:
    """A solver by its name. Raises SolveError for an unknown name and for one whose library is not installed."""
    if not isinstance(solver, str):
        return _checked(solver)
    if solver not in _BY_NAME:
        close = difflib.get_close_matches(solver.lower(), solver_names(), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise SolveError(f"unknown solver {solver!r}; expected one of {', '.join(solver_names())}{hint}")
    require_library(solver)
    return _BY_NAME[solver]


def _checked(solver: Solver) -> Solver:
    if isinstance(solver, type) or not callable(getattr(solver, "solve", None)):
        what = f"the class {solver.__name__}" if isinstance(solver, type) else f"a {type(solver).__name__}"
        raise SolveError(f"a solver is given by its name or as an object, as CG(preconditioner=AMG()); got {what}")
    return solver


def clear_memo() -> None:
    """Forget all analyses, factorizations and set-ups, and free their memory.

    No result of a direct solver changes (of PARDISO's LDLᵀ and LU, by no more than rounding), and none of an iterative
    one by more than its tolerance.
    """
    memo.clear()
    krylov_memo.clear()
    forget_failures()
    forget_warnings()


@contextmanager
def forgetting() -> Iterator[None]:
    """Factorizations and set-ups of the block are forgotten after it: what follows finds those from before.

    For work beside a computation that must neither lose its own memory nor be helped on. Analyses stay.
    """
    with memo.forgetting(), krylov_memo.forgetting(), forgetting_failures():
        yield
