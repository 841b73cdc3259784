"""Find the heat source that brings a plate closest to a wanted temperature: the model problem of optimal control.

Find the control u that minimizes

    J(u) = ½ ∫ (y − y_d)²  +  ½ α ∫ u²,

where the temperature y solves

    −Δy = u  in Ω = (0, 1)²,      y = 0  on ∂Ω,

and y_d is the nodal interpolant of sin 2πx₁ sin 2πx₂. All functions are piecewise linear, on n × n squares that are cut
from lower left to upper right (Tröltzsch: Optimal Control of Partial Differential Equations, 2010, section 2.8). J is
quadratic, so Newton's method needs one step; at the defaults J(0) = 0.122402492964150, ‖∇J(0)‖ = 0.00616921129256574 in
L², and the minimum is 7.825016181587e-4.
"""

from typing import Annotated

import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional, tikhonov
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
    n: Annotated[int, "squares along a side"] = 25,
    alpha: Annotated[float, "price α of the control"] = 1e-6,
) -> Problem:
    if n < 2:
        raise InputError(f"n is {n}; expected at least 2 squares along a side")
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    functional = ReducedFunctional(
        state_equation(V, V.interpolate), FieldMisfit.of(V, V.nodal(wanted_temperature)), tikhonov(V, alpha)
    )
    return Problem(
        functional,
        initial=np.zeros(V.n),
        parameter=Parameter(V, "control u", role="control"),
        data_label="temperature y",
        optimizer="newton-cg",
        gradient_tolerance=1e-7,
    )
