"""Find the heat source, between bounds, that brings a plate closest to a wanted temperature.

Find the control u that minimizes

    J(u) = ½ ∫ (y − y_d)²  +  ½ α ∫ u²        with  50 (x₁ − 1) ≤ u ≤ 50 x₁  at the nodes,

where the temperature y solves

    −Δy = u  in Ω = (0, 1)²,      y = 0  on ∂Ω,

and y_d is the nodal interpolant of sin 2πx₁ sin 2πx₂. All functions are piecewise linear, on n × n squares that are cut
from lower left to upper right, and all integrals are exact; u is free on ∂Ω, too (Tröltzsch: Optimal Control of Partial
Differential Equations, 2010, section 2.8; Hintermüller, Ito, Kunisch: SIAM Journal on Optimization 13, 2003). At the
defaults J(0) = 0.12097128187037, and the minimum is 0.0416860633791, where 212 of the 441 values are at the lower bound
and 207 at the upper one: the control is nearly bang-bang.
"""

from typing import Annotated

import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional, Views, tikhonov
from pdeopt.pde import LinearStateEquation


@bilinear_form
def diffusion(y, v, _):
    return dot(grad(y), grad(v))


@linear_form
def heating(v, w):
    return w["u"] * v


def wanted_temperature(x):
    return np.sin(2 * np.pi * x[0]) * np.sin(2 * np.pi * x[1])


def state_equation(V, control):
    """The temperatures (n,); ``control`` makes the field u of its degrees of freedom."""
    stiffness = diffusion.assemble(V)  # does not depend on u: it is factored once
    return LinearStateEquation(
        lambda u: (stiffness, heating.assemble(V, u=control(u))), Dirichlet.on(V), parts={"temperature": V}
    )


def build(
    n: Annotated[int, "squares along a side"] = 20,
    alpha: Annotated[float, "price α of the control"] = 1e-6,
    limit: Annotated[float, "largest size of the control"] = 50.0,
) -> Problem:
    if n < 2 or not 0 < alpha < np.inf or not 0 < limit < np.inf:
        raise InputError(
            f"n is {n}, alpha {alpha}, limit {limit}; expected at least 2 squares along a side, and numbers > 0"
        )
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    lower, upper = limit * (V.locations[0] - 1), limit * V.locations[0]
    functional = ReducedFunctional(
        state_equation(V, V.interpolate), FieldMisfit.of(V, V.nodal(wanted_temperature)), tikhonov(V, alpha)
    )
    return Problem(
        functional,
        initial=np.zeros(V.n),
        parameter=Parameter(V, "control u", role="control"),
        bounds=(lower, upper),
        data_label="temperature y",
        optimizer="active-set",
        gradient_tolerance=1e-7,
        interpret=lambda u: {
            "at_lower_bound": np.count_nonzero(u <= lower),
            "at_upper_bound": np.count_nonzero(u >= upper),
        },
        views=Views(headline={"at_lower_bound": "at the lower bound", "at_upper_bound": "at the upper bound"}),
    )
