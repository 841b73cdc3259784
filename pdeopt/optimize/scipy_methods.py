"""The adapter of SciPy's minimizers, unchanged, in coordinates where the inner product is Euclidean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy  # its parts are loaded where they are first used

from pdeopt.optimize.inner_product import InnerProduct
from pdeopt.optimize.objective import Action, hessians_of
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.trace import Trace

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
class SciPyMethod(Optimizer):
    """A minimizer of SciPy, unchanged, in coordinates where the inner product is Euclidean.

    Attributes:
        name, needs, keeps: see `Optimizer`.
        method: its name in SciPy.
        max_parameters: of methods that keep a p × p matrix; None for the others.
        forms_hessian: whether it takes the Hessian as a matrix; else it takes products.
        plain_callback: whether its callback takes x, not a result.
        limit: its option for the largest number of iterations or evaluations.
        unit_step: its first step, or its first trust radius, has length 1; others take curvatures to be 1 at first.
            Where these are far from 1, SLSQP fails and BFGS takes twice as many iterations (problem conductivity).
        options: of SciPy, that make it stop by our rules and not by its own.
    """

    name: str
    method: str
    needs: frozenset[str] = frozenset()
    keeps: frozenset[str] = frozenset()
    max_parameters: int | None = None
    forms_hessian: bool = False
    plain_callback: bool = False
    limit: str = "maxiter"
    unit_step: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, trace: Trace) -> None:
        """Iterate until the trace raises Finished.

        Where SciPy ends by itself, at one of its absolute tolerances, it starts again in coordinates made anew, as long
        as that gets anywhere.
        """
        while True:
            before = trace.last
            ended, last = self._search(trace), trace.last
            fell = before.objective - last.objective > trace.goals.accuracy * abs(last.objective)
            if fell or last.gradient_norm < 0.9 * before.gradient_norm:
                continue
            settled = f"{self.name} finds no lower objective, and its quadratic model promises none"
            raise trace.ended(settled, f"the search of {self.name} failed{ended}")

    def _search(self, trace: Trace) -> str:
        """From the last iterate on; returns why it ended without one, as the end of a sentence."""
        length = parabola_length(trace)
        coordinates = _Coordinates(trace, LONGER * length if self.unit_step else length, self.plain_callback)
        found = scipy.optimize.minimize(
            coordinates.evaluate,
            coordinates.start,
            jac=True,
            method=self.method,
            bounds=coordinates.bounds,
            callback=coordinates.accept_plain if self.plain_callback else coordinates.accept,
            options={**self.options, self.limit: UNREACHED * trace.goals.iterations},
            **self._hessian(trace, coordinates),
        )
        return ": no step lowers the objective" + ("" if found.success else f" ({found.message})")

    def _hessian(self, trace: Trace, coordinates: _Coordinates) -> dict[str, Any]:
        """SciPy's ``hessp`` or ``hess``; the linearization at the last point is kept."""
        if not self.needs:
            return {}
        linearize = hessians_of(trace.objective)["hessian"]
        kept: dict[bytes, Action] = {}

        def at(z: np.ndarray) -> Action:
            key = z.tobytes()
            if key not in kept:
                kept.clear()
                kept[key] = coordinates.hessian(linearize(coordinates.parameter(z)))
            return kept[key]

        if self.forms_hessian:
            return {"hess": lambda z: np.stack([at(z)(column) for column in np.eye(len(z))], axis=1)}
        return {"hessp": lambda z, direction: at(z)(np.asarray(direction, float))}  # trust-constr probes with int8


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
        self.bounds: scipy.optimize.Bounds | None = None
        if trace.bounded:
            roots = self._roots() / self._scale
            self._origin = np.zeros_like(self._start)
            self.bounds = scipy.optimize.Bounds(roots * trace.lower, roots * trace.upper)
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

    def accept(self, intermediate_result: scipy.optimize.OptimizeResult) -> None:  # SciPy wants this name
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


HESSIAN, BOUNDS = frozenset({"hessian"}), frozenset({"bounds"})
#: The one that `minimize` takes where none is named comes first.
METHODS = (
    SciPyMethod(
        "l-bfgs-b",
        "L-BFGS-B",
        keeps=BOUNDS,
        unit_step=True,
        options={"maxcor": 20, "gtol": 0.0, "ftol": 0.0, "maxls": 40},
    ),
    SciPyMethod("cg", "CG", options={"gtol": 0.0}),
    SciPyMethod("bfgs", "BFGS", max_parameters=DENSE, options={"gtol": 0.0}),
    SciPyMethod(
        "tnc",
        "TNC",
        keeps=BOUNDS,
        plain_callback=True,
        limit="maxfun",
        options={"gtol": 0.0, "ftol": 0.0, "xtol": 0.0},
    ),
    SciPyMethod("slsqp", "SLSQP", keeps=BOUNDS, max_parameters=DENSE, plain_callback=True, options={"ftol": 0.0}),
    SciPyMethod("trust-ncg", "trust-ncg", needs=HESSIAN, unit_step=True, options={"gtol": 0.0}),
    SciPyMethod("trust-krylov", "trust-krylov", needs=HESSIAN, unit_step=True, options={"gtol": 0.0}),
    SciPyMethod(
        "trust-constr",
        "trust-constr",
        needs=HESSIAN,
        keeps=BOUNDS,
        unit_step=True,
        options={"gtol": 0.0, "xtol": 1e-12},
    ),
    SciPyMethod(
        "trust-exact",
        "trust-exact",
        needs=HESSIAN,
        max_parameters=DENSE,
        forms_hessian=True,
        unit_step=True,
        options={"gtol": 0.0},
    ),
    SciPyMethod(
        "dogleg",
        "dogleg",
        needs=HESSIAN,
        max_parameters=DENSE,
        forms_hessian=True,
        unit_step=True,
        options={"gtol": 0.0},
    ),
)
