"""The adapter of SciPy's minimizers, which work in coordinates where the inner product is Euclidean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy  # its parts are loaded where they are first used

from pdeopt.optimize.libraries.coordinates import FIRST_STEP_FACTOR, Coordinates, parabola_length
from pdeopt.optimize.objective import Action, hessians_of
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.trace import Trace

#: The largest number of parameters for which a method may keep a dense p × p matrix (72 MB).
MAX_DENSE_PARAMETERS = 3000
#: The factor by which SciPy's own limits exceed ours, so that the trace ends the minimization.
SCIPY_LIMIT_FACTOR = 100


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
            if not before.feasible:
                fell = last.violation < 0.9 * before.violation
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
        coordinates = Coordinates(trace, FIRST_STEP_FACTOR * length if self.unit_step else length, self.plain_callback)
        found = scipy.optimize.minimize(
            coordinates.evaluate,
            coordinates.start,
            jac=True,
            method=self.method,
            bounds=coordinates.bounds,
            constraints=self._constraints(trace, coordinates),
            callback=coordinates.accept_plain if self.plain_callback else coordinates.accept,
            options={**self.options, self.limit: SCIPY_LIMIT_FACTOR * trace.goals.iterations},
            **self._hessian(trace, coordinates),
        )
        return ": no step lowers the objective" + ("" if found.success else f" ({found.message})")

    def _constraints(self, trace: Trace, coordinates: Coordinates) -> list[scipy.optimize.NonlinearConstraint]:
        """Return the constraints as SciPy takes them, equalities and inequalities by themselves."""
        if not trace.constrained:
            return []
        rows, found = coordinates.constraints(coordinates.start).rows, []
        for kept, lowest in ((rows.equality, 0.0), (~rows.equality, -np.inf)):
            if not kept.any():
                continue

            def values(z: np.ndarray, kept: np.ndarray = kept) -> np.ndarray:
                return coordinates.constraints(z).values[kept]

            def jacobian(z: np.ndarray, kept: np.ndarray = kept) -> np.ndarray:
                return coordinates.constraints(z).jacobian[kept]

            hessian = {"hess": self._constraint_hessian(trace, coordinates, kept)} if self.needs else {}
            found.append(scipy.optimize.NonlinearConstraint(values, lowest, 0.0, jacobian, **hessian))
        return found

    def _constraint_hessian(self, trace: Trace, coordinates: Coordinates, kept: np.ndarray) -> Any:
        """Return SciPy's argument ``hess`` of those constraints that a mask (k,) tells: exact, or by updates."""
        if (linearize := trace.objective.constraint_hessian) is None:
            return scipy.optimize.BFGS()

        def hessian(z: np.ndarray, weights: np.ndarray) -> scipy.sparse.linalg.LinearOperator:
            given = np.zeros(len(kept))
            given[kept] = weights
            action = coordinates.constraint_hessian(linearize(coordinates.parameter(z), coordinates.unscaled(given)))
            shape = len(z), len(z)
            return scipy.sparse.linalg.LinearOperator(shape, matvec=lambda v: action(np.ravel(v)), dtype=float)

        return hessian

    def _hessian(self, trace: Trace, coordinates: Coordinates) -> dict[str, Any]:
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


#: The needs of a method that needs the Hessian.
NEEDS_HESSIAN = frozenset({"hessian"})
#: The constraints of a method that keeps bounds.
KEEPS_BOUNDS = frozenset({"bounds"})
#: The constraints of a method that keeps all.
KEEPS_ALL = frozenset({"bounds", "inequalities", "equalities"})
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
        keeps=KEEPS_ALL,
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
        keeps=KEEPS_ALL,
        unit_step=True,
        options={"gtol": 0.0, "xtol": 1e-12, "barrier_tol": 1e-12},
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
