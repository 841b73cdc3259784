"""Find how the conductivity of a material depends on its temperature from thermocouples while it is heated.

A bar is heated on its left side and insulated elsewhere. Its temperature θ above that at the start solves

    ∂θ/∂t = ∇·(k(θ) ∇θ)  in Ω = (0, 1) × (0, ¼),      θ = 0  at t = 0,
    k ∂θ/∂n = q  on the left,      k ∂θ/∂n = 0  elsewhere,

a nonlinear equation in every step of SDIRK2 in time. The conductivity is wanted as a function of the temperature: its
values k_i at equal distances between 0 and the highest temperature of interest, with a cubic spline between them, and
the last value beyond. They minimize

    J(m) = ½ Σ_i Σ_j ((θ(x_i, t_j) − d_ij) / σ)²  +  ½ γ ∫ (dm/dθ)² dθ,      k_i = exp(m_i),

with data at thermocouples in a row from the heated side inward, simulated with half the steps on a finer mesh and a
finer spline, with noise. What k is at temperatures that the bar never has, is known from the smoothness of m alone.
(O. Alifanov: Inverse Heat Transfer Problems, 1994, chapter 6; quantities without units.)
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import FunctionSpace, dot, grad, linear_form, residual_form
from pdeopt.inverse import (
    AtPoints,
    InputError,
    InTime,
    L2Misfit,
    Log,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
)
from pdeopt.inverse import mass as mass_form
from pdeopt.pde import NonlinearTransientStateEquation

#: The heat flux q, and the highest temperature at which the conductivity is wanted.
FLUX, HIGHEST = 0.9, 1.25


@residual_form
def conduction(theta, v, w):
    """∫ k(θ) ∇θ·∇v with the spline k, a sum of B-splines (2 − |s|)₊³ / 6 − 4 (1 − |s|)₊³ / 6."""
    spline = jnp.stack(w["spline"])[:, None, None]
    count = len(spline)
    s = jnp.abs((count - 3) / HIGHEST * jnp.clip(theta, 0, HIGHEST) - jnp.arange(-1.0, count - 1)[:, None, None])
    k = (spline * (jnp.maximum(2 - s, 0) ** 3 - 4 * jnp.maximum(1 - s, 0) ** 3)).sum(0) / 6
    return k * dot(grad(theta), grad(v))


@linear_form
def heated(v, _):
    return FLUX * v


def true_conductivity(theta):
    """k at temperatures θ of a made-up material, which conducts best when it is warm, and worst when it is hot."""
    return 0.45 + 0.15 * np.sin(2 * np.pi * theta / HIGHEST)


def spline_map(count):
    """The matrix (count + 2, count) from values at knots to the coefficients of B-splines, k″ = 0 at both ends."""
    values = np.diag(np.full(count, 4.0)) + np.eye(count, k=1) + np.eye(count, k=-1)
    values[[0, -1]] = 6 * np.eye(count)[[0, -1]]
    inner = np.linalg.inv(values / 6)
    return np.vstack([2 * inner[0] - inner[1], inner, 2 * inner[-1] - inner[-2]])


def bar(n):
    """The bar with n × n/4 squares, each of them cut into two triangles."""
    return skfem.MeshTri.init_tensor(np.linspace(0, 1, n + 1), np.linspace(0, 0.25, n // 4 + 1)).with_defaults()


def state_equation(V, times, knots):
    """The temperatures (n, times) of a conductivity that is given at its knots."""
    M, inflow, coefficients = mass_form.assemble(V), heated.assemble(V.boundary("left")), spline_map(knots)

    def system(theta, k, _):
        residual, tangent = conduction.linearized(V, theta, spline=tuple(coefficients @ k))
        return residual - inflow, tangent

    return NonlinearTransientStateEquation(
        system, lambda _: M, times, lambda _: np.zeros(V.n), "sdirk2", parts={"temperature": V}
    )


def build(
    n: Annotated[int, "squares along the bar, a multiple of 4"] = 8,
    steps: Annotated[int, "steps in time"] = 25,
    end: Annotated[float, "last time"] = 0.6,
    knots: Annotated[int, "temperatures at which the conductivity is found"] = 9,
    sensors: Annotated[int, "thermocouples in a row"] = 5,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    gamma: Annotated[float, "weight γ of the smoothness"] = 0.1,
) -> Problem:
    if n < 4 or n % 4 or steps < 2 or knots < 3 or sensors < 1 or not 0 < end < np.inf:
        raise InputError(
            f"n is {n}, steps {steps}, knots {knots}, sensors {sensors}, end {end}; expected a multiple of 4, at least "
            "2 steps, 3 knots and 1 sensor, and end > 0"
        )
    V, W = FunctionSpace(bar(n), skfem.ElementTriP2()), FunctionSpace(bar(2 * n), skfem.ElementTriP2())
    times, temperatures = np.linspace(0, end, steps + 1), np.linspace(0, HIGHEST, knots)
    points = np.array([np.linspace(0, 0.6, sensors), np.full(sensors, 0.125)])
    exact = state_equation(W, np.linspace(0, end, 2 * steps + 1), 4 * knots)
    clean = InTime(AtPoints.of(W, points), times[1:]).of(exact, true_conductivity(np.linspace(0, HIGHEST, 4 * knots)))
    measured, sigma = add_noise(clean, noise, seed)
    line = FunctionSpace(skfem.MeshLine(temperatures), skfem.ElementLineP1())
    misfit = L2Misfit.of(InTime(AtPoints.of(V, points), times[1:]), measured, sigma)
    return Problem(
        ReducedFunctional(state_equation(V, times, knots), misfit, h1(line, gamma), Log()),
        initial=np.full(knots, np.log(0.4)),
        parameter=Parameter(line, "conductivity k", coordinate="temperature θ"),
        truth=true_conductivity(temperatures),
        data_label="temperature θ",
        points=points,
        optimizer="gauss-newton",
    )
