"""Find where a heat source must stand to bring a plate close to a wanted temperature: zero in most places.

Find the control u that minimizes

    J(u) = ½ ∫ (y − y_d)²  +  ½ ν ∫ u²  +  β ∫ |u|        with  |u| ≤ ū,

where the temperature y solves

    −Δy = u  in Ω = (0, 1)²,      y = 0  on ∂Ω,

and y_d is the nodal interpolant of sin 2πx₁ sin 2πx₂ exp(2x₁)/6. All functions are piecewise linear, on n × n squares
that are cut from lower left to upper right, and u has its values at the nodes inside of Ω. The first integral is exact;
those of u², |u| and u v in the load are by the vertices (lumped masses), so that J is a sum of |uᵢ| and of what is
smooth (Stadler: Computational Optimization and Applications 44, 2009, example 1). The minimum is 0.01672544809413 for
n = 32 and 0.016846576023321 for n = 64, where u = 0 at 58.6 % and 60.2 % of the nodes. A semismooth Newton method
without a safeguard cycles here, from u = 0.
"""

from typing import Annotated

import numpy as np
import scipy.sparse as sp
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, Quadratic, ReducedFunctional, Views, l1
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import CSRMatrix


@bilinear_form
def diffusion(y, v, _):
    return dot(grad(y), grad(v))


def wanted_temperature(x):
    return np.sin(2 * np.pi * x[0]) * np.sin(2 * np.pi * x[1]) * np.exp(2 * x[0]) / 6


def state_equation(V, inside, masses):
    """The temperatures (n,) for a control (p,) at the nodes ``inside``, whose lumped ``masses`` (p,) make the load."""
    stiffness = diffusion.assemble(V)  # does not depend on u: it is factored once
    load = CSRMatrix.from_scipy(sp.csr_matrix((masses, (inside, np.arange(len(inside)))), (V.n, len(inside))))
    return LinearStateEquation(lambda u: (stiffness, load @ u), Dirichlet.on(V), parts={"temperature": V})


def build(
    n: Annotated[int, "squares along a side"] = 32,
    nu: Annotated[float, "price ν of the square of the control"] = 1e-5,
    beta: Annotated[float, "price β of its size"] = 1e-3,
    limit: Annotated[float, "largest size ū of the control"] = 30.0,
) -> Problem:
    if n < 2 or not 0 < nu < np.inf or not 0 <= beta < np.inf or not 0 < limit < np.inf:
        raise InputError(
            f"n is {n}, nu {nu}, beta {beta}, limit {limit}; expected at least 2 squares along a side, a number > 0, "
            "one that is not negative, and a number > 0"
        )
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    inside = np.setdiff1d(np.arange(V.n), V.dofs())
    parameter = Parameter(V, "control u", inside, role="control")
    functional = ReducedFunctional(
        state_equation(V, inside, parameter.lumped_mass),
        FieldMisfit.of(V, V.nodal(wanted_temperature)),
        Quadratic(nu, CSRMatrix.from_scipy(sp.diags_array(parameter.lumped_mass).tocsr()), 0.0, "L2, lumped", "{0}")
        + l1(V, beta, inside),
    )
    return Problem(
        functional,
        initial=np.zeros(parameter.size),
        parameter=parameter,
        bounds=(-limit, limit),
        data_label="temperature y",
        optimizer="active-set",
        gradient_tolerance=1e-7,
        quantities={"zero_part": lambda u: np.mean(u == 0)},
        views=Views(headline={"zero_part": "part of the nodes where u = 0"}),
    )
