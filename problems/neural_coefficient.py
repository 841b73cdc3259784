"""Recover a conductivity that is a neural network of the place, by its weights, from noisy potentials inside.

Find the weights θ of a network N(x; θ) that minimize

    J(θ) = ½ Σ_i (u(x_i) − d_i)² / σ²  +  ½ |θ|² / s²,        κ(x) = κ₀ exp(N(x; θ)),

where the potential u solves

    −∇·(κ ∇u) = 1  in Ω = (0, 1)²,      u = 0  on ∂Ω.

N has two hidden layers of tanh, and is evaluated at the nodes of a piecewise linear κ: the mesh does not change the
number of unknowns, and the network makes κ smooth. The weights start at random (``--seed``), the last layer at zero, so
that κ = κ₀ at first. The data are at sensors, simulated on a finer mesh. The Gauss–Newton method takes the Jacobian of
the state by the network's weights, exactly; ``--optimizer l-bfgs-b`` needs more iterations, each one cheaper.
(Berg, Nyström: Neural networks as smooth priors for inverse problems for PDEs, J. Comput. Math. Data Sci. 1, 2021.)
"""

from itertools import pairwise
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import AtPoints, InputError, L2Misfit, Problem, ReducedFunctional, Tree, add_noise, gaussian
from pdeopt.pde import LinearStateEquation

BACKGROUND = 1.0  # S/m


@bilinear_form
def conduction(u, v, w):
    return w["kappa"] * dot(grad(u), grad(v))


@linear_form
def unit_source(v, _):
    return 1.0 * v


def true_conductivity(x):
    """κ (S/m) at points x (2, …): a better conductor at the lower left, a worse one at the upper right."""
    good = np.exp(-((x[0] - 0.35) ** 2 + (x[1] - 0.35) ** 2) / 0.03)
    bad = np.exp(-((x[0] - 0.7) ** 2 + (x[1] - 0.65) ** 2) / 0.02)
    return BACKGROUND * np.exp(1.0 * good - 0.8 * bad)


def initial_weights(rng, width):
    """Weights and shifts of all layers: those of the last one are zero."""
    sizes = (2, width, width)
    layers = [
        {"weights": rng.standard_normal((m, n)) / np.sqrt(m), "shifts": rng.uniform(-1, 1, n)}
        for m, n in pairwise(sizes)
    ]
    return [*layers, {"weights": np.zeros((width, 1)), "shifts": np.zeros(1)}]


def network(layers, x):
    """The values (n,) of the network at points x (2, n)."""
    y = 4 * x.T - 2
    for layer in layers[:-1]:
        y = jnp.tanh(y @ layer["weights"] + layer["shifts"])
    return (y @ layers[-1]["weights"] + layers[-1]["shifts"])[:, 0]


def square(n):
    """The unit square in n × n squares, cut into triangles."""
    ticks = np.linspace(0, 1, n + 1)
    return skfem.MeshTri.init_tensor(ticks, ticks)


def state_equation(V, conductivity):
    """The potentials (n,); ``conductivity`` makes the field κ of what it depends on."""
    load = unit_source.assemble(V)
    return LinearStateEquation(
        lambda kappa: (conduction.assemble(V, kappa=conductivity(kappa)), load), Dirichlet.on(V), parts={"potential": V}
    )


def build(
    n: Annotated[int, "squares along a side"] = 24,
    width: Annotated[int, "neurons in each of the two hidden layers"] = 10,
    sensors: Annotated[int, "sensors along a side"] = 15,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    deviation: Annotated[float, "prior standard deviation s of the weights"] = 3.0,
    seed: Annotated[int, "of the noise and of the first weights"] = 0,
) -> Problem:
    if n < 2 or width < 1 or sensors < 1 or not deviation > 0:
        raise InputError(
            f"n is {n}, width {width}, sensors {sensors}, deviation {deviation}; expected at least 2 squares, one "
            "neuron and one sensor, and a deviation > 0"
        )
    V = FunctionSpace(square(n), skfem.ElementTriP1())
    ticks = np.arange(1, sensors + 1) / (sensors + 1)
    points = np.stack(np.meshgrid(ticks, ticks)).reshape(2, -1)
    finer = FunctionSpace(square(2 * n + 1), skfem.ElementTriP1())
    exact = state_equation(finer, lambda _: true_conductivity)(None)
    measured, sigma = add_noise(np.asarray(finer.point_evaluation(points) @ exact), noise, seed)
    weights = Tree(
        initial_weights(np.random.default_rng(seed), width),
        "conductivity κ (S/m)",
        space=V,
        function=lambda layers: BACKGROUND * jnp.exp(network(layers, V.locations)),
        truth=true_conductivity(V.locations),
    )
    functional = ReducedFunctional(
        state_equation(V, V.interpolate),
        L2Misfit.of(AtPoints.of(V, points), measured, sigma),
        gaussian(np.zeros(weights.size), deviation),
        weights,
    )
    return Problem(functional, points=points, data_label="potential u (V)", optimizer="gauss-newton")
