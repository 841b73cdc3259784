"""The least violation of constraints, which is looked for where an optimizer came to no point that keeps them."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from pdeopt.optimize.bounds import projected
from pdeopt.optimize.constraints.values import ConstraintValues
from pdeopt.optimize.gauss_newton import GaussNewton
from pdeopt.optimize.objective import Action, Objective
from pdeopt.optimize.optimizer import Iterate
from pdeopt.optimize.trace import Finished, Goals, Trace

#: The largest number of iterations of the search.
MAX_SEARCH_ITERATIONS = 20
#: The factor by which the gradient of the violation must fall.
GRADIENT_TOLERANCE = 1e-6
#: The norm of the gradient of the violation, relative to the sum of those of its parts, that counts as 0.
STATIONARY = 1e-4


def violation_in_words(trace: Trace) -> str:
    """Return in words whether constraints contradict each other, from where a minimization has ended.

    Where the violation is not stationary there, a search minimizes ``½ Σ (violation / tolerance)²`` by the Gauss–Newton
    method, within the bounds and whatever J is. Where it ends above the tolerances, the constraints have no common
    point nearby.

    Args:
        trace: The trace, which has ended where constraints are violated.
    """
    assert trace.last.constraints is not None
    least = trace.last.constraints if is_least(trace) else _searched(trace)
    if least.kept:
        return "there are points that keep all constraints: start at one, or take another optimizer"
    names = sorted({least.rows.names[k] for k in np.flatnonzero(least.violations > least.rows.tolerance)})
    if len(names) == 1:
        return f"no point nearby keeps it, within the bounds and all other constraints: at the least, {least.worst()}"
    contradicting = f"{', '.join(map(repr, names[:-1]))} and {names[-1]!r}"
    return f"{contradicting} contradict each other, at least nearby: where they are violated least, {least.worst()}"


def is_least(trace: Trace) -> bool:
    """Return whether the violation at the last iterate is stationary within the bounds."""
    assert trace.last.constraints is not None
    values, jacobian = _scaled(trace.last.constraints)
    derivative = projected(trace.last.m, values @ jacobian, trace.lower, trace.upper)
    scale = float(np.abs(values) @ np.linalg.norm(jacobian, axis=1))
    return bool(np.linalg.norm(derivative) <= STATIONARY * scale)


def _searched(trace: Trace) -> ConstraintValues:
    """Return the constraints where the violation is least, as a search from the last iterate on finds it."""
    found: dict[bytes, ConstraintValues] = {}

    def at(m: np.ndarray) -> ConstraintValues:
        if m.tobytes() not in found:
            constraints = trace.objective.evaluate(m).constraints
            assert constraints is not None
            found.clear()
            found[m.tobytes()] = constraints
        return found[m.tobytes()]

    def value_and_derivative(m: np.ndarray) -> tuple[float, np.ndarray]:
        values, jacobian = _scaled(at(m))
        return 0.5 * float(values @ values), values @ jacobian

    def gauss_newton(m: np.ndarray) -> Action:
        jacobian = _scaled(at(m))[1]
        return lambda v: jacobian.T @ (jacobian @ v)

    def stop_where_kept(iterate: Iterate) -> None:
        if at(iterate.m).kept:
            raise StopIteration

    goals = Goals(GRADIENT_TOLERANCE, 0.0, 1e-9, 1e-5, MAX_SEARCH_ITERATIONS, trace.goals.accuracy)
    objective = Objective(value_and_derivative, gauss_newton=gauss_newton)
    search = Trace(objective, trace.product, (trace.lower, trace.upper), goals, stop_where_kept)
    with suppress(Finished, ArithmeticError):
        search.start(trace.last.m)
        GaussNewton().run(search)
    return at(search.last.m)


def _scaled(constraints: ConstraintValues) -> tuple[np.ndarray, np.ndarray]:
    """Return the violations in their tolerances with their signs, (k,), and the derivatives (k, p) of these."""
    rows, values = constraints.rows, constraints.values
    violated = rows.equality | (values > 0)
    return np.where(violated, values, 0.0) / rows.tolerance, (violated / rows.tolerance)[:, None] * constraints.jacobian
