"""Find the heat source in space and time that makes the temperature of a plate follow a spot that moves around.

Find the control u that minimizes

    J(u) = Σ_k (Δt/2) (∫ (y_k − y_d(t_k))² + α ∫ u_k²),        t_k = k Δt,  k = 1, …, K,

where the temperature y solves

    ∂y/∂t − Δy = u  in Ω = (0, 1)²,      y = 0  on ∂Ω and at t = 0,

by implicit Euler, (M + Δt S) y_k = M (y_{k−1} + Δt u_k) with the mass and stiffness matrices M and S, and

    y_d(t) = exp(−20 ((x₁ − ½ − ¼ cos 2πt)² + (x₂ − ½ − ¼ sin 2πt)²)).

All functions are piecewise linear, on n × n squares that are cut from lower left to upper right; u_k is free on ∂Ω,
too. All steps share one matrix, which is factored once. At the defaults J(0) = 0.0382916696542625, and the minimum is
0.00152076466108199. ``--control A`` starts from u_k = A t_k sin πx₁ sin πx₂.

Controls have the inner product of L² in space and time, Σ_k Δt ∫ a_k b_k, in which the gradient in step k is
M⁻¹ ∂J/∂u_k / Δt, so that its norm is Δt^−½ (Σ_k ‖M⁻¹ ∂J/∂u_k‖²)^½ = 0.00923065 at u = 0.
"""

from typing import Annotated

import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad
from pdeopt.inverse import (
    FieldMisfit,
    InputError,
    ParameterInTime,
    Problem,
    ReducedFunctional,
    each_step,
    mass,
    tikhonov,
)
from pdeopt.pde import Evolution, Sampled, TransientStateEquation


@bilinear_form
def diffusion(y, v, _):
    return dot(grad(y), grad(v))


def wanted_temperature(x, t):
    """y_d at points x (2, n) and times t (K,), (n, K)."""
    center = 0.5 + 0.25 * np.stack([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)])
    return np.exp(-20 * ((x[:, :, None] - center[:, None]) ** 2).sum(0))


def state_equation(V, times, rows):
    """The temperatures (n, K) at the ends of all steps; ``rows`` makes the sources (K, n) of the control."""
    M, S = mass.assemble(V), diffusion.assemble(V)
    return TransientStateEquation(
        lambda u: Evolution(M, S, load=Sampled((M @ rows(u).T).T)),
        times,
        "implicit-euler",
        Dirichlet.on(V),
        kept=times[1:],
        parts={"temperature": V},
    )


def build(
    n: Annotated[int, "squares along a side"] = 20,
    steps: Annotated[int, "steps in time"] = 10,
    end: Annotated[float, "last time (s)"] = 1.0,
    alpha: Annotated[float, "price α of the control"] = 1e-5,
    control: Annotated[float, "size A of the initial control A t sin πx₁ sin πx₂"] = 0.0,
) -> Problem:
    if n < 2 or steps < 1 or not 0 < alpha < np.inf or not 0 < end < np.inf:
        raise InputError(
            f"n is {n}, steps {steps}, end {end}, alpha {alpha}; expected at least 2 squares along a side, one step, "
            "and numbers > 0"
        )
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    times, x = np.linspace(0, end, steps + 1), V.locations
    sizes = np.full(steps, end / steps)
    parameter = ParameterInTime(V, "control u", sizes, role="control")
    functional = ReducedFunctional(
        state_equation(V, times, parameter.in_steps),
        FieldMisfit.of(V, wanted_temperature(x, times[1:]), weights=sizes),
        each_step(tikhonov(V, alpha), sizes),
    )
    start = control * times[1:, None] * np.sin(np.pi * x[0]) * np.sin(np.pi * x[1])
    return Problem(
        functional,
        initial=start.ravel(),
        parameter=parameter,
        data_label="temperature y",
        optimizer="newton-cg",
        gradient_tolerance=1e-7,
        time_unit="s",
    )
