"""The checks that every problem must pass: Taylor orders, adjoint identity, symmetry of the Hessian, cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdeopt.inverse import Problem, ReducedFunctional
from pdeopt.optimize import full_bounds
from pdeopt.run.errors import bad_input, describe, raise_interrupt
from pdeopt.sparse import work
from pdeopt.verify import TaylorTest, adjoint_identity, taylor_test

#: Relative gap up to which two inner products count as equal.
IDENTITY = 1e-9
#: The largest step of the Taylor test, and that of the evaluations whose cost is counted.
FIRST_STEP, COST_STEP = 0.1, 1e-3
ADJOINT = "adjoint identity ⟨Jv, w⟩ = ⟨v, Jᵀw⟩"
UNTOLD = "J does not change along this direction: it does not depend on m, or too little"


@dataclass(frozen=True)
class Check:
    """One line of the report; value and requirement in words."""

    name: str
    value: str
    required: str
    passed: bool


@dataclass(frozen=True)
class Point:
    """Where derivatives are checked: a parameter near the initial guess, and directions of its size.

    All steps along v and w up to `FIRST_STEP` stay within the bounds.
    """

    m: np.ndarray
    v: np.ndarray
    w: np.ndarray


def check_problem(problem: Problem, path: Path, status: Callable[[str], None]) -> list[Check]:
    """Run all checks. Raises UsageError where the objective itself cannot be evaluated."""
    functional = problem.functional
    status("compiling and evaluating the objective …")
    with bad_input(path):
        point = point_of(problem)
        functional.terms(point.m)
    checks: list[Check] = []
    for title, run in (
        ("Taylor test", _taylor),
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


def point_of(problem: Problem) -> Point:
    """A tenth of the parameter's size away from the initial guess, off the bounds; always the same."""
    rng = np.random.default_rng(0)
    initial = np.asarray(problem.initial, float)
    size = float(np.sqrt(np.mean(initial**2))) or 1.0
    perturbation, v, w = size * rng.standard_normal((3, len(initial)))
    lower, upper = full_bounds(problem.bounds, len(initial))
    margin = 0.25 * np.minimum(upper - lower, size)
    m = np.clip(initial + 0.1 * perturbation, lower + margin, upper - margin)
    longest = 0.9 * np.minimum(m - lower, upper - m) / FIRST_STEP
    return Point(m, np.clip(v, -longest, longest), np.clip(w, -longest, longest))


def _taylor(functional: ReducedFunctional, point: Point) -> list[Check]:
    derivative = functional.derivative(point.m)
    action: np.ndarray | None = None
    missing = []
    try:
        action = functional.hessian_action(point.m, point.v)
    except Exception as error:  # a derivative that is only a rule for reverse mode has none
        missing = [_error("Taylor remainder, with the Hessian", error)]
    test = taylor_test(functional, derivative, point.m, point.v, hessian_action=action, first_step=FIRST_STEP)
    names = {1: "value", 2: "with the derivative", 3: "with the Hessian"}
    return [_order(names[p], p, test) for p in test.orders] + missing


def _order(name: str, p: int, test: TaylorTest) -> Check:
    order = test.orders[p]
    value = "zero up to rounding" if order == np.inf else f"order {order:.2f}"
    if np.isnan(order):
        value = untold(test)
    return Check(f"Taylor remainder, {name}", value, f"order > {p - 0.1:.1f}", order > p - 0.1)


def untold(test: TaylorTest) -> str:
    """Why an order is NaN."""
    if not all(np.isfinite(remainder).all() for remainder in test.remainders.values()):
        return "J or its derivative is not finite"
    return "cannot be told" if test.resolved else UNTOLD


def _adjoint(functional: ReducedFunctional, point: Point) -> list[Check]:
    """Of the map from m to the predicted data; to the state, where the misfit says nothing of data."""
    image = functional.prediction_tangent(point.m, point.v)
    if not image.any():  # 0 = 0 would pass, and says nothing
        value = "Jv = 0: the predicted data do not depend on m, or the derivative is cut off"
        return [Check(ADJOINT, value, f"< {IDENTITY:.0e}", False)]
    cotangent = np.random.default_rng(1).standard_normal(image.shape)
    gap = adjoint_identity(
        lambda _: image,
        lambda w: functional.prediction_adjoint(point.m, w),
        point.v,
        cotangent,
    )
    return [_gap(ADJOINT, gap)]


def _symmetry(functional: ReducedFunctional, point: Point) -> list[Check]:
    def action(direction: np.ndarray) -> np.ndarray:
        return functional.hessian_action(point.m, direction)

    return [_gap("Hessian symmetry ⟨Hv, w⟩ = ⟨v, Hw⟩", adjoint_identity(action, action, point.v, point.w))]


def _gap(name: str, gap: float) -> Check:
    return Check(name, f"gap {gap:.1e}", f"< {IDENTITY:.0e}", gap < IDENTITY)


def _cost(functional: ReducedFunctional, point: Point) -> list[Check]:
    """At parameters not seen before, so that a factor is remembered only where the matrix does not depend on m."""
    functional.value_and_derivative(point.m)  # compiled from here on
    value = _factorizations(lambda: functional.terms(point.m + COST_STEP * point.v))
    both = _factorizations(lambda: functional.value_and_derivative(point.m + COST_STEP * point.w))
    found = f"{both}; value alone: {value}"
    return [Check("factorizations, value and derivative", found, "no more than the value alone", both <= value)]


def _factorizations(evaluate: Callable[[], object]) -> int:
    before = work.copy()
    evaluate()
    return work.since(before).factorizations


def _error(name: str, error: Exception) -> Check:
    text = describe(error).strip()
    line = text.splitlines()[0] if text else "an error without a message"
    return Check(name, line if len(line) <= 200 else line[:199] + "…", "no error", False)
