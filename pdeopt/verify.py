"""The two identities that adjoint code owes its reader: Taylor remainders and the adjoint identity.

A Taylor test says something only where the function changes and bends: `visible_scale` finds such a step. This file
shares no code with what it judges; it sees callables of NumPy arrays only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Scale", "TaylorTest", "adjoint_identity", "taylor_test", "visible_scale"]

#: The part of the subtracted terms that the accuracy of the derivative (of a solver) is not expected to reach.
DERIVATIVE_ACCURACY = 1e-12
#: The least size of a remainder that is used, as a multiple of what rounding explains.
MIN_REMAINDER = 100
#: The least change of J, as a multiple of its rounding, for which a remainder that vanishes means something.
MIN_CHANGE = 1e6
#: The least difference of two derivatives that are told apart, as a part of the rate at which J changes.
MIN_RATE_DIFFERENCE = 1e-8
#: The least second remainder, as a part of the change of J, for which a third one that vanishes means something.
MIN_SECOND_REMAINDER = 1e-3
#: The spacing of the points at which the rounding of J is estimated, relative to the largest step.
ROUNDING_SPACING = 1e-6
#: The number of those points.
ROUNDING_SAMPLES = 12
#: The order of the differences of J at those points, in which all that is smooth drops out.
DIFFERENCE_ORDER = 4
#: A function bends visibly where the increments over both halves of a step differ by at least this part of their sum.
LEAST_BEND = 0.05
#: A function bends too much over a step where they differ by more than this part of their sum.
MOST_BEND = 0.9
#: The part of their sum by which the increments over both halves of a step should differ.
TARGET_BEND = 0.3
#: The largest factor between two steps that are tried.
MAX_STEP_FACTOR = 1e3
#: The largest number of steps that are tried.
MAX_SCALE_STEPS = 12
#: A function that bends nowhere, up to a step so many times the first one that changes it, is linear.
LINEAR_RANGE = 1e6
#: The distance from 1 to the next larger floating-point number.
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class TaylorTest:
    """Remainders of the Taylor expansion along a line, and their orders.

    Attributes:
        steps: The step lengths h (k,), falling.
        remainders: ``{1: |J(m+hv) − J(m)|, 2: less h J'v, 3: less ½ h² vᵀHv}``, each (k,); 3 only with a Hessian.
        orders: The exponent p with which each falls like h^p; infinity where it vanishes up to rounding though J
            changes, and for p = 3 bends, by much more (an exact expansion, as of a quadratic functional); NaN where it
            cannot be told. An error of lower order counts also where it is smaller than the term that is expected.
        resolved: Whether J is finite along the line and changes by much more than rounding; otherwise an order may be
            NaN.
    """

    steps: np.ndarray
    remainders: dict[int, np.ndarray]
    orders: dict[int, float]
    resolved: bool

    @property
    def passed(self) -> bool:
        """True where orders 2 and 3 (where given) are reached to within 0.1; order 1 may be better than 1."""
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
    accuracy: float = DERIVATIVE_ACCURACY,
) -> TaylorTest:
    """Verify a derivative, and a Hessian, against the function itself.

    Args:
        value: The function J, called at m, at m + h·direction for the steps h, and for some very small ones that tell
            its rounding.
        derivative: The derivative ∂J/∂m at m, (p,).
        m: The point of the expansion, (p,).
        direction: The direction of the line, (p,).
        hessian_action: The product of the Hessian at m with the direction, (p,); None for no test of order 3.
        first_step: The largest h.
        halvings: The number of times that h is halved.
        rounding: The error of J where it is known; otherwise it is estimated, from `ROUNDING_SAMPLES` more values.
        accuracy: The relative accuracy of the derivative: that of an iterative solver, or rounding.

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
        rounding = _rounding(value, m, ROUNDING_SPACING * first_step * direction)
    rounding = max(rounding, EPS * (abs(base) + np.abs(difference).max()))
    resolved = bool(np.isfinite(difference).all() and np.abs(difference).max() > MIN_CHANGE * rounding)
    floors = {p: rounding + accuracy * np.abs(expansion) for p, expansion in expansions.items()}
    rate = np.abs(difference[-1]) / steps[-1]
    orders = {p: _order_of(p, signed[p], steps, floors[p], resolved, rate) for p in signed}
    bent = np.abs(signed[2]).max() > MIN_SECOND_REMAINDER * np.abs(difference).max() or orders[2] == np.inf
    if orders.get(3) == np.inf and not bent:
        orders[3] = float("nan")
    return TaylorTest(steps, {p: np.abs(remainder) for p, remainder in signed.items()}, orders, resolved)


def _order_of(p: int, signed: np.ndarray, steps: np.ndarray, floor: np.ndarray, resolved: bool, rate: float) -> float:
    """Return the order of a remainder r that should be p.

    2^p r(h/2) − r(h) is free of the term c h^p and keeps all that is of lower order: the error of a derivative, also
    where c h^p hides it. Where c h^p + d h^(p+1) changes its sign at a step of the test, r shows no order near there;
    2^(p+1) r(h/2) − r(h) is free of the second term. (For p = 1 that is so where the first step ends near the minimum.)
    """
    order = _order(np.abs(signed), steps, floor, resolved)
    if np.isnan(order) or (p == 1 and order > 0.9):
        return order
    if p == 2 and np.abs(signed[-1]) <= MIN_REMAINDER * floor[-1] and rate * steps[-1] > MIN_CHANGE * floor[-1]:
        return float("inf") if order <= p - 0.1 else order  # the larger steps meet kinks of J
    hidden = np.abs(2.0**p * signed[1:] - signed[:-1])
    smallest = 2.0**p * floor[1:] + floor[:-1] + MIN_RATE_DIFFERENCE / MIN_REMAINDER * rate * steps[:-1]
    usable = np.flatnonzero(hidden > MIN_REMAINDER * smallest)[-3:]
    if len(usable) > 1:
        found = np.diff(np.log(hidden[usable])) / np.diff(np.log(steps[usable]))
        if (found < p - 0.5).all() and not _falls_faster(p - 0.5, hidden, MIN_REMAINDER * smallest, usable[-1]):
            return min(order, float(found[-1]))
    if order > p - 0.1:
        return order
    weight = 2.0 ** (p + 1)
    extrapolated = np.abs(weight * signed[1:] - signed[:-1])
    better = _order(extrapolated, steps[:-1], weight * floor[1:] + floor[:-1], False)
    return max(order, better) if np.isfinite(better) else order


def _falls_faster(order: float, hidden: np.ndarray, least: np.ndarray, last: np.intp) -> bool:
    """Return whether a term falls below what can be told faster than with an order."""
    return bool(last + 1 < len(hidden) and hidden[last] > 2.0**order * max(hidden[last + 1], least[last + 1]))


def _rounding(value: Callable[[np.ndarray], float], m: np.ndarray, spacing: np.ndarray) -> float:
    """Return the size of the rounding errors of J, from high differences of its values (Moré, Wild 2011)."""
    samples = np.array([value(m + k * spacing) for k in range(ROUNDING_SAMPLES)])
    if not np.isfinite(samples).all():
        return float("nan")
    return float(
        np.abs(np.diff(samples, DIFFERENCE_ORDER)).max() / np.sqrt(math.comb(2 * DIFFERENCE_ORDER, DIFFERENCE_ORDER))
    )


def _order(remainder: np.ndarray, steps: np.ndarray, floor: np.ndarray, resolved: bool) -> float:
    """Return the observed order between the two smallest usable steps, the most asymptotic ones."""
    if not (np.isfinite(remainder).all() and np.isfinite(floor).all()):
        return float("nan")
    usable = np.flatnonzero(remainder > MIN_REMAINDER * floor)
    if not len(usable):
        return float("inf") if resolved else float("nan")
    i, j = usable[-2:] if len(usable) > 1 else (usable[0], usable[0] + 1)  # the next one is closer to rounding
    if j == len(steps):
        return float("nan")
    return float(np.log(remainder[i] / max(remainder[j], floor[j])) / np.log(steps[i] / steps[j]))


@dataclass(frozen=True)
class Scale:
    """The length at which a function of one variable shows what it is.

    Attributes:
        step: A step over which the function changes and bends visibly; where it bends nowhere, the first one that
            changes it; where nothing changes it, the one that was given.
        bends: Whether the function bends visibly over the step.
        linear: Whether it bends nowhere up to steps `LINEAR_RANGE` times as long.
    """

    step: float
    bends: bool
    linear: bool


def visible_scale(
    along: Callable[[float], float], step: float, *, rounding: float = 0.0, tries: int = MAX_SCALE_STEPS
) -> Scale:
    """Find a step over which a function changes and bends visibly, from its values alone.

    That the increments over both halves of a step differ tells how it bends, in any unit of the argument and of the
    function, and whatever its derivative is said to be. The next step is where a parabola would bend as is wanted.

    Args:
        along: The function of t ≥ 0, as J(m + t v); not finite where it cannot be evaluated, so that shorter steps are
            tried.
        step: The first t that is tried.
        rounding: The error of the values, where it is more than rounding of the values themselves.
        tries: The largest number of steps that are tried.

    Example:
        >>> visible_scale(lambda t: math.exp(1e-9 * t), 1.0).bends
        True
    """
    given, base, first, longest, shorter = step, along(0.0), 0.0, np.inf, 0.2
    for _ in range(tries):
        half, full = along(step / 2) - base, along(step) - base
        rest = full - half
        change, bend, slope = abs(half) + abs(rest), abs(rest - half), abs(3 * half - rest)
        noise = max(rounding, EPS * max(abs(base), abs(base + half), abs(base + full)))
        if not np.isfinite(change) or bend > MOST_BEND * change > noise:
            longest, factor, shorter = step, shorter, max(shorter**2, 1 / MAX_STEP_FACTOR)
        elif LEAST_BEND * change <= MIN_REMAINDER**2 * noise:
            factor = MAX_STEP_FACTOR
        elif bend > LEAST_BEND * change:
            if abs(full) <= 4 * abs(base) or bend <= slope or (base == 0 and slope < MIN_RATE_DIFFERENCE * change):
                return Scale(step, True, False)
            factor = max(1 / MAX_STEP_FACTOR, slope / (4 * bend), (abs(base) / abs(full)) ** 0.5)
        else:
            first = first or step
            if step >= LINEAR_RANGE * first and LINEAR_RANGE * bend <= change:
                return Scale(first, False, True)
            factor = min(MAX_STEP_FACTOR, TARGET_BEND * change / max(bend, MIN_REMAINDER**2 * noise))
        step = min(factor * step, (step * longest) ** 0.5)
    return Scale(first or given, False, False)


def adjoint_identity(
    tangent: Callable[[np.ndarray], np.ndarray],
    adjoint: Callable[[np.ndarray], np.ndarray],
    direction: np.ndarray,
    cotangent: np.ndarray,
) -> float:
    """Return ``|⟨J v, w⟩ − ⟨v, Jᵀ w⟩|`` relative to ``‖J v‖‖w‖``, as a check of an adjoint.

    It is rounding (below 1e-10) where tangent and adjoint belong together. Of complex numbers ⟨a, b⟩ is the real part
    of bᴴ a, so that the adjoint is Jᴴ between complex vectors, and v ↦ Re(Jᴴ w) where v is real.

    Args:
        tangent: The map v (p,) ↦ J v (k,).
        adjoint: The map w (k,) ↦ Jᵀ w (p,).
        direction: The direction v, (p,).
        cotangent: The cotangent w, (k,).

    Returns:
        The relative gap, or the gap itself where J v or w is zero.
    """
    image, preimage = tangent(direction), adjoint(cotangent)
    scale = np.linalg.norm(image) * np.linalg.norm(cotangent)
    gap = abs((np.vdot(cotangent, image) - np.vdot(preimage, direction)).real)
    return float(gap / scale) if scale > 0 else float(gap)
