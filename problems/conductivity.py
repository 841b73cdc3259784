"""Recover several conductive and resistive inclusions from noisy potentials inside a body (2-D or 3-D).

Find the log-conductivity m on Ω = (0, 1)^d that minimizes

    J(m) = ½ Σ_k Σ_i ((u_k(x_i) − d_ki) / σ)²  +  R(m),

where the potential u_k of experiment k = 1 … d is driven by a voltage along axis k:

    −∇·(exp(m) ∇u_k) = 0  in Ω,      u_k = x_k  on ∂Ω.

The data d_ki are taken at points inside (``--data points``) or at every vertex (``--data interior``), simulated with
quadratic elements on a finer mesh, with Gaussian noise of standard deviation σ (``--noise``, relative to the root mean
square of the potentials). R is smoothed total variation (``tv``), ½α∫|∇m|² (``h1``) or ½α∫m² (``tikhonov``).
The d experiments share one matrix, hence one factorization.
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad
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
EDGE = 0.02  # width of the transition at the rim of an inclusion


@bilinear_form
def conduction(u, v, w):
    return w["k"] * dot(grad(u), grad(v))


def true_log_conductivity(x):
    """m at points x (d, …): a smooth step from each inclusion to the background."""
    m = np.zeros(x.shape[1:])
    for center, radius, value in INCLUSIONS:
        offset = x - np.reshape(center[: len(x)], (-1,) + (1,) * (x.ndim - 1))
        m += 0.5 * value * (1 - np.tanh((np.linalg.norm(offset, axis=0) - radius) / EDGE))
    return m


def unit_mesh(dim, n):
    """The unit square or cube, n cells along a side, cut into triangles or tetrahedra."""
    ticks = np.linspace(0, 1, n + 1)
    return (skfem.MeshTri if dim == 2 else skfem.MeshTet).init_tensor(*[ticks] * dim)


def state_equation(V, coefficient_space, solver):
    """κ (nodal values) ↦ potentials (n, d), one column an experiment."""
    dirichlet = Dirichlet.on(V, values=lambda x: x.T)
    b = jnp.zeros((V.n, V.mesh.dim()))

    def system(kappa):
        return conduction.assemble(V, k=coefficient_space.interpolate(kappa)), b

    return LinearStateEquation(system, dirichlet, solver)


def simulated_potentials(dim, n, points):
    """Clean data (k, d) at ``points``: quadratic elements on a mesh with 1.5 times as many cells, the exact coefficient."""
    V = FunctionSpace(unit_mesh(dim, 3 * n // 2 + 1), (skfem.ElementTriP2 if dim == 2 else skfem.ElementTetP2)())

    def system(_):
        return conduction.assemble(V, k=lambda x: jnp.exp(true_log_conductivity(np.asarray(x)))), jnp.zeros((V.n, dim))

    potentials = LinearStateEquation(system, Dirichlet.on(V, values=lambda x: x.T))(None)
    return np.asarray(V.point_evaluation(points) @ potentials)


def build(
    dim: Annotated[Literal[2, 3], "space dimension"] = 2,
    n: Annotated[int | None, "cells along a side (64 in 2-D, 12 in 3-D)"] = None,
    data: Annotated[Literal["points", "interior"], "where the potential is measured"] = "interior",
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    regularization: Annotated[Literal["tv", "h1", "tikhonov"], "kind of regularization"] = "tv",
    weight: Annotated[float | None, "its weight (a default for each kind)"] = None,
    background: Annotated[float, "conductivity of the initial guess (S/m)"] = 1.0,
    solver: Annotated[str, "linear solver"] = "auto",
) -> Problem:
    n = n or {2: 64, 3: 12}[dim]
    mesh = unit_mesh(dim, n)
    V = FunctionSpace(mesh, (skfem.ElementTriP1 if dim == 2 else skfem.ElementTetP1)())
    points = mesh.p[:, mesh.interior_nodes()]
    measured, sigma = add_noise(simulated_potentials(dim, n, points), noise, seed)
    terms = {"tv": lambda a: total_variation(V, a, 0.1), "h1": lambda a: h1(V, a), "tikhonov": lambda a: tikhonov(V, a)}
    default = {"tv": 1e2, "h1": 1.0, "tikhonov": 1.0}
    parametrization = Log()
    functional = ReducedFunctional(
        state_equation(V, V, solver),
        L2Misfit.of(AtPoints.of(V, points), measured, sigma),
        terms[regularization](default[regularization] if weight is None else weight),
        parametrization,
    )
    return Problem(
        functional,
        initial=np.full(V.n, parametrization.inverse(background)),
        parameter=Parameter(V, "conductivity κ (S/m)"),
        truth=np.exp(V.nodal(true_log_conductivity)),
        data_label="potential u (V)",
        points=points,
    )
