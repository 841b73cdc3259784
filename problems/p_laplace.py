"""Find the heat source of a p-Laplace equation, whose diffusivity depends on the slope of the state.

Find m, the logarithm of the source, that minimizes

    J(m) = ½ ∫ (u − u_d)²  +  ½ γ ∫ m²,

where u, the state of a power-law material (a non-Newtonian fluid, a glacier, a nonlinear conductor), solves

    −∇·((|∇u|² + ε)^((p − 2)/2) ∇u) = exp(m)  in Ω = (0, 1)²,      u = 0  on ∂Ω,

with ε = 1e-8, and u_d is the nodal interpolant of x₁(1 − x₁) x₂(1 − x₂). All functions are piecewise linear, on n × n
squares that are cut from lower left to upper right (Glowinski, Marrocco: RAIRO 9, R-2, 1975). With p = 3,
J(0) = 0.00171434319512461 and ‖∇J(0)‖ = 0.00341964065826922 in L².
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, dot, energy, grad
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional, tikhonov
from pdeopt.pde import NonlinearStateEquation

#: ε, which keeps the diffusivity finite, and positive, where the slope vanishes.
SMOOTHING = 1e-8


@energy
def power_law(u, w):
    slope = dot(grad(u), grad(u)) + SMOOTHING
    return slope ** (w["p"] / 2) / w["p"] - jnp.exp(w["m"]) * u


def wanted_state(x):
    return x[0] * (1 - x[0]) * x[1] * (1 - x[1])


def state_equation(V, parameter, p):
    """The states (n,); ``parameter`` makes the field m of its degrees of freedom.

    Newton's method starts from the state of p = 2 and m = 0, whose slope vanishes at few points only.
    """
    dirichlet = Dirichlet.on(V)
    linear = NonlinearStateEquation(
        lambda u, m: power_law.linearized(V, u, m=parameter(m), p=2.0), dirichlet, parts={"state": V}
    )
    return NonlinearStateEquation(
        lambda u, m: power_law.linearized(V, u, m=parameter(m), p=p),
        dirichlet,
        start=np.asarray(linear(np.zeros(V.n))),
        parts={"state": V},
    )


def build(
    n: Annotated[int, "squares along a side"] = 32,
    p: Annotated[float, "the power, > 1"] = 3.0,
    gamma: Annotated[float, "weight γ of the regularization"] = 0.0,
    initial: Annotated[Literal["zero", "sine"], "the initial m: 0, or sin(πx₁) x₂"] = "zero",
) -> Problem:
    if n < 2 or not p > 1 or gamma < 0:
        raise InputError(f"n is {n}, p {p}, gamma {gamma}; expected at least 2 squares, a power > 1, and γ ≥ 0")
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1(), order=4)
    functional = ReducedFunctional(
        state_equation(V, V.interpolate, p),
        FieldMisfit.of(V, V.nodal(wanted_state)),
        *([tikhonov(V, gamma)] if gamma else []),
    )
    return Problem(
        functional,
        initial=V.nodal(lambda x: np.sin(np.pi * x[0]) * x[1]) if initial == "sine" else np.zeros(V.n),
        parameter=Parameter(V, "logarithm m of the source", role="control"),
        data_label="state u",
        optimizer="newton-cg",
    )
