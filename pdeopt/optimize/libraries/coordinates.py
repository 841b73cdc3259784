"""The coordinates in which other libraries minimize, where the inner product is Euclidean and units are gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy  # its parts are loaded where they are first used

from pdeopt.optimize.constraints.values import ConstraintValues
from pdeopt.optimize.inner_product import InnerProduct
from pdeopt.optimize.objective import Action
from pdeopt.optimize.trace import Trace

#: The part of their range within which entries near a bound are taken to be on it; SLSQP comes no closer.
BOUND_TOLERANCE = 1e-13
#: The number of points, each nearer than the one before it, that are tried to probe the curvature.
MAX_CURVATURE_PROBES = 3
#: The factor by which the first step is longer than a parabola along the gradient asks for: its curvature is mostly
#: that of the steepest directions, and the line search shortens. With 8, L-BFGS-B takes 52 iterations on the problem
#: poisson_mother, with 1 it takes 86; on others it does not matter.
FIRST_STEP_FACTOR = 8.0


class Coordinates:
    """The coordinates z in which SciPy minimizes.

    The change of variables is m = m₀ + c S z in an unbounded problem, and m = c S z in one with bounds (S diagonal);
    the objective is J = σ J̃, where ∇J̃ has norm 1 in z at the start. Some methods first try a step of length 1, or 1
    is their first trust radius, or they take curvatures to be 1, or their tolerances are absolute: c and σ make that
    fit, whatever the units of m and J. Where ∇J vanishes at the start, σ = c. Constraints are divided by the norms of
    their gradients in z at the start.

    Attributes:
        bounds: The bounds on z; None where there are none.
        start: The coordinates of the last iterate at the start.
    """

    def __init__(self, trace: Trace, scale: float, only_better: bool) -> None:
        self._trace = trace
        self._only_better = only_better
        self._product: InnerProduct = trace.product
        self._scale = scale
        self._unit = scale * (trace.gradient_norm(trace.last.m) or 1.0)  # σ
        self._origin = self._start = trace.last.m
        self.bounds: scipy.optimize.Bounds | None = None
        if trace.bounded:
            roots = self._roots() / self._scale
            self._origin = np.zeros_like(self._start)
            self.bounds = scipy.optimize.Bounds(roots * trace.lower, roots * trace.upper)
            self.start = np.clip(roots * self._start, self.bounds.lb, self.bounds.ub)
        else:
            self.start = np.zeros_like(trace.product.pullback(self._start))
        self._divisors = self._gradient_norms()

    def parameter(self, z: np.ndarray) -> np.ndarray:
        """Return m (p,) of z, exactly on a bound where z is on it up to rounding."""
        if not z.any() and self.bounds is None:
            return self._start
        m = self._origin + self._product.primal(self._scale * z)
        if self.bounds is None:
            return m
        lower, upper = self.bounds.lb, self.bounds.ub
        near = BOUND_TOLERANCE * np.where(np.isfinite(upper - lower), upper - lower, np.abs(z))
        m = np.where(z <= lower + near, self._trace.lower, np.where(z >= upper - near, self._trace.upper, m))
        return np.clip(m, self._trace.lower, self._trace.upper)

    def evaluate(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J̃ and its derivative with respect to z, at z."""
        m = self.parameter(z)
        value, derivative = self._trace.evaluate(m)
        if not np.isfinite(value):
            value, derivative = self._wall(m)
        return value / self._unit, self._scale / self._unit * self._product.pullback(derivative)

    def constraints(self, z: np.ndarray) -> ConstraintValues:
        """Return the scaled constraints and their derivatives with respect to z, at z.

        Where J cannot be evaluated, they are those of the last iterate.
        """
        found = self._trace.evaluation(self.parameter(z)).constraints or self._trace.last.constraints
        assert found is not None
        jacobian = np.array([self._scale * self._product.pullback(row) for row in found.jacobian])
        divisors = self._divisors
        rows = replace(found.rows, tolerance=found.rows.tolerance / divisors)
        return ConstraintValues(rows, found.values / divisors, jacobian / divisors[:, None])

    def _gradient_norms(self) -> np.ndarray:
        """Return the norms (k,) of the constraints' gradients in z at the start, 1 where they vanish."""
        self._divisors = np.ones(1)
        if not self._trace.constrained:
            return self._divisors
        norms = np.linalg.norm(self.constraints(self.start).jacobian, axis=1)
        return np.where(norms > 0, norms, 1.0)

    def unscaled(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights (k,) of the constraints that belong to the given ones of the scaled constraints."""
        return weights / self._divisors

    def constraint_hessian(self, action: Action) -> Action:
        """Return the action c² Sᵀ H S of an action H, of constraints with weights as `unscaled` returns them."""
        square = self._scale**2
        return lambda direction: square * self._product.pullback(action(self._product.primal(direction)))

    def _wall(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """Return a value and a derivative (p,) that stand for a value that is not finite.

        The value is as high above that of the last iterate as was hoped for below, and it rises. SciPy's line searches
        interpolate, and cannot with infinity.
        """
        last = self._trace.last
        derivative = self._trace.evaluate(last.m)[1]
        return last.objective + abs(float(derivative @ (m - last.m))), -derivative

    def hessian(self, action: Action) -> Action:
        """Return the action c² Sᵀ H S / σ of an action H."""
        square = self._scale**2 / self._unit
        return lambda direction: square * self._product.pullback(action(self._product.primal(direction)))

    def accept(self, intermediate_result: scipy.optimize.OptimizeResult) -> None:  # SciPy wants this name
        """Report the iterate of SciPy's result, unless it is none."""
        self.accept_plain(intermediate_result.x)

    def accept_plain(self, z: np.ndarray) -> None:
        """Report the iterate of z, unless it is none.

        Rejected steps of trust regions, and the trial points that SLSQP reports, are no iterates.
        """
        m, last = self.parameter(z), self._trace.last
        if np.array_equal(m, last.m) or (self._only_better and not self._is_better(m)):
            return
        self._trace.accept(m)

    def _is_better(self, m: np.ndarray) -> bool:
        """Return whether J is no larger at m than at the last iterate, or violations are smaller.

        Where both keep the constraints up to their tolerances, violations are priced at twice the multipliers: a point
        that lies a little outside has a smaller J than the minimum.
        """
        found, last = self._trace.evaluation(m), self._trace.last
        if found.constraints is None or last.constraints is None or last.multipliers is None:
            return not found.value > last.objective
        if not (last.feasible and found.constraints.kept):
            return found.constraints.violation < last.violation
        prices = 2 * np.abs(last.multipliers)
        priced = found.value + float(prices @ found.constraints.violations)
        return not priced > last.objective + float(prices @ last.constraints.violations)

    def _roots(self) -> np.ndarray:
        assert self._product.weights is not None
        return np.sqrt(self._product.weights)


def parabola_length(trace: Trace) -> float:
    """Return the length of the step along the gradient to the minimum of a parabola.

    Its curvature comes from one more derivative, taken so near that J hardly falls, but by more than its accuracy, and
    nearer where J does not fall there. The length is at most the one with which J would vanish, were it linear, and an
    eighth of that where the curvature is not positive. It is 1 where the gradient vanishes.
    """
    first, product = trace.last, trace.product
    derivative = trace.projected(first.m)
    gradient = product.gradient(derivative)
    part = 10 * trace.goals.accuracy**0.5
    if not derivative.any():
        return 1.0
    near = part * abs(first.objective) / float(derivative @ gradient)
    highest = first.objective + trace.goals.accuracy * abs(first.objective)
    for _ in range(MAX_CURVATURE_PROBES):
        step = np.clip(first.m - near * gradient, trace.lower, trace.upper) - first.m
        value, other = trace.evaluate(first.m + step)
        if step.any() and value <= highest:
            if not trace.constrained:
                trace.secants.remember(step, other - trace.evaluate(first.m)[1])
            slope, curvature = -float(derivative @ step), float((other - derivative) @ step)
            times = min(slope / curvature, 1 / part) if curvature > 0 else 1 / (FIRST_STEP_FACTOR * part)
            return times * product.norm(step)
        near *= part
    return 1.0
