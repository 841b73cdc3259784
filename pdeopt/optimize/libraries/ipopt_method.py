"""The adapter of Ipopt, an interior-point method, which is loaded when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pdeopt.optimize.libraries.coordinates import Coordinates, parabola_length
from pdeopt.optimize.libraries.scipy_methods import SCIPY_LIMIT_FACTOR
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.trace import Finished, Trace

#: The options of Ipopt with which it stops by our rules and not by its own, keeps bounds exactly, and is quiet.
IPOPT_OPTIONS: Mapping[str, float | str] = {
    "print_level": 0,
    "sb": "yes",
    "tol": 1e-13,
    "constr_viol_tol": 1e-13,
    "compl_inf_tol": 1e-13,
    "dual_inf_tol": 1e-13,
    "acceptable_iter": 0,
    "bound_relax_factor": 0.0,
    "honor_original_bounds": "yes",
    "hessian_approximation": "limited-memory",
    "limited_memory_max_history": 20,
    "nlp_scaling_method": "none",
    "mu_strategy": "adaptive",
}
#: The number that Ipopt takes for infinity.
INFINITE = 1e20


@dataclass(frozen=True)
class Ipopt(Optimizer):
    """An optimizer by Ipopt, an interior-point method with a filter (Wächter, Biegler 2006), by ipyopt.

    It works in coordinates where the inner product is Euclidean, with limited-memory quasi-Newton updates for the
    Hessian of the Lagrangian, as it takes no products with one.

    Attributes:
        options: Options of Ipopt that replace those of pdeopt.
    """

    options: Mapping[str, float | str] = field(default_factory=dict)

    name = "ipopt"
    keeps = frozenset({"bounds", "inequalities", "equalities"})
    requires = "ipyopt"

    def run(self, trace: Trace) -> None:
        """Iterate until the trace raises Finished, or Ipopt ends by itself.

        Raises:
            Finished: The minimization has ended.
        """
        import ipyopt  # the only use of this library, which may be missing

        coordinates = Coordinates(trace, parabola_length(trace), only_better=False)
        start = coordinates.start
        bounds = coordinates.bounds
        lower, upper = (np.full(len(start), sign * INFINITE) for sign in (-1.0, 1.0))
        if bounds is not None:
            lower, upper = np.clip(bounds.lb, -INFINITE, None), np.clip(bounds.ub, None, INFINITE)
        equality = coordinates.constraints(start).rows.equality if trace.constrained else np.zeros(0, bool)
        ended: list[Finished] = []
        at = [start]

        def gradient(z: np.ndarray, out: np.ndarray) -> None:
            at[0] = z.copy()  # Ipopt asks for derivatives at its iterates only
            out[:] = coordinates.evaluate(z)[1]

        def constraints(z: np.ndarray, out: np.ndarray) -> None:
            out[:] = coordinates.constraints(z).values if trace.constrained else ()

        def jacobian(z: np.ndarray, out: np.ndarray) -> None:
            out[:] = coordinates.constraints(z).jacobian.ravel() if trace.constrained else ()

        def accept(*numbers: float) -> bool:
            try:
                coordinates.accept_plain(at[0])
            except Finished as end:  # Ipopt would print it
                ended.append(end)
            return not ended

        everywhere = np.divmod(np.arange(len(equality) * len(start)), len(start))
        nowhere = np.zeros(0, int)
        problem = ipyopt.Problem(
            *(len(start), lower, upper, len(equality), np.where(equality, 0.0, -INFINITE), np.zeros(len(equality))),
            *(everywhere, (nowhere, nowhere)),
            *(lambda z: coordinates.evaluate(z)[0], gradient, constraints, jacobian),
            intermediate_callback=accept,
        )
        problem.set(**{**IPOPT_OPTIONS, "max_iter": SCIPY_LIMIT_FACTOR * trace.goals.iterations, **self.options})
        status = problem.solve(start, mult_g=np.zeros(len(equality)))[2]
        if ended:
            raise ended[0]
        words = f"{self.name} finds no step that lowers the objective"
        raise trace.ended(f"{words}, and its quadratic model promises none", f"{words} (its status is {status})")
