"""The checks that every problem must pass: Taylor orders, adjoint identity, symmetry of the Hessian, cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdeopt.inverse import Problem, ReducedFunctional
from pdeopt.run.errors import bad_input, describe
from pdeopt.sparse import work
from pdeopt.verify import adjoint_identity, taylor_test

#: Relative gap up to which two inner products count as equal.
IDENTITY = 1e-9


@dataclass(frozen=True)
class Check:
    """One line of the report; value and requirement in words."""

    name: str
    value: str
    required: str
    passed: bool


@dataclass(frozen=True)
class Point:
    """Where derivatives are checked: a parameter near the initial guess, and directions of its size."""

    m: np.ndarray
    v: np.ndarray
    w: np.ndarray


def check_problem(problem: Problem, path: Path, status: Callable[[str], None]) -> list[Check]:
    """Run all checks. Raises UsageError where the objective itself cannot be evaluated."""
    functional, point = problem.functional, _point(problem)
    status("compiling and evaluating the objective …")
    with bad_input(path):
        functional.terms(point.m)
    checks: list[Check] = []
    for title, run in (
        ("Taylor test of the derivative", _taylor),
        ("Taylor test of the Hessian", _taylor_of_hessian),
        ("adjoint identity", _adjoint),
        ("symmetry of the Hessian", _symmetry),
        ("cost of a derivative", _cost),
    ):
        status(f"{title} …")
        try:
            checks += run(functional, point)
        except Exception as error:  # whatever a derivative raises is what is wrong with it
            checks.append(Check(title, _brief(describe(error)), "no error", False))
    return checks


def _point(problem: Problem) -> Point:
    """Inside the bounds, a tenth of the parameter's size away from the initial guess; always the same."""
    rng = np.random.default_rng(0)
    initial = np.asarray(problem.initial, float)
    size = float(np.sqrt(np.mean(initial**2))) or 1.0
    perturbation, v, w = size * rng.standard_normal((3, len(initial)))
    lower, upper = problem.bounds or (None, None)
    return Point(np.clip(initial + 0.1 * perturbation, lower, upper), v, w)


def _taylor(functional: ReducedFunctional, point: Point) -> list[Check]:
    test = taylor_test(functional, functional.derivative(point.m), point.m, point.v)
    return [_order("value", 1, test.orders[1]), _order("with the derivative", 2, test.orders[2])]


def _taylor_of_hessian(functional: ReducedFunctional, point: Point) -> list[Check]:
    """Apart, because a derivative that is only a rule for reverse mode has none."""
    action = functional.hessian_action(point.m, point.v)
    test = taylor_test(functional, functional.derivative(point.m), point.m, point.v, hessian_action=action)
    return [_order("with the Hessian", 3, test.orders[3])]


def _order(name: str, p: int, order: float) -> Check:
    value = "zero up to rounding" if order == np.inf else f"order {order:.2f}"
    return Check(f"Taylor remainder, {name}", value, f"order > {p - 0.1:.1f}", order > p - 0.1)


def _adjoint(functional: ReducedFunctional, point: Point) -> list[Check]:
    cotangent = np.random.default_rng(1).standard_normal(functional.misfit.data.shape)
    gap = adjoint_identity(
        lambda v: functional.prediction_tangent(point.m, v),
        lambda w: functional.prediction_adjoint(point.m, w),
        point.v,
        cotangent,
    )
    return [_gap("adjoint identity ⟨Jv, w⟩ = ⟨v, Jᵀw⟩", gap)]


def _symmetry(functional: ReducedFunctional, point: Point) -> list[Check]:
    def action(direction: np.ndarray) -> np.ndarray:
        return functional.hessian_action(point.m, direction)

    return [_gap("Hessian symmetry ⟨Hv, w⟩ = ⟨v, Hw⟩", adjoint_identity(action, action, point.v, point.w))]


def _gap(name: str, gap: float) -> Check:
    return Check(name, f"gap {gap:.1e}", f"< {IDENTITY:.0e}", gap < IDENTITY)


def _cost(functional: ReducedFunctional, point: Point) -> list[Check]:
    """At parameters not seen before, so that no factor is remembered."""
    functional.value_and_derivative(point.m)  # compiled from here on
    value = _factorizations(lambda: functional.terms(point.m + 1e-3 * point.v))
    both = _factorizations(lambda: functional.value_and_derivative(point.m + 1e-3 * point.w))
    required = f"≤ {value}, as the value alone"
    return [Check("factorizations for value and derivative", str(both), required, both <= value)]


def _factorizations(evaluate: Callable[[], object]) -> int:
    before = work.copy()
    evaluate()
    return work.since(before).factorizations


def _brief(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "an error without a message"
    return line if len(line) <= 200 else line[:199] + "…"
