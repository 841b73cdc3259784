"""The Lagrange multipliers of constraints at a point, whatever the method that came there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy  # its parts are loaded where they are first used

from pdeopt.optimize.constraints.values import ConstraintValues

#: The largest number of times that the entries which a bound holds are told anew.
MAX_HELD_UPDATES = 10
#: The largest number of iterations of the nonnegative least squares, for each multiplier.
NNLS_ITERATIONS = 30


def multipliers_of(
    derivative: np.ndarray,
    constraints: ConstraintValues,
    held: Callable[[np.ndarray], np.ndarray],
    pullback: Callable[[np.ndarray], np.ndarray],
    negligible: float,
) -> np.ndarray:
    """Return the multipliers λ (k,) that make the gradient of the Lagrangian J + λᵀg smallest.

    They are ≥ 0 for inequalities, and 0 for those that are kept by more than their tolerance, unless J could fall by
    no more than something negligible before they are reached. The norm is that of the inner product, without the
    entries that a bound holds. At a minimum the gradient vanishes with them, which is the condition of Karush, Kuhn and
    Tucker. (Nocedal, Wright, "Numerical Optimization", 2006, section 18.3.)

    Args:
        derivative: The derivative ∂J/∂m (p,).
        constraints: The constraints at the same m.
        held: The function of a derivative d (p,) that returns a mask (p,) of the entries that a bound holds against −d.
        pullback: The function d ↦ Sᵀd of the inner product, see `InnerProduct`; it acts on each entry by itself where
            there are bounds.
        negligible: The decrease of J that is nothing: interior-point methods come so near to a constraint that λ(−g)
            is less.
    """
    if not (np.isfinite(derivative).all() and np.isfinite(constraints.jacobian).all()):
        return np.zeros(len(constraints.values))
    reached = constraints.rows.equality | (constraints.values >= -constraints.rows.tolerance)
    first = _of_active(derivative, constraints, np.ones_like(reached), held, pullback)
    near = (first > 0) & (-first * constraints.values <= negligible)
    return _of_active(derivative, constraints, reached | near, held, pullback)


def _of_active(
    derivative: np.ndarray,
    constraints: ConstraintValues,
    active: np.ndarray,
    held: Callable[[np.ndarray], np.ndarray],
    pullback: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the multipliers (k,), those of the inequalities that are not active, by a mask (k,), being 0."""
    multipliers, still = np.zeros(len(active)), np.zeros(derivative.shape, bool)
    lengths = np.array([np.linalg.norm(pullback(row)) for row in constraints.jacobian])
    numbers = np.flatnonzero(active & (lengths > 0))
    if not len(numbers):
        return multipliers
    jacobian, lengths = constraints.jacobian[numbers], lengths[numbers]
    signed = constraints.rows.equality[numbers]
    for _ in range(MAX_HELD_UPDATES):
        columns = [pullback(np.where(still, 0.0, row / length)) for row, length in zip(jacobian, lengths, strict=True)]
        target = -pullback(np.where(still, 0.0, derivative))
        multipliers[numbers] = _least_squares(np.stack(columns, axis=1), target, signed) / lengths
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


def _least_squares(matrix: np.ndarray, target: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Return the x (k,) for which ``‖A x − b‖`` is smallest, with x ≥ 0 where it is not signed.

    Args:
        matrix: The matrix A (q, k).
        target: The vector b (q,).
        signed: Whether each entry of x may have both signs (k,).
    """
    if len(matrix) > matrix.shape[1]:
        orthogonal, matrix = np.linalg.qr(matrix)
        target = orthogonal.T @ target
    free = np.linalg.lstsq(matrix, target, rcond=None)[0]
    if (free[~signed] >= 0).all():
        return np.asarray(free)
    both = np.hstack([matrix, -matrix[:, signed]])
    found, _ = scipy.optimize.nnls(both, target, maxiter=NNLS_ITERATIONS * both.shape[1])
    x = found[: len(signed)].copy()
    x[signed] -= found[len(signed) :]
    return x
