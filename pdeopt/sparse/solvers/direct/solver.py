"""Direct solvers, which factor once and check every residual.

Where a library gives no trustworthy solution, the next one is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, check_finite, report
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.counters import timed_solving, work
from pdeopt.sparse.solvers.direct.backends import Analyze, Factor, NotSuitedError, without_frames
from pdeopt.sparse.solvers.direct.cholmod import analyze_cholmod, analyze_cholmod_general
from pdeopt.sparse.solvers.direct.factor_memo import Factored, Memo, Sums
from pdeopt.sparse.solvers.direct.pardiso import analyze_pardiso_general, analyze_pardiso_symmetric
from pdeopt.sparse.solvers.direct.rslab_backend import analyze_rslab_ldlt, analyze_rslab_lu
from pdeopt.sparse.solvers.direct.superlu import analyze_superlu, analyze_superlu_symmetric
from pdeopt.sparse.solvers.fallbacks import note_fallback
from pdeopt.sparse.solvers.scaling import largest

#: The backward error max_i |Ax − b|_i / (Σ_j |a_ij| ‖x‖ + |b_i|) up to which a solution is accepted (rounding gives
#: 1e-16). It is taken row by row, so that equations in small units are held to it, too; the unknowns share one norm.
ACCEPTED_BACKWARD_ERROR = 1e-12
#: The largest number of steps of iterative refinement.
MAX_REFINEMENTS = 3
#: The quotient of |A||x| and |b|, with rows scaled, above which a system counts as singular; it is a lower bound of the
#: condition number.
SINGULAR_GROWTH = 1e14
#: The part of the largest row sum that all pivots must exceed where a matrix is not probed. (Let v be an eigenvector, λ
#: its eigenvalue and k the last of its unknowns to be eliminated. The k-th pivot is ≤ λ ‖v‖² / v_k²: of a singular
#: matrix about 1e-16 n times the row sum where v is as large at k as elsewhere. Regular elliptic problems have 0.1.)
LARGE_PIVOT = 1e-6
#: The value of that quotient of |A||x| and |b| up to which its cheap upper bound is enough.
SUSPICIOUS_GROWTH = 1e10

#: One in so many solves with a matrix that is kept at hand is checked.
CHECKED_SOLVES = 64

#: The factorizations of all direct solvers.
memo = Memo()


@dataclass(frozen=True)
class DirectSolver:
    """A direct solver, which solves with the first of its backends that gives a small residual.

    Attributes:
        name: The name of the solver, as in `summary.json` and ``--solver``.
        symmetric: The backends to try, in order, when the values are symmetric.
        general: The backends to try, in order, for any other matrix.
    """

    name: str
    symmetric: tuple[Analyze, ...]
    general: tuple[Analyze, ...]

    def solve(self, pattern: SparsityPattern, data: np.ndarray, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return X (n, k) with A X = rhs or Aᵀ X = rhs, computed on the host.

        Args:
            pattern: The pattern of A.
            data: The values (nnz,) of A.
            rhs: The right-hand sides (n, k).
            transposed: Whether to solve with Aᵀ.

        Raises:
            SolveError: A value is not finite, no backend gives a trustworthy solution, or the solution lies beyond the
                range of double precision.
        """
        with timed_solving():
            size = largest(rhs)
            if not np.isfinite(size).all():
                check_finite("b", rhs)
            if not rhs.size:
                return rhs.copy()
            entry = memo.lookup(pattern, data, transposed)
            if transposed:
                work.adjoint_solves += 1
            else:
                work.solves += 1
            with entry.lock:
                solve = partial(self._first_trustworthy, entry, transposed=transposed)
                return entry.scaled.scaling.solve(lambda b, _: solve(b), rhs, size, transposed)

    def prepared(self, pattern: SparsityPattern, data: np.ndarray) -> PreparedSolves:
        """Return the solves with one matrix, of which there are many, without comparing its values at each.

        Args:
            pattern: The pattern of A.
            data: The values (nnz,) of A.

        Raises:
            SolveError: A value is not finite.
        """
        return PreparedSolves(self, memo.lookup(pattern, data))

    def _first_trustworthy(self, entry: Factored, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        reasons: list[str] = []
        new: dict[Analyze, RuntimeError] = {}  # what failed for this matrix for the first time
        for analyze in self.symmetric if entry.scaled.is_symmetric else self.general:
            was_known = isinstance(entry.factors.get(analyze), RuntimeError)
            try:
                factor, is_new = memo.factor(entry, analyze)
                if is_new:
                    _probe(entry, factor)
                x = _checked(entry, factor, rhs, transposed)
            except RuntimeError as error:
                kept = entry.factors[analyze] = without_frames(error)  # the adjoint solve does not try it again
                reasons.append(f"{_method(analyze)}: {error}")
                if not was_known:
                    new[analyze] = kept
                continue
            first = next(iter(new), analyze)
            failed = [error for error in new.values() if not isinstance(error, NotSuitedError)]
            if failed or _library(first) != _library(analyze):
                name = _method(first) if failed else _library(first)
                note_fallback(entry.pattern, name, _method(analyze), "; ".join(reasons))
            return x
        raise report(_unsolvable(entry, reasons))


class PreparedSolves:
    """The solves with one matrix, as those of the steps of a march.

    The first ones, and then one in `CHECKED_SOLVES`, are checked as every solve of a `DirectSolver` is; where one
    needed refinement, or the matrix is scaled, all of them are. The others cost the triangular solves alone.
    """

    def __init__(self, solver: DirectSolver, entry: Factored) -> None:
        self._solver, self._entry = solver, entry
        self._counts = {False: 0, True: 0}
        self._needs_checks = not entry.scaled.scaling.is_trivial

    def __call__(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return X (n, k) with A X = rhs or Aᵀ X = rhs.

        Raises:
            SolveError: No backend gives a trustworthy solution.
        """
        if not self._counts[transposed]:
            memo.note_use(self._entry, transposed)
        with self._entry.lock:
            if transposed:
                work.adjoint_solves += 1
            else:
                work.solves += 1
            count = self._counts[transposed]
            if self._needs_checks or count % CHECKED_SOLVES == 0:
                return self._checked(rhs, transposed)
            self._counts[transposed] = count + 1
            return self._factor.solve(rhs, transposed)

    @cached_property
    def _factor(self) -> Factor:
        """The first factorization that did not fail, after the first check."""
        return next(one for one in self._entry.factors.values() if not isinstance(one, RuntimeError))

    def _checked(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        check_finite("b", rhs)
        self.__dict__.pop("_factor", None)  # another one may take over
        scaling, entry = self._entry.scaled.scaling, self._entry
        x = scaling.solve(
            lambda b, _: self._solver._first_trustworthy(entry, b, transposed), rhs, largest(rhs), transposed
        )
        if rhs.any() and not self._needs_checks:  # zero shows nothing
            self._counts[transposed] += 1
            self._needs_checks = not np.array_equal(x, self._factor.solve(rhs, transposed))
        return x


def _method(analyze: Analyze) -> str:
    """Return the name of a backend, which begins with its library, as "rslab_ldlt"."""
    return analyze.__name__.removeprefix("analyze_")


def _library(analyze: Analyze) -> str:
    return _method(analyze).split("_")[0]


def _checked(entry: Factored, factor: Factor, rhs: np.ndarray, transposed: bool) -> np.ndarray:
    """Return the solution of a system, after a few steps of iterative refinement at most.

    Raises:
        RuntimeError: They are not enough, or the solution shows a singular matrix.
    """
    operator = entry.transposed if transposed else entry.matrix
    sums = entry.columns if transposed else entry.rows
    backward_error = _backward_error if entry.scaled.scaling.is_trivial else partial(_entrywise_error, abs(operator))
    x = factor.solve(rhs, transposed)
    residual = rhs - operator @ x
    error = backward_error(sums, x, rhs, residual)
    for _ in range(MAX_REFINEMENTS):
        if error <= ACCEPTED_BACKWARD_ERROR:
            break
        x = x + factor.solve(residual, transposed)
        residual = rhs - operator @ x
        error = backward_error(sums, x, rhs, residual)
    if not error <= ACCEPTED_BACKWARD_ERROR:
        raise RuntimeError(f"backward error {error:.1e} after refinement")
    _refuse_growth(entry, x, rhs, transposed)
    return x


def _backward_error(sums: Sums, x: np.ndarray, rhs: np.ndarray, residual: np.ndarray) -> float:
    """Return the backward error of `ACCEPTED_BACKWARD_ERROR`, or an upper bound that is small enough.

    The bound is ``max_i |Ax − b|_i / (min_i Σ_j |a_ij| ‖x‖)``.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # near the largest number; zero norms
        size = largest(x)
        bound = (largest(residual) / (sums.least * size)).max(initial=0)
        if bound <= ACCEPTED_BACKWARD_ERROR:
            return float(bound)
        scale = np.outer(sums.values, size) + np.abs(rhs)
    return float((np.abs(residual) / np.where(scale == 0, 1, scale)).max(initial=0))


def _entrywise_error(magnitude: sp.spmatrix, sums: Sums, x: np.ndarray, rhs: np.ndarray, residual: np.ndarray) -> float:
    """Return the backward error ``max_i |Ax − b|_i / (|A||x| + |b|)_i`` (Oettli and Prager 1964).

    No scaling of rows or columns changes it, so that it does not matter whether the scaling found all units: an entry
    of 1e-17 may be an error or a small unit.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scale = magnitude @ np.abs(x) + np.abs(rhs)
    return float((np.abs(residual) / np.where(scale == 0, 1, scale)).max(initial=0))


def _probe(entry: Factored, factor: Factor) -> None:
    """Refuse a singular matrix, as inverse iteration from a random vector shows it.

    A consistent right-hand side hides that. Every new factorization is probed, so that no answer depends on what was
    solved before, except those of positive definite matrices with large pivots. One solve, a tenth of a factorization,
    is enough for a well-conditioned matrix; a second one decides where the first is suspicious.

    Raises:
        RuntimeError: The matrix is singular.
    """
    if factor.smallest_pivot > LARGE_PIVOT * entry.rows.largest:
        return
    scale = entry.scaled.row_sums[:, None]
    rhs = scale * _random_vector(len(scale)).astype(entry.scaled.values.dtype, copy=False)
    x = factor.solve(rhs, False)
    if _growth(entry, x, rhs, False) > SUSPICIOUS_GROWTH:
        rhs = scale * (x / np.abs(x).max(initial=0))
        _refuse_growth(entry, factor.solve(rhs, False), rhs, False)


@lru_cache(maxsize=4)
def _random_vector(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 1))


def _refuse_growth(entry: Factored, x: np.ndarray, rhs: np.ndarray, transposed: bool) -> None:
    """Refuse a solution that is so large that A must be singular to working precision.

    Raises:
        RuntimeError: The solution is that large.
    """
    growth = _growth(entry, x, rhs, transposed)
    if not growth <= SINGULAR_GROWTH:
        raise RuntimeError(f"the solution is {growth:.0e} times larger than the right-hand side allows")


def _growth(entry: Factored, x: np.ndarray, rhs: np.ndarray, transposed: bool) -> float:
    """Return the largest ``‖S⁻¹|A||x|‖ / ‖S⁻¹ b‖`` of the columns, where S are the sums of the rows.

    It is a lower bound of the condition number that different units of equations and of unknowns do not change. Upper
    bounds, ``‖x‖ / ‖S⁻¹ b‖`` and before that ``max S ‖x‖ / ‖b‖``, are returned where they are not suspicious.
    """
    sums = entry.columns if transposed else entry.rows
    size, most = largest(x), sums.largest if sums.least > 0 else max(sums.largest, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        bound = _largest_quotient(most * size, largest(rhs))
    if bound <= SUSPICIOUS_GROWTH:
        return bound
    norms = np.where(sums.values == 0, 1, sums.values)[:, None]
    small = largest(rhs / norms)
    bound = _largest_quotient(size, small)
    if bound <= SUSPICIOUS_GROWTH:
        return bound
    magnitude = abs(entry.transposed if transposed else entry.matrix)
    return _largest_quotient((magnitude @ np.abs(x) / norms).max(0), small)


def _largest_quotient(large: np.ndarray, small: np.ndarray) -> float:
    return float((large[small > 0] / small[small > 0]).max(initial=0))


def _unsolvable(entry: Factored, reasons: list[str]) -> SolveError:
    n = entry.pattern.shape[0]
    empty = np.flatnonzero(entry.scaled.row_sums == 0)
    detail = f"; row {empty[0]} is zero ({len(empty)} such rows)" if len(empty) else ""
    return SolveError(
        f"the {n} x {n} matrix is singular to working precision{detail} ({'; '.join(reasons)}). A pure Neumann problem "
        "needs a Dirichlet value, a Robin term or a constraint on the mean; a coefficient may have become zero"
    )


_SUPERLU_SYMMETRIC = (analyze_superlu_symmetric, analyze_superlu)
_RSLAB_SYMMETRIC = (analyze_rslab_ldlt, analyze_rslab_lu, *_SUPERLU_SYMMETRIC)
_RSLAB_GENERAL = (analyze_rslab_lu, analyze_superlu)

#: The solver that tries SuperLU alone.
SUPERLU = DirectSolver("superlu", _SUPERLU_SYMMETRIC, (analyze_superlu,))
#: The solver that tries rslab first.
RSLAB = DirectSolver("rslab", _RSLAB_SYMMETRIC, _RSLAB_GENERAL)
#: The solver that tries CHOLMOD first.
CHOLMOD = DirectSolver(
    "cholmod",
    (analyze_cholmod, *_RSLAB_SYMMETRIC),
    (analyze_cholmod_general, *_RSLAB_GENERAL),
)
#: The solver that tries PARDISO first.
PARDISO = DirectSolver(
    "pardiso",
    (analyze_pardiso_symmetric, analyze_pardiso_general, *_RSLAB_SYMMETRIC),
    (analyze_pardiso_general, *_RSLAB_GENERAL),
)
