"""SciPy's minimizers by name, unchanged, in coordinates where the inner product is Euclidean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize

from pdeopt.optimize.inner_product import InnerProduct
from pdeopt.optimize.objective import Action, Differentiable, OptimizerError, hessian_of
from pdeopt.optimize.trace import REMEDY, Finished, Trace

#: Largest number of parameters for which a method may keep a dense p × p matrix (72 MB).
DENSE = 3000
#: SciPy's own limits are so many times ours: the trace ends the minimization.
UNREACHED = 100
#: Entries within this part of their range of a bound are on it: SLSQP comes no closer.
SNAPPED = 1e-13
#: How often a nearer point is tried to probe the curvature.
NEARER = 3
#: The first step is so many times longer than a parabola along the gradient asks for: its curvature is mostly that of
#: the steepest directions, and the line search shortens. With 8, L-BFGS-B takes 52 iterations on the problem
#: poisson_mother, with 1 it takes 86; on others it does not matter.
LONGER = 8.0


@dataclass(frozen=True)
class Method:
    """One of SciPy's.

    Attributes:
        scipy: its name there. bounds: whether it keeps them. hessian: "", "action" or "dense", what it takes.
        dense: it keeps a p × p matrix. plain: its callback takes x, not a result.
        limit: its option for the largest number of iterations or evaluations.
        unit_step: its first step, or its first trust radius, has length 1; others take curvatures to be 1 at first.
            Where these are far from 1, SLSQP fails and BFGS takes twice as many iterations (problem conductivity).
        options: that make it stop by our rules and not by its own.
    """

    scipy: str
    bounds: bool = False
    hessian: str = ""
    dense: bool = False
    plain: bool = False
    limit: str = "maxiter"
    unit_step: bool = False
    options: dict[str, Any] = field(default_factory=dict)


METHODS = {
    "l-bfgs-b": Method(
        "L-BFGS-B", bounds=True, unit_step=True, options={"maxcor": 20, "gtol": 0.0, "ftol": 0.0, "maxls": 40}
    ),
    "cg": Method("CG", options={"gtol": 0.0}),
    "bfgs": Method("BFGS", dense=True, options={"gtol": 0.0}),
    "tnc": Method(
        "TNC",
        bounds=True,
        plain=True,
        limit="maxfun",
        options={"gtol": 0.0, "ftol": 0.0, "xtol": 0.0},
    ),
    "slsqp": Method("SLSQP", bounds=True, dense=True, plain=True, options={"ftol": 0.0}),
    "trust-ncg": Method("trust-ncg", hessian="action", unit_step=True, options={"gtol": 0.0}),
    "trust-krylov": Method("trust-krylov", hessian="action", unit_step=True, options={"gtol": 0.0}),
    "trust-constr": Method(
        "trust-constr",
        bounds=True,
        hessian="action",
        unit_step=True,
        options={"gtol": 0.0, "xtol": 1e-12},
    ),
    "trust-exact": Method("trust-exact", hessian="dense", dense=True, unit_step=True, options={"gtol": 0.0}),
    "dogleg": Method("dogleg", hessian="dense", dense=True, unit_step=True, options={"gtol": 0.0}),
}


def minimize_scipy(trace: Trace, name: str) -> None:
    """Iterate from the trace's first iterate until it raises Finished.

    Where a method ends by itself, at one of its absolute tolerances, it starts again in coordinates made anew, as long
    as that gets anywhere.
    """
    while True:
        before = trace.last
        ended, last = _run(trace, name, METHODS[name]), trace.last
        fell = before.objective - last.objective > trace.goals.accuracy * abs(last.objective)
        if fell or last.gradient_norm < 0.9 * before.gradient_norm:
            continue
        if trace.nothing_left():
            raise Finished("converged", f"{name} finds no lower objective, and its quadratic model promises none")
        raise Finished("failed", f"the search of {name} failed{ended}, but {trace.expectation()}; {REMEDY}")


def _run(trace: Trace, name: str, method: Method) -> str:
    """From the last iterate on; returns why it ended without one, in parentheses."""
    length = parabola_length(trace)
    coordinates = _Coordinates(trace, LONGER * length if method.unit_step else length, method.plain)
    found = minimize(
        coordinates.evaluate,
        coordinates.start,
        jac=True,
        method=method.scipy,
        bounds=coordinates.bounds if method.bounds else None,
        callback=coordinates.accept_plain if method.plain else coordinates.accept,
        options={**method.options, method.limit: UNREACHED * trace.goals.iterations},
        **_hessian(name, method, trace, coordinates),
    )
    return ": no step lowers the objective" + ("" if found.success else f" ({found.message})")


class _Coordinates:
    """The change of variables m = m₀ + c S z of an unbounded problem, m = c S z of one with bounds (S diagonal), and of
    J = σ J̃, where ∇J̃ has norm 1 in z at the start.

    Some methods first try a step of length 1, or 1 is their first trust radius, or they take curvatures to be 1, or
    their tolerances are absolute: c and σ make that fit, whatever the units of m and J.
    """

    def __init__(self, trace: Trace, scale: float, only_better: bool) -> None:
        self._trace = trace
        self._only_better = only_better
        self._product: InnerProduct = trace.product
        self._scale = scale
        self._unit = scale * trace.last.gradient_norm  # σ
        self._origin = self._start = trace.last.m
        self.bounds: Bounds | None = None
        if np.isfinite(trace.lower).any() or np.isfinite(trace.upper).any():
            roots = self._roots() / self._scale
            self._origin = np.zeros_like(self._start)
            self.bounds = Bounds(roots * trace.lower, roots * trace.upper)
            self.start = np.clip(roots * self._start, self.bounds.lb, self.bounds.ub)
        else:
            self.start = np.zeros_like(trace.product.pullback(self._start))

    def parameter(self, z: np.ndarray) -> np.ndarray:
        """m of z; exactly on a bound where z is on it, up to rounding."""
        if not z.any() and self.bounds is None:
            return self._start
        m = self._origin + self._product.primal(self._scale * z)
        if self.bounds is None:
            return m
        lower, upper = self.bounds.lb, self.bounds.ub
        near = SNAPPED * np.where(np.isfinite(upper - lower), upper - lower, np.abs(z))
        m = np.where(z <= lower + near, self._trace.lower, np.where(z >= upper - near, self._trace.upper, m))
        return np.clip(m, self._trace.lower, self._trace.upper)

    def evaluate(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        m = self.parameter(z)
        value, derivative = self._trace.evaluate(m)
        if not np.isfinite(value):
            value, derivative = self._wall(m)
        return value / self._unit, self._scale / self._unit * self._product.pullback(derivative)

    def _wall(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """What stands for a value that is not finite: as high above the last iterate as was hoped for below, and
        rising. SciPy's line searches interpolate, and cannot with infinity."""
        last = self._trace.last
        derivative = self._trace.evaluate(last.m)[1]
        return last.objective + abs(float(derivative @ (m - last.m))), -derivative

    def hessian(self, action: Action) -> Action:
        """c² Sᵀ H S / σ of an action H."""
        square = self._scale**2 / self._unit
        return lambda direction: square * self._product.pullback(action(self._product.primal(direction)))

    def accept(self, intermediate_result: OptimizeResult) -> None:  # SciPy wants this name
        self.accept_plain(intermediate_result.x)

    def accept_plain(self, z: np.ndarray) -> None:
        """Rejected steps of trust regions, and the trial points that SLSQP reports, are no iterates."""
        m, last = self.parameter(z), self._trace.last
        if np.array_equal(m, last.m) or (self._only_better and self._trace.evaluate(m)[0] > last.objective):
            return
        self._trace.accept(m)

    def _roots(self) -> np.ndarray:
        assert self._product.weights is not None
        return np.sqrt(self._product.weights)


def parabola_length(trace: Trace) -> float:
    """Length of the step along the gradient to the minimum of a parabola, its curvature from one more derivative.

    That is taken so near that J hardly falls, but by more than its accuracy; nearer where J does not fall there. At
    most the length with which J would vanish, were it linear; an eighth of that where the curvature is not positive.
    """
    first, product = trace.last, trace.product
    derivative = trace.projected(first.m)
    gradient = product.gradient(derivative)
    part = 10 * trace.goals.accuracy**0.5
    near = part * abs(first.objective) / float(derivative @ gradient)
    highest = first.objective + trace.goals.accuracy * abs(first.objective)
    for _ in range(NEARER):
        step = np.clip(first.m - near * gradient, trace.lower, trace.upper) - first.m
        value, other = trace.evaluate(first.m + step)
        if step.any() and value <= highest:
            trace.secants.remember(step, other - trace.evaluate(first.m)[1])
            slope, curvature = -float(derivative @ step), float((other - derivative) @ step)
            times = min(slope / curvature, 1 / part) if curvature > 0 else 1 / (LONGER * part)
            return times * product.norm(step)
        near *= part
    return 1.0


def check_method(name: str, objective: Differentiable, size: int, bounded: bool) -> None:
    """Raises OptimizerError where the method cannot minimize this, before anything is evaluated."""
    method = METHODS[name]
    if bounded and not method.bounds:
        able = ", ".join(["newton-cg", "gauss-newton", *(key for key, value in METHODS.items() if value.bounds)])
        raise OptimizerError(f"{name} keeps no bounds, and the parameter has some; use one of {able}")
    if method.dense and size > DENSE:
        raise OptimizerError(f"{name} keeps a dense matrix of {size} x {size}; use trust-ncg or newton-cg instead")
    if method.hessian:
        hessian_of(objective, "hessian", name)


def _hessian(name: str, method: Method, trace: Trace, coordinates: _Coordinates) -> dict[str, Any]:
    """SciPy's ``hessp`` or ``hess``; the linearization at the last point is kept."""
    if not method.hessian:
        return {}
    linearize = hessian_of(trace.objective, "hessian", name)
    kept: dict[bytes, Action] = {}

    def at(z: np.ndarray) -> Action:
        key = z.tobytes()
        if key not in kept:
            kept.clear()
            kept[key] = coordinates.hessian(linearize(coordinates.parameter(z)))
        return kept[key]

    if method.hessian == "action":
        return {"hessp": lambda z, direction: at(z)(np.asarray(direction, float))}  # trust-constr probes with int8
    return {"hess": lambda z: np.stack([at(z)(column) for column in np.eye(len(z))], axis=1)}
