"""Recover the source, or the diffusivity, of a substance that the wind carries and that diffuses: non-symmetric.

Find the parameter m on the L-shaped domain Ω that minimizes

    J(m) = ½ Σ_i ((u(x_i) − d_i) / σ)²  +  ½ α ∫ |∇m|²   (+ ½ β ∫ m² for the source),

where the concentration u solves

    −∇·(κ ∇u) + w·∇u = f  in Ω,      u = 0  on ∂Ω,

with the wind w = 8 (1, ½) (m/s). With ``--unknown source``, m = f and κ is known; with ``--unknown diffusivity``,
κ = κ₀ exp(m) and f is known. The data d_i are concentrations at a grid of sensors, simulated with quadratic elements
on a finer mesh, with Gaussian noise of standard deviation σ. The adjoint state is carried against the wind: it solves
with the transposed matrix.
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import (
    AtPoints,
    Identity,
    InputError,
    L2Misfit,
    Log,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
    tikhonov,
)
from pdeopt.pde import LinearStateEquation

WIND = np.array([8.0, 4.0])


@bilinear_form
def transport(u, v, w):
    return w["kappa"] * dot(grad(u), grad(v)) + (WIND[0] * grad(u)[0] + WIND[1] * grad(u)[1]) * v


@linear_form
def emission(v, w):
    return w["f"] * v


def true_source(x):
    """Two smooth emitters (1/s) at points x (2, …)."""
    first = jnp.exp(-((x[0] + 0.5) ** 2 + (x[1] - 0.45) ** 2) / 0.04)
    return 10 * first + 6 * jnp.exp(-((x[0] - 0.45) ** 2 + (x[1] + 0.5) ** 2) / 0.06)


def true_diffusivity(x):
    """κ (m²/s) at points x (2, …): twice as large in the lower arm of the domain as above, with a smooth transition."""
    return 1.5 - 0.5 * jnp.tanh(x[1] / 0.2)


def l_shape(refinements):
    """(−1, 1)² without its upper right quarter."""
    return skfem.MeshTri.init_lshaped().refined(refinements)


def state_equation(V, kappa_field, f_field):
    """Concentrations (n,); the fields κ and f are made from what the state depends on."""

    def system(m):
        return transport.assemble(V, kappa=kappa_field(m)), emission.assemble(V, f=f_field(m))

    return LinearStateEquation(system, Dirichlet.on(V), parts={"concentration": V})


def simulated_concentrations(refinements, points):
    """Clean data (k,) at ``points``: quadratic elements on a finer mesh, the exact source and diffusivity."""
    V = FunctionSpace(l_shape(refinements + 1), skfem.ElementTriP2())
    u = state_equation(V, lambda _: true_diffusivity, lambda _: true_source)(None)
    return np.asarray(V.point_evaluation(points) @ u)


def sensor_grid(count):
    """(2, k), a regular grid of sensors inside the L-shape, ``count`` along the longer sides."""
    ticks = -1 + 2 * (np.arange(count) + 0.5) / count
    x, y = np.meshgrid(ticks, ticks, indexing="ij")
    return np.stack([x.ravel(), y.ravel()])[:, ((x <= 0) | (y <= 0)).ravel()]


def build(
    unknown: Annotated[Literal["source", "diffusivity"], "what is to be recovered"] = "source",
    refinements: Annotated[int, "of the coarsest mesh of the L-shape (5: 3201 vertices)"] = 5,
    sensors: Annotated[int, "sensors along the longer sides"] = 24,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float | None, "weight α of the H1 term (default: source 5, diffusivity 300)"] = None,
) -> Problem:
    if refinements < 1 or sensors < 2:
        raise InputError(f"refinements is {refinements}, sensors {sensors}; expected at least 1 and 2")
    V = FunctionSpace(l_shape(refinements), skfem.ElementTriP1())
    points = sensor_grid(sensors)
    measured, sigma = add_noise(simulated_concentrations(refinements, points), noise, seed)
    misfit = L2Misfit.of(AtPoints.of(V, points), measured, sigma)
    if unknown == "source":
        state = state_equation(V, lambda _: true_diffusivity, V.interpolate)
        weight = 5.0 if weight is None else weight
        terms, parametrization = (h1(V, weight), tikhonov(V, 0.01 * weight)), Identity()
        parameter, truth = Parameter(V, "source f (1/s)"), true_source(V.locations)
    else:
        state = state_equation(V, V.interpolate, lambda _: true_source)
        terms, parametrization = (h1(V, 300.0 if weight is None else weight),), Log(reference=1.5)
        parameter, truth = Parameter(V, "diffusivity κ (m²/s)"), true_diffusivity(V.locations)
    return Problem(
        ReducedFunctional(state, misfit, terms, parametrization),
        initial=np.zeros(V.n),
        parameter=parameter,
        truth=np.asarray(truth),
        data_label="concentration u",
        points=points,
    )
