"""Newton–CG and Gauss–Newton–CG.

They are inexact, preconditioned, projected onto bounds, and globalized by Armijo's rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.krylov import Direction, conjugate_gradients
from pdeopt.optimize.objective import Action, OptimizerError, hessians_of
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.recycling import Recycling
from pdeopt.optimize.trace import Finished, Trace

#: The part of the predicted decrease by which J must fall, in Armijo's rule.
ARMIJO_FRACTION = 1e-4
#: The largest number of steps that are tried in a line search, each half of the one before it.
MAX_LINE_SEARCH_STEPS = 25
#: The largest relative residual to which a Newton system is solved. It falls with the square root of the gradient norm
#: (Nocedal, Wright, "Numerical Optimization", 2006, section 7.1; Eisenstat, Walker 1996).
MAX_FORCING = 0.5
#: The smallest relative residual to which a Newton system is solved. What a system was not solved for is not lost, as
#: its products precondition the next one: with 0.2 instead of 0, total variation on 128 × 128 × 2 triangles takes 89
#: products instead of 187, in as many Newton steps.
MIN_FORCING = 0.2
#: The relative residual to which the system is solved to see what is left to gain, where the gradient is small or J
#: hardly falls any more.
FINAL_FORCING = 0.05
#: The part of their range (of their size where that is infinite) within which entries that are pushed against a bound
#: move to it (Bertsekas 1982).
ACTIVE_SET_MARGIN = 1e-3


@dataclass(frozen=True)
class NewtonMethod(Optimizer):
    """An optimizer by one of Newton's methods, with the options that say how its systems are solved.

    Attributes:
        max_cg_iterations: The largest number of iterations of conjugate gradients in one Newton system.
        recycled: The number of products with a Hessian that are kept to precondition the next system.

    Raises:
        OptimizerError: The largest number of iterations is less than 1.
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
    """An optimizer by the inexact Newton method with exact Hessian products, and with bounds.

    Its systems are solved loosely (Eisenstat–Walker) and truncated at negative curvature; steps follow Armijo's rule
    along the projection arc (Bertsekas 1982). The first steps are Gauss–Newton's where the objective has that.

    Attributes:
        max_cg_iterations: The largest number of iterations of conjugate gradients in one Newton system.
        recycled: The number of products with a Hessian that are kept to precondition the next system.
        gauss_newton_steps: The number of Gauss–Newton steps before it uses the full Hessian.
    """

    gauss_newton_steps: int = 5

    name = "newton-cg"
    needs = frozenset({"hessian"})

    def run(self, trace: Trace) -> None:
        """Iterate by Newton–CG, with Gauss–Newton products in the first iterations."""
        full = hessians_of(trace.objective)["hessian"]
        first = trace.objective.gauss_newton or full

        def hessian(m: np.ndarray) -> Action:
            return first(m) if trace.last.iteration < self.gauss_newton_steps else full(m)

        minimize_newton(trace, hessian, self)


def minimize_newton(trace: Trace, hessian: Callable[[np.ndarray], Action], method: NewtonMethod) -> None:
    """Iterate from the trace's first iterate until it raises Finished.

    Args:
        trace: The trace, which evaluates the objective and has the preconditioner.
        hessian: The function m ↦ (v ↦ H v), asked at the last iterate.
        method: The options that say how the systems are solved.

    Raises:
        Finished: The minimization has ended.
    """
    steps = _Steps(trace, hessian, method)
    trace.model = steps.left_to_gain
    while True:
        trace.accept(armijo(trace, steps.step()))


class _Steps:
    """The inexact Newton steps at the iterates, one after the other.

    That of the last one is computed, too, to see what is left to gain.
    """

    def __init__(self, trace: Trace, hessian: Callable[[np.ndarray], Action], method: NewtonMethod) -> None:
        self._trace = trace
        self._hessian = hessian
        self._method = method
        self._recycling = Recycling(method.recycled, len(trace.last.m), trace.product)
        self._certain: tuple[int, np.ndarray] | None = None  # an iterate and its step

    def step(self) -> np.ndarray:
        """Return the step (p,) at the last iterate, which is still to be projected onto the bounds."""
        trace = self._trace
        if self._certain is not None and self._certain[0] == trace.last.iteration:
            return self._certain[1]
        fallen = trace.last.gradient_norm / trace.first.gradient_norm
        step, free = self._held()
        return np.where(free, self._solved(free, float(np.clip(fallen**0.5, MIN_FORCING, MAX_FORCING))).step, step)

    def left_to_gain(self) -> float:
        """Return what the model gains between the last iterate and its minimum.

        It is a bound from the preconditioner, which is about the inverse of the Hessian or larger; where that is much,
        it comes from the system, which is then solved closely.
        """
        trace = self._trace
        derivative = trace.evaluate(trace.last.m)[1]
        step, free = self._held()
        rhs = np.where(free, -derivative, 0.0)
        held = -float(derivative @ step)
        bound = held + 0.5 * float(rhs @ self._preconditioner(free)(rhs))
        if trace.negligible(bound) or not rhs.any():
            return bound
        found = self._solved(free, FINAL_FORCING)
        self._certain = trace.last.iteration, np.where(free, found.step, step)
        return held + found.decrease

    def _held(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps of the entries that go to a bound or stay there, and which others are free.

        Returns:
            The steps (p,), 0 elsewhere, and a mask (p,) of the free entries.
        """
        trace, m = self._trace, self._trace.last.m
        if not trace.bounded:
            return np.zeros_like(m), np.ones(m.shape, bool)
        derivative = trace.evaluate(m)[1]
        held = _nearly_active(trace, derivative, self._scale())
        return np.where(held, np.where(derivative > 0, trace.lower, trace.upper) - m, 0.0), ~held

    def _solved(self, free: np.ndarray, tolerance: float) -> Direction:
        """Return the inexact Newton step of the free entries.

        Args:
            free: The mask (p,) of the free entries.
            tolerance: The relative residual to which the system is solved.
        """
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
        """Return the preconditioner of the problem, corrected on the products that are remembered.

        Where the problem has none, it is the Riesz map times the largest inverse of a curvature seen.
        """
        preconditioner = self._trace.preconditioner
        given = None if preconditioner is None else preconditioner(self._trace.last.m, free)
        if given is None:
            product = self._trace.product
            scale = self._scale() or 1.0  # 1 in the first system, where conjugate gradients do not see it
            given = lambda x: np.where(free, scale * product.gradient(x), 0.0)  # noqa: E731
        return self._recycling.preconditioner(given, free)

    def _scale(self) -> float:
        """Return the largest inverse of a curvature seen, or 0 before the first."""
        return max(self._recycling.longest(), self._trace.secants.longest())


def _nearly_active(trace: Trace, derivative: np.ndarray, scale: float) -> np.ndarray:
    """Return a mask (p,) of the entries that are at a bound and pushed against it, or nearly so.

    Args:
        trace: The trace.
        derivative: The derivative (p,) at the last iterate.
        scale: The factor of the gradient in the step that would take a nearby entry to its bound.
    """
    m = trace.last.m
    width = trace.upper - trace.lower
    near = ACTIVE_SET_MARGIN * np.where(np.isfinite(width), width, np.abs(m).max(initial=0))
    near = np.minimum(near, scale * np.abs(trace.product.gradient(derivative)))
    return ((m <= trace.lower + near) & (derivative > 0)) | ((m >= trace.upper - near) & (derivative < 0))


def armijo(trace: Trace, step: np.ndarray) -> np.ndarray:
    """Return the first of m + t·step, t = 1, ½, ¼ …, that lowers J sufficiently.

    Each is projected onto the bounds.

    Raises:
        Finished: None of them lowers J sufficiently, or J cannot tell any more.
    """
    m, value, norm = trace.last.m, trace.last.objective, trace.last.gradient_norm
    rounding = trace.goals.accuracy * abs(value)
    for k in range(MAX_LINE_SEARCH_STEPS):
        candidate = np.clip(m + 0.5**k * step, trace.lower, trace.upper)
        predicted = trace.promised(candidate)
        found = trace.evaluate(candidate)[0]
        if k == 0 and abs(predicted) <= rounding and abs(found - value) <= rounding:  # J cannot tell; its gradient can
            if trace.gradient_norm(candidate) < norm:
                return candidate
            if trace.gain_is_negligible():
                raise Finished(
                    "converged", "a step would change the objective by less than the accuracy of its evaluation"
                )
        if predicted > 0 and found <= value - ARMIJO_FRACTION * predicted:
            return candidate
    words = "no step along the Newton direction lowers the objective"
    raise trace.ended(f"{words} any more", f"the line search failed: {words}")
