"""Newton–CG and Gauss–Newton–CG: inexact, preconditioned, projected onto bounds, globalized by Armijo's rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.krylov import Direction, conjugate_gradients
from pdeopt.optimize.objective import Action, Preconditioner
from pdeopt.optimize.recycling import Recycling
from pdeopt.optimize.trace import REMEDY, Finished, Trace

#: Armijo's fraction of the predicted decrease; how often a step is halved.
SUFFICIENT, HALVINGS = 1e-4, 25
#: The relative residual to which a Newton system is solved falls with the square root of the gradient norm (Nocedal,
#: Wright, "Numerical Optimization", 2006, section 7.1; Eisenstat, Walker 1996), between these. What a system was not
#: solved for is not lost, as its products precondition the next one: with 0.2 instead of 0 as the lower end, total
#: variation on 128 × 128 × 2 triangles takes 89 products instead of 187, in as many Newton steps.
LOOSEST, TIGHTEST = 0.5, 0.2
#: Entries within this part of their range of a bound, and pushed against it, move to the bound (Bertsekas 1982); of
#: their size where the range is infinite.
NEAR = 1e-3


@dataclass(frozen=True)
class NewtonSettings:
    """
    Attributes:
        hessian: m ↦ H(m), for the iterations after the first ones. first: for those; None where H serves at once.
        first_iterations: how many.
        preconditioner: see `Preconditioner`. max_cg_iterations: in one Newton system.
        memory: products with a Hessian that precondition the next system, too.
    """

    hessian: Callable[[np.ndarray], Action]
    first: Callable[[np.ndarray], Action] | None
    first_iterations: int
    preconditioner: Preconditioner
    max_cg_iterations: int
    memory: int

    def hessian_at(self, m: np.ndarray, iteration: int) -> Action:
        first = self.first is not None and iteration < self.first_iterations
        return self.first(m) if first and self.first is not None else self.hessian(m)


def minimize_newton(trace: Trace, settings: NewtonSettings) -> None:
    """Iterate from the trace's first iterate until it raises Finished."""
    recycling = Recycling(settings.memory, len(trace.last.m))
    while True:
        m = trace.last.m
        derivative = trace.evaluate(m)[1]
        held = _nearly_active(trace, m, derivative)
        found = _direction(trace, settings, recycling, ~held)
        step = np.where(held, np.where(derivative > 0, trace.lower, trace.upper) - m, found.step)
        trace.accept(_armijo(trace, m, step, derivative), found.iterations)


def _nearly_active(trace: Trace, m: np.ndarray, derivative: np.ndarray) -> np.ndarray:
    """Entries that are at a bound, or so close that a gradient step would take them there; few where that is far."""
    width = trace.upper - trace.lower
    near = NEAR * np.where(np.isfinite(width), width, np.abs(m).max(initial=0))
    near = np.minimum(near, np.abs(trace.product.gradient(derivative)))
    return ((m <= trace.lower + near) & (derivative > 0)) | ((m >= trace.upper - near) & (derivative < 0))


def _direction(trace: Trace, settings: NewtonSettings, recycling: Recycling, free: np.ndarray) -> Direction:
    """The inexact Newton step of the free entries."""
    m = trace.last.m
    rhs = np.where(free, -trace.evaluate(m)[1], 0.0)
    if not rhs.any():
        return Direction(np.zeros_like(m), 0, True)
    hessian = recycling.recorded(settings.hessian_at(m, trace.last.iteration))
    return conjugate_gradients(
        hessian if free.all() else lambda v: np.where(free, hessian(v), 0.0),
        rhs,
        recycling.preconditioner(settings.preconditioner(m, free), free),
        float(np.clip((trace.last.gradient_norm / trace.first.gradient_norm) ** 0.5, TIGHTEST, LOOSEST)),
        settings.max_cg_iterations,
    )


def _armijo(trace: Trace, m: np.ndarray, step: np.ndarray, derivative: np.ndarray) -> np.ndarray:
    """The first of m + t·step, t = 1, ½, ¼ …, projected onto the bounds, that lowers J sufficiently."""
    value, norm = trace.last.objective, trace.last.gradient_norm
    rounding = trace.goals.accuracy * abs(value)
    for k in range(HALVINGS):
        candidate = np.clip(m + 0.5**k * step, trace.lower, trace.upper)
        predicted = float(derivative @ (m - candidate))
        found = trace.evaluate(candidate)[0]
        if abs(predicted) <= rounding and abs(found - value) <= rounding:  # J cannot tell any more; its gradient can
            if trace.gradient_norm(candidate) < norm:
                return candidate
            raise Finished("converged", "a step would change the objective by less than the accuracy of its evaluation")
        if predicted > 0 and found <= value - SUFFICIENT * predicted:
            return candidate
    raise Finished(
        "failed",
        f"the line search failed: no step along the Newton direction lowers the objective; {REMEDY}",
    )
