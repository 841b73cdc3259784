"""Gauss–Newton: by conjugate gradients, or with bounds and few parameters by projected Levenberg–Marquardt."""

from __future__ import annotations

from dataclasses import dataclass

from pdeopt.optimize.levenberg_marquardt import DENSE, minimize_levenberg_marquardt
from pdeopt.optimize.newton import NewtonMethod, minimize_newton
from pdeopt.optimize.objective import hessians_of
from pdeopt.optimize.trace import Trace


@dataclass(frozen=True)
class GaussNewton(NewtonMethod):
    """Newton's method with the Gauss–Newton Hessian throughout.

    With bounds, and up to 2000 parameters, it is projected Levenberg–Marquardt, which forms that matrix; elsewhere it
    is as `NewtonCG`, whose options it has.

    Attributes:
        max_cg_iterations: in one Newton system.
        recycled: products with a Hessian kept to precondition the next system.
    """

    name = "gauss-newton"
    needs = frozenset({"gauss_newton"})

    def run(self, trace: Trace) -> None:
        hessian = hessians_of(trace.objective)["gauss_newton"]
        if trace.bounded and len(trace.last.m) <= DENSE:
            minimize_levenberg_marquardt(trace, hessian)
        else:
            minimize_newton(trace, hessian, self)
