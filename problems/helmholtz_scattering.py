"""Recover a permittivity from the waves that it scatters to receivers, for several frequencies: complex states.

Find m on the square D = (−0.8, 0.8)² that minimizes, with ε = exp(m) in D and ε = 1 outside of it,

    J(m) = ½ Σ_f Σ_k Σ_i |(u_fk(x_i) − d_fki) / σ|²  +  ½ α ∫ |∇m|²,

where u_fk is the field that is scattered of a plane wave of wavenumber k_f that comes along the unit vector e_k
(sign convention e^(−iωt)):

    Δu_fk + k_f² ε u_fk = −k_f² (ε − 1) exp(i k_f e_k·x)   in ℝ²,      u_fk radiates outward.

The plane ends in a perfectly matched layer. The data d_fki are complex numbers at receivers x_i on a circle around D,
simulated with a finer mesh, with circular Gaussian noise: σ is the standard deviation of the real and of the imaginary
part each. With ``--data magnitudes`` they are the magnitudes of the whole field, incident and scattered, without
phases. All waves of one frequency share a matrix, which is complex and symmetric; each frequency has its own. Low
frequencies lead to the right minimum, high ones show details.
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace
from pdeopt.fem.models import BoxLayer, plane_wave, wave_mass, wave_stiffness
from pdeopt.inverse import (
    AtPoints,
    InputError,
    L2Misfit,
    Log,
    Magnitude,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
)
from pdeopt.pde import JoinedStates, LinearStateEquation

#: Half the side of the square where the permittivity is looked for, of the layer's inner and of its outer boundary.
REGION, FREE, WALL = 0.8, 1.4, 2.0
#: The radius of the circle of receivers.
RECEIVERS = 1.2
#: Centers, radii and permittivities of the inclusions; around them it is 1.
INCLUSIONS = (((-0.3, 0.25), 0.32, 1.6), ((0.38, 0.3), 0.2, 1.3), ((0.2, -0.38), 0.25, 0.75))
#: The width of the rim of an inclusion.
EDGE = 0.04


def true_permittivity(x):
    """ε at points x (2, …)."""
    m = 0.0
    for center, radius, value in INCLUSIONS:
        distance = jnp.sqrt((x[0] - center[0]) ** 2 + (x[1] - center[1]) ** 2)
        m += np.log(value) * 0.5 * (1 + jnp.tanh((radius - distance) / EDGE))
    return jnp.exp(m)


def square(n):
    """The square (−2, 2)², n cells a unit of length."""
    ticks = np.linspace(-WALL, WALL, round(2 * WALL * n) + 1)
    return skfem.MeshTri.init_tensor(ticks, ticks)


def on_circle(count):
    """(2, count): unit vectors in all directions."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)])


def wave_equation(V, wavenumber, directions, contrast):
    """The scattered fields (n, r) of one frequency; ``contrast`` makes the field ε − 1 of what they depend on."""
    layer = BoxLayer(wavenumber, (-WALL, -WALL), (WALL, WALL), WALL - FREE)
    stiffness, mass = wave_stiffness.assemble(V, D=layer.diffusion), wave_mass.assemble(V, c=layer.mass)
    empty, incident = stiffness - wavenumber**2 * mass, jnp.asarray(plane_wave(V.locations, wavenumber, directions))

    def system(epsilon):
        added = wavenumber**2 * wave_mass.assemble(V, c=contrast(epsilon))
        return empty - added, added @ incident

    return LinearStateEquation(system, Dirichlet.on(V), axes=("dof", "experiment"), parts={"scattered field": V})


def state_equation(V, wavenumbers, directions, contrast):
    """The scattered fields (n, frequencies · directions), those of the first frequency first."""
    return JoinedStates([wave_equation(V, wavenumber, directions, contrast) for wavenumber in wavenumbers])


def simulated_fields(n, wavenumbers, directions, points):
    """The scattered fields (k, frequencies · directions) at ``points``: a finer mesh, the exact permittivity."""
    V = FunctionSpace(square(1.5 * n), skfem.ElementTriP2())
    u = state_equation(V, wavenumbers, directions, lambda _: lambda x: true_permittivity(x) - 1)(None)
    return np.asarray(V.point_evaluation(points) @ u)


def build(
    n: Annotated[int, "cells a unit of length, P2; a wave of the highest frequency needs about eight"] = 8,
    frequencies: Annotated[int, "frequencies, with wavenumbers in equal steps up to the highest one"] = 3,
    wavenumber: Annotated[float, "wavenumber of the highest frequency (1/m)"] = 6.3,
    directions: Annotated[int, "directions of incident waves"] = 8,
    receivers: Annotated[int, "receivers on a circle"] = 32,
    data: Annotated[Literal["fields", "magnitudes"], "scattered fields, or magnitudes of whole fields"] = "fields",
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.02,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float, "regularization weight α"] = 100.0,
) -> Problem:
    if n < 3 or min(frequencies, directions, receivers) < 1 or not wavenumber > 0:
        raise InputError(
            f"n is {n}, frequencies {frequencies}, directions {directions}, receivers {receivers}, wavenumber "
            f"{wavenumber}; expected at least 3 cells a unit, one of each of the others, and a wavenumber > 0"
        )
    V = FunctionSpace(square(n), skfem.ElementTriP2())
    W = V.with_element(skfem.ElementTriP1())
    region = np.flatnonzero((np.abs(W.locations) < REGION + 1e-9).all(0))
    parameter = Parameter(W, "permittivity ε", region)
    wavenumbers = wavenumber * np.arange(1, frequencies + 1) / frequencies
    waves, points = on_circle(directions), RECEIVERS * on_circle(receivers)
    incident = np.hstack([plane_wave(points, k, waves) for k in wavenumbers])
    scattered, at_points = simulated_fields(n, wavenumbers, waves, points), AtPoints.of(V, points)
    if data == "fields":
        observation, clean = at_points, scattered
    else:
        observation = Magnitude(lambda u, epsilon: incident + at_points(u, epsilon))
        clean = np.abs(incident + scattered)
    measured, sigma = add_noise(clean, noise, seed)
    functional = ReducedFunctional(
        state_equation(V, wavenumbers, waves, lambda epsilon: parameter.field(epsilon - 1)),
        L2Misfit.of(observation, measured, sigma),
        h1(W, weight, region),
        Log(),
    )
    return Problem(
        functional,
        initial=np.zeros(parameter.size),
        parameter=parameter,
        truth=np.asarray(true_permittivity(W.locations[:, region])),
        data_label="scattered field u" if data == "fields" else "magnitude of the field",
        points=points,
        gradient_tolerance=1e-3,
    )
