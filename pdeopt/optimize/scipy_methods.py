"""The adapter of SciPy's minimizers, which work in coordinates where the inner product is Euclidean."""

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

#: The largest number of parameters for which a method may keep a dense p × p matrix (72 MB).
MAX_DENSE_PARAMETERS = 3000
#: The factor by which SciPy's own limits exceed ours, so that the trace ends the minimization.
SCIPY_LIMIT_FACTOR = 100
#: The part of their range within which entries near a bound are taken to be on it; SLSQP comes no closer.
BOUND_TOLERANCE = 1e-13
#: The number of points, each nearer than the one before it, that are tried to probe the curvature.
MAX_CURVATURE_PROBES = 3
#: The factor by which the first step is longer than a parabola along the gradient asks for: its curvature is mostly
#: that of the steepest directions, and the line search shortens. With 8, L-BFGS-B takes 52 iterations on the problem
#: poisson_mother, with 1 it takes 86; on others it does not matter.
FIRST_STEP_FACTOR = 8.0


@dataclass(frozen=True)
class SciPyMethod(Optimizer):
    """An optimizer by a minimizer of SciPy, in coordinates where the inner product is Euclidean.

    The minimizer is SciPy's, unchanged.

    Attributes:
        name: The name, see `Optimizer`.
        method: The name of the minimizer in SciPy.
        needs: The methods that an objective must have, see `Optimizer`.
        keeps: The constraints that its iterates satisfy, see `Optimizer`.
        max_parameters: The largest number of parameters of a method that keeps a p × p matrix; None for the others.
        forms_hessian: Whether it takes the Hessian as a matrix; else it takes products.
        plain_callback: Whether its callback takes x, not a result.
        limit: The name of its option for the largest number of iterations or evaluations.
        unit_step: Whether its first step, or its first trust radius, has length 1; others take curvatures to be 1 at
            first. Where these are far from 1, SLSQP fails and BFGS takes twice as many iterations (problem
            conductivity).
        options: The options of SciPy that make it stop by our rules and not by its own.
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

        Raises:
            Finished: The minimization has ended.
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
        """Search from the last iterate on.

        Returns:
            The reason why SciPy ended by itself, as the end of a sentence.

        Raises:
            Finished: The minimization has ended.
        """
        length = parabola_length(trace)
        coordinates = _Coordinates(trace, FIRST_STEP_FACTOR * length if self.unit_step else length, self.plain_callback)
        found = scipy.optimize.minimize(
            coordinates.evaluate,
            coordinates.start,
            jac=True,
            method=self.method,
            bounds=coordinates.bounds,
            callback=coordinates.accept_plain if self.plain_callback else coordinates.accept,
            options={**self.options, self.limit: SCIPY_LIMIT_FACTOR * trace.goals.iterations},
            **self._hessian(trace, coordinates),
        )
        return ": no step lowers the objective" + ("" if found.success else f" ({found.message})")

    def _hessian(self, trace: Trace, coordinates: _Coordinates) -> dict[str, Any]:
        """Return SciPy's argument ``hessp`` or ``hess``; the linearization at the last point is kept."""
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
    """The coordinates z in which SciPy minimizes.

    The change of variables is m = m₀ + c S z in an unbounded problem, and m = c S z in one with bounds (S diagonal);
    the objective is J = σ J̃, where ∇J̃ has norm 1 in z at the start. Some methods first try a step of length 1, or 1
    is their first trust radius, or they take curvatures to be 1, or their tolerances are absolute: c and σ make that
    fit, whatever the units of m and J.

    Attributes:
        bounds: The bounds on z; None where there are none.
        start: The coordinates of the last iterate at the start.
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
        if np.array_equal(m, last.m) or (self._only_better and self._trace.evaluate(m)[0] > last.objective):
            return
        self._trace.accept(m)

    def _roots(self) -> np.ndarray:
        assert self._product.weights is not None
        return np.sqrt(self._product.weights)


def parabola_length(trace: Trace) -> float:
    """Return the length of the step along the gradient to the minimum of a parabola.

    Its curvature comes from one more derivative, taken so near that J hardly falls, but by more than its accuracy, and
    nearer where J does not fall there. The length is at most the one with which J would vanish, were it linear, and an
    eighth of that where the curvature is not positive.
    """
    first, product = trace.last, trace.product
    derivative = trace.projected(first.m)
    gradient = product.gradient(derivative)
    part = 10 * trace.goals.accuracy**0.5
    near = part * abs(first.objective) / float(derivative @ gradient)
    highest = first.objective + trace.goals.accuracy * abs(first.objective)
    for _ in range(MAX_CURVATURE_PROBES):
        step = np.clip(first.m - near * gradient, trace.lower, trace.upper) - first.m
        value, other = trace.evaluate(first.m + step)
        if step.any() and value <= highest:
            trace.secants.remember(step, other - trace.evaluate(first.m)[1])
            slope, curvature = -float(derivative @ step), float((other - derivative) @ step)
            times = min(slope / curvature, 1 / part) if curvature > 0 else 1 / (FIRST_STEP_FACTOR * part)
            return times * product.norm(step)
        near *= part
    return 1.0


#: The needs of a method that needs the Hessian.
NEEDS_HESSIAN = frozenset({"hessian"})
#: The constraints of a method that keeps bounds.
KEEPS_BOUNDS = frozenset({"bounds"})
#: SciPy's minimizers; the one that `minimize` takes where none is named comes first.
METHODS = (
    SciPyMethod(
        "l-bfgs-b",
        "L-BFGS-B",
        keeps=KEEPS_BOUNDS,
        unit_step=True,
        options={"maxcor": 20, "gtol": 0.0, "ftol": 0.0, "maxls": 40},
    ),
    SciPyMethod("cg", "CG", options={"gtol": 0.0}),
    SciPyMethod("bfgs", "BFGS", max_parameters=MAX_DENSE_PARAMETERS, options={"gtol": 0.0}),
    SciPyMethod(
        "tnc",
        "TNC",
        keeps=KEEPS_BOUNDS,
        plain_callback=True,
        limit="maxfun",
        options={"gtol": 0.0, "ftol": 0.0, "xtol": 0.0},
    ),
    SciPyMethod(
        "slsqp",
        "SLSQP",
        keeps=KEEPS_BOUNDS,
        max_parameters=MAX_DENSE_PARAMETERS,
        plain_callback=True,
        options={"ftol": 0.0},
    ),
    SciPyMethod("trust-ncg", "trust-ncg", needs=NEEDS_HESSIAN, unit_step=True, options={"gtol": 0.0}),
    SciPyMethod("trust-krylov", "trust-krylov", needs=NEEDS_HESSIAN, unit_step=True, options={"gtol": 0.0}),
    SciPyMethod(
        "trust-constr",
        "trust-constr",
        needs=NEEDS_HESSIAN,
        keeps=KEEPS_BOUNDS,
        unit_step=True,
        options={"gtol": 0.0, "xtol": 1e-12},
    ),
    SciPyMethod(
        "trust-exact",
        "trust-exact",
        needs=NEEDS_HESSIAN,
        max_parameters=MAX_DENSE_PARAMETERS,
        forms_hessian=True,
        unit_step=True,
        options={"gtol": 0.0},
    ),
    SciPyMethod(
        "dogleg",
        "dogleg",
        needs=NEEDS_HESSIAN,
        max_parameters=MAX_DENSE_PARAMETERS,
        forms_hessian=True,
        unit_step=True,
        options={"gtol": 0.0},
    ),
)
