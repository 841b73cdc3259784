"""SciPy's L-BFGS-B, reporting every iterate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize

from pdeopt.optimize.bounds import Bound, full_bounds, projected
from pdeopt.optimize.result import Iterate, Result


def minimize_lbfgsb(
    value_and_derivative: Callable[[np.ndarray], tuple[float, np.ndarray]],
    initial: np.ndarray,
    *,
    bounds: tuple[Bound, Bound] | None = None,
    max_iterations: int = 200,
    gradient_tolerance: float = 1e-4,
    objective_tolerance: float = 1e-9,
    memory: int = 20,
    callback: Callable[[Iterate], None] | None = None,
) -> Result:
    """Minimize with limited-memory BFGS and bounds (Byrd, Lu, Nocedal, Zhu 1995), in the Euclidean inner product.

    Args:
        value_and_derivative: m (p,) ↦ (J, ∂J/∂m).
        initial: (p,), projected onto the bounds.
        bounds: (lower, upper), numbers or arrays (p,); None where there is none.
        max_iterations: at most so many; then the status is "stopped".
        gradient_tolerance: converged when the largest entry of the projected derivative has fallen by this factor.
        objective_tolerance: converged when an iteration lowers J by no more than this, relative to |J| (or to 1 where
            |J| is smaller).
        memory: pairs kept.
        callback: called with every `Iterate`, first with the initial guess. StopIteration raised in it ends the
            minimization with the status "stopped"; any other exception passes through.

    Raises:
        ValueError: where a lower bound lies above the upper one, or bounds do not have the shape of ``initial``.
    """
    lower, upper = full_bounds(bounds, len(initial))
    trace = _Trace(value_and_derivative, lower, upper, callback)
    start = np.clip(np.asarray(initial, float), lower, upper)
    try:
        trace.accept(start)
    except StopIteration:
        return trace.result(*STOPPED)
    largest = trace.largest_entry
    if not (np.isfinite(trace.last.objective) and np.isfinite(largest)):
        return trace.result("failed", "the objective or its derivative is not finite at the initial guess")
    if largest <= ROUNDING * trace.unprojected:
        return trace.result("converged", "the initial guess is stationary within the bounds")
    if max_iterations < 1:
        return trace.result("stopped", "no iteration was asked for")
    goals = _Goals(gradient_tolerance, gradient_tolerance * largest, objective_tolerance)
    found = minimize(
        trace.evaluate,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(lower, upper),
        callback=trace.on_iteration,
        options={
            "maxiter": max_iterations,
            "maxfun": 20 * max_iterations,
            "maxcor": memory,
            "gtol": goals.largest_entry,
            "ftol": objective_tolerance,
        },
    )
    return trace.result(*_ending(trace, goals, found))


#: A projected derivative below this part of the whole one is rounding.
ROUNDING = 1e-12
STOPPED = ("stopped", "the callback asked to stop")
#: SciPy's status where the number of iterations or evaluations was reached.
LIMIT = 1


@dataclass(frozen=True)
class _Goals:
    """When the minimization has converged: either is enough.

    Attributes:
        factor: by which the largest entry of the projected derivative must fall, hence to ``largest_entry``.
        decrease: of the objective in one iteration, relative.
    """

    factor: float
    largest_entry: float
    decrease: float


class _Trace:
    """One minimization: evaluates for SciPy, keeps the last iterate, and reports each.

    Attributes:
        last: the last iterate.
        largest_entry: of the projected derivative there. unprojected: of the whole one.
        decrease: of the objective in the last iteration, relative as SciPy's; infinite before the first.
        advanced: that iteration lowered the objective, or, where that was lost in rounding, the gradient.
        stopped: the callback raised StopIteration.
    """

    def __init__(
        self,
        value_and_derivative: Callable[[np.ndarray], tuple[float, np.ndarray]],
        lower: np.ndarray,
        upper: np.ndarray,
        callback: Callable[[Iterate], None] | None,
    ) -> None:
        self._value_and_derivative = value_and_derivative
        self._bounds = lower, upper
        self._callback = callback
        self._m: np.ndarray | None = None  # where the function was evaluated last
        self._found = (np.nan, np.empty(0))
        self._evaluations = 0
        self._last: Iterate | None = None
        self.largest_entry = np.inf
        self.unprojected = np.inf
        self.decrease = np.inf
        self.advanced = False
        self.stopped = False

    def evaluate(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """J and its derivative; the point asked for last is remembered."""
        if self._m is None or not np.array_equal(m, self._m):
            self._found = self._value_and_derivative(m)
            self._m = m.copy()
            self._evaluations += 1
        return self._found

    def on_iteration(self, intermediate_result: OptimizeResult) -> None:  # SciPy wants this name
        self.accept(intermediate_result.x)

    def accept(self, m: np.ndarray) -> None:
        """The next iterate, the initial guess first."""
        value, derivative = self.evaluate(m)
        free = projected(m, derivative, *self._bounds)
        norm, self.largest_entry = float(np.linalg.norm(free)), float(np.abs(free).max(initial=0))
        self.unprojected = float(np.abs(derivative).max(initial=0))
        before, step = self._last, 0.0
        if before is not None:
            step = float(np.linalg.norm(m - before.m))
            scale = max(abs(before.objective), abs(value), 1.0)
            self.decrease = (before.objective - value) / scale
            self.advanced = value < before.objective or norm < 0.5 * before.gradient_norm
        count = 0 if before is None else before.iteration + 1
        self._last = Iterate(count, m.copy(), value, norm, step, self._evaluations)
        self._report(self._last)

    @property
    def last(self) -> Iterate:
        assert self._last is not None
        return self._last

    def result(self, status: str, message: str) -> Result:
        last = self.last
        return Result(last.m, last.objective, last.gradient_norm, status, message, last.iteration, self._evaluations)

    def _report(self, iterate: Iterate) -> None:
        if self._callback is None:
            return
        try:
            self._callback(iterate)
        except StopIteration:
            self.stopped = True
            raise


def _ending(trace: _Trace, goals: _Goals, found: OptimizeResult) -> tuple[str, str]:
    """Status and message, judged by what was reached; SciPy's words are quoted, not read."""
    if trace.stopped:
        return STOPPED
    if trace.largest_entry <= goals.largest_entry:
        return "converged", f"the derivative fell by the factor {goals.factor:g}"
    if trace.advanced and abs(trace.decrease) <= goals.decrease:
        return "converged", f"the objective changed by less than {goals.decrease:g} of its value"
    if found.status == LIMIT:
        return "stopped", "the maximum number of iterations or evaluations was reached"
    reason = found.message if found.status else "no step lowers the objective"
    return "failed", (
        f"the line search failed ({reason}); verify the derivative with a Taylor test at this point, and look at the "
        "accuracy of the solver"
    )
