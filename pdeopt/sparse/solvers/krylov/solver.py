"""The frame of every Krylov method: set-ups, columns, restarts, and an error in place of a wrong x."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from numbers import Real
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, check_finite, report
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.counters import timed_factoring, timed_solving, work
from pdeopt.sparse.solvers.krylov.methods import Apply, Run
from pdeopt.sparse.solvers.krylov.preconditioners import DIRECT_SOLVER_REMEDY, Jacobi, Preconditioner
from pdeopt.sparse.solvers.krylov.progress import Progress
from pdeopt.sparse.solvers.krylov.row_blocks import RowBlocks
from pdeopt.sparse.solvers.krylov.set_up_memo import SetUp, SetUpMemo, digest
from pdeopt.sparse.solvers.scaling import Equilibrated, exponents, largest, times_power_of_two

#: The exponent of 2 of a matrix's largest entry, of either sign, up to which a preconditioner is made for it as posed.
LARGEST_EXPONENT_AS_POSED = 64
#: The set-ups of all Krylov solvers.
memo = SetUpMemo()


@dataclass(frozen=True)
class Method:
    """A Krylov method.

    Attributes:
        name: The name of the method, with which the name of a solver begins.
        run: The function that runs the method once.
        refuse: The function that raises SolveError for a matrix that the method is not for; it takes the pattern, the
            values as they are, and the scaled matrix.
        is_symmetric: Whether the method is for symmetric (Hermitian) matrices and preconditioners only.
        remedy: The words that say what to try where it does not converge.
    """

    name: str
    run: Run
    refuse: Callable[[SparsityPattern, np.ndarray, Equilibrated], None]
    is_symmetric: bool
    remedy: str


@dataclass(frozen=True)
class KrylovSolver:
    """A solver by a Krylov method with a preconditioner; it is immutable and hashable.

    ‖b − A x‖₂ ≤ rtol ‖b‖₂ holds for every column, computed from x itself, and where rows or columns of A differ much in
    size also for the system scaled to entries about 1; a method that stops short of it starts again on the remaining
    residual. Where that does not help either, SolveError says how far it came and what to try.

    A preconditioner is set up once for a pattern. For other values of that pattern it is kept while a solve takes at
    most 1.5 times + 3 the iterations of the first solve after the set-up; one that needs more goes on with a new set-up
    for the present values. The adjoint solve uses the transpose of the preconditioner that the last solve with the same
    values used. Hence results depend on what was solved before, but only within rtol.

    Attributes:
        rtol: The largest norm of a residual, relative to that of the right-hand side.
        max_iterations: The largest number of iterations for one right-hand side and one set-up.
        preconditioner: The preconditioner.
        method: The Krylov method, the same for all objects of a class.
    """

    rtol: float = 1e-10
    max_iterations: int = 1000
    preconditioner: Preconditioner = field(default_factory=Jacobi)

    method: ClassVar[Method]

    def __post_init__(self) -> None:
        if not (isinstance(self.rtol, Real) and 0 < self.rtol < 1):
            raise SolveError(f"{self.method.name}: rtol is {self.rtol!r}; expected a number between 0 and 1, as 1e-10")
        if isinstance(self.preconditioner, type) or not callable(getattr(self.preconditioner, "set_up", None)):
            raise SolveError(
                f"{self.method.name}: preconditioner is {self.preconditioner!r}; expected Jacobi(), ILU() or AMG()"
            )
        check_count(self.method.name, "max_iterations", self.max_iterations)

    @property
    def name(self) -> str:
        """The names of method and preconditioner, as for ``--solver``; their options are not in it."""
        return f"{self.method.name}+{self.preconditioner.name}"

    @property
    def run(self) -> Run:
        """The function that runs the method once."""
        return self.method.run

    def solve(self, pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return X (n, k) with A X = rhs or Aᵀ X = rhs, computed on the host, column by column.

        Args:
            pattern: The pattern of A.
            data: The values (nnz,) of A.
            rhs: The right-hand sides (n, k).
            transposed: Whether to solve with Aᵀ.

        Raises:
            SolveError: A value is not finite, the method is not for such a matrix, there is no preconditioner for it,
                or the residual does not fall below the tolerance.
        """
        with memo.lock, timed_solving():
            check_finite("A", data)
            check_finite("b", rhs)
            if not rhs.size:
                return rhs.copy()
            if transposed:
                work.adjoint_solves += 1
            else:
                work.solves += 1
            if np.iscomplexobj(data) and not data.imag.any():
                parts = np.concatenate([rhs.real, rhs.imag], axis=1)
                real, imaginary = np.split(_solve_block(self, pattern, data.real, parts, transposed), 2, axis=1)
                return real + 1j * imaginary
            return _solve_block(self, pattern, data, rhs, transposed)


def check_count(method: str, name: str, value: int) -> None:
    """Check that an option of a method is a whole number of at least 1.

    Args:
        method: The name of the method.
        name: The name of the option.
        value: The value of the option.

    Raises:
        SolveError: It is not.
    """
    if not isinstance(value, int | np.integer) or value < 1:
        raise SolveError(f"{method}: {name} is {value!r}; expected a whole number of at least 1")


def _solve_block(
    solver: KrylovSolver, pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray, transposed: bool
) -> np.ndarray:
    use = _Use(solver, pattern, np.ascontiguousarray(data), transposed)
    x = use.scaled.scaling.solve(use.solve_scaled, rhs, largest(rhs), transposed)
    use.set_up.serve(use.values, use.most_iterations)
    return x


class _Use:
    """The use of a set-up by one call of a solver.

    An old set-up is on trial as long as the values at hand were not solved with it before. The preconditioner M is
    made for the matrix as it was posed: near-null vectors of multigrid, as constants, are those of this one, and so are
    the matrices of a `BlockDiagonal`. (Only where its entries come near overflow it is divided by 2^size.) The method
    sees the scaled matrix R A C, and C⁻¹ M R⁻¹ / 2^size.
    """

    def __init__(self, solver: KrylovSolver, pattern: SparsityPattern, data: np.ndarray, transposed: bool) -> None:
        self.solver, self.transposed = solver, transposed
        self.key: Hashable = (pattern, solver, data.dtype.str)
        self.values = digest(data)
        self.scaled = memo.scaled(pattern, data, self.values)
        size = 0 if self.scaled.scaling.is_trivial else int(exponents(data).max(initial=0))
        self.size = size if abs(size) > LARGEST_EXPONENT_AS_POSED else 0
        posed = times_power_of_two(data, -self.size) if self.size else data
        self.matrix = sp.csr_matrix((posed, pattern.indices, pattern.indptr), pattern.shape)
        scaled = sp.csr_matrix((self.scaled.values, pattern.indices, pattern.indptr), pattern.shape)
        self.operator = scaled.T if transposed else scaled
        is_symmetric = solver.method.is_symmetric and not np.iscomplexobj(data)
        self.product = self.operator if transposed and not is_symmetric else RowBlocks(scaled)
        self.most_iterations = 0  # the most that a column took with the present set-up
        self.set_up, self.limit = self._choose(pattern, data)

    def solve_scaled(self, rhs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Solve the scaled system, one column after the other.

        Args:
            rhs: The right-hand sides (n, k) of the scaled system.
            weights: The exponents (n, k) that lead back to the system as posed, as `Scaling.solve` gives them.

        Raises:
            SolveError: The residual of a column does not fall below the tolerance.
        """
        columns = zip(np.ascontiguousarray(rhs.T), np.ascontiguousarray(weights.T), strict=True)
        return np.stack([self._solve_column(*column) for column in columns], axis=1)

    def _solve_column(self, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if not b.any():
            return np.zeros_like(b)
        scaling = self.scaled.scaling
        posed = None if scaling.is_trivial else weights
        progress = Progress(self.operator, self.product, b, self.solver.rtol, posed, scaling.is_wild)
        self.advance(progress)
        if not progress.is_done and self.is_old:
            self.renew()
            self.advance(progress)
        if not progress.is_done:
            raise report(_failure(self.solver, progress, self.transposed))
        return progress.x

    def _choose(self, pattern: SparsityPattern, data: np.ndarray) -> tuple[SetUp, int]:
        """Return a set-up, and how many iterations it may take for a right-hand side."""
        most = self.solver.max_iterations
        known = memo.serving(self.key, self.values)
        if known is not None:
            return known, most
        self.solver.method.refuse(pattern, data, self.scaled)
        latest = memo.latest(self.key)
        return (self._new(), most) if latest is None else (latest, latest.allowance(most))

    def _new(self) -> SetUp:
        work.set_ups += 1
        with timed_factoring():
            set_up = SetUp(self.key, self.values, self.solver.preconditioner.set_up(self.matrix))
        memo.add(set_up)
        return set_up

    @property
    def is_old(self) -> bool:
        """True where the set-up was made from other values."""
        return self.set_up.values != self.values

    def renew(self) -> None:
        """Take a new set-up, which is made for the values at hand."""
        self.set_up, self.limit, self.most_iterations = self._new(), self.solver.max_iterations, 0

    def advance(self, progress: Progress) -> None:
        """Run the method on the equation of ``progress`` with the present set-up."""
        iterations = progress.advance(self.solver.run, self._precondition, self.limit)
        self.most_iterations = max(self.most_iterations, iterations)

    @property
    def _precondition(self) -> Apply:
        """The function that applies M or Mᵀ in scaled units.

        For a real symmetric M they are the same, and M is the one that is already there.
        """
        is_symmetric = self.solver.method.is_symmetric and not np.iscomplexobj(self.matrix.data)
        applied, scaling = self.set_up.applied, self.scaled.scaling
        apply = applied.apply_transposed if self.transposed and not is_symmetric else applied.apply
        if scaling.is_trivial:
            return apply
        left, right = scaling.sides(self.transposed)
        return lambda r: times_power_of_two(apply(times_power_of_two(r, -left)), -right - self.size)


def _failure(solver: KrylovSolver, progress: Progress, transposed: bool) -> SolveError:
    if progress.is_near_rounding:
        reason = "rounding allows no smaller one for this matrix; ask for a larger rtol, or see whether A is singular"
    else:
        reason = progress.reason or f"max_iterations is {solver.max_iterations}; more may help"
    n = len(progress.x)
    return SolveError(
        f"{solver.name} did not solve the {'transposed ' * transposed}{n} x {n} system: after {progress.iterations} "
        f"iterations the residual is {progress.size:.1e} of the right-hand side, "
        f"{solver.rtol:.1e} was asked for ({reason}). Try {solver.method.remedy}, {DIRECT_SOLVER_REMEDY}"
    )
