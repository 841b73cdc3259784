"""Bounds on the parameter, and the derivative without what they hold."""

from __future__ import annotations

import numpy as np

from pdeopt.optimize.objective import OptimizerError

Bound = np.ndarray | float | None


def full_bounds(bounds: tuple[Bound, Bound] | None, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (size,), infinite where there are none.

    Raises:
        OptimizerError: where a lower bound lies above the upper one, or a bound has another shape.
    """
    given_lower, given_upper = (None, None) if bounds is None else bounds
    lower = np.asarray(-np.inf if given_lower is None else given_lower, float)
    upper = np.asarray(np.inf if given_upper is None else given_upper, float)
    for bound in (lower, upper):
        if bound.shape not in ((), (size,)):
            raise OptimizerError(f"a bound has shape {bound.shape}; expected a number or ({size},)")
    lower, upper = np.broadcast_to(lower, (size,)), np.broadcast_to(upper, (size,))
    crossed = np.flatnonzero(~(lower <= upper))
    if len(crossed):
        k = int(crossed[0])
        raise OptimizerError(f"lower bound {lower[k]} is above upper bound {upper[k]}, or one is NaN, at entry {k}")
    return lower, upper


def projected(m: np.ndarray, derivative: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The derivative without the entries that push against an active bound."""
    return np.where(((m <= lower) & (derivative > 0)) | ((m >= upper) & (derivative < 0)), 0.0, derivative)
