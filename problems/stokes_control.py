"""Find the force that brings a slow flow closest to a wanted one: optimal control of the Stokes equations.

Find the control u that minimizes

    J(u) = ½ ∫ |y − y_d|²  +  ½ α ∫ |u|²,

where the velocity y and the pressure p solve

    −Δy + ∇p = u,   div y = 0  in Ω = (0, 1)²,      y = (4x₁(1 − x₁), 0)  at the top,      y = 0  on the other sides,

with p = 0 at the origin, and y_d interpolates the wanted velocity (r cos 2πx₂, −r sin 2πx₁), r = |x|. Velocities are
piecewise quadratic and pressures piecewise linear (Taylor and Hood), on n × n squares that are cut from lower left to
upper right; each component of the control is piecewise linear. J is quadratic, so that Newton's method comes down in
a few steps; at the defaults J(0) = 0.3456655473794, ‖∇J(0)‖ = 0.0077458204153849 in L², and the minimum is
0.22644799502842.
"""

from typing import Annotated

import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, ddot, div, dot, grad, linear_form
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional, tikhonov
from pdeopt.pde import LinearStateEquation


@bilinear_form
def stokes(y, p, v, q, _):
    return ddot(grad(y), grad(v)) - p * div(v) - q * div(y)


@linear_form
def forcing(v, q, w):
    return dot(w["u"], v)


def wanted_velocity(x):
    r = np.hypot(x[0], x[1])
    return np.array([r * np.cos(2 * np.pi * x[1]), -r * np.sin(2 * np.pi * x[0])])


def lid_velocity(x):
    return np.array([4 * x[0] * (1 - x[0]), 0 * x[0]])


def state_equation(V, control):
    """Velocity and pressure (n,); ``control`` makes the field u of its degrees of freedom."""
    velocity, pressure = V.split()
    matrix = stokes.assemble(V)  # does not depend on u: it is factored once
    walls = Dirichlet.on(velocity) | Dirichlet.on(velocity, lambda x: x[1] == 1, lid_velocity)
    return LinearStateEquation(
        lambda u: (matrix, forcing.assemble(V, u=control(u))),
        walls + Dirichlet.at(pressure, [0, 0]),
        parts={"velocity": velocity, "pressure": pressure},
    )


def build(
    n: Annotated[int, "squares along a side"] = 30,
    alpha: Annotated[float, "price α of the control"] = 1e-5,
) -> Problem:
    if n < 2:
        raise InputError(f"n is {n}; expected at least 2 squares along a side")
    ticks = np.linspace(0, 1, n + 1)
    mesh = skfem.MeshTri.init_tensor(ticks, ticks)
    V = FunctionSpace(mesh, skfem.ElementVector(skfem.ElementTriP2()) * skfem.ElementTriP1())
    velocity, _ = V.split()
    U = V.with_element(skfem.ElementVector(skfem.ElementTriP1()))
    functional = ReducedFunctional(
        state_equation(V, U.interpolate),
        FieldMisfit.of(velocity, velocity.nodal(wanted_velocity)),
        tikhonov(U, alpha),
    )
    return Problem(
        functional,
        initial=np.zeros(U.n),
        parameter=Parameter(U, "control u", role="control"),
        data_label="velocity y",
        optimizer="newton-cg",
        gradient_tolerance=1e-7,
    )
