"""Find the heat flux through the boundary that brings a plate closest to a wanted temperature.

Find the control u on ∂Ω that minimizes

    J(u) = ½ ∫_Ω (y − y_d)²  +  ½ α ∫_∂Ω u²,

where the temperature y solves

    −Δy + y = 0  in Ω = (0, 1)²,      ∂y/∂n = u  on ∂Ω,

and y_d is the nodal interpolant of sin 2πx₁ sin 2πx₂. All functions are piecewise linear, on n × n squares that are cut
from lower left to upper right, the control on their sides in ∂Ω, and all integrals are exact (Tröltzsch: Optimal
Control of Partial Differential Equations, 2010, section 2.3). At the defaults J(0) = 0.1224024929641499, ‖∇J(0)‖ =
0.041817054799018 in L²(∂Ω), and the minimum is 0.0617470239038681, where ‖u‖ = 7.16960156 in L²(∂Ω).
"""

from typing import Annotated

import numpy as np
import skfem

from pdeopt.fem import FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional, Views, tikhonov
from pdeopt.pde import LinearStateEquation


@bilinear_form
def diffusion_and_loss(y, v, _):
    return dot(grad(y), grad(v)) + y * v


@linear_form
def flux(v, w):
    return w["u"] * v


def wanted_temperature(x):
    return np.sin(2 * np.pi * x[0]) * np.sin(2 * np.pi * x[1])


def state_equation(V, control):
    """The temperatures (n,); ``control`` makes the field u on the boundary of its degrees of freedom there."""
    boundary = V.boundary()
    matrix = diffusion_and_loss.assemble(V)  # does not depend on u: it is factored once
    return LinearStateEquation(lambda u: (matrix, flux.assemble(boundary, u=control(u))), parts={"temperature": V})


def build(
    n: Annotated[int, "squares along a side"] = 25,
    alpha: Annotated[float, "price α of the control"] = 1e-6,
) -> Problem:
    if n < 2 or not 0 < alpha < np.inf:
        raise InputError(f"n is {n}, alpha {alpha}; expected at least 2 squares along a side, and a number > 0")
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    parameter = Parameter(V.boundary(), "control u", V.dofs(), role="control")
    functional = ReducedFunctional(
        state_equation(V, parameter.field),
        FieldMisfit.of(V, V.nodal(wanted_temperature)),
        tikhonov(parameter.space, alpha, dofs=parameter.dofs),
    )
    return Problem(
        functional,
        initial=np.zeros(parameter.size),
        parameter=parameter,
        data_label="temperature y",
        optimizer="newton-cg",
        gradient_tolerance=1e-9,
        quantities={"control_norm": parameter.norm},
        views=Views(headline={"control_norm": "norm of the control"}),
    )
