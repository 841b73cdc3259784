"""SciPy's L-BFGS-B, reporting every iterate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize

from pdeopt.optimize.result import Iterate, Result

Bound = np.ndarray | float | None


@dataclass
class _Trace:
    """The evaluations of one minimization, as the optimizer asks for them."""

    value_and_derivative: Callable[[np.ndarray], tuple[float, np.ndarray]]
    evaluations: int = 0
    m: np.ndarray | None = None
    value: float = np.nan
    derivative: np.ndarray | None = None

    def __call__(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        if self.m is None or not np.array_equal(m, self.m):
            self.value, self.derivative = self.value_and_derivative(m)
            self.m = m.copy()
            self.evaluations += 1
        assert self.derivative is not None
        return self.value, self.derivative


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
        objective_tolerance: converged when an iteration lowers J by less than this, relatively.
        memory: pairs kept.
        callback: called with every `Iterate`, first with the initial guess. StopIteration raised in it ends the
            minimization with the status "stopped"; any other exception passes through.

    Raises:
        ValueError: where a lower bound lies above the upper one, or bounds do not have the shape of ``initial``.
    """
    lower, upper = _full(bounds, len(initial))
    trace = _Trace(value_and_derivative)
    start = np.clip(np.asarray(initial, float), lower, upper)
    iterates: list[Iterate] = []
    decrease = np.inf  # of the objective in the last iteration

    def report(m: np.ndarray, value: float, derivative: np.ndarray) -> None:
        norm = float(np.linalg.norm(_projected(m, derivative, lower, upper)))
        nonlocal decrease
        step = 0.0
        if iterates:
            step, decrease = float(np.linalg.norm(m - iterates[-1].m)), iterates[-1].objective - value
        iterates[:] = [Iterate(_count(iterates), m.copy(), value, norm, step, trace.evaluations)]
        if callback is not None:
            callback(iterates[-1])

    def on_iteration(intermediate_result: OptimizeResult) -> None:
        report(intermediate_result.x, *trace(intermediate_result.x))

    value, derivative = trace(start)
    try:
        report(start, value, derivative)
    except StopIteration:
        return _result(iterates[-1], "stopped", "the callback asked to stop")
    if not (np.isfinite(value) and np.isfinite(derivative).all()):
        return _result(iterates[-1], "failed", "the objective or its derivative is not finite at the initial guess")
    largest = float(np.abs(_projected(start, derivative, lower, upper)).max(initial=0))
    if max_iterations < 1 or largest == 0:
        return _result(iterates[-1], "stopped" if largest else "converged", "no iteration was asked for or needed")
    found = minimize(
        trace,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(lower, upper),
        callback=on_iteration,
        options={
            "maxiter": max_iterations,
            "maxfun": 20 * max_iterations,
            "maxcor": memory,
            "gtol": gradient_tolerance * largest,
            "ftol": objective_tolerance,
        },
    )
    return _result(iterates[-1], *_outcome(found, decrease, gradient_tolerance, objective_tolerance))


def _count(iterates: list[Iterate]) -> int:
    return iterates[-1].iteration + 1 if iterates else 0


def _full(bounds: tuple[Bound, Bound] | None, size: int) -> tuple[np.ndarray, np.ndarray]:
    given_lower, given_upper = (None, None) if bounds is None else bounds
    lower = np.asarray(-np.inf if given_lower is None else given_lower, float)
    upper = np.asarray(np.inf if given_upper is None else given_upper, float)
    for bound in (lower, upper):
        if bound.shape not in ((), (size,)):
            raise ValueError(f"a bound has shape {bound.shape}; expected a number or ({size},)")
    lower, upper = np.broadcast_to(lower, (size,)), np.broadcast_to(upper, (size,))
    crossed = np.flatnonzero(~(lower <= upper))
    if len(crossed):
        k = int(crossed[0])
        raise ValueError(f"lower bound {lower[k]} is above upper bound {upper[k]}, or one is NaN, at entry {k}")
    return lower, upper


def _projected(m: np.ndarray, derivative: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The derivative without the entries that push against an active bound."""
    return np.where(((m <= lower) & (derivative > 0)) | ((m >= upper) & (derivative < 0)), 0.0, derivative)


def _outcome(
    found: OptimizeResult, decrease: float, gradient_tolerance: float, objective_tolerance: float
) -> tuple[str, str]:
    if found.status == 0 and "PROJECTED GRADIENT" in str(found.message).upper():
        return "converged", f"the derivative fell by the factor {gradient_tolerance:g}"
    if found.status == 0 and decrease > 0:  # a line search that gets nowhere ends like this, too
        return "converged", f"the objective changed by less than {objective_tolerance:g} of its value"
    if found.status == 1:
        return "stopped", "the maximum number of iterations or evaluations was reached"
    if "StopIteration" in str(found.message):
        return "stopped", "the callback asked to stop"
    reason = found.message if found.status else "no step lowers the objective"
    return "failed", (
        f"the line search failed ({reason}); verify the derivative with a Taylor test at this point, and look at the "
        "accuracy of the solver"
    )


def _result(last: Iterate, status: str, message: str) -> Result:
    return Result(last.m, last.objective, last.gradient_norm, status, message, last.iteration, last.evaluations)
