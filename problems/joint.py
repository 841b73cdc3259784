"""Recover how permeable an aquifer is and how much rain reaches it, both as fields, from two sets of heads.

Find log κ and f on Ω = (0, 1 km)², with the transmissivity κ in m²/d and the recharge f in mm/d, that minimize

    J = ½ Σ_i |h_0(x_i) − d_i|² / σ²  +  ½ Σ_k Σ_i |h_k(x_i) − d_ki|² / σ_k²  +  R(log κ) + R(f),

where the heads h (m) are those of the aquifer as it is, and what water from four basins, one by one, adds to them,

    −∇·(κ ∇h_0) = f,     −∇·(κ ∇h_k) = q_k,     h = 0  on the boundary, a lake,

and each R is a Matérn prior. The heads alone do not tell κ and f apart: more rain on more permeable ground gives the
same ones. The tests with basins see κ and not f. ``--data heads`` and ``--data tests`` take one set alone. What a set
determines is told by the posterior's spread in the Laplace approximation, relative to that of the prior: the root mean
variances √(tr H⁻¹ / tr R⁻¹) of each field at the nodes, with the Gauss–Newton Hessian H at the minimum; with
``--coupling``, R is that of prior and coupling there. A field whose spread is above ½ is called not determined. The
data are at the nodes inside, simulated on a finer mesh, with Gaussian noise of one percent of the rms of each set.
(Stuart: Inverse problems, a Bayesian perspective, 2010.)
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import (
    AtDofs,
    InputError,
    L2Misfit,
    Log,
    MisfitSum,
    Parameter,
    Parameters,
    Problem,
    ReducedFunctional,
    add_noise,
    cross_gradient,
    matern_from_length,
)
from pdeopt.pde import LinearStateEquation

TRANSMISSIVITY = 100.0  # m²/d, of most of the aquifer
RECHARGE = 1.0  # mm/d, the mean of the prior
BASINS = ((0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7))  # km
BASIN_RADIUS, BASIN_RATE = 0.1, 10.0  # km and mm/d
MM_PER_DAY = 1e3  # m³/d on a square kilometer
DEVIATIONS = {"kappa": 0.5, "recharge": 0.5}  # of the priors: of log κ, and of f in mm/d
LENGTHS = {"kappa": 0.4, "recharge": 0.6}  # km, correlation lengths of the priors
UNDETERMINED_SPREAD = 0.5
SETS = {"heads": slice(0, 1), "tests": slice(1, 5)}  # the columns of the state


@bilinear_form
def flow(h, v, w):
    return w["kappa"] * dot(grad(h), grad(v))


@linear_form
def rain(v, w):
    return MM_PER_DAY * w["recharge"] * v


def true_transmissivity(x):
    """κ (m²/d) at points x (2, …): an old river bed, twice to three times as permeable."""
    return TRANSMISSIVITY * np.exp(np.exp(-(((x[1] - 0.35 - 0.3 * x[0]) / 0.2) ** 2)))


def true_recharge(x):
    """f (mm/d) at points x (2, …): a forest at the upper left takes most of the rain."""
    return 1.3 - np.exp(-((x[0] - 0.3) ** 2 + (x[1] - 0.7) ** 2) / 0.1)


def basin(x, center):
    """The water (mm/d) that a basin around a place adds at points x (2, …)."""
    return BASIN_RATE * np.exp(-((x[0] - center[0]) ** 2 + (x[1] - center[1]) ** 2) / BASIN_RADIUS**2)


def area(n):
    """The square in n × n squares, cut into triangles, in km."""
    ticks = np.linspace(0, 1, n + 1)
    return skfem.MeshTri.init_tensor(ticks, ticks)


def state_equation(V, transmissivity, recharge):
    """The heads (n, 5), of the aquifer and of four tests; the functions make fields of what they depend on."""
    tests = jnp.stack([rain.assemble(V, recharge=lambda x, c=center: basin(x, c)) for center in BASINS], axis=1)

    def system(unknowns):
        load = rain.assemble(V, recharge=recharge(unknowns["recharge"]))
        return flow.assemble(V, kappa=transmissivity(unknowns["kappa"])), jnp.hstack([load[:, None], tests])

    return LinearStateEquation(system, Dirichlet.on(V), axes=("dof", "experiment"), parts={"head": V})


def simulated_heads(n, points):
    """Clean data (k, 5) at ``points`` (2, k): a finer mesh, the exact fields."""
    V = FunctionSpace(area(3 * n // 2 + 1), skfem.ElementTriP2())
    exact = state_equation(V, lambda _: true_transmissivity, lambda _: true_recharge)
    return np.asarray(V.point_evaluation(points) @ exact({"kappa": None, "recharge": None}))


def spreads(functional, unknowns, m):
    """The spread of the posterior relative to that of the prior, for each of the unknowns."""
    prior = functional.regularization_operator(m).toarray()
    misfit = functional.misfit_gauss_newton(m)(np.eye(unknowns.size))
    before, after = (np.diag(np.linalg.inv(matrix)) for matrix in (prior, prior + misfit))
    return {name: float(np.sqrt(after[where].sum() / before[where].sum())) for name, where in unknowns.slices.items()}


def build(
    n: Annotated[int, "squares along a side"] = 16,
    data: Annotated[Literal["both", "heads", "tests"], "the sets of data"] = "both",
    noise: Annotated[float, "noise level, relative to the rms of each set"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    coupling: Annotated[float, "weight of the cross-gradients of log κ and f, for fields of one structure"] = 0.0,
) -> Problem:
    if n < 4 or not noise > 0 or coupling < 0:
        raise InputError(f"n is {n}, noise {noise}, coupling {coupling}; expected at least 4, > 0, and ≥ 0")
    V = FunctionSpace(area(n), skfem.ElementTriP1())
    inside = np.setdiff1d(np.arange(V.n), V.dofs())
    clean = simulated_heads(n, V.locations[:, inside])
    misfits = {}
    for k, (name, columns) in enumerate(SETS.items()):
        measured, sigma = add_noise(clean[:, columns], noise, seed + k)
        at_nodes = AtDofs(inside)
        observation = lambda h, unknowns, at=at_nodes, columns=columns: at(h, unknowns)[:, columns]  # noqa: E731
        misfits[name] = L2Misfit.of(observation, measured, sigma)
    unknowns = Parameters(
        {
            "kappa": Parameter(
                V,
                "transmissivity κ (m²/d)",
                parametrization=Log(TRANSMISSIVITY),
                truth=true_transmissivity(V.locations),
            ),
            "recharge": Parameter(V, "recharge f (mm/d)", initial=RECHARGE, truth=true_recharge(V.locations)),
        }
    )
    means = {"kappa": 0.0, "recharge": RECHARGE}
    terms = [
        matern_from_length(V, DEVIATIONS[name], LENGTHS[name], reference=means[name]).on(name)
        for name in unknowns.parts
    ]
    terms += [cross_gradient(V, coupling, tuple(unknowns.parts))] if coupling else []
    functional = ReducedFunctional(
        state_equation(V, V.interpolate, V.interpolate),
        MisfitSum.of(misfits) if data == "both" else misfits[data],
        terms,
        unknowns,
    )

    def interpret(m):
        found = spreads(functional, unknowns, m)
        missing = [name for name, spread in found.items() if spread > UNDETERMINED_SPREAD]
        return {
            **{f"spread_{name}": one for name, one in found.items()},
            "not_determined": ", ".join(missing) or "none",
        }

    return Problem(functional, data_label="head h (m)", length_unit="km", optimizer="newton-cg", interpret=interpret)
