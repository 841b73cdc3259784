"""Bounds on the parameter, and the derivative without the entries that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy

from pdeopt.optimize.objective import OptimizerError

#: One side of the bounds: a number, an array (p,) or None where there is none.
Bound: TypeAlias = np.ndarray | Sequence[float] | float | None
#: What `full_bounds` takes for bounds.
BoundsLike: TypeAlias = "tuple[Bound, Bound] | scipy.optimize.Bounds | None"
#: The end of messages: how bounds are given.
BOUNDS_REMEDY = "give bounds=(lower, upper), each a number, an array of one number a parameter, or None"


def full_bounds(bounds: BoundsLike, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds (size,), infinite where there are none.

    Args:
        bounds: The pair (lower, upper), each a number, an array (size,) or None; or a `scipy.optimize.Bounds`. SciPy's
            older pairs [(lower, upper), …], one for each parameter, are refused; as two pairs of numbers can be either
            where there are two parameters, these must be arrays then, np.array([…]).
        size: The number of parameters.

    Raises:
        OptimizerError: The bounds are anything else, a bound has another shape or is NaN, a lower bound is above the
            upper one, or the two leave no number.
    """
    given_lower, given_upper = _sides(bounds, size)
    lower = _full(given_lower, "lower", -np.inf, size)
    upper = _full(given_upper, "upper", np.inf, size)
    crossed = np.flatnonzero(~(lower <= upper))
    if len(crossed):
        k = int(crossed[0])
        raise OptimizerError(f"lower bound {lower[k]} is above upper bound {upper[k]}, or one is NaN, at entry {k}")
    nowhere = np.flatnonzero((lower == np.inf) | (upper == -np.inf))
    if len(nowhere):
        k = int(nowhere[0])
        raise OptimizerError(
            f"bounds {lower[k]} and {upper[k]} at entry {k} leave no number; where there is none: None"
        )
    return lower, upper


def _sides(bounds: Any, size: int) -> tuple[Bound, Bound]:
    if bounds is None:
        return None, None
    if isinstance(bounds, scipy.optimize.Bounds):  # it makes arrays (1,) of numbers
        lower, upper = (side[0] if np.shape(side) == (1,) else side for side in (bounds.lb, bounds.ub))
        return lower, upper
    if isinstance(bounds, np.ndarray) or not isinstance(bounds, Sequence) or isinstance(bounds, str):
        raise OptimizerError(f"the bounds are a {type(bounds).__name__}; {BOUNDS_REMEDY}")
    if len(bounds) == 2 and not (size == 2 and all(isinstance(side, (list, tuple)) for side in bounds)):
        return bounds[0], bounds[1]
    pairs = len(bounds) == size and all(isinstance(side, (list, tuple)) and len(side) == 2 for side in bounds)
    if not pairs:
        raise OptimizerError(f"the bounds have {len(bounds)} entries; {BOUNDS_REMEDY}")
    if size == 2 and not any(side is None for pair in bounds for side in pair):
        doubt = f"bounds={bounds!r} can be a lower and an upper bound or, as SciPy has it, a pair for each parameter; "
    else:
        doubt = "the bounds are pairs, one for each parameter; "
    lower, upper = (
        f"np.array({[float(none if pair[k] is None else pair[k]) for pair in bounds[:6]]})".replace("inf", "np.inf")
        for k, none in enumerate((-np.inf, np.inf))
    )
    more = "" if size <= 6 else f", …, of {size} numbers each"
    raise OptimizerError(f"{doubt}{BOUNDS_REMEDY}: for the pairs, ({lower}, {upper}){more}")


def _full(side: Bound, name: str, none: float, size: int) -> np.ndarray:
    try:
        bound = np.asarray(none if side is None else side, float)
    except (TypeError, ValueError):
        raise OptimizerError(f"the {name} bound is {side!r}, not real numbers; {BOUNDS_REMEDY}") from None
    if bound.shape not in ((), (size,)):
        raise OptimizerError(f"a bound has shape {bound.shape}; expected a number or ({size},), as the {name} one")
    return np.broadcast_to(bound, (size,))


def held(m: np.ndarray, derivative: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return a mask (p,) of the entries of m that a derivative (p,) pushes against an active bound."""
    return ((m <= lower) & (derivative > 0)) | ((m >= upper) & (derivative < 0))


def projected(
    m: np.ndarray,
    derivative: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    l1_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return the derivative (p,) at m, with 0 in the entries that push against an active bound.

    So has it in those that an L1 term keeps at 0: it is the subgradient of least size, and zero at a minimum.

    Args:
        m: The parameter (p,).
        derivative: The derivative (p,) of J there, with the derivative 0 of ``|m_i|`` at 0.
        lower: The lower bounds (p,).
        upper: The upper bounds (p,).
        l1_weights: The weights (p,) of the L1 term that J contains; None where there is none.
    """
    if l1_weights is not None:
        kink = np.where(m == 0, l1_weights, 0.0)
        derivative = derivative - np.clip(derivative, -kink, kink)
    return np.where(held(m, derivative, lower, upper), 0.0, derivative)
