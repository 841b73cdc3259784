"""Preconditioned conjugate gradients for a Newton system that may be indefinite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.objective import Action


@dataclass(frozen=True)
class Direction:
    """An approximate solution of H d = b.

    Attributes:
        step: The solution d (p,).
        iterations: The number of products with H.
        curvature: False where a direction of no positive curvature ended the method.
        decrease: The number bᵀd − ½ dᵀHd by which the step lowers the quadratic model, and what is left to gain beyond
            it where the preconditioner is the inverse of H; infinite where ``curvature`` is False.
    """

    step: np.ndarray
    iterations: int
    curvature: bool
    decrease: float


def conjugate_gradients(
    hessian: Action, rhs: np.ndarray, precondition: Action, tolerance: float, max_iterations: int
) -> Direction:
    """Solve H d = b from d = 0, until the residual has fallen by a factor.

    It ends before that at a direction of no positive curvature (Steihaug 1983; Nocedal, Wright, "Numerical
    Optimization", 2006, algorithm 7.1): with what was reached, or at the first iteration along the preconditioned
    right-hand side. Either is a descent direction of a function with derivative −b.

    Args:
        hessian: The action v ↦ H v.
        rhs: The right-hand side b (p,).
        precondition: The action of the preconditioner.
        tolerance: The factor by which the residual must fall, in the norm of the preconditioner.
        max_iterations: The largest number of iterations.
    """
    step, residual = np.zeros_like(rhs), rhs
    corrected = precondition(residual)
    direction, square = corrected, float(residual @ corrected)
    goal, decrease = tolerance**2 * square, 0.0
    for count in range(1, max_iterations + 1):
        product = hessian(direction)
        curvature = float(direction @ product)
        if not curvature > 0:
            return Direction(step if count > 1 else _along(direction, square, curvature), count, False, np.inf)
        length = square / curvature
        step, decrease = step + length * direction, decrease + 0.5 * square * length
        residual = residual - length * product
        corrected = precondition(residual)
        square, before = float(residual @ corrected), square
        if square <= goal:
            break
        direction = corrected + (square / before) * direction
    return Direction(step, count, True, decrease + 0.5 * square)


def _along(direction: np.ndarray, square: float, curvature: float) -> np.ndarray:
    """Return a direction with the length that a positive curvature of the same size would give.

    A direction of no curvature is returned as it is.
    """
    return direction * (square / -curvature) if curvature < 0 else direction
