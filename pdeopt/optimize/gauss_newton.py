"""The Gauss–Newton method, by conjugate gradients or by projected Levenberg–Marquardt.

It is the latter with bounds and few parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdeopt.optimize.levenberg_marquardt import MAX_GAUSS_NEWTON_PARAMETERS, minimize_levenberg_marquardt
from pdeopt.optimize.newton import NewtonMethod, minimize_newton
from pdeopt.optimize.objective import hessians_of
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.trace import Trace


@dataclass(frozen=True)
class GaussNewton(NewtonMethod):
    """An optimizer by Newton's method with the Gauss–Newton Hessian throughout.

    With bounds, and up to 2000 parameters, it is projected Levenberg–Marquardt, which forms that matrix; elsewhere it
    works like `NewtonCG`, whose options it has.

    Attributes:
        max_cg_iterations: The largest number of iterations of conjugate gradients in one Newton system.
        recycled: The number of products with a Hessian that are kept to precondition the next system.
    """

    name = "gauss-newton"
    needs = frozenset({"gauss_newton"})

    def run(self, trace: Trace) -> None:
        """Iterate by Levenberg–Marquardt where there are bounds and few parameters, by Newton–CG otherwise."""
        hessian = hessians_of(trace.objective)["gauss_newton"]
        if trace.bounded and len(trace.last.m) <= MAX_GAUSS_NEWTON_PARAMETERS:
            minimize_levenberg_marquardt(trace, hessian)
        else:
            minimize_newton(trace, hessian, self)


@dataclass(frozen=True)
class LevenbergMarquardt(Optimizer):
    """An optimizer by projected Levenberg–Marquardt with the Gauss–Newton matrix, for few parameters.

    It takes bounds, and needs none; `GaussNewton` takes the same way where there are some.
    """

    name = "levenberg-marquardt"
    needs = frozenset({"gauss_newton"})
    keeps = frozenset({"bounds"})
    max_parameters = MAX_GAUSS_NEWTON_PARAMETERS
    loose_iterations = 3

    def run(self, trace: Trace) -> None:
        """Iterate by Levenberg–Marquardt."""
        minimize_levenberg_marquardt(trace, hessians_of(trace.objective)["gauss_newton"])
