"""Recover the velocity of a lid, which moves unevenly, from velocities measured inside of the cavity that it drives.

Find the velocity m(x₁) of the lid that minimizes

    J(m) = ½ Σ_k |y(x_k) − d_k|² / σ²  +  ½ γ ∫ |m′|²,

where the velocity y and the pressure p of the fluid solve the Navier–Stokes equations

    −(1/Re) Δy + (∇y) y + ∇p = 0,   div y = 0  in Ω = (0, 1)²,

with y = (m, 0) at the top, y = 0 on the other sides and in the corners, and p = 0 at the origin. Velocities are
piecewise quadratic and pressures piecewise linear (Taylor and Hood) on n × n squares that are cut in two. The true lid
moves with m*(x₁) = 1 in its left half and 0.4 in its right one, with a smooth change between them; the data are
velocities at sensors, of a flow that was computed on a mesh of 3n/2 squares, with noise. With m = 1 and Re = 100 it is
the lid-driven cavity (Ghia, Ghia, Shin: Journal of Computational Physics 48, 1982).
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, residual_form
from pdeopt.fem.models import navier_stokes
from pdeopt.inverse import AtPoints, InputError, L2Misfit, Parameter, Problem, ReducedFunctional, add_noise, h1
from pdeopt.pde import NonlinearStateEquation

flow = residual_form(navier_stokes)


def true_lid(x):
    """m* at points x (2, …)."""
    return 0.7 - 0.3 * np.tanh((x[0] - 0.5) / 0.1)


def cavity(n):
    """The space of velocity and pressure on n × n squares."""
    ticks = np.linspace(0, 1, n + 1)
    mesh = skfem.MeshTri.init_tensor(ticks, ticks).with_boundaries(
        {"lid": lambda x: x[1] == 1, "walls": lambda x: x[1] < 1}
    )
    return FunctionSpace(mesh, skfem.ElementVector(skfem.ElementTriP2()) * skfem.ElementTriP1(), order=5)


def state_equation(V, reynolds, lid):
    """Velocity and pressure (n,); ``lid`` makes the lid's velocity (k,) at points x (2, k) of the coefficient."""
    velocity, pressure = V.split()
    along, across = velocity.split()
    places = along.locations[:, along.dofs("lid")]
    still = Dirichlet.on(across, "lid") + Dirichlet.on(velocity, "walls")
    pinned = Dirichlet.at(pressure, [0, 0])
    return NonlinearStateEquation(
        lambda u, _: flow.linearized(V, u, Re=reynolds),
        lambda m: (Dirichlet.on(along, "lid", lid(m, places)) | still) + pinned,  # corners are at rest
        parts={"velocity": velocity, "pressure": pressure},
    )


def simulated_velocities(n, reynolds, points):
    """Clean data (2 k,) at points (2, k): a finer mesh, the exact velocity of the lid."""
    V = cavity(n)
    u = state_equation(V, reynolds, lambda _, x: true_lid(x))(None)
    velocity, _ = V.split()
    return np.asarray(AtPoints.of(velocity, points)(u, None))


def build(
    n: Annotated[int, "squares along a side"] = 16,
    reynolds: Annotated[float, "Reynolds number Re"] = 100.0,
    sensors: Annotated[int, "sensors along a side"] = 7,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    gamma: Annotated[float, "weight γ of the regularization"] = 1.0,
) -> Problem:
    if n < 2 or not reynolds > 0 or sensors < 1:
        raise InputError(
            f"n is {n}, reynolds {reynolds}, sensors {sensors}; expected at least 2 squares and 1 sensor along a side, "
            "and a number > 0"
        )
    V = cavity(n)
    velocity, _ = V.split()
    corners = V.with_element(skfem.ElementTriP1())
    parameter = Parameter(corners.boundary("lid"), "velocity m of the lid", corners.dofs("lid"))
    x = corners.locations[0, parameter.dofs]
    order = np.argsort(x)
    ticks = np.arange(1, sensors + 1) / (sensors + 1)
    points = np.stack(np.meshgrid(ticks, ticks)).reshape(2, -1)
    measured, sigma = add_noise(simulated_velocities(3 * n // 2, reynolds, points), noise, seed)
    functional = ReducedFunctional(
        state_equation(V, reynolds, lambda m, places: jnp.interp(places[0], x[order], m[order])),
        L2Misfit.of(AtPoints.of(velocity, points), measured, sigma),
        h1(parameter.space, gamma, parameter.dofs),
    )
    return Problem(
        functional,
        initial=np.full(parameter.size, 0.5),
        parameter=parameter,
        truth=true_lid(corners.locations[:, parameter.dofs]),
        data_label="velocity y",
        points=points,
        optimizer="gauss-newton",
    )
