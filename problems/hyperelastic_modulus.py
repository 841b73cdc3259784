"""Recover the stiffness of a soft solid from displacements at large strain, where its equation is nonlinear.

Find m = log E, with Young's modulus E in MPa, on the section Ω = (0, 1)² of a long neo-Hookean body that minimizes

    J(m) = ½ Σ_i |u(x_i) − d_i|² / σ²  +  ½ α ∫_Ω |∇m|²,

where the displacement u makes the potential energy stationary, in plane strain with ν = 0.3:

    Π(u) = ∫_Ω ψ(∇u; E) − ∫_top t · u,     u = 0  at the bottom,
    ψ = μ/2 (I_c − 3) − μ ln J + λ/2 (ln J)²,     F = I + ∇u,  J = det F,  I_c = tr FᵀF + 1,

with Lamé's parameters λ and μ of E and ν. The traction t = (0.08, 0.4) MPa stretches the body by about a half of its
size and bends it to the side (``--load`` multiplies it). The data d_i are both components at the nodes of E, simulated
on a finer mesh, with Gaussian noise of standard deviation σ. Displacements are quadratic. Every evaluation solves the
equation by Newton's method; derivatives are those of its solution.
"""

from typing import Annotated

import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, dot, energy, linear_form
from pdeopt.fem.models import neo_hookean_plane_strain
from pdeopt.inverse import AtPoints, InputError, L2Misfit, Log, Parameter, Problem, ReducedFunctional, add_noise, h1
from pdeopt.pde import NonlinearStateEquation

NU = 0.3
TRACTION = (0.08, 0.4)  # MPa
INCLUSIONS = ((0.32, 0.62, 0.17, 3.0), (0.7, 0.38, 0.17, 0.5))  # center, radius and E (MPa); outside E is 1

strain_energy = energy(neo_hookean_plane_strain)


@linear_form
def pull(v, w):
    return dot(w["traction"], v)


def true_modulus(x):
    """E (MPa) at points x (2, …): a stiff and a soft inclusion."""
    logarithm = sum(
        np.log(E) * 0.5 * (1 + np.tanh((r - np.hypot(x[0] - a, x[1] - b)) / 0.05)) for a, b, r, E in INCLUSIONS
    )
    return np.exp(logarithm)


def section(n):
    """The square in n × n squares, cut into triangles."""
    ticks = np.linspace(0, 1, n + 1)
    return skfem.MeshTri.init_tensor(ticks, ticks).with_defaults()


def state_equation(V, modulus, load):
    """The displacements (n,); ``modulus`` makes the field E of what they depend on."""
    pulled = pull.assemble(V.boundary("top"), traction=load * np.reshape(TRACTION, (2, 1, 1)))

    def system(u, E):
        inner_force, tangent = strain_energy.linearized(V, u, E=modulus(E), nu=NU)
        return inner_force - pulled, tangent

    return NonlinearStateEquation(system, Dirichlet.on(V, "bottom"), parts={"displacement": V})


def simulated_displacements(n, points, load):
    """Clean data (2 k,) at ``points`` (2, k): a finer mesh, the exact modulus."""
    V = FunctionSpace(section(3 * n // 2 + 1), skfem.ElementVector(skfem.ElementTriP2()))
    displacements = state_equation(V, lambda _: lambda x: true_modulus(np.asarray(x)), load)(None)
    return np.asarray(V.point_evaluation(points) @ displacements)


def build(
    n: Annotated[int, "squares along a side"] = 12,
    load: Annotated[float, "a factor of the traction"] = 1.0,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float, "weight α of the regularization"] = 3.0,
    initial: Annotated[float, "initial guess of Young's modulus (MPa)"] = 1.0,
) -> Problem:
    if n < 3 or not load > 0 or not initial > 0:
        raise InputError(f"n is {n}, load {load}, initial {initial}; expected at least 3 squares, a load and E > 0")
    V = FunctionSpace(section(n), skfem.ElementVector(skfem.ElementTriP2()))
    M = V.with_element(skfem.ElementTriP1())
    points = M.locations[:, M.locations[1] > 0]  # at the bottom nothing moves
    measured, sigma = add_noise(simulated_displacements(n, points, load), noise, seed)
    parametrization = Log()
    functional = ReducedFunctional(
        state_equation(V, M.interpolate, load),
        L2Misfit.of(AtPoints.of(V, points), measured, sigma),
        h1(M, weight),
        parametrization,
    )
    return Problem(
        functional,
        initial=np.full(M.n, parametrization.inverse(initial)),
        parameter=Parameter(M, "Young's modulus E (MPa)"),
        truth=true_modulus(M.locations),
        data_label="displacement u",
        optimizer="gauss-newton",
        gradient_tolerance=1e-3,
    )
