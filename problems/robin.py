"""Recover the heat-transfer coefficient on the hidden side of a plate from temperatures on the accessible side.

Find m on the hidden side Γ (the bottom of the plate Ω = (0, 2) × (0, 0.25)) that minimizes

    J(m) = ½ Σ_k Σ_i ((u_k(x_i) − d_ki) / σ)²  +  ½ α ∫_Γ |∂m/∂s|²,

where the temperature u_k of experiment k = 1, 2, 3 answers to a heat flux g_k through the top:

    −Δu_k = 0  in Ω,     ∂u_k/∂n = g_k  on the top,     ∂u_k/∂n + exp(m) u_k = 0  on Γ,     ∂u_k/∂n = 0  on the sides,

with g_1 = 1, g_2 = 1 + cos(πx), g_3 = 1 − cos(2πx). Where the plate has corroded or scale has grown, exp(m) differs.
The data d_ki are temperatures at the nodes of the top, simulated with quadratic elements on a finer mesh, with
Gaussian noise of standard deviation σ. All unknowns and all data are on the boundary; only the state is inside.
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import AtDofs, InputError, L2Misfit, Log, Parameter, Problem, ReducedFunctional, add_noise, h1
from pdeopt.pde import LinearStateEquation

LENGTH, THICKNESS = 2.0, 0.25
FLUXES = (lambda x: 1 + 0 * x[0], lambda x: 1 + jnp.cos(jnp.pi * x[0]), lambda x: 1 - jnp.cos(2 * jnp.pi * x[0]))


@bilinear_form
def diffusion(u, v, _):
    return dot(grad(u), grad(v))


@bilinear_form
def transfer(u, v, w):
    return w["gamma"] * u * v


@linear_form
def heating(v, w):
    return w["g"] * v


def true_transfer(x):
    """The heat-transfer coefficient (1/m, relative to the conductivity) at points x (2, …) of the bottom."""
    return 1.0 + 1.5 * np.exp(-((x[0] - 0.55) ** 2) / 0.02) - 0.6 * np.exp(-((x[0] - 1.4) ** 2) / 0.05)


def plate(n):
    """n cells across the thickness, eight times as many along the plate."""
    ticks = (np.linspace(0, LENGTH, 8 * n + 1), np.linspace(0, THICKNESS, n + 1))
    return skfem.MeshTri.init_tensor(*ticks).with_defaults()


def state_equation(V, gamma_field):
    """The temperatures (n, 3), one column an experiment; ``gamma_field`` makes the field γ of what they depend on."""
    hidden, heated = V.boundary("bottom"), V.boundary("top")
    conduction = diffusion.assemble(V)
    loads = jnp.stack([heating.assemble(heated, g=g) for g in FLUXES], axis=1)

    def system(gamma):
        return conduction + transfer.assemble(hidden, gamma=gamma_field(gamma)), loads

    return LinearStateEquation(system, axes=("dof", "experiment"), parts={"temperature": V})


def simulated_temperatures(n, points):
    """Clean data (k, 3) at ``points``: quadratic elements on a finer mesh, the exact coefficient."""
    V = FunctionSpace(plate(3 * n // 2 + 1), skfem.ElementTriP2())
    temperatures = state_equation(V, lambda _: lambda x: true_transfer(np.asarray(x)))(None)
    return np.asarray(V.point_evaluation(points) @ temperatures)


def build(
    n: Annotated[int, "cells across the thickness of the plate; eight times as many along it"] = 12,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float, "regularization weight α"] = 0.1,
    initial: Annotated[float, "initial guess of the transfer coefficient (1/m)"] = 1.0,
) -> Problem:
    if n < 2:
        raise InputError(f"n is {n}; expected at least 2 cells across the thickness")
    V = FunctionSpace(plate(n), skfem.ElementTriP1())
    parameter = Parameter(V.boundary("bottom"), "heat-transfer coefficient γ (1/m)", V.dofs("bottom"))
    observation = AtDofs.on_boundary(V, "top")
    points = V.locations[:, observation.dofs]
    measured, sigma = add_noise(simulated_temperatures(n, points), noise, seed)
    parametrization = Log()
    functional = ReducedFunctional(
        state_equation(V, parameter.field),
        L2Misfit.of(observation, measured, sigma),
        h1(parameter.space, weight, parameter.dofs),
        parametrization,
    )
    return Problem(
        functional,
        initial=np.full(parameter.size, parametrization.inverse(initial)),
        parameter=parameter,
        truth=true_transfer(V.locations[:, parameter.dofs]),
        data_label="temperature u (K)",
        points=points,
    )
