"""One run of a Krylov method for A x = b from x = 0, by SciPy, each stopped by the norm of its residual b − A x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse.linalg as sla

Apply = Callable[[np.ndarray], np.ndarray]


class Product(Protocol):
    """A matrix (n, n) that multiplies vectors."""

    shape: tuple[int, int]
    dtype: np.dtype

    def __matmul__(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Equation:
    """A x = b for b (n,), solved where ‖b − A x‖₂ ≤ goal, with M ≈ A⁻¹ given as a function."""

    matrix: Product
    precondition: Apply
    b: np.ndarray
    goal: float

    @property
    def product(self) -> sla.LinearOperator:
        return self.operator(self.matrix.__matmul__)

    @property
    def preconditioner(self) -> sla.LinearOperator:
        return self.operator(self.precondition)

    def operator(self, product: Apply) -> sla.LinearOperator:
        return sla.LinearOperator(self.matrix.shape, matvec=product, dtype=np.result_type(self.matrix.dtype, self.b))


Run = Callable[[Equation, int], tuple[np.ndarray, int]]
"""x (n,) after at most the given number of iterations, and how many they were. A run may end anywhere, also with NaN;
ArithmeticError says why a method cannot start or go on."""


def cg(equation: Equation, limit: int) -> tuple[np.ndarray, int]:
    """Conjugate gradients (Hestenes and Stiefel 1952; Saad 2003, algorithm 9.1)."""
    count = _Count()
    options = {"M": equation.preconditioner, "rtol": 0, "atol": equation.goal, "maxiter": limit}
    return _stoppable(sla.cg, equation.product, equation.b, count, **options), count.iterations


def minres(equation: Equation, limit: int) -> tuple[np.ndarray, int]:
    """Minimal residuals (Paige and Saunders 1975).

    SciPy stops it by ‖r‖ / (‖A‖ ‖x‖), in the norm of the preconditioner; the residual itself is computed here.
    """
    count = _Count(lambda x: float(np.linalg.norm(equation.b - equation.matrix @ x)) <= equation.goal)
    try:
        x = _stoppable(
            sla.minres, equation.product, equation.b, count, M=equation.preconditioner, rtol=0, maxiter=limit
        )
    except ValueError as error:  # "indefinite preconditioner", "non-symmetric matrix": both from ⟨r, M r⟩ < 0
        raise ArithmeticError(f"the preconditioner is not positive definite ({error})") from None
    return x, count.iterations


def gmres(equation: Equation, limit: int, restart: int = 50) -> tuple[np.ndarray, int]:
    """Restarted GMRES (Saad and Schultz 1986), preconditioned from the right (Saad 2003, algorithm 9.5): A M y = b,
    x = M y. SciPy preconditions from the left, which minimizes and tests another residual.
    """
    count = _Count()
    product = equation.operator(lambda y: equation.matrix @ equation.precondition(y))
    # with "legacy" SciPy counts directions, not restarts
    options = {"callback_type": "legacy", "rtol": 0, "atol": equation.goal, "restart": restart, "maxiter": limit}
    y = _stoppable(sla.gmres, product, equation.b, count, **options)
    return equation.precondition(y), count.iterations


def bicgstab(equation: Equation, limit: int) -> tuple[np.ndarray, int]:
    """BiCGSTAB (van der Vorst 1992; Saad 2003, algorithm 7.7). An iteration applies A and M twice."""
    count, products = _Count(), [0]

    def precondition(r: np.ndarray) -> np.ndarray:
        products[0] += 1
        return equation.precondition(r)

    options = {"M": equation.operator(precondition), "rtol": 0, "atol": equation.goal, "maxiter": limit}
    x = _stoppable(sla.bicgstab, equation.product, equation.b, count, **options)
    return x, (products[0] + 1) // 2


class _Stop(Exception):
    """Ends a method from its callback."""


class _Count:
    """Counts iterations; stops where they are not finite any more, or where ``done`` says so."""

    def __init__(self, done: Callable[[np.ndarray], bool] = lambda x: False) -> None:
        self.iterations = 0
        self.x: np.ndarray | float = 0.0
        self._done = done

    def __call__(self, x: np.ndarray | float) -> None:
        self.iterations += 1
        self.x = x
        if not np.isfinite(np.sum(x)) or self._done(np.asarray(x)):
            raise _Stop


def _stoppable(method: Callable, operator, b: np.ndarray, count: _Count, **options) -> np.ndarray:
    try:
        return method(operator, b, callback=count, **options)[0]
    except _Stop:
        return np.array(np.broadcast_to(count.x, b.shape))
