"""The Lagrange multipliers of constraints at a point, whatever the method that came there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy  # its parts are loaded where they are first used

from pdeopt.optimize.constraints.values import ConstraintValues

#: The largest number of times that the entries which a bound holds are told anew.
MAX_HELD_UPDATES = 10


def multipliers_of(
    derivative: np.ndarray,
    constraints: ConstraintValues,
    held: Callable[[np.ndarray], np.ndarray],
    pullback: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the multipliers λ (k,) that make the gradient of the Lagrangian J + λᵀg smallest.

    They are ≥ 0 for inequalities, and 0 for those that are kept by more than their tolerance. The norm is that of the
    inner product, without the entries that a bound holds. At a minimum the gradient vanishes with them, which is the
    condition of Karush, Kuhn and Tucker. (Nocedal, Wright, "Numerical Optimization", 2006, section 18.3.)

    Args:
        derivative: The derivative ∂J/∂m (p,).
        constraints: The constraints at the same m.
        held: The function of a derivative d (p,) that returns a mask (p,) of the entries that a bound holds against −d.
        pullback: The function d ↦ Sᵀd of the inner product, see `InnerProduct`; it acts on each entry by itself where
            there are bounds.
    """
    multipliers = np.zeros(len(constraints.values))
    if not (np.isfinite(derivative).all() and np.isfinite(constraints.jacobian).all()):
        return multipliers
    rows = constraints.rows
    active = np.flatnonzero(rows.equality | (constraints.values >= -rows.tolerance))
    jacobian = constraints.jacobian[active]
    lengths = np.array([np.linalg.norm(pullback(row)) for row in jacobian])
    active, jacobian, lengths = active[lengths > 0], jacobian[lengths > 0], lengths[lengths > 0]
    if not len(active):
        return multipliers
    bounded_below = np.where(rows.equality[active], -np.inf, 0.0)
    still = np.zeros(derivative.shape, bool)
    for _ in range(MAX_HELD_UPDATES):
        columns = [pullback(np.where(still, 0.0, row / length)) for row, length in zip(jacobian, lengths, strict=True)]
        target = -pullback(np.where(still, 0.0, derivative))
        multipliers[active] = _least_squares(np.stack(columns, axis=1), target, bounded_below) / lengths
        now = held(derivative + multipliers @ constraints.jacobian)
        if np.array_equal(now, still):
            break
        still = now
    return multipliers


def of_lagrangian(
    derivative: np.ndarray, constraints: ConstraintValues | None, multipliers: np.ndarray | None
) -> np.ndarray:
    """Return the derivative (p,) of the Lagrangian J + λᵀg; that of J where there are no constraints."""
    if constraints is None or multipliers is None:
        return derivative
    return np.asarray(derivative + multipliers @ constraints.jacobian)


def _least_squares(matrix: np.ndarray, target: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return the x (k,) ≥ ``lower`` for which ``‖A x − b‖`` is smallest, for a tall matrix A (q, k) and b (q,)."""
    if len(matrix) > matrix.shape[1]:
        orthogonal, matrix = np.linalg.qr(matrix)
        target = orthogonal.T @ target
    free = np.linalg.lstsq(matrix, target, rcond=None)[0]
    if (free >= lower).all():
        return np.asarray(free)
    return np.asarray(scipy.optimize.lsq_linear(matrix, target, (lower, np.inf), method="bvls").x)
