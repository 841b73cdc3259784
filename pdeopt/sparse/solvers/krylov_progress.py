"""Runs of a Krylov method, one after the other on the remaining residual, until x is as good as was asked for."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.solvers.counters import work
from pdeopt.sparse.solvers.krylov_methods import Apply, Equation, Product, Run

#: A run that leaves more than this part of the residual is not followed by another one.
WORTHWHILE = 0.5
#: A residual of so many times its rounding is not expected to fall further.
NEAR_ROUNDING = 100


class Progress:
    """The best x so far of one equation A x = b, with its true residual."""

    def __init__(self, operator: sp.csr_matrix, product: Product, b: np.ndarray, rtol: float) -> None:
        """``product`` multiplies like ``operator``, which has the last word about the residual."""
        self.operator, self.product, self.b = operator, product, b
        self.x, self.residual = np.zeros_like(b), b
        self.size = self.size_of_b = float(np.linalg.norm(b))
        self.goal = rtol * self.size_of_b
        self.iterations = 0
        self.reason = ""

    @property
    def is_done(self) -> bool:
        return self.size <= self.goal

    def advance(self, run: Run, precondition: Apply, limit: int) -> int:
        """Run the method on the remaining residual, again while that is worthwhile; the iterations it took."""
        spent, quotient = 0, 0.0
        while not self.is_done and spent < limit and quotient <= WORTHWHILE:
            equation = Equation(self.product, precondition, self.residual / self.size, self.goal / self.size)
            before = self.size
            try:
                with np.errstate(all="ignore"):  # of breakdowns; what comes out is checked
                    correction, iterations = run(equation, limit - spent)
                    self._add(self.size * correction)
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
        """Unless the residual grows, or is not finite."""
        x = self.x + correction
        residual = self.b - self.operator @ x
        size = float(np.linalg.norm(residual))
        if size < self.size:
            self.x, self.residual, self.size = x, residual, size

    @property
    def is_near_rounding(self) -> bool:
        terms = abs(self.operator) @ np.abs(self.x) + np.abs(self.b)
        return self.size <= NEAR_ROUNDING * float(np.finfo(float).eps * np.linalg.norm(terms))
