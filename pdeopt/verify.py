"""The two identities that adjoint code owes its reader: Taylor remainders and the adjoint identity.

This file shares no code with what it judges; it sees callables of NumPy arrays only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["TaylorTest", "adjoint_identity", "taylor_test"]

#: The part of the subtracted terms that the accuracy of the derivative (of a solver) is not expected to reach.
ACCURACY = 1e-12
#: A remainder is measured where it is so many times larger than what rounding explains.
MEASURED = 100
#: A remainder that vanishes means something only where J itself changes by so many times its rounding.
RESOLVED = 1e6
#: Spacing of the points at which the rounding of J is estimated, relative to the largest step; their number; and the
#: order of the differences, in which all that is smooth drops out.
SPACING, SAMPLES, DIFFERENCES = 1e-6, 12, 4
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class TaylorTest:
    """Remainders of the Taylor expansion along a line, and their orders.

    Attributes:
        steps: (k,) step lengths h, falling.
        remainders: {1: |J(m+hv) − J(m)|, 2: less h J'v, 3: less ½ h² vᵀHv}, each (k,); 3 only with a Hessian.
        orders: the exponent p with which each falls like h^p; infinity where it vanishes up to rounding though J
            changes by much more (an exact expansion, as of a quadratic functional), NaN where it cannot be told.
        resolved: J is finite along the line and changes by much more than rounding; otherwise an order may be NaN.
    """

    steps: np.ndarray
    remainders: dict[int, np.ndarray]
    orders: dict[int, float]
    resolved: bool

    @property
    def passed(self) -> bool:
        """Orders 2 and 3 (where given) are reached to within 0.1; order 1 may be better than 1."""
        return all(order > expected - 0.1 for expected, order in self.orders.items())

    def __str__(self) -> str:
        return ", ".join(f"order {p}: {order:.2f}" for p, order in self.orders.items())


def taylor_test(
    value: Callable[[np.ndarray], float],
    derivative: np.ndarray,
    m: np.ndarray,
    direction: np.ndarray,
    *,
    hessian_action: np.ndarray | None = None,
    first_step: float = 0.1,
    halvings: int = 10,
    rounding: float | None = None,
    accuracy: float = ACCURACY,
) -> TaylorTest:
    """Verify a derivative, and a Hessian, against the function itself.

    Args:
        value: J, called at m, at m + h·direction for the steps h, and for some very small ones that tell its rounding.
        derivative: ∂J/∂m at m, (p,). hessian_action: H·direction at m, (p,).
        m, direction: (p,).
        first_step: the largest h; it is halved ``halvings`` times.
        rounding: the error of J where it is known; otherwise it is estimated, from `SAMPLES` more values.
        accuracy: relative, of the derivative: that of an iterative solver, or rounding.

    Example:
        >>> test = taylor_test(lambda m: float(np.sum(np.exp(m))), np.ones(3), np.zeros(3), np.arange(3.0),
        ...                    hessian_action=np.arange(3.0))
        >>> test.passed
        True
    """
    steps = first_step * 0.5 ** np.arange(halvings + 1)
    base = value(m)
    difference = np.array([value(m + h * direction) - base for h in steps])
    slope = float(np.vdot(derivative, direction).real)
    expansions = {1: np.zeros_like(steps), 2: steps * slope}
    if hessian_action is not None:
        expansions[3] = expansions[2] + 0.5 * steps**2 * float(np.vdot(hessian_action, direction).real)
    signed = {p: difference - expansion for p, expansion in expansions.items()}
    if rounding is None:
        rounding = _rounding(value, m, SPACING * first_step * direction)
    rounding = max(rounding, EPS * (abs(base) + np.abs(difference).max()))
    resolved = bool(np.isfinite(difference).all() and np.abs(difference).max() > RESOLVED * rounding)
    floors = {p: rounding + accuracy * np.abs(expansion) for p, expansion in expansions.items()}
    orders = {p: _order_from(p, signed[p], steps, floors[p], resolved) for p in signed}
    return TaylorTest(steps, {p: np.abs(remainder) for p, remainder in signed.items()}, orders, resolved)


def _order_from(p: int, signed: np.ndarray, steps: np.ndarray, floor: np.ndarray, resolved: bool) -> float:
    """The order of a remainder that should be p.

    Where c h^p + d h^(p+1) changes its sign at a step of the test, it shows no order near there. 2^(p+1) r(h/2) − r(h)
    is free of the second term, and keeps all that is of lower order than p: errors of the derivative stay.
    """
    order = _order(np.abs(signed), steps, floor, resolved)
    if not order <= p - 0.1:
        return order
    weight = 2.0 ** (p + 1)
    extrapolated = np.abs(weight * signed[1:] - signed[:-1])
    better = _order(extrapolated, steps[:-1], weight * floor[1:] + floor[:-1], False)
    return max(order, better) if np.isfinite(better) else order


def _rounding(value: Callable[[np.ndarray], float], m: np.ndarray, spacing: np.ndarray) -> float:
    """The size of the rounding errors of J, from high differences of its values (Moré, Wild 2011)."""
    samples = np.array([value(m + k * spacing) for k in range(SAMPLES)])
    if not np.isfinite(samples).all():
        return float("nan")
    return float(np.abs(np.diff(samples, DIFFERENCES)).max() / np.sqrt(math.comb(2 * DIFFERENCES, DIFFERENCES)))


def _order(remainder: np.ndarray, steps: np.ndarray, floor: np.ndarray, resolved: bool) -> float:
    """The observed order between the two smallest usable steps, the most asymptotic ones."""
    if not (np.isfinite(remainder).all() and np.isfinite(floor).all()):
        return float("nan")
    usable = np.flatnonzero(remainder > MEASURED * floor)
    if not len(usable):
        return float("inf") if resolved else float("nan")
    i, j = usable[-2:] if len(usable) > 1 else (usable[0], usable[0] + 1)  # the next one is closer to rounding
    if j == len(steps):
        return float("nan")
    return float(np.log(remainder[i] / max(remainder[j], floor[j])) / np.log(steps[i] / steps[j]))


def adjoint_identity(
    tangent: Callable[[np.ndarray], np.ndarray],
    adjoint: Callable[[np.ndarray], np.ndarray],
    direction: np.ndarray,
    cotangent: np.ndarray,
) -> float:
    """|⟨J v, w⟩ − ⟨v, Jᵀ w⟩| relative to ‖J v‖‖w‖: rounding (below 1e-10) where the two belong together.

    Args:
        tangent: v (p,) ↦ J v (k,). adjoint: w (k,) ↦ Jᵀ w (p,). direction: v. cotangent: w.
    """
    image, preimage = tangent(direction), adjoint(cotangent)
    scale = np.linalg.norm(image) * np.linalg.norm(cotangent)
    gap = abs(np.vdot(cotangent, image) - np.vdot(preimage, direction))
    return float(gap / scale) if scale > 0 else float(gap)
