"""SciPy's minimizers by name, unchanged, in coordinates where the inner product is Euclidean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize

from pdeopt.optimize.inner_product import InnerProduct
from pdeopt.optimize.objective import Action, hessian_of
from pdeopt.optimize.trace import REMEDY, Finished, Trace

#: Largest number of parameters for which a method may keep a dense p × p matrix (72 MB).
DENSE = 3000
#: SciPy's own limits are so many times ours: the trace ends the minimization.
UNREACHED = 100


@dataclass(frozen=True)
class Method:
    """One of SciPy's.

    Attributes:
        scipy: its name there. bounds: whether it keeps them. hessian: "", "action" or "dense", what it takes.
        dense: it keeps a p × p matrix. plain: its callback takes x, not a result.
        limit: its option for the largest number of iterations or evaluations.
        interior: it approaches bounds without reaching them, so that its own word for convergence is taken.
        options: that make it stop by our rules and not by its own.
    """

    scipy: str
    bounds: bool = False
    hessian: str = ""
    dense: bool = False
    plain: bool = False
    limit: str = "maxiter"
    interior: bool = False
    options: dict[str, Any] = field(default_factory=dict)


METHODS = {
    "l-bfgs-b": Method("L-BFGS-B", bounds=True, options={"maxcor": 20, "gtol": 0.0, "ftol": 0.0, "maxls": 40}),
    "cg": Method("CG", options={"gtol": 0.0}),
    "bfgs": Method("BFGS", dense=True, options={"gtol": 0.0}),
    "tnc": Method("TNC", bounds=True, plain=True, limit="maxfun", options={"gtol": 0.0, "ftol": 0.0, "xtol": 0.0}),
    "slsqp": Method("SLSQP", bounds=True, dense=True, plain=True, options={"ftol": 0.0}),
    "trust-ncg": Method("trust-ncg", hessian="action", options={"gtol": 0.0}),
    "trust-krylov": Method("trust-krylov", hessian="action", options={"gtol": 0.0}),
    "trust-constr": Method(
        "trust-constr", bounds=True, hessian="action", interior=True, options={"gtol": 0.0, "xtol": 1e-12}
    ),
    "trust-exact": Method("trust-exact", hessian="dense", dense=True, options={"gtol": 0.0}),
    "dogleg": Method("dogleg", hessian="dense", dense=True, options={"gtol": 0.0}),
}


def minimize_scipy(trace: Trace, name: str) -> None:
    """Iterate from the trace's first iterate. Raises Finished, always; ValueError where the method cannot do it."""
    method = METHODS[name]
    coordinates = _Coordinates(trace)
    _check(name, method, trace)
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
    if method.interior and found.success:
        raise Finished("converged", f"{name}: {found.message}")
    if trace.decreases_no_more():
        raise Finished("converged", "no step changes the objective by more than rounding")
    reason = "" if found.success else f" ({found.message})"
    raise Finished("failed", f"the search of {name} failed: no step lowers the objective{reason}; {REMEDY}")


class _Coordinates:
    """The change of variables m = m₀ + S z of an unbounded problem, m = S z of one with bounds (S diagonal)."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._product: InnerProduct = trace.product
        self._origin = trace.first.m
        self.bounds: Bounds | None = None
        if np.isfinite(trace.lower).any() or np.isfinite(trace.upper).any():
            roots = self._roots()
            self._origin = np.zeros_like(trace.first.m)
            self.bounds = Bounds(roots * trace.lower, roots * trace.upper)
            self.start = np.clip(roots * trace.first.m, self.bounds.lb, self.bounds.ub)
        else:
            self.start = np.zeros_like(trace.product.pullback(trace.first.m))

    def parameter(self, z: np.ndarray) -> np.ndarray:
        """m of z; exactly on a bound where z is on it."""
        if not z.any() and self.bounds is None:
            return self._trace.first.m
        m = self._origin + self._product.primal(z)
        if self.bounds is None:
            return m
        m = np.where(z <= self.bounds.lb, self._trace.lower, np.where(z >= self.bounds.ub, self._trace.upper, m))
        return np.clip(m, self._trace.lower, self._trace.upper)

    def evaluate(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        value, derivative = self._trace.evaluate(self.parameter(z))
        return value, self._product.pullback(derivative)

    def hessian(self, action: Action) -> Action:
        """Sᵀ H S of an action H."""
        return lambda direction: self._product.pullback(action(self._product.primal(direction)))

    def accept(self, intermediate_result: OptimizeResult) -> None:  # SciPy wants this name
        self.accept_plain(intermediate_result.x)

    def accept_plain(self, z: np.ndarray) -> None:
        m = self.parameter(z)
        if not np.array_equal(m, self._trace.last.m):  # a trust-region step that was rejected is no iterate
            self._trace.accept(m)

    def _roots(self) -> np.ndarray:
        assert self._product.weights is not None
        return np.sqrt(self._product.weights)


def _check(name: str, method: Method, trace: Trace) -> None:
    bounded = np.isfinite(trace.lower).any() or np.isfinite(trace.upper).any()
    if bounded and not method.bounds:
        able = ", ".join(["newton-cg", "gauss-newton", *(key for key, value in METHODS.items() if value.bounds)])
        raise ValueError(f"{name} keeps no bounds, and the parameter has some; use one of {able}")
    size = len(trace.first.m)
    if method.dense and size > DENSE:
        raise ValueError(f"{name} keeps a dense matrix of {size} x {size}; use trust-ncg or newton-cg instead")


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
        return {"hessp": lambda z, direction: at(z)(direction)}
    return {"hess": lambda z: np.stack([at(z)(column) for column in np.eye(len(z))], axis=1)}
