"""Recover the logarithm of a diffusivity with a round inclusion from a noisy state that is known everywhere.

Find m, piecewise linear on Ω = (0, 1)², that minimizes

    J(m) = ½ ∫ (u − d)²  +  ½ γ ∫ |∇m|²        (or γ ∫ √(|∇m|² + ε²), with --regularization tv)

where u, piecewise quadratic, solves

    −∇·(exp(m) ∇u) = 1  in Ω,      u = 0  on ∂Ω.

The data d are the state of m* = ln 2 inside a disk of radius 0.2, ln 9 outside, on the same mesh, with Gaussian noise
of standard deviation 0.05 max |u| at every node inside. This is the model problem "Poisson INCG" of U. Villa, N. Petra
and O. Ghattas (hIPPYlib: ACM Transactions on Mathematical Software 47, 2021), whose inexact Newton method, with five
Gauss–Newton steps first, takes 8 steps and 44 CG iterations on 64 × 64 squares.
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional, h1, total_variation
from pdeopt.pde import LinearStateEquation

#: Default weights γ.
WEIGHTS = {"h1": 1e-8, "tv": 1e-8}
#: ε of total variation; the edge of the inclusion has slopes of 1.5 over the size of a cell.
SMOOTHING = 1.0


@bilinear_form
def diffusion(u, v, w):
    return jnp.exp(w["m"]) * dot(grad(u), grad(v))


@linear_form
def unit_load(v, _):
    return 1.0 * v


def true_parameter(x):
    """m* at points x (2, …)."""
    return np.log(2 + 7 * (np.hypot(x[0] - 0.5, x[1] - 0.5) > 0.2))


def state_equation(V, parameter):
    """The state (n,); ``parameter`` makes the field m of its degrees of freedom."""
    load = unit_load.assemble(V)
    return LinearStateEquation(
        lambda m: (diffusion.assemble(V, m=parameter(m)), load), Dirichlet.on(V), parts={"state": V}
    )


def noisy_state(V, u, noise, seed):
    """(data, σ), each (n,): exact where the state is prescribed."""
    sigma = np.full(V.n, noise * np.abs(u).max())
    sigma[V.dofs()] = 0
    return u + sigma * np.random.default_rng(seed).standard_normal(V.n), sigma


def build(
    n: Annotated[int, "squares along a side"] = 64,
    noise: Annotated[float, "noise level, relative to the largest value of the state"] = 0.05,
    seed: Annotated[int, "of the noise"] = 0,
    regularization: Annotated[Literal["h1", "tv"], "its kind: squared gradient, or total variation"] = "h1",
    gamma: Annotated[float | None, "its weight γ (default: 1e-8)"] = None,
) -> Problem:
    if n < 2 or not noise > 0:
        raise InputError(f"n is {n}, noise {noise}; expected at least 2 squares along a side and a number > 0")
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP2())
    M = V.with_element(skfem.ElementTriP1())
    truth, state = M.nodal(true_parameter), state_equation(V, M.interpolate)
    data, sigma = noisy_state(V, np.asarray(state(truth)), noise, seed)
    weight = WEIGHTS[regularization] if gamma is None else gamma
    term = h1(M, weight) if regularization == "h1" else total_variation(M, weight, SMOOTHING)
    return Problem(
        ReducedFunctional(state, FieldMisfit.of(V, data, sigma), term),
        initial=np.full(M.n, np.log(2)),
        parameter=Parameter(M, "log-diffusivity m"),
        truth=truth,
        data_label="state u",
        state_space=V,
        optimizer="newton-cg",
        gradient_tolerance=1e-5,
    )
