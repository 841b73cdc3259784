"""Preconditioned conjugate gradients for a Newton system that may be indefinite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.objective import Action


@dataclass(frozen=True)
class Direction:
    """An approximate solution of H d = b.

    Attributes:
        step: d (p,). iterations: products with H. curvature: False where a direction of negative curvature ended it.
        decrease: bᵀd − ½ dᵀHd, by which the step lowers the quadratic model, and what is left to gain beyond it where
            the preconditioner is the inverse of H; infinite without curvature.
    """

    step: np.ndarray
    iterations: int
    curvature: bool
    decrease: float


def conjugate_gradients(
    hessian: Action, rhs: np.ndarray, precondition: Action, tolerance: float, max_iterations: int
) -> Direction:
    """Solve H d = b from d = 0, until the residual, in the norm of the preconditioner, fell by ``tolerance``.

    Ends before at a direction of no positive curvature (Steihaug 1983; Nocedal, Wright, "Numerical Optimization", 2006,
    algorithm 7.1): with what was reached, or the preconditioned right-hand side at the first iteration. Either is a
    descent direction of a function with derivative −b.
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
    """The direction with the length that a positive curvature of the same size would give; as it is for none."""
    return direction * (square / -curvature) if curvature < 0 else direction
