"""Find the distributed heat source whose temperature is a given one: the mother problem, with a known solution.

Find the control f, one value a triangle of Ω = (0, 1)², that minimizes

    J(f) = ½ ∫ (u − d)²  +  ½ α ∫ f²,        d = sin πx sin πy / (2π²),

where the temperature u, piecewise linear, solves

    −Δu = f  in Ω,      u = 0  on ∂Ω.

Without discretization the solution is f* = sin πx sin πy / (1 + 4 α π⁴), so that the error of the control can be told
(``control_error`` in summary.json, in L²). The function d is integrated as it is; since only its part in the space of
u acts on f, its L² projection takes its place, and J differs by a constant. Counts of iterations do not depend on the
mesh where the optimizer works in the inner product of L², not even where cells differ twentyfold in size
(``--graded``); with the Euclidean one they do (Schwedes, Ham, Funke, Piggott: Mesh Dependence in PDE-Constrained
Optimisation, Springer 2017). They are counted from f = x + y, since from f = 0 everything happens along one
eigenfunction of the Laplacian, which the first step solves for on fine meshes.
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, functional, grad, linear_form
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional, mass, tikhonov
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import linear_solve

#: The largest cell over the smallest one, along each axis of a graded mesh.
GRADING = 20


@bilinear_form
def diffusion(u, v, _):
    return dot(grad(u), grad(v))


@linear_form
def heating(v, w):
    return w["f"] * v


@functional
def squared_gap(w):
    return (w["f"] - w["exact"]) ** 2


def wanted_temperature(x):
    return jnp.sin(jnp.pi * x[0]) * jnp.sin(jnp.pi * x[1]) / (2 * jnp.pi**2)


def exact_control(alpha):
    return lambda x: jnp.sin(jnp.pi * x[0]) * jnp.sin(jnp.pi * x[1]) / (1 + 4 * alpha * jnp.pi**4)


def unit_square(n, graded):
    """n × n squares, cut into triangles; graded: widths and heights grow geometrically from the center outward."""
    coarsest = GRADING if graded else 1
    widths = np.append(np.geomspace(coarsest, 1, n - n // 2), np.geomspace(1, coarsest, n // 2))
    ticks = np.append(0, np.cumsum(widths)) / widths.sum()
    return skfem.MeshTri.init_tensor(ticks, ticks)


def state_equation(V, control):
    """The temperatures (n,); ``control`` makes the field f of its values in the cells."""
    stiffness = diffusion.assemble(V)  # does not depend on f: it is factored once
    return LinearStateEquation(
        lambda f: (stiffness, heating.assemble(V, f=control(f))), Dirichlet.on(V), parts={"temperature": V}
    )


def build(
    n: Annotated[int, "squares along a side"] = 32,
    graded: Annotated[bool, "cells that differ twentyfold in size"] = False,
    alpha: Annotated[float, "price α of the control"] = 1e-6,
) -> Problem:
    if n < 2:
        raise InputError(f"n is {n}; expected at least 2 squares along a side")
    mesh = unit_square(n, graded)
    V = FunctionSpace(mesh, skfem.ElementTriP1())
    Q = V.with_element(skfem.ElementTriP0())
    fine = FunctionSpace(mesh, skfem.ElementTriP1(), order=8)  # d and f* are no polynomials
    target = linear_solve(mass.assemble(fine), heating.assemble(fine, f=wanted_temperature))
    exact = exact_control(alpha)

    def control_error(f):
        return np.sqrt(squared_gap.assemble(fine, f=fine.per_element(f), exact=exact))

    return Problem(
        ReducedFunctional(state_equation(V, Q.interpolate), FieldMisfit.of(V, target), tikhonov(Q, alpha)),
        initial=Q.nodal(lambda x: x[0] + x[1]),
        parameter=Parameter(Q, "control f", role="control"),
        truth=Q.nodal(exact),
        data_label="temperature u",
        state_space=V,
        optimizer="newton-cg",
        gradient_tolerance=0.0,
        absolute_gradient_tolerance=1e-9,
        quantities={"control_error": control_error},
    )
