"""Find where a contaminant was released among buildings from concentrations that are measured later, downwind.

Find the initial concentration m that minimizes

    J(m) = ½ Σ_i Σ_k ((u(x_i, t_k) − d_ik) / σ)²  +  ½ ∫ (γ |∇m|² + δ m²),

where the concentration u solves

    ∂u/∂t − κ Δu + w·∇u = 0  in Ω,      u = m  at t = 0,      ∂u/∂n = 0  on ∂Ω,

on the unit square without two buildings. The wind w = ∇φ blows from left to right around them: −Δφ = 0, φ = 0 on the
left, φ = φ₁ on the right, ∂φ/∂n = 0 on the walls, with a mean square of one. The equation is not symmetric:
its adjoint carries the misfit against the wind, back in time. The sensors stand on a grid outside of the buildings and
read at equal times from ``--first`` on, when much has spread already. The concentration is piecewise quadratic, m
piecewise linear; the steps are those of SDIRK2. The data d are simulated with half the steps on a mesh with twice as
many squares, with noise.

(Among the applications of A. Petra, G. Stadler: Model variational inverse problems governed by partial differential
equations, ICES report 11-05, 2011, with another wind.)
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad
from pdeopt.inverse import (
    AtPoints,
    InputError,
    InTime,
    L2Misfit,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
    tikhonov,
)
from pdeopt.inverse import mass as mass_form
from pdeopt.pde import Evolution, LinearStateEquation, TransientStateEquation

#: The corners (left, right, below, above) of the buildings.
BUILDINGS = ((0.25, 0.5, 0.125, 0.375), (0.625, 0.75, 0.5, 0.875))


@bilinear_form
def diffusion(u, v, _):
    return dot(grad(u), grad(v))


@bilinear_form
def transport(u, v, w):
    return w["kappa"] * dot(grad(u), grad(v)) + dot(w["wind"], grad(u)) * v


def is_in_building(x):
    """Whether points x (2, …) are strictly inside of a building."""
    return np.any([(a < x[0]) & (x[0] < b) & (c < x[1]) & (x[1] < d) for a, b, c, d in BUILDINGS], axis=0)


def city(n):
    """The unit square without the buildings, n × n squares in two triangles each; n is a multiple of 8."""
    ticks = np.linspace(0, 1, n + 1)
    mesh = skfem.MeshTri.init_tensor(ticks, ticks)
    return mesh.remove_elements(np.flatnonzero(is_in_building(mesh.p[:, mesh.t].mean(1)))).with_boundaries(
        {"left": lambda x: x[0] == 0, "right": lambda x: x[0] == 1}
    )


def potential(V):
    """The potential φ (n,) of a wind whose mean square is one: ∫ |∇φ|² is the area."""
    sides = Dirichlet.on(V, {"left": 0.0, "right": 1.0})
    K, M = diffusion.assemble(V), mass_form.assemble(V)
    phi = LinearStateEquation(lambda _: (K, jnp.zeros(V.n)), sides, parts={"φ": V})(None)
    return phi * jnp.sqrt((M @ jnp.ones(V.n)).sum() / (phi @ (K @ phi)))


def state_equation(V, kappa, times, kept=None, start=lambda m: m):
    """The concentrations (n, times); ``start`` makes the first one, (n,), of the unknown."""
    M, K = mass_form.assemble(V), transport.assemble(V, kappa=kappa, wind=grad(V.interpolate(potential(V))))
    return TransientStateEquation(
        lambda m: Evolution(M, K, initial=start(m)), times, "sdirk2", kept=kept, parts={"concentration": V}
    )


def true_concentration(x):
    """m at points x (2, …): a release before the first building, and a weaker one between the two."""
    first = np.exp(-((x[0] - 0.12) ** 2 + (x[1] - 0.3) ** 2) / 0.006)
    return first + 0.6 * np.exp(-((x[0] - 0.42) ** 2 + (x[1] - 0.65) ** 2) / 0.008)


def sensor_grid(count):
    """A grid of sensors outside of the buildings, ``count`` along a side, (2, k)."""
    ticks = (np.arange(count) + 0.5) / count
    points = np.stack(np.meshgrid(ticks, ticks, indexing="ij")).reshape(2, -1)
    return points[:, ~is_in_building(points)]


def build(
    n: Annotated[int, "squares along a side, a multiple of 8"] = 24,
    steps: Annotated[int, "steps in time"] = 30,
    end: Annotated[float, "last time (s)"] = 0.8,
    first: Annotated[float, "first time at which the sensors read (s)"] = 0.2,
    readings: Annotated[int, "times at which they read"] = 10,
    sensors: Annotated[int, "sensors along a side"] = 8,
    kappa: Annotated[float, "diffusivity κ (m²/s)"] = 0.01,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.02,
    seed: Annotated[int, "of the noise"] = 0,
    gamma: Annotated[float, "weight γ of the H1 term"] = 100.0,
    delta: Annotated[float, "weight δ of the L2 term"] = 1000.0,
) -> Problem:
    if n < 8 or n % 8 or steps < 2 or readings < 1 or sensors < 1 or not 0 <= first <= end < np.inf or not kappa > 0:
        raise InputError(
            f"n is {n}, steps {steps}, readings {readings}, sensors {sensors}, first {first}, end {end}, kappa "
            f"{kappa}; expected a multiple of 8, 2 steps, 1 reading and 1 sensor at least, 0 ≤ first ≤ end, kappa > 0"
        )
    V, W = (FunctionSpace(city(k), skfem.ElementTriP2()) for k in (n, 2 * n))
    P1 = FunctionSpace(V.mesh, skfem.ElementTriP1())
    points, at, times = sensor_grid(sensors), np.linspace(first, end, readings), np.linspace(0, end, steps + 1)
    exact = state_equation(W, kappa, np.linspace(0, end, 2 * steps + 1))
    clean = InTime(AtPoints.of(W, points), at).of(exact, W.nodal(true_concentration))
    measured, sigma = add_noise(clean, noise, seed)
    shown = times[np.linspace(0, steps, min(25, steps + 1)).round().astype(int)]
    quadratic = P1.point_evaluation(V.locations)
    state = state_equation(V, kappa, times, shown, lambda m: quadratic @ m)
    misfit = L2Misfit.of(InTime(AtPoints.of(V, points), at), measured, sigma)
    return Problem(
        ReducedFunctional(state, misfit, (h1(P1, gamma), tikhonov(P1, delta))),
        initial=np.zeros(P1.n),
        parameter=Parameter(P1, "initial concentration m (kg/m³)"),
        truth=P1.nodal(true_concentration),
        data_label="concentration u (kg/m³)",
        points=points,
        optimizer="newton-cg",
        length_unit="m",
        time_unit="s",
    )
