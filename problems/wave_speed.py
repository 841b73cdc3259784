"""Find the speed of waves in a body from what receivers record of a few shots: full-waveform inversion.

Find the speed c that minimizes

    J(c) = ½ Σ_s Σ_r Σ_k |u_s(x_r, t_k) − d_srk|² / σ²  +  ½ α ∫ |∇c|²,

where the wave u_s of the source at x_s solves

    (1/c²) ∂²u/∂t² = Δu + w(t) δ(x − x_s)  in Ω = (0, 1)²,      ∂u/∂n = −(1/c) ∂u/∂t  on ∂Ω,

which lets waves leave, and u = ∂u/∂t = 0 at t = 0; w is a Ricker wavelet. All functions are piecewise linear, on n × n
squares that are cut from lower right to upper left. In time it is the leapfrog scheme with the lumped mass
m_i = ∫φ_i: from u⁻ = u = 0, for k = 0, 1, …, T/Δt,

    m_i (u⁺ − 2u + u⁻) / (c_i² Δt²) = −K u − B (u − u⁻)/Δt + w(kΔt) q,      B_ij = ∫_∂Ω φ_i φ_j / c,  q_i = φ_i(x_s),

and the receivers read each u⁺. The data are simulated with the true speed on the same mesh, without noise unless
``--noise`` asks for some: an inverse crime, which shows what the method can do at best. All shots share the matrices.
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import FunctionSpace, bilinear_form, dot, grad
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
    mass,
)
from pdeopt.pde import Evolution, Modulated, TransientStateEquation
from pdeopt.sparse import diagonal_matrix

#: The places of the sources, and of the first and the last receiver.
SOURCES = np.array([[0.3, 0.5, 0.7], [0.1, 0.1, 0.1]])
RECEIVERS = (0.2, 0.9), (0.8, 0.9)
#: The peak of the source's spectrum (Hz), and its time relative to √6/(π·peak).
PEAK, DELAY = 7.0, 1.5
#: The speeds between which the speed is looked for (m/s).
SLOWEST, FASTEST = 1.0, 3.0
#: The number of times at which waves are kept, for pictures.
SHOWN = 6


@bilinear_form
def stiffness(u, v, _):
    return dot(grad(u), grad(v))


@bilinear_form
def absorption(u, v, w):
    return w["slowness"] * u * v


def wavelet(t):
    """The source in time, a Ricker wavelet."""
    squared, s = (2 * np.pi * PEAK) ** 2, t - DELAY * np.sqrt(6) / (PEAK * np.pi)
    return (1 - 0.5 * squared * s**2) * jnp.exp(-0.25 * squared * s**2)


def true_speed(x):
    """c at points x (2, …): a faster disk."""
    distance = np.sqrt((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2)
    return 1.75 + 0.25 * np.tanh(200 * (0.125 - distance))


def state_equation(V, times, shown):
    """The waves (n, shots, times) of a speed at the nodes, kept at the times ``shown``."""
    lumped, K, boundary = mass.assemble(V) @ jnp.ones(V.n), stiffness.assemble(V), V.boundary()
    shots = V.point_evaluation(SOURCES).T @ jnp.eye(SOURCES.shape[1])

    def system(c):
        B = absorption.assemble(boundary, slowness=1 / boundary.interpolate(c))
        M = diagonal_matrix(lumped / c**2)
        return Evolution(M, K, Modulated(wavelet, shots), damping=B, before=jnp.zeros(V.n))

    axes = ("dof", "experiment", "time")
    return TransientStateEquation(system, times, "leapfrog", kept=shown, axes=axes, parts={"wave": V})


def square(n):
    """The unit square, n × n squares that are cut from lower right to upper left."""
    ticks = np.linspace(0, 1, n + 1)
    mesh = skfem.MeshTri.init_tensor(ticks, ticks)
    return skfem.MeshTri(np.stack([1 - mesh.p[0], mesh.p[1]]), mesh.t)


def build(
    n: Annotated[int, "squares along a side"] = 20,
    dt: Annotated[float, "step in time (s)"] = 0.01,
    end: Annotated[float, "time T of the last load (s)"] = 1.0,
    receivers: Annotated[int, "receivers in a row"] = 20,
    noise: Annotated[float, "noise level, relative to the rms of the data; 0 for none, with σ = 1"] = 0.0,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float, "regularization weight α"] = 2e-3,
    start: Annotated[float, "speed from which the search starts"] = 1.5,
) -> Problem:
    if n < 4 or receivers < 1 or not 0 < dt < end < np.inf or not SLOWEST <= start <= FASTEST or not noise >= 0:
        raise InputError(
            f"n is {n}, receivers {receivers}, dt {dt}, end {end}, start {start}, noise {noise}; expected at least 4 "
            f"squares along a side and one receiver, 0 < dt < end, a speed between {SLOWEST} and {FASTEST}, noise ≥ 0"
        )
    V = FunctionSpace(square(n), skfem.ElementTriP1())
    times = dt * np.arange(round(end / dt) + 2)
    points = np.linspace(*RECEIVERS, receivers).T
    equation = state_equation(V, times, times[np.linspace(0, len(times) - 1, SHOWN).round().astype(int)])
    observation, truth = InTime(AtPoints.of(V, points), times[1:]), true_speed(V.locations)
    clean = observation.of(equation, truth)
    measured, sigma = add_noise(clean, noise, seed) if noise > 0 else (clean, 1.0)
    functional = ReducedFunctional(equation, L2Misfit.of(observation, measured, sigma), h1(V, weight))
    return Problem(
        functional,
        initial=np.full(V.n, start),
        parameter=Parameter(V, "speed c (m/s)"),
        bounds=(SLOWEST, FASTEST),
        truth=truth,
        data_label="wave u at receivers",
        points=points,
        gradient_tolerance=1e-3,
    )
