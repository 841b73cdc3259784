"""Runs of a Krylov method, one after the other on the remaining residual.

They end where x is as good as was asked for.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.solvers.counters import work
from pdeopt.sparse.solvers.krylov.methods import Apply, Equation, Product, Run
from pdeopt.sparse.solvers.scaling import exponents, times_power_of_two

#: The part of the residual that a run may leave at most, where another one follows it.
MAX_RESIDUAL_LEFT = 0.5
#: The factor by which each entry of a residual, relative to the terms of its own row, may exceed rtol, where the
#: entries are tested.
ENTRY_TOLERANCE_FACTOR = 1000
#: The number of times its rounding up to which a residual is not expected to fall further.
MAX_ROUNDING_MULTIPLE = 100


class Progress:
    """The best x so far of one equation A x = b, with its true residual.

    Attributes:
        operator: The matrix A (n, n), which has the last word about the residual.
        product: A matrix that multiplies like A.
        b: The right-hand side (n,).
        rtol: The size of the residual up to which the equation counts as solved.
        x: The best x so far, (n,).
        residual: Its residual b − A x, (n,).
        size: The largest of ‖b − A x‖₂ / ‖b‖₂, of the same quotient with rows multiplied by 2^weights, and with
            ``by_entries`` of ``max_i |b − A x|_i / (|A||x| + |b|)_i``, divided by `ENTRY_TOLERANCE_FACTOR`.
        iterations: The number of iterations so far.
        reason: The reason in words where the runs ended short of the goal; "" where the largest number of iterations
            ended them.
    """

    def __init__(
        self,
        operator: sp.csr_matrix,
        product: Product,
        b: np.ndarray,
        rtol: float,
        weights: np.ndarray | None = None,
        by_entries: bool = False,
    ) -> None:
        """Start from x = 0.

        Args:
            operator: The matrix A (n, n), which has the last word about the residual.
            product: A matrix that multiplies like A.
            b: The right-hand side (n,), not zero.
            rtol: The size of the residual up to which the equation counts as solved.
            weights: The exponents (n,) of the powers of two by which rows are multiplied; None: no such residual is
                tested.
            by_entries: Whether each entry of the residual is tested, too.
        """
        self.operator, self.product, self.b, self.rtol = operator, product, b, rtol
        self._weights = None if weights is None else weights - (exponents(b) + weights)[b != 0].max()
        self._magnitude = abs(operator) if by_entries else None
        self.x, self.residual = np.zeros_like(b), b
        self._norms_of_b = self._norms(b)
        self.size = 1.0
        self.iterations = 0
        self.reason = ""

    def _norms(self, residual: np.ndarray) -> np.ndarray:
        if self._weights is None:
            return np.array([np.linalg.norm(residual)])
        with np.errstate(over="ignore", under="ignore"):
            norms: np.ndarray = np.linalg.norm([residual, times_power_of_two(residual, self._weights)], axis=1)
            return norms

    @property
    def is_done(self) -> bool:
        """True where x is as good as was asked for."""
        return self.size <= self.rtol

    def advance(self, run: Run, precondition: Apply, limit: int) -> int:
        """Run a method on the remaining residual, and again while that is worthwhile.

        Args:
            run: The method.
            precondition: The function r ↦ M r of the preconditioner.
            limit: The largest number of iterations.

        Returns:
            The number of iterations that it took.
        """
        spent, quotient = 0, 0.0
        while not self.is_done and spent < limit and quotient <= MAX_RESIDUAL_LEFT:
            norm = float(np.linalg.norm(self.residual))
            if norm == 0:  # what is left is too small for scaled units, and not for those of the equations
                break
            equation = Equation(self.product, precondition, self.residual / norm, self.rtol / self.size)
            before = self.size
            try:
                with np.errstate(all="ignore"):  # a breakdown may overflow; what comes out is checked
                    correction, iterations = run(equation, limit - spent)
                    self._add(norm * correction)
            except ArithmeticError as error:
                self.reason = str(error)
                break
            spent += iterations
            quotient = self.size / before
        self.iterations += spent
        work.iterations += spent
        self.reason = self.reason or ("" if spent >= limit else "the residual stagnates")
        return spent

    def _add(self, correction: np.ndarray) -> None:
        """Add a correction (n,) to x, unless the residual grows or is not finite."""
        x = self.x + correction
        residual = self.b - self.operator @ x
        size = float((self._norms(residual) / self._norms_of_b).max())
        if self._magnitude is not None:
            terms = self._magnitude @ np.abs(x) + np.abs(self.b)
            size = max(size, float((np.abs(residual) / np.where(terms == 0, 1, terms)).max()) / ENTRY_TOLERANCE_FACTOR)
        if size < self.size:
            self.x, self.residual, self.size = x, residual, size

    @property
    def is_near_rounding(self) -> bool:
        """True where the residual is so near its rounding that it is not expected to fall further."""
        terms = abs(self.operator) @ np.abs(self.x) + np.abs(self.b)
        with np.errstate(over="ignore"):
            rounding = np.finfo(float).eps * self._norms(terms) / self._norms_of_b
        return self.size <= MAX_ROUNDING_MULTIPLE * float(rounding.max())
