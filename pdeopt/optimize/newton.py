"""Newton–CG and Gauss–Newton–CG: inexact, preconditioned, projected onto bounds, globalized by Armijo's rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.krylov import Direction, conjugate_gradients
from pdeopt.optimize.objective import Action, OptimizerError, hessians_of
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.recycling import Recycling
from pdeopt.optimize.trace import Finished, Trace

#: Armijo's fraction of the predicted decrease; how often a step is halved.
SUFFICIENT, HALVINGS = 1e-4, 25
#: The relative residual to which a Newton system is solved falls with the square root of the gradient norm (Nocedal,
#: Wright, "Numerical Optimization", 2006, section 7.1; Eisenstat, Walker 1996), between these. What a system was not
#: solved for is not lost, as its products precondition the next one: with 0.2 instead of 0 as the lower end, total
#: variation on 128 × 128 × 2 triangles takes 89 products instead of 187, in as many Newton steps.
LOOSEST, TIGHTEST = 0.5, 0.2
#: Where the gradient is small or J hardly falls any more, the system is solved this far to see what is left to gain.
CERTAIN = 0.05
#: Entries within this part of their range of a bound, and pushed against it, move to the bound (Bertsekas 1982); of
#: their size where the range is infinite.
NEAR = 1e-3


@dataclass(frozen=True)
class NewtonMethod(Optimizer):
    """What Newton's methods have in common: how their systems are solved.

    Attributes:
        max_cg_iterations: in one Newton system.
        recycled: products with a Hessian kept to precondition the next system.
    """

    max_cg_iterations: int = 500
    recycled: int = 80

    keeps = frozenset({"bounds"})
    loose_iterations = 3

    def __post_init__(self) -> None:
        if self.max_cg_iterations < 1:
            raise OptimizerError(f"max_cg_iterations is {self.max_cg_iterations}; a Newton system needs at least 1")


@dataclass(frozen=True)
class NewtonCG(NewtonMethod):
    """Inexact Newton with exact Hessian products, and bounds.

    Its systems are solved loosely (Eisenstat–Walker) and truncated at negative curvature; steps follow Armijo's rule
    along the projection arc (Bertsekas 1982). The first ones are Gauss–Newton's where the objective has that.

    Attributes:
        max_cg_iterations: in one Newton system.
        recycled: products with a Hessian kept to precondition the next system.
        gauss_newton_steps: before it uses the full Hessian.
    """

    gauss_newton_steps: int = 5

    name = "newton-cg"
    needs = frozenset({"hessian"})

    def run(self, trace: Trace) -> None:
        full = hessians_of(trace.objective)["hessian"]
        first = trace.objective.gauss_newton or full

        def hessian(m: np.ndarray) -> Action:
            return first(m) if trace.last.iteration < self.gauss_newton_steps else full(m)

        minimize_newton(trace, hessian, self)


def minimize_newton(trace: Trace, hessian: Callable[[np.ndarray], Action], method: NewtonMethod) -> None:
    """Iterate from the trace's first iterate until it raises Finished.

    Args:
        trace: evaluates, and has the preconditioner.
        hessian: m ↦ (v ↦ H v), asked at the last iterate.
        method: how the systems are solved.
    """
    steps = _Steps(trace, hessian, method)
    trace.model = steps.left_to_gain
    while True:
        trace.accept(_armijo(trace, steps.step()))


class _Steps:
    """The inexact Newton steps at the iterates, one after the other; of the last one, too, to see what is left."""

    def __init__(self, trace: Trace, hessian: Callable[[np.ndarray], Action], method: NewtonMethod) -> None:
        self._trace = trace
        self._hessian = hessian
        self._method = method
        self._recycling = Recycling(method.recycled, len(trace.last.m), trace.product)
        self._certain: tuple[int, np.ndarray] | None = None  # an iterate and its step

    def step(self) -> np.ndarray:
        """The step at the last iterate (p,), to be projected onto the bounds."""
        trace = self._trace
        if self._certain is not None and self._certain[0] == trace.last.iteration:
            return self._certain[1]
        fallen = trace.last.gradient_norm / trace.first.gradient_norm
        step, free = self._held()
        return np.where(free, self._solved(free, float(np.clip(fallen**0.5, TIGHTEST, LOOSEST))).step, step)

    def left_to_gain(self) -> float:
        """What the model gains between the last iterate and its minimum: a bound from the preconditioner, which is at
        least the inverse of the Hessian about; or where that is much, from the system solved closely."""
        trace = self._trace
        derivative = trace.evaluate(trace.last.m)[1]
        step, free = self._held()
        rhs = np.where(free, -derivative, 0.0)
        held = -float(derivative @ step)
        bound = held + 0.5 * float(rhs @ self._preconditioner(free)(rhs))
        if trace.negligible(bound) or not rhs.any():
            return bound
        found = self._solved(free, CERTAIN)
        self._certain = trace.last.iteration, np.where(free, found.step, step)
        return held + found.decrease

    def _held(self) -> tuple[np.ndarray, np.ndarray]:
        """The steps of the entries that go to a bound or stay there, 0 elsewhere; and which others are free."""
        trace, m = self._trace, self._trace.last.m
        if not trace.bounded:
            return np.zeros_like(m), np.ones(m.shape, bool)
        derivative = trace.evaluate(m)[1]
        held = _nearly_active(trace, derivative, self._scale())
        return np.where(held, np.where(derivative > 0, trace.lower, trace.upper) - m, 0.0), ~held

    def _solved(self, free: np.ndarray, tolerance: float) -> Direction:
        """The inexact Newton step of the free entries."""
        trace, m = self._trace, self._trace.last.m
        rhs = np.where(free, -trace.evaluate(m)[1], 0.0)
        if not rhs.any():
            return Direction(np.zeros_like(m), 0, True, 0.0)
        hessian = self._recycling.recorded(self._hessian(m))
        found = conjugate_gradients(
            hessian if free.all() else lambda v: np.where(free, hessian(v), 0.0),
            rhs,
            self._preconditioner(free),
            tolerance,
            self._method.max_cg_iterations,
        )
        trace.cg_iterations += found.iterations
        return found

    def _preconditioner(self, free: np.ndarray) -> Action:
        """That of the problem, or else the Riesz map times the largest inverse of a curvature seen."""
        preconditioner = self._trace.preconditioner
        given = None if preconditioner is None else preconditioner(self._trace.last.m, free)
        if given is None:
            product = self._trace.product
            scale = self._scale() or 1.0  # of the first system: conjugate gradients do not see it
            given = lambda x: np.where(free, scale * product.gradient(x), 0.0)  # noqa: E731
        return self._recycling.preconditioner(given, free)

    def _scale(self) -> float:
        """The largest inverse of a curvature seen, 0 before the first."""
        return max(self._recycling.longest(), self._trace.secants.longest())


def _nearly_active(trace: Trace, derivative: np.ndarray, scale: float) -> np.ndarray:
    """Entries that are at a bound, or so close that a gradient step, of that scale, would take them there."""
    m = trace.last.m
    width = trace.upper - trace.lower
    near = NEAR * np.where(np.isfinite(width), width, np.abs(m).max(initial=0))
    near = np.minimum(near, scale * np.abs(trace.product.gradient(derivative)))
    return ((m <= trace.lower + near) & (derivative > 0)) | ((m >= trace.upper - near) & (derivative < 0))


def _armijo(trace: Trace, step: np.ndarray) -> np.ndarray:
    """The first of m + t·step, t = 1, ½, ¼ …, projected onto the bounds, that lowers J sufficiently."""
    m, derivative = trace.last.m, trace.evaluate(trace.last.m)[1]
    value, norm = trace.last.objective, trace.last.gradient_norm
    rounding = trace.goals.accuracy * abs(value)
    for k in range(HALVINGS):
        candidate = np.clip(m + 0.5**k * step, trace.lower, trace.upper)
        predicted = float(derivative @ (m - candidate))
        found = trace.evaluate(candidate)[0]
        if k == 0 and abs(predicted) <= rounding and abs(found - value) <= rounding:  # J cannot tell; its gradient can
            if trace.gradient_norm(candidate) < norm:
                return candidate
            if trace.nothing_left():
                raise Finished(
                    "converged", "a step would change the objective by less than the accuracy of its evaluation"
                )
        if predicted > 0 and found <= value - SUFFICIENT * predicted:
            return candidate
    words = "no step along the Newton direction lowers the objective"
    raise trace.ended(f"{words} any more", f"the line search failed: {words}")
