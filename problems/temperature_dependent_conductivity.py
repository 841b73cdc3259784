"""Recover how a conductivity depends on the temperature, or on the place, from temperatures at several powers.

A plate is heated by the power q and cooled at its boundary. Its temperature θ above that of the boundary solves

    −∇·(k ∇θ) = q  in Ω = (0, 1)²,      θ = 0  on ∂Ω,

with a conductivity that depends on θ, so that twice the power does not give twice the temperature. Either its three
coefficients are wanted (``--unknown coefficients``),

    k(θ) = c₀ + c₁ θ + c₂ θ²,

or a factor that depends on the place, where the dependence on θ is known (``--unknown field``): k = exp(m) (1 + θ/2).
Both minimize J = ½ Σ_rk ((θ_r(x_k) − d_rk)/σ)² + R over experiments r = 1, 2, 3 with the powers 5, 20 and 60; R is
½ γ ∫ |∇m|² for the field, and 0 for the coefficients, which are kept positive by their logarithms. The data come from
quadratic elements on a finer mesh, with noise (O. Alifanov: Inverse Heat Transfer Problems, 1994, chapter 2).
"""

from typing import Annotated, Literal

import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, dot, grad, residual_form
from pdeopt.inverse import (
    AtPoints,
    InputError,
    L2Misfit,
    Log,
    Numbers,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
)
from pdeopt.pde import NonlinearStateEquation

POWERS = np.array([5.0, 20.0, 60.0])  # W/m³
TRUE_COEFFICIENTS = np.array([1.0, 0.5, 0.1])  # W/(m K), W/(m K²), W/(m K³)


@residual_form
def conduction(theta, v, w):
    c = w["c"]
    k = w["factor"] * (c[0] + c[1] * theta + c[2] * theta**2)
    return k * dot(grad(theta), grad(v)) - w["q"] * v


def true_factor(x):
    """The logarithm m* of the factor at points x (2, …): an inclusion that conducts twice as well."""
    return np.log(2) * (np.hypot(x[0] - 0.4, x[1] - 0.6) < 0.2)


def state_equation(V, conductivity):
    """The temperatures (n, 3), one column a power; ``conductivity`` makes (coefficients, factor) of the unknown."""

    def system(theta, unknown, power):
        (c0, c1, c2), factor = conductivity(unknown)
        return conduction.linearized(V, theta, c=(c0, c1, c2), factor=factor, q=power)

    axes = ("dof", "experiment")
    return NonlinearStateEquation(system, Dirichlet.on(V), experiments=POWERS, axes=axes, parts={"temperature": V})


def build(
    n: Annotated[int, "squares along a side"] = 24,
    unknown: Annotated[Literal["coefficients", "field"], "what is recovered"] = "coefficients",
    sensors: Annotated[int, "sensors along a side"] = 9,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    gamma: Annotated[float, "weight γ of the regularization of the field"] = 3.0,
) -> Problem:
    if n < 2 or sensors < 1:
        raise InputError(f"n is {n}, sensors {sensors}; expected at least 2 squares and 1 sensor along a side")
    mesh, finer = (skfem.MeshTri.init_tensor(*2 * [np.linspace(0, 1, k + 1)]) for k in (n, 3 * n // 2 + 1))
    V = FunctionSpace(mesh, skfem.ElementTriP1(), order=4)
    W = FunctionSpace(finer, skfem.ElementTriP2())
    ticks = np.arange(1, sensors + 1) / (sensors + 1)
    points = np.stack(np.meshgrid(ticks, ticks)).reshape(2, -1)
    is_field = unknown == "field"
    coefficients = np.array([1.0, 0.5, 0.0]) if is_field else TRUE_COEFFICIENTS
    factor = W.nodal(lambda x: np.exp(true_factor(x))) if is_field else np.ones(W.n)
    exact = state_equation(W, lambda _: (coefficients, W.interpolate(factor)))(None)
    data, sigma = add_noise(np.asarray(W.point_evaluation(points) @ exact), noise, seed)
    misfit = L2Misfit.of(AtPoints.of(V, points), data, sigma)
    if is_field:
        state = state_equation(V, lambda m: (coefficients, V.interpolate(m)))
        return Problem(
            ReducedFunctional(state, misfit, h1(V, gamma), Log()),
            initial=np.zeros(V.n),
            parameter=Parameter(V, "factor exp(m) of the conductivity"),
            truth=V.nodal(lambda x: np.exp(true_factor(x))),
            data_label="temperature θ (K)",
            points=points,
        )
    return Problem(
        ReducedFunctional(state_equation(V, lambda c: (c, 1.0)), misfit, parametrization=Log()),
        initial=np.log([2.0, 0.1, 0.1]),
        parameter=Numbers(["c₀ (W/(m K))", "c₁ (W/(m K²))", "c₂ (W/(m K³))"], "coefficients of the conductivity"),
        truth=TRUE_COEFFICIENTS,
        data_label="temperature θ (K)",
        state_space=V,
        points=points,
        optimizer="gauss-newton",
    )
