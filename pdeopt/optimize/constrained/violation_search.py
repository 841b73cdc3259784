"""The least violation of constraints, which is looked for where an optimizer came to no point that keeps them."""

from __future__ import annotations

import numpy as np

from pdeopt.optimize.constraints.values import ConstraintValues
from pdeopt.optimize.gauss_newton import GaussNewton
from pdeopt.optimize.objective import Action, Objective
from pdeopt.optimize.optimizer import Iterate
from pdeopt.optimize.trace import Finished, Goals, Trace

#: The largest number of iterations of the search.
MAX_ITERATIONS = 20
#: The factor by which the gradient of the violation must fall.
GRADIENT_TOLERANCE = 1e-6


def least_violation(trace: Trace) -> str:
    """Return in words whether constraints contradict each other, from a search from the last iterate on.

    The search minimizes ``½ Σ (violation / tolerance)²`` by the Gauss–Newton method, within the bounds and whatever J
    is. Where it ends above the tolerances, the constraints have no common point nearby.

    Args:
        trace: The trace, which has ended.
    """
    found: dict[bytes, ConstraintValues] = {}

    def at(m: np.ndarray) -> ConstraintValues:
        if m.tobytes() not in found:
            constraints = trace.objective.evaluate(m).constraints
            assert constraints is not None
            found.clear()
            found[m.tobytes()] = constraints
        return found[m.tobytes()]

    def scaled(m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the violations in their tolerances with their signs, (k,), and the derivatives (k, p) of these."""
        rows, values = at(m).rows, at(m).values
        violated = rows.equality | (values > 0)
        return np.where(violated, values, 0.0) / rows.tolerance, (violated / rows.tolerance)[:, None] * at(m).jacobian

    def value_and_derivative(m: np.ndarray) -> tuple[float, np.ndarray]:
        values, jacobian = scaled(m)
        return 0.5 * float(values @ values), values @ jacobian

    def gauss_newton(m: np.ndarray) -> Action:
        jacobian = scaled(m)[1]
        return lambda v: jacobian.T @ (jacobian @ v)

    def stop_where_kept(iterate: Iterate) -> None:
        if at(iterate.m).kept:
            raise StopIteration

    goals = Goals(GRADIENT_TOLERANCE, 0.0, 1e-9, 1e-5, MAX_ITERATIONS, trace.goals.accuracy)
    objective = Objective(value_and_derivative, gauss_newton=gauss_newton)
    search = Trace(objective, trace.product, (trace.lower, trace.upper), goals, stop_where_kept)
    try:
        search.start(trace.last.m)
        GaussNewton().run(search)
    except (Finished, ArithmeticError):
        pass
    least = at(search.last.m)
    if least.kept:
        return "there are points that keep all constraints: start at one, or take another optimizer"
    names = sorted({least.rows.names[k] for k in np.flatnonzero(least.violations > least.rows.tolerance)})
    return (
        f"no point was found that keeps all constraints; where they are violated least, {least.worst()}"
        + (f" ({', '.join(map(repr, names))} contradict each other)" if len(names) > 1 else "")
        + "; they contradict each other or the bounds, at least nearby"
    )
