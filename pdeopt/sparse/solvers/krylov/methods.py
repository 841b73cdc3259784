"""Runs of Krylov methods for A x = b from x = 0, by SciPy.

Each is stopped by the norm of its residual b − A x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse.linalg as sla

#: A linear map of vectors (n,).
Apply = Callable[[np.ndarray], np.ndarray]


class Product(Protocol):
    """A matrix (n, n) that multiplies vectors.

    Attributes:
        shape: The shape (n, n).
        dtype: The type of its values.
    """

    shape: tuple[int, int]
    dtype: np.dtype

    def __matmul__(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Equation:
    """An equation A x = b, which counts as solved where ‖b − A x‖₂ ≤ goal.

    Attributes:
        matrix: The matrix A (n, n).
        precondition: The function r ↦ M r with M ≈ A⁻¹.
        b: The right-hand side (n,).
        goal: The norm of the residual up to which the equation counts as solved.
    """

    matrix: Product
    precondition: Apply
    b: np.ndarray
    goal: float

    @property
    def product(self) -> sla.LinearOperator:
        """The operator x ↦ A x."""
        return self.operator(self.matrix.__matmul__)

    @property
    def preconditioner(self) -> sla.LinearOperator:
        """The operator r ↦ M r."""
        return self.operator(self.precondition)

    def operator(self, product: Apply) -> sla.LinearOperator:
        """Return a function of vectors (n,) as an operator of SciPy."""
        return sla.LinearOperator(self.matrix.shape, matvec=product, dtype=np.result_type(self.matrix.dtype, self.b))


Run = Callable[[Equation, int], tuple[np.ndarray, int]]
"""A function that runs a method for at most a given number of iterations.

It returns x (n,), and how many iterations they were. A run may end anywhere, also with NaN.

Raises:
    ArithmeticError: The method cannot start or go on; the message says why.
"""


def cg(equation: Equation, limit: int) -> tuple[np.ndarray, int]:
    """Run conjugate gradients (Hestenes and Stiefel 1952; Saad 2003, algorithm 9.1)."""
    count = _Count()
    options = {"M": equation.preconditioner, "rtol": 0, "atol": equation.goal, "maxiter": limit}
    return _stoppable(sla.cg, equation.product, equation.b, count, **options), count.iterations


def minres(equation: Equation, limit: int) -> tuple[np.ndarray, int]:
    """Run the method of minimal residuals (Paige and Saunders 1975).

    SciPy stops it by ‖r‖ / (‖A‖ ‖x‖), in the norm of the preconditioner; the residual itself is computed here.

    Raises:
        ArithmeticError: The preconditioner is not positive definite.
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
    """Run restarted GMRES (Saad and Schultz 1986), preconditioned from the right.

    It solves A M y = b, x = M y (Saad 2003, algorithm 9.5). SciPy preconditions from the left, which minimizes and
    tests another residual.
    """
    count = _Count()
    product = equation.operator(lambda y: equation.matrix @ equation.precondition(y))
    # with "legacy" SciPy counts directions, not restarts
    options = {"callback_type": "legacy", "rtol": 0, "atol": equation.goal, "restart": restart, "maxiter": limit}
    y = _stoppable(sla.gmres, product, equation.b, count, **options)
    return equation.precondition(y), count.iterations


def bicgstab(equation: Equation, limit: int) -> tuple[np.ndarray, int]:
    """Run BiCGSTAB (van der Vorst 1992; Saad 2003, algorithm 7.7).

    An iteration applies A and M twice.
    """
    count, products = _Count(), [0]

    def precondition(r: np.ndarray) -> np.ndarray:
        products[0] += 1
        return equation.precondition(r)

    options = {"M": equation.operator(precondition), "rtol": 0, "atol": equation.goal, "maxiter": limit}
    x = _stoppable(sla.bicgstab, equation.product, equation.b, count, **options)
    return x, (products[0] + 1) // 2


class _Stop(Exception):
    """An exception that ends a method from its callback."""


class _Count:
    """A callback that counts iterations.

    It stops a method where its iterates are not finite any more, or where ``done`` says so.
    """

    def __init__(self, done: Callable[[np.ndarray], bool] = lambda x: False) -> None:
        self.iterations = 0
        self.x: np.ndarray | float = 0.0
        self._done = done

    def __call__(self, x: np.ndarray | float) -> None:
        self.iterations += 1
        self.x = x
        if not np.isfinite(np.sum(x)) or self._done(np.asarray(x)):
            raise _Stop


def _stoppable(method: Callable[..., Any], operator: Any, b: np.ndarray, count: _Count, **options: Any) -> np.ndarray:
    try:
        x: np.ndarray = method(operator, b, callback=count, **options)[0]
        return x
    except _Stop:
        return np.array(np.broadcast_to(count.x, b.shape))
