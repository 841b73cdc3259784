"""Recover Young's modulus and Poisson's ratio of a plate at once, both as fields, from displacements inside it.

Find E (GPa) and ν on Ω = (0, 4 cm)² that minimize

    J = ½ Σ_k Σ_i |u_k(x_i) − d_ki|² / σ²  +  α_E ∫√(|∇ log E|² + ε²)  +  α_ν ∫√(|∇ m_ν|² + ε²),

where the displacement u_k (µm) of experiment k = 1, 2, 3 is that of linear elasticity in plane strain,

    −div σ(u_k) = 0  in Ω,     u_k = 0  at the bottom,     σ(u_k) n = t_k  on the other sides,

pulled at the top, t_1 = (0, 10 MPa), sheared there, t_2 = (10 MPa, 0), and pressed from both sides, t_3 = −10 MPa n.
E = exp(m_E) GPa is positive, and ν = 0.05 + 0.4 / (1 + exp(−m_ν)) is between 0.05 and 0.45, whatever the unknowns are.
Stretching along and across tells the two moduli apart: with one experiment ν is found less well, ``--experiments 1``.
The data d_ki are both components at the nodes of E, simulated on a finer mesh, with Gaussian noise of standard
deviation σ.
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, linear_form
from pdeopt.fem.models import plane_strain
from pdeopt.inverse import (
    AtPoints,
    Bounded,
    InputError,
    L2Misfit,
    Log,
    Parameter,
    Parameters,
    Problem,
    ReducedFunctional,
    add_noise,
    total_variation,
)
from pdeopt.pde import LinearStateEquation

SIDE = 4.0  # cm
STIFFNESS = 10.0  # GPa, of the plate
RATIO = 0.3  # Poisson's ratio of the plate
RATIO_BOUNDS = (0.05, 0.45)
PULL = 10.0  # MPa; with E in GPa and lengths in cm, displacements are in 10 µm
TRACTIONS = (  # for each experiment: the traction at the top, and the pressure on both sides
    ((0.0, PULL), 0.0),
    ((PULL, 0.0), 0.0),
    ((0.0, 0.0), PULL),
)
solid = bilinear_form(plane_strain)


@linear_form
def pulled(v, w):
    return dot(w["traction"], v)


@linear_form
def pressed(v, w):
    return -w["pressure"] * dot(w.n, v)


def bump(x, center, radius):
    return 0.5 * (1 + np.tanh((radius - np.hypot(x[0] - center[0], x[1] - center[1])) / 0.15))


def true_modulus(x):
    """E (GPa) at points x (2, …): twice as stiff at the upper left."""
    return STIFFNESS * 2 ** bump(x, (1.3, 2.6), 0.7)


def true_ratio(x):
    """Poisson's ratio ν at points x (2, …): a third of the plate's at the right."""
    return RATIO - 0.2 * bump(x, (2.7, 1.6), 0.7)


def plate(n):
    """The square in n × n squares, cut into triangles."""
    ticks = np.linspace(0, SIDE, n + 1)
    return skfem.MeshTri.init_tensor(ticks, ticks).with_defaults()


def state_equation(V, modulus, ratio, experiments):
    """The displacements (n, experiments); ``modulus`` and ``ratio`` make fields of what they depend on."""
    top, sides = V.boundary("top"), V.boundary(("left", "right"))
    loads = jnp.stack(
        [
            pulled.assemble(top, traction=np.reshape(traction, (2, 1, 1))) + pressed.assemble(sides, pressure=pressure)
            for traction, pressure in TRACTIONS[:experiments]
        ],
        axis=1,
    )
    return LinearStateEquation(
        lambda unknowns: (solid.assemble(V, E=modulus(unknowns["E"]), nu=ratio(unknowns["nu"])), loads),
        Dirichlet.on(V, "bottom"),
        axes=("dof", "experiment"),
        parts={"displacement": V},
    )


def simulated_displacements(n, points, experiments):
    """Clean data (2 k, experiments) at ``points`` (2, k): a finer mesh, the exact moduli."""
    V = FunctionSpace(plate(3 * n // 2 + 1), skfem.ElementVector(skfem.ElementTriP2()))
    exact = state_equation(
        V,
        lambda _: lambda x: true_modulus(np.asarray(x)),
        lambda _: lambda x: true_ratio(np.asarray(x)),
        experiments,
    )
    return np.asarray(V.point_evaluation(points) @ exact({"E": None, "nu": None}))


def build(
    n: Annotated[int, "squares along a side"] = 16,
    experiments: Annotated[int, "the first ones of the three"] = 3,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.002,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float, "weight α_E of the total variation of log E"] = 20.0,
    ratio_weight: Annotated[float, "weight α_ν of the total variation of m_ν"] = 10.0,
    smoothing: Annotated[float, "ε of the total variations, in 1/cm"] = 0.3,
) -> Problem:
    if n < 3 or not 1 <= experiments <= len(TRACTIONS):
        raise InputError(f"n is {n}, experiments {experiments}; expected at least 3 squares, and 1 to 3 experiments")
    V = FunctionSpace(plate(n), skfem.ElementVector(skfem.ElementTriP2()))
    M = V.with_element(skfem.ElementTriP1())
    points = M.locations[:, M.locations[1] > 0]  # at the bottom nothing moves
    measured, sigma = add_noise(simulated_displacements(n, points, experiments), noise, seed)
    between = Bounded(*RATIO_BOUNDS)
    unknowns = Parameters(
        {
            "E": Parameter(
                M,
                "Young's modulus E (GPa)",
                parametrization=Log(STIFFNESS),
                truth=true_modulus(M.locations),
            ),
            "nu": Parameter(
                M,
                "Poisson's ratio ν",
                parametrization=between,
                initial=float(between.inverse(RATIO)),
                truth=true_ratio(M.locations),
            ),
        }
    )
    functional = ReducedFunctional(
        state_equation(V, M.interpolate, M.interpolate, experiments),
        L2Misfit.of(AtPoints.of(V, points), measured, sigma),
        [
            total_variation(M, weight, smoothing=smoothing).on("E"),
            total_variation(M, ratio_weight, smoothing=smoothing).on("nu"),
        ],
        unknowns,
    )
    return Problem(functional, data_label="displacement u (10 µm)", length_unit="cm", optimizer="gauss-newton")
