"""Recover several conductive and resistive inclusions from noisy potentials inside a body (2-D or 3-D).

Find the log-conductivity m on Ω = (0, 1)^d that minimizes

    J(m) = ½ Σ_k Σ_i ((u_k(x_i) − d_ki) / σ)²  +  R(m),

where the potential u_k of experiment k is driven by a voltage along axis k = 1 … d, and that of experiment 0 by a
source inside (without it, only ratios of conductivities could be told):

    −∇·(exp(m) ∇u_k) = 0  in Ω,      u_k = x_k  on ∂Ω,
    −∇·(exp(m) ∇u_0) = 10 in Ω,      u_0 = 0    on ∂Ω.

The data d_ki are taken at points inside (``--data points``) or at every vertex (``--data interior``), simulated with
quadratic elements on a finer mesh, with Gaussian noise of standard deviation σ (``--noise``, relative to the root mean
square of the potentials). R is smoothed total variation α∫√(|∇m|² + ε²) (``tv``), ½α∫|∇m|² (``h1``) or ½α∫m²
(``tikhonov``).
The d + 1 experiments share one matrix, hence one factorization.
"""

from functools import partial
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import (
    AtPoints,
    InputError,
    L2Misfit,
    Log,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
    tikhonov,
    total_variation,
)
from pdeopt.pde import LinearStateEquation

#: Centers, radii and log-conductivities of the inclusions; the background has conductivity 1.
INCLUSIONS = (
    ((0.30, 0.65, 0.50), 0.17, np.log(3.0)),
    ((0.70, 0.70, 0.45), 0.13, np.log(0.4)),
    ((0.62, 0.28, 0.55), 0.16, np.log(2.0)),
)
SOURCE = 10.0  # A/m³


@bilinear_form
def conduction(u, v, w):
    return w["k"] * dot(grad(u), grad(v))


@linear_form
def source(v, w):
    return SOURCE * v


def true_log_conductivity(x, edge):
    """m at points x (d, …): a step from each inclusion to the background, smoothed over the width ``edge``."""
    m = np.zeros(x.shape[1:])
    for center, radius, value in INCLUSIONS:
        offset = x - np.reshape(center[: len(x)], (-1,) + (1,) * (x.ndim - 1))
        depth = radius - np.linalg.norm(offset, axis=0)
        m += value * (0.5 * (1 + np.tanh(depth / edge)) if edge > 0 else depth > 0)
    return m


def unit_mesh(dim, n):
    """The unit square or cube, n cells along a side, cut into triangles or tetrahedra."""
    ticks = np.linspace(0, 1, n + 1)
    return (skfem.MeshTri if dim == 2 else skfem.MeshTet).init_tensor(*[ticks] * dim)


def state_equation(V, conductivity):
    """The potentials (n, d + 1), a column each; ``conductivity`` makes the field κ of what they depend on."""
    dim = V.mesh.dim()
    voltages = Dirichlet.on(V, values=lambda x: np.vstack([x, np.zeros(x.shape[1])]).T)
    loads = jnp.zeros((V.n, dim + 1)).at[:, dim].set(source.assemble(V))

    def system(kappa):
        return conduction.assemble(V, k=conductivity(kappa)), loads

    return LinearStateEquation(system, voltages, axes=("dof", "experiment"), parts={"potential": V})


def simulated_potentials(dim, n, points, edge):
    """Clean data (k, d + 1) at ``points``: quadratic elements on a finer mesh, the exact coefficient."""
    V = FunctionSpace(unit_mesh(dim, 3 * n // 2 + 1), (skfem.ElementTriP2 if dim == 2 else skfem.ElementTetP2)())
    potentials = state_equation(V, lambda _: lambda x: np.exp(true_log_conductivity(np.asarray(x), edge)))(None)
    return np.asarray(V.point_evaluation(points) @ potentials)


def measurement_points(mesh, data, sensors):
    """(d, k): all interior vertices, or a regular grid of ``sensors`` along each axis."""
    if data == "interior":
        return mesh.p[:, mesh.interior_nodes()]
    ticks = (np.arange(sensors) + 0.5) / sensors
    return np.stack(np.meshgrid(*[ticks] * mesh.dim(), indexing="ij")).reshape(mesh.dim(), -1)


def build(
    dim: Annotated[Literal[2, 3], "space dimension"] = 2,
    n: Annotated[int | None, "cells along a side (default 64 in 2-D, 12 in 3-D)"] = None,
    data: Annotated[Literal["interior", "points"], "at all interior vertices, or on a grid of sensors"] = "interior",
    sensors: Annotated[int, "sensors along each axis, for --data points"] = 16,
    edge: Annotated[float, "width of the rim of an inclusion; 0 for a sharp one"] = 0.03,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    regularization: Annotated[Literal["tv", "h1", "tikhonov"] | None, "its kind (default tv, in 3-D h1)"] = None,
    weight: Annotated[float | None, "its weight (default: tv 500; h1 50, in 3-D 200; tikhonov 3000)"] = None,
    smoothing: Annotated[float, "ε of tv, in 1/m: slopes of m far above it count as edges"] = 1.0,
    continuation: Annotated[bool, "minimize with 100 ε and 10 ε first"] = False,
    background: Annotated[float, "conductivity of the initial guess (S/m)"] = 1.0,
) -> Problem:
    """Several inclusions in a conductor, from noisy potentials."""
    n = {2: 64, 3: 12}[dim] if n is None else n
    if n < 2 or sensors < 1 or not edge >= 0:
        raise InputError(f"n is {n}, sensors {sensors}, edge {edge}; expected at least 2 cells, 1 sensor and 0")
    mesh = unit_mesh(dim, n)
    V = FunctionSpace(mesh, (skfem.ElementTriP1 if dim == 2 else skfem.ElementTetP1)())
    points = measurement_points(mesh, data, sensors)
    measured, sigma = add_noise(simulated_potentials(dim, n, points, edge), noise, seed)
    variation = partial(total_variation, smoothing=smoothing, continuation=(100, 10) if continuation else ())
    kinds = {"tv": (variation, 500.0), "h1": (h1, 50.0 if dim == 2 else 200.0), "tikhonov": (tikhonov, 3000.0)}
    term, default_weight = kinds[regularization or {2: "tv", 3: "h1"}[dim]]
    parametrization = Log()
    functional = ReducedFunctional(
        state_equation(V, V.interpolate),
        L2Misfit.of(AtPoints.of(V, points), measured, sigma),
        term(V, default_weight if weight is None else weight),
        parametrization,
    )
    return Problem(
        functional,
        initial=np.full(V.n, parametrization.inverse(background)),
        parameter=Parameter(V, "conductivity κ (S/m)"),
        truth=np.exp(V.nodal(lambda x: true_log_conductivity(x, edge))),
        data_label="potential u (V)",
        points=points,
    )
