"""The checks that a problem must pass: Taylor orders, adjoint identity, symmetry of the Hessian, cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.errors import describe, raise_interrupt
from pdeopt.inverse import Problem, ReducedFunctional
from pdeopt.optimize import full_bounds
from pdeopt.optimize.bounds import projected
from pdeopt.sparse import Work, forgetting, work
from pdeopt.verify import EPS, TaylorTest, adjoint_identity, taylor_test, visible_scale

#: The relative gap up to which two inner products count as equal.
PRODUCT_GAP_TOLERANCE = 1e-9
#: The largest step of the Taylor test, as a multiple of the direction of the test.
FIRST_STEP = 0.5
#: The number of times that the step of the Taylor test of `pdeopt check` is halved.
CHECK_HALVINGS = 12
#: The step of the evaluations whose cost is counted, as a multiple of the direction of the test.
COST_STEP = 1e-3
#: The part of J by which the first step away from the initial guess changes it, according to the derivative.
FIRST_CHANGE = 0.3
#: The random part of the step away from the initial guess, relative to the rest.
STEP_PERTURBATION = 0.01
#: The random part of the direction of the test, relative to the rest.
DIRECTION_PERTURBATION = 0.1
#: Entries of a derivative that are so many times as large as all smaller ones belong to another part of m.
PART_GAP = 1e4
#: The largest number of parts of m that are tested separately.
MAX_TESTED_PARTS = 3
#: The largest number of steps that are tried for each part of m.
MAX_PART_STEPS = 4
#: The name of the check of the adjoint.
ADJOINT_CHECK = "adjoint identity ⟨Jv, w⟩ = ⟨v, Jᵀw⟩"
#: The message where the order of the third remainder means nothing.
NO_BEND = "cannot be told: J does not bend along this direction"
#: The message where J hardly changes.
NO_CHANGE = "J does not change along this direction: it does not depend on m, or too little"


@dataclass(frozen=True)
class Check:
    """The result of one check, as one line of the report.

    Attributes:
        name: What is checked.
        value: What was found, in words.
        required: What is required, in words.
        passed: Whether the requirement is met.
    """

    name: str
    value: str
    required: str
    passed: bool


#: m ↦ J(m) and its derivative (p,); NaN where it cannot be evaluated.
Evaluate = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class VerificationPoint:
    """A point at which derivatives are checked, with the directions of the checks.

    It is so far from the initial guess that J has visibly changed and bent. All steps along v, w and the parts up to
    `FIRST_STEP` stay within the bounds.

    Attributes:
        m: The parameter (p,).
        v: A direction (p,) along the derivative, with a random part; over it J changes and bends visibly.
        w: A random direction (p,) of the same size.
        parts: Random directions, each (p,), of those entries of m alone whose effect on J is smaller by orders of
            magnitude, as that of numbers in other units.
        shown: Whether J bends visibly between the initial guess and m, or is linear far beyond.
    """

    m: np.ndarray
    v: np.ndarray
    w: np.ndarray
    parts: tuple[np.ndarray, ...] = ()
    shown: bool = True


def check_problem(problem: Problem, status: Callable[[str], None] = lambda _: None) -> list[Check]:
    """Run all checks of the derivatives of a problem, and return their results.

    An L1 term is left out: its derivative is a sign, and its kinks would spoil every order.

    Args:
        problem: The problem whose functional is checked.
        status: Called with a text that says which check is running.

    Raises:
        Exception: What the objective itself raises at the initial guess.
    """
    functional = problem.functional.smooth_part
    status("compiling and evaluating the objective …")
    with forgetting():
        functional.terms(np.asarray(problem.initial, float))
        point = verification_point(problem, _evaluated(functional))
    functional.terms(point.m)
    checks: list[Check] = []
    for title, run in (
        ("Taylor test", _taylor),
        ("Taylor test of the constraints", _constraints),
        ("adjoint identity", _adjoint),
        ("symmetry of the Hessian", _symmetry),
        ("cost of a derivative", _cost),
    ):
        status(f"{title} …")
        try:
            checks += run(functional, point)
        except Exception as error:  # whatever a derivative raises is what is wrong with it
            raise_interrupt(error)
            checks.append(_error(title, error))
    return checks


def _evaluated(functional: ReducedFunctional) -> Evaluate:
    """Return a function that evaluates J and its derivative and tells an arithmetic failure by NaN.

    A derivative that cannot be computed for another reason is given as zero: the checks say later what is wrong with
    it.
    """

    def evaluate(m: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            return functional.value_and_derivative(m)
        except ArithmeticError:
            return np.nan, np.full_like(m, np.nan)
        except Exception as error:
            raise_interrupt(error)
            return functional(m), np.zeros_like(m)

    return evaluate


def verification_point(problem: Problem, evaluate: Evaluate) -> VerificationPoint:
    """Return a point off the bounds, downhill of the initial guess, where J has visibly changed and bent.

    A derivative can be right at the initial guess and wrong elsewhere: where the state is uniform, a coefficient that
    depends on it does not show. Units of m and J do not matter: the length is found by the values of J. The point is
    the same in every call, as the random numbers are.

    Args:
        problem: The problem, of which initial guess and bounds are used.
        evaluate: Called with m (p,); returns J and its derivative (p,).
    """
    rng = np.random.default_rng(0)
    lower, upper = full_bounds(problem.bounds, len(problem.initial))
    initial = np.clip(np.asarray(problem.initial, float), lower, upper)
    nudge, v, w = rng.standard_normal((3, len(initial)))
    value, at_initial = evaluate(initial)
    line = -projected(initial, at_initial, lower, upper)
    largest = float(np.abs(line).max(initial=0))
    if 0 < largest < np.inf:
        line = line / largest
        step = FIRST_CHANGE * abs(value) / (largest * float(line @ line)) or _size(initial)
    else:
        line, step = nudge, FIRST_CHANGE * _size(initial)
    line = line + STEP_PERTURBATION * _rms(line) * nudge
    rounding = rounding_of(initial, value, at_initial)
    scale = visible_scale(lambda t: evaluate(np.clip(initial + t * line, lower, upper))[0], step, rounding=rounding)
    length = scale.step * _rms(line)
    margin = 0.25 * np.minimum(upper - lower, length)
    m = np.clip(initial + scale.step * line, lower + margin, upper - margin)
    at_m = evaluate(m)[1]
    own = at_m / _rms(at_m) if 0 < _rms(at_m) < np.inf else v
    longest = 0.9 * np.minimum(m - lower, upper - m) / FIRST_STEP
    parts = []
    for part in _parts(np.where(lower < upper, np.abs(at_initial) + np.abs(at_m), 0.0)):
        direction = np.where(part, w, 0.0)
        with np.errstate(invalid="ignore"):
            slope = float(np.abs(at_m) @ np.abs(direction))
        if not 0 < slope < np.inf:
            continue
        along = lambda t, d=direction: evaluate(np.clip(m + t * d, lower, upper))[0]  # noqa: E731
        at_part = visible_scale(
            along, FIRST_CHANGE * abs(evaluate(m)[0]) / slope or _size(initial), tries=MAX_PART_STEPS
        )
        parts += [np.clip(at_part.step * direction, -longest, longest)] if at_part.bends else []
    v, w = length * (own + DIRECTION_PERTURBATION * v), length * w
    shown = scale.bends or scale.linear
    return VerificationPoint(m, np.clip(v, -longest, longest), np.clip(w, -longest, longest), tuple(parts), shown)


def point_along(problem: Problem, m: np.ndarray, way: np.ndarray) -> VerificationPoint:
    """Return the point m with the direction along which it was reached, and a random part added to it.

    The point is the same in every call, as the random numbers are.

    Args:
        problem: The problem, of which the bounds are used.
        m: The parameter (p,).
        way: The step (p,) by which m was reached.
    """
    v, w = _rms(way) * np.random.default_rng(0).standard_normal((2, len(m)))
    lower, upper = full_bounds(problem.bounds, len(m))
    longest = 0.9 * np.maximum(np.minimum(m - lower, upper - m), 0.0) / FIRST_STEP
    return VerificationPoint(
        m, np.clip(way + DIRECTION_PERTURBATION * v, -longest, longest), np.clip(w, -longest, longest)
    )


def _parts(sizes: np.ndarray) -> list[np.ndarray]:
    """Return masks (p,) of the parts of m with the smaller derivatives, the largest of them first.

    Within a field sizes vary without gaps; between numbers in different units there are gaps of orders of magnitude.

    Args:
        sizes: The sizes (p,) of the entries of the derivative.
    """
    order = np.argsort(sizes)[np.count_nonzero(sizes == 0) :]
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.flatnonzero(sizes[order][1:] > PART_GAP * sizes[order][:-1]) + 1
    parts = [np.isin(np.arange(len(sizes)), entries) for entries in np.split(order, gaps)[:-1]]
    return parts[::-1][:MAX_TESTED_PARTS]


def rounding_of(m: np.ndarray, value: float, derivative: np.ndarray) -> float:
    """Return the error of J that its own rounding and that of m explain, or 0 where they are not finite.

    Args:
        m: The parameter (p,).
        value: J at m.
        derivative: The derivative of J at m, (p,).
    """
    with np.errstate(invalid="ignore"):
        rounding = EPS * (abs(value) + float(np.sum(np.abs(derivative) * np.abs(m))))
    return rounding if np.isfinite(rounding) else 0.0


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _size(initial: np.ndarray) -> float:
    return _rms(initial) or 1.0


def _taylor(functional: ReducedFunctional, point: VerificationPoint) -> list[Check]:
    tests, missing = [], []
    for direction in (point.v, *point.parts):
        action: np.ndarray | None = None
        try:
            action = functional.hessian_action(point.m, direction)
        except Exception as error:  # a derivative that is only a rule for reverse mode has none
            raise_interrupt(error)
            missing = [_error("Taylor remainder, with the Hessian", error)]
        tests.append(
            taylor_test(
                lambda m: _value(functional, m),
                functional.derivative(point.m),
                point.m,
                direction,
                hessian_action=action,
                first_step=FIRST_STEP,
                halvings=CHECK_HALVINGS,
            )
        )
    names = {1: "value", 2: "with the derivative", 3: "with the Hessian"}
    return [_worst([_order(names[p], p, test, point.shown) for test in tests]) for p in tests[0].orders] + missing


def _constraints(functional: ReducedFunctional, point: VerificationPoint) -> list[Check]:
    """Return the Taylor test of each constraint, of the sum of its numbers with random signs."""
    found = functional.evaluate(point.m).constraints
    if found is None:
        return []
    checks, signs = [], np.random.default_rng(0).choice([-1.0, 1.0], len(found.values))
    for name in dict.fromkeys(found.rows.names):
        weights = np.where(np.array(found.rows.names) == name, signs, 0.0)

        def value_of(m: np.ndarray, weights: np.ndarray = weights) -> float:
            return float(weights @ functional.constraint_values(m))

        test = taylor_test(
            value_of,
            weights @ found.jacobian,
            point.m,
            point.v,
            hessian_action=functional.constraint_hessian(point.m, weights)(point.v),
            first_step=FIRST_STEP,
            halvings=CHECK_HALVINGS,
        )
        linear = test.orders[2] == np.inf
        passed = test.orders[2] > 1.9 and (test.orders[3] > 2.9 or linear)
        value = "exact: it is linear" if linear else f"orders {test.orders[2]:.2f}, {test.orders[3]:.2f}"
        if not test.resolved:
            value = "cannot be told: it does not change along this direction, or is not finite"
        checks.append(Check(f"constraint {name}, Taylor remainders", value, "orders > 1.9, > 2.9", bool(passed)))
    return checks


def _value(functional: ReducedFunctional, m: np.ndarray) -> float:
    try:
        return functional(m)
    except ArithmeticError:
        return np.nan


def _worst(checks: list[Check]) -> Check:
    """Return the first check that did not pass, or the first one."""
    return next((check for check in checks if not check.passed), checks[0])


def _order(name: str, p: int, test: TaylorTest, shown: bool) -> Check:
    order = test.orders[p]
    value = f"order {order:.2f}"
    if order == np.inf:
        value = "exact: J is linear" if test.orders[2] == np.inf else "exact: J is quadratic"
    if order == np.inf and not shown:
        order = np.nan
    if np.isnan(order):
        value = inconclusive_reason(test, p)
    return Check(f"Taylor remainder, {name}", value, f"order > {p - 0.1:.1f}", order > p - 0.1)


def inconclusive_reason(test: TaylorTest, p: int = 2) -> str:
    """Return the reason why the order of the remainder p cannot be told, in words."""
    if not all(np.isfinite(remainder).all() for remainder in test.remainders.values()):
        return "J or its derivative is not finite"
    if not test.resolved:
        return NO_CHANGE
    return NO_BEND if p == 3 or test.orders[2] == np.inf else "cannot be told"


def _adjoint(functional: ReducedFunctional, point: VerificationPoint) -> list[Check]:
    """Check the adjoint identity of the map from m to the predicted data.

    Where the misfit says nothing of data, the map from m to the state is checked instead.
    """
    image = functional.prediction_tangent(point.m, point.v)
    if not image.any():  # 0 = 0 would pass, and says nothing
        value = "Jv = 0: the predicted data do not depend on m, or the derivative is cut off"
        return [Check(ADJOINT_CHECK, value, f"< {PRODUCT_GAP_TOLERANCE:.0e}", False)]
    cotangent = random_cotangent(image.shape, image.dtype)
    gap = adjoint_identity(
        lambda _: image,
        lambda w: functional.prediction_adjoint(point.m, w),
        point.v,
        cotangent,
    )
    return [_gap(ADJOINT_CHECK, gap)]


def random_cotangent(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return normal random numbers for data of a shape and type, the same in every call."""
    rng = np.random.default_rng(1)
    numbers = rng.standard_normal(shape)
    return numbers + 1j * rng.standard_normal(shape) if np.issubdtype(dtype, complex) else numbers


def _symmetry(functional: ReducedFunctional, point: VerificationPoint) -> list[Check]:
    def action(direction: np.ndarray) -> np.ndarray:
        return functional.hessian_action(point.m, direction)

    return [_gap("Hessian symmetry ⟨Hv, w⟩ = ⟨v, Hw⟩", adjoint_identity(action, action, point.v, point.w))]


def _gap(name: str, gap: float) -> Check:
    return Check(name, f"gap {gap:.1e}", f"< {PRODUCT_GAP_TOLERANCE:.0e}", gap < PRODUCT_GAP_TOLERANCE)


def _cost(functional: ReducedFunctional, point: VerificationPoint) -> list[Check]:
    """Check that a value with its derivative needs no more factorizations than a value alone.

    Both are evaluated at parameters not seen before, so that a factor is remembered only where the matrix does not
    depend on m. Of nonlinear steps in time there are too many matrices to be remembered: their adjoint may factor the
    last one of each step again.
    """
    functional.value_and_derivative(point.m)  # compiled from here on
    value = _spent(lambda: functional.terms(point.m + COST_STEP * point.v))
    both = _spent(lambda: functional.value_and_derivative(point.m + COST_STEP * point.w)).factorizations
    again = value.time_steps if value.newton_iterations else 0
    required = "no more than the value alone" + (f" and the {again} steps in time" if again else "")
    found = f"{both}; value alone: {value.factorizations}"
    return [Check("factorizations, value and derivative", found, required, both <= value.factorizations + again)]


def _spent(evaluate: Callable[[], object]) -> Work:
    before = work.copy()
    evaluate()
    return work.since(before)


def _error(name: str, error: Exception) -> Check:
    text = describe(error).strip()
    line = text.splitlines()[0] if text else "an error without a message"
    return Check(name, line if len(line) <= 200 else line[:199] + "…", "no error", False)
