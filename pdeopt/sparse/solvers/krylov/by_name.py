"""The Krylov solvers by class and by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, report
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.krylov import methods
from pdeopt.sparse.solvers.krylov.methods import Run
from pdeopt.sparse.solvers.krylov.multigrid import AMG
from pdeopt.sparse.solvers.krylov.preconditioners import DIRECT_SOLVER_REMEDY, ILU, Jacobi, Preconditioner
from pdeopt.sparse.solvers.krylov.solver import KrylovSolver, Method, check_count
from pdeopt.sparse.solvers.scaling import Equilibrated


def _refuse_for_cg(pattern: SparsityPattern, data: np.ndarray, scaled: Equilibrated) -> None:
    _refuse_asymmetry("cg", scaled)
    diagonal = sp.csr_matrix((data, pattern.indices, pattern.indptr), pattern.shape).diagonal().real
    bad = np.flatnonzero(diagonal <= 0)
    if len(bad):
        raise report(
            SolveError(
                f"cg takes positive definite matrices only; the diagonal is {diagonal[bad[0]]:.1e} in row {bad[0]} "
                f"({len(bad)} such rows). Take minres for an indefinite matrix, {DIRECT_SOLVER_REMEDY}"
            )
        )


def _refuse_for_minres(pattern: SparsityPattern, data: np.ndarray, scaled: Equilibrated) -> None:
    if np.iscomplexobj(data):
        raise report(
            SolveError(
                f"minres takes real matrices only, not complex ones; take gmres, bicgstab, {DIRECT_SOLVER_REMEDY}"
            )
        )
    _refuse_asymmetry("minres", scaled)


def _refuse_asymmetry(method: str, scaled: Equilibrated) -> None:
    if not (scaled.is_symmetric and np.array_equal(scaled.scaling.rows, scaled.scaling.columns)):
        kind = "Hermitian" if np.iscomplexobj(scaled.values) else "symmetric"
        raise report(
            SolveError(f"{method} takes {kind} matrices only, A is not; take gmres, bicgstab, {DIRECT_SOLVER_REMEDY}")
        )


def _refuse_nothing(pattern: SparsityPattern, data: np.ndarray, scaled: Equilibrated) -> None:
    """Refuse no matrix: any may be tried."""


def _refuse_ilu(method: str, preconditioner: Preconditioner) -> None:
    if isinstance(preconditioner, ILU):
        raise SolveError(f"{method} needs a symmetric preconditioner, ILU is not; take AMG, Jacobi, or GMRES with ILU")


@dataclass(frozen=True)
class CG(KrylovSolver):
    """The method of conjugate gradients, for a symmetric positive definite A, Hermitian if complex.

    Attributes:
        rtol: The relative tolerance: ‖b − A x‖₂ ≤ rtol ‖b‖₂ for every right-hand side, or there is a SolveError; see
            `KrylovSolver`.
        max_iterations: The largest number of iterations for one right-hand side and one set-up of the preconditioner.
        preconditioner: The preconditioner, a symmetric one: `AMG` or `Jacobi`.

    Raises:
        SolveError: The rtol is not between 0 and 1, the largest number of iterations is less than 1, or the
            preconditioner is not symmetric.
    """

    method = Method(
        "cg",
        methods.cg,
        _refuse_for_cg,
        is_symmetric=True,
        remedy="another preconditioner (cg+amg), minres where the matrix may be indefinite",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_ilu("CG", self.preconditioner)


@dataclass(frozen=True)
class MINRES(KrylovSolver):
    """The method of minimal residuals, for a real symmetric A, definite or not.

    Attributes:
        rtol: The relative tolerance, see `CG`.
        max_iterations: The largest number of iterations for one right-hand side and one set-up of the preconditioner.
        preconditioner: The preconditioner, which is symmetric and positive definite: `AMG` or `Jacobi`.

    Raises:
        SolveError: The rtol is not between 0 and 1, the largest number of iterations is less than 1, or the
            preconditioner is not symmetric.
    """

    method = Method(
        "minres",
        methods.minres,
        _refuse_for_minres,
        is_symmetric=True,
        remedy="another preconditioner (minres+jacobi), gmres+ilu",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_ilu("MINRES", self.preconditioner)
        if isinstance(self.preconditioner, Jacobi):
            object.__setattr__(self, "preconditioner", Jacobi(absolute=True))


@dataclass(frozen=True)
class GMRES(KrylovSolver):
    """The restarted GMRES method, for any A and with any preconditioner.

    Attributes:
        rtol: The relative tolerance, see `CG`.
        max_iterations: The largest number of iterations for one right-hand side and one set-up of the preconditioner.
        preconditioner: The preconditioner.
        restart: The number of directions that are kept, each of n numbers.

    Raises:
        SolveError: The rtol is not between 0 and 1, or the number of iterations or of directions is less than 1.
    """

    restart: int = 50

    method = Method(
        "gmres",
        methods.gmres,
        _refuse_nothing,
        is_symmetric=False,
        remedy="another preconditioner (gmres+ilu, gmres+amg), a larger restart",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("gmres", "restart", self.restart)

    @property
    def run(self) -> Run:
        """The function that runs the method with its ``restart``."""
        return partial(methods.gmres, restart=self.restart)


@dataclass(frozen=True)
class BiCGSTAB(KrylovSolver):
    """The BiCGSTAB method, for any A and with any preconditioner.

    It takes less memory than GMRES, and converges less steadily.

    Attributes:
        rtol: The relative tolerance, see `CG`.
        max_iterations: The largest number of iterations for one right-hand side and one set-up of the preconditioner.
        preconditioner: The preconditioner.

    Raises:
        SolveError: The rtol is not between 0 and 1, or the largest number of iterations is less than 1.
    """

    method = Method(
        "bicgstab",
        methods.bicgstab,
        _refuse_nothing,
        is_symmetric=False,
        remedy="another preconditioner (bicgstab+ilu, bicgstab+amg), gmres",
    )


_MULTIGRID = (AMG(), AMG("ruge-stuben"))
#: Each method, the preconditioner that its bare name stands for, and all that fit it.
_COMBINATIONS: tuple[tuple[type[KrylovSolver], Preconditioner, tuple[Preconditioner, ...]], ...] = (
    (CG, AMG(), (Jacobi(), *_MULTIGRID)),
    (MINRES, Jacobi(), (Jacobi(), *_MULTIGRID)),
    (GMRES, ILU(), (Jacobi(), ILU(), *_MULTIGRID)),
    (BiCGSTAB, ILU(), (Jacobi(), ILU(), *_MULTIGRID)),
)


def _by_name() -> dict[str, KrylovSolver]:
    """Return the solvers by name, METHOD and METHOD+PRECONDITIONER."""
    solvers = {}
    for method, usual, all_that_fit in _COMBINATIONS:
        solvers[method.method.name] = method(preconditioner=usual)
        solvers |= {solver.name: solver for solver in (method(preconditioner=p) for p in all_that_fit)}
    return solvers


#: The Krylov solvers by name, as "cg" and "cg+amg".
KRYLOV_BY_NAME = _by_name()
