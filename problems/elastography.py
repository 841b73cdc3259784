"""Recover how stiff tissue is from displacements inside it, as an ultrasound scanner measures them under pressure.

Find m = log E, with Young's modulus E in kPa, on the section Ω = (0, 4 cm)² of a soft body that minimizes

    J(m) = ½ Σ_k Σ_i |u_k(x_i) − d_ki|² / σ²  +  R(m),

where the displacement u_k (cm) of experiment k = 1, 2 is that of linear elasticity with Poisson's ratio ν,

    −div σ(u_k) = 0  in Ω,     u_k = 0  at the bottom,     σ(u_k) n = t_k  at the top,     σ(u_k) n = 0  on the sides,

under a pressure, t_1 = (0, −0.2 kPa), and under shear, t_2 = (0.1 kPa, 0). That the forces are known gives E itself;
with displacements alone, only ratios could be told. Tissue is nearly incompressible: ν = 0.495 in plane strain, where
linear triangles would lock, so that the displacements are quadratic ones. ``--solid plane_stress`` is a thin sample.
The data d_ki are both components at the nodes of E, simulated on a finer mesh, with Gaussian noise of standard
deviation σ. R is smoothed total variation α∫√(|∇m|² + ε²).
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, linear_form
from pdeopt.fem.models import plane_strain, plane_stress
from pdeopt.inverse import (
    AtPoints,
    InputError,
    L2Misfit,
    Log,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    total_variation,
)
from pdeopt.pde import LinearStateEquation

SIDE = 4.0  # cm
TRACTIONS = ((0.0, -0.2), (0.1, 0.0))  # kPa, for each experiment
SOLIDS = {"plane_strain": bilinear_form(plane_strain), "plane_stress": bilinear_form(plane_stress)}
BACKGROUND = 10.0  # kPa


@linear_form
def pull(v, w):
    return dot(w["traction"], v)


def true_modulus(x):
    """E (kPa) at points x (2, …): a stiff inclusion of 30 kPa and a soft one of 5 kPa in tissue of 10 kPa."""
    inside = [0.5 * (1 + np.tanh((r - np.hypot(x[0] - a, x[1] - b)) / 0.1)) for a, b, r in INCLUSIONS]
    return BACKGROUND * np.exp(np.log(3.0) * inside[0] + np.log(0.5) * inside[1])


INCLUSIONS = ((1.4, 2.4, 0.6), (2.9, 1.8, 0.5))  # center and radius, in cm


def section(n):
    """The square in n × n squares, cut into triangles."""
    ticks = np.linspace(0, SIDE, n + 1)
    return skfem.MeshTri.init_tensor(ticks, ticks).with_defaults()


def state_equation(V, modulus, solid, nu):
    """The displacements (n, 2), a column for each experiment; ``modulus`` makes the field E of what they depend on."""
    top = V.boundary("top")
    loads = jnp.stack([pull.assemble(top, traction=np.reshape(t, (2, 1, 1))) for t in TRACTIONS], axis=1)

    def system(E):
        return SOLIDS[solid].assemble(V, E=modulus(E), nu=nu), loads

    return LinearStateEquation(system, Dirichlet.on(V, "bottom"), axes=("dof", "experiment"), parts={"displacement": V})


def simulated_displacements(n, points, solid, nu):
    """Clean data (2 k, 2) at ``points`` (2, k): a finer mesh, the exact modulus."""
    V = FunctionSpace(section(3 * n // 2 + 1), skfem.ElementVector(skfem.ElementTriP2()))
    displacements = state_equation(V, lambda _: lambda x: true_modulus(np.asarray(x)), solid, nu)(None)
    return np.asarray(V.point_evaluation(points) @ displacements)


def build(
    n: Annotated[int, "squares along a side"] = 20,
    solid: Annotated[Literal["plane_strain", "plane_stress"], "a long body, or a thin sample"] = "plane_strain",
    nu: Annotated[float, "Poisson's ratio"] = 0.495,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.005,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float, "weight α of the total variation"] = 10.0,
    smoothing: Annotated[float, "ε of the total variation, in 1/cm"] = 0.3,
    initial: Annotated[float, "initial guess of Young's modulus (kPa)"] = BACKGROUND,
) -> Problem:
    if n < 3 or not 0 <= nu < 0.5 or not initial > 0:
        raise InputError(f"n is {n}, nu {nu}, initial {initial}; expected at least 3 squares, 0 ≤ ν < ½, and E > 0")
    V = FunctionSpace(section(n), skfem.ElementVector(skfem.ElementTriP2()))
    M = V.with_element(skfem.ElementTriP1())
    points = M.locations[:, M.locations[1] > 0]  # at the bottom nothing moves
    measured, sigma = add_noise(simulated_displacements(n, points, solid, nu), noise, seed)
    parametrization = Log()
    functional = ReducedFunctional(
        state_equation(V, M.interpolate, solid, nu),
        L2Misfit.of(AtPoints.of(V, points), measured, sigma),
        total_variation(M, weight, smoothing=smoothing),
        parametrization,
    )
    return Problem(
        functional,
        initial=np.full(M.n, parametrization.inverse(initial)),
        parameter=Parameter(M, "Young's modulus E (kPa)"),
        truth=true_modulus(M.locations),
        data_label="displacement u (cm)",
        length_unit="cm",
        optimizer="gauss-newton",
    )
