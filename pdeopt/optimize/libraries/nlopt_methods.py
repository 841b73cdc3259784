"""The adapter of NLopt's methods of moving asymptotes, for many parameters and inequalities.

NLopt is loaded when one of them runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.libraries.coordinates import FIRST_STEP_FACTOR, Coordinates, parabola_length
from pdeopt.optimize.libraries.scipy_methods import SCIPY_LIMIT_FACTOR
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.trace import Trace


@dataclass(frozen=True)
class NLoptMethod(Optimizer):
    """An optimizer by a method of NLopt, in coordinates where the inner product is Euclidean.

    The methods are "mma", the globally convergent method of moving asymptotes, and "ccsa", conservative convex
    separable approximations with a quadratic term (Svanberg 2002). Every point that keeps the constraints better, or
    keeps them and lowers J, is an iterate: NLopt does not say which points it accepts.

    Attributes:
        name: The name, see `Optimizer`.
        algorithm: The name of the method in NLopt.
    """

    name: str
    algorithm: str

    keeps = frozenset({"bounds", "inequalities"})
    requires = "nlopt"

    def run(self, trace: Trace) -> None:
        """Iterate until the trace raises Finished, or NLopt gets nowhere.

        Where NLopt ends by itself, it starts again in coordinates made anew, as long as that gets anywhere.

        Raises:
            Finished: The minimization has ended.
        """
        while True:
            before = trace.last
            self._search(trace)
            if trace.last is before:
                words = f"{self.name} finds no lower objective"
                raise trace.ended(f"{words}, and its quadratic model promises none", words)

    def _search(self, trace: Trace) -> None:
        """Search from the last iterate on, until NLopt ends by itself.

        Raises:
            Finished: The minimization has ended.
        """
        import nlopt  # the only use of this library, which may be missing

        coordinates = Coordinates(trace, FIRST_STEP_FACTOR * parabola_length(trace), only_better=True)

        def objective(z: np.ndarray, gradient: np.ndarray) -> float:
            coordinates.accept_plain(z)  # NLopt writes into z later
            value, derivative = coordinates.evaluate(z)
            if gradient.size:
                gradient[:] = derivative
            return value

        def constraints(result: np.ndarray, z: np.ndarray, gradient: np.ndarray) -> None:
            found = coordinates.constraints(z)
            result[:] = found.values
            if gradient.size:
                gradient[:] = found.jacobian

        search = nlopt.opt(getattr(nlopt, self.algorithm), len(coordinates.start))
        search.set_min_objective(objective)
        search.set_maxeval(SCIPY_LIMIT_FACTOR * trace.goals.iterations)
        if coordinates.bounds is not None:
            search.set_lower_bounds(coordinates.bounds.lb)
            search.set_upper_bounds(coordinates.bounds.ub)
        if trace.last.constraints is not None:
            search.add_inequality_mconstraint(constraints, np.zeros(len(trace.last.constraints.values)))
        try:
            search.optimize(coordinates.start)
        except (nlopt.RoundoffLimited, RuntimeError):  # no step is possible any more
            return


#: NLopt's minimizers.
NLOPT_METHODS = (NLoptMethod("mma", "LD_MMA"), NLoptMethod("ccsa", "LD_CCSAQ"))
