"""Recover how much material fills each cell of a plate from its temperatures, between bounds: a published benchmark.

Find ρ, one value in [10⁻³, 1] for each of 16 × 8 × 1 hexahedra of Ω = (0, 2) × (0, 1) × (0, 1), that minimizes

    J(ρ) = Σ_i (T(x_i) − T*_i)²        over all nodes x_i,

where the temperature T solves

    −∇·(k(ρ) ∇T) = 0  in Ω,      T = 0  at x = 0,      k ∂T/∂n = 1  at x = 2,      k ∂T/∂n = 0  elsewhere,

with k(ρ) = 10⁻³ + (1 − 10⁻³) ρ³, the SIMP model (Bendsøe, Sigmund: Topology Optimization, 2003, section 1.1).

The target T* is the temperature of ρ* = two blobs of material, in single precision. With ``--load flux`` it is that of
the published benchmark, where each of the 18 nodes of x = 2 takes the same 1/32 instead of its share of the flux. So no
ρ fits exactly, and ρ* does not fit at all (J = 1.9e7). From J = 29415173.7 at ρ = ½, L-BFGS-B reaches 5e2 to 6e2 in 200
iterations, published codes 686 to 1.3e5, bounded Gauss–Newton 40 in about 40 evaluations; the minimum is about 39.8.
With ``--load nodes`` the model has the load of the data, and the minimum is that of rounding.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import Misfit, Parameter, Problem, ReducedFunctional
from pdeopt.pde import LinearStateEquation

SIZES, CELLS = (2.0, 1.0, 1.0), (16, 8, 1)
BOUNDS = (1e-3, 1.0)
VOID = 1e-3  # conductivity of an empty cell, of one that is full 1
NODE_LOAD = 1 / 32


@bilinear_form
def conduction(u, v, w):
    return (VOID + (1 - VOID) * w["rho"] ** 3) * dot(grad(u), grad(v))


@linear_form
def unit_flux(v, _):
    return 1.0 * v


@dataclass(frozen=True, eq=False)
class SumOfSquares(Misfit):
    """Σ_i (T_i − T*_i)² of data whose noise is not known, at all nodes."""

    data: np.ndarray

    def distance(self, predicted):
        return ((predicted - self.data) ** 2).sum()

    def __call__(self, u, coefficient):
        return self.distance(u)


def true_filling(x):
    """ρ* at points x (3, …): two blobs, at 0.3 and 0.7 of the length of the plate."""
    squared_distances = [(x[0] - SIZES[0] * c) ** 2 + (x[1] - 0.5) ** 2 for c in (0.3, 0.7)]
    return np.clip(sum(np.exp(-squared / (2 * 0.15**2)) for squared in squared_distances), 0, 1)


def plate():
    ticks = [np.linspace(0, size, cells + 1) for size, cells in zip(SIZES, CELLS, strict=True)]
    ends = {"cold": lambda x: x[0] == 0, "heated": lambda x: x[0] == SIZES[0]}
    return skfem.MeshHex.init_tensor(*ticks).with_boundaries(ends)


def state_equation(V, filling, load):
    """The temperatures (n,) under a load (n,); ``filling`` makes the field ρ of its values in the cells."""

    def system(rho):
        return conduction.assemble(V, rho=filling(rho)), load

    return LinearStateEquation(system, Dirichlet.on(V, "cold"), parts={"temperature": V})


def build(
    load: Annotated[Literal["flux", "nodes"], "of the model; the data's is that of the nodes"] = "flux",
    initial: Annotated[float, "initial guess of ρ"] = 0.5,
) -> Problem:
    V = FunctionSpace(plate(), skfem.ElementHex1())
    M = V.with_element(skfem.ElementHex0())  # one value a cell
    loads = {
        "flux": unit_flux.assemble(V.boundary("heated")),
        "nodes": jnp.zeros(V.n).at[V.dofs("heated")].set(NODE_LOAD),
    }
    truth = M.nodal(true_filling)
    target = state_equation(V, M.interpolate, loads["nodes"])(truth)
    functional = ReducedFunctional(
        state_equation(V, M.interpolate, loads[load]), SumOfSquares(np.float64(np.float32(target)))
    )
    return Problem(
        functional,
        initial=np.full(M.n, initial),
        parameter=Parameter(M, "filling ρ"),
        bounds=BOUNDS,
        truth=truth,
        data_label="temperature T",
        state_space=V,
        optimizer="gauss-newton",
        gradient_tolerance=5e-4,
    )
