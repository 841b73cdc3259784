"""The problem file that ``pdeopt new`` writes."""

from __future__ import annotations

import re
from pathlib import Path

from pdeopt.run.errors import UsageError

#: The content of a new problem file, with NAME for its name.
TEMPLATE = '''"""Recover a heat source from noisy temperatures at a few sensors. (This line is what NAME recovers.)

Find the source m on Ω = (0, 1)² that minimizes

    J(m) = ½ Σ_i ((u(x_i) − d_i) / σ)²  +  ½ α ∫ |∇m|²,

where the temperature u solves

    −∇·(k ∇u) = m  in Ω,      u = 0  on ∂Ω.

Run it with      pdeopt run ./NAME.py
its options      pdeopt run ./NAME.py --help
its derivatives  pdeopt check ./NAME.py
"""

from typing import Annotated

import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import AtPoints, L2Misfit, Parameter, Problem, ReducedFunctional, add_noise, h1
from pdeopt.pde import LinearStateEquation

# 1. The weak form. It is written as in scikit-fem and evaluated by JAX: use jnp (import jax.numpy as jnp) where you
#    would use np. What is passed to `assemble` by name arrives in w.


@bilinear_form
def diffusion(u, v, w):
    return w["k"] * dot(grad(u), grad(v))


@linear_form
def load(v, w):
    return w["source"] * v


# 2. The state equation: a map from the coefficient (here the source at the vertices) to the state u. All that depends
#    on the coefficient is assembled inside `system`, so that it can be differentiated.


def state_equation(V, k):
    def system(source):
        return diffusion.assemble(V, k=k), load.assemble(V, source=V.interpolate(source))

    return LinearStateEquation(system, Dirichlet.on(V), parts={"temperature": V})


# 3. Data. Replace this by your measurements: pdeopt.io.read_observations("data.csv", unit="K"). Simulated data come
#    from a finer mesh than the one that inverts them, or the reconstruction would look better than it is.


def true_source(x):
    return np.exp(-((x[0] - 0.35) ** 2 + (x[1] - 0.6) ** 2) / 0.02)


def unit_square(n):
    return skfem.MeshTri.init_tensor(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))


def simulated(n, k, points):
    V = FunctionSpace(unit_square(2 * n + 1), skfem.ElementTriP1())
    return np.asarray(AtPoints.of(V, points)(state_equation(V, k)(V.nodal(true_source)), None))


# 4. The problem. Every keyword needs a type and a default; it becomes an option of the command line (--n, --noise, …).


def build(
    n: Annotated[int, "cells along a side"] = 24,
    sensors: Annotated[int, "sensors along a side"] = 12,
    k: Annotated[float, "diffusivity (W/(m K))"] = 1.0,
    noise: Annotated[float, "noise level, relative to the rms of the data"] = 0.01,
    seed: Annotated[int, "of the noise"] = 0,
    weight: Annotated[float, "α, such that the misfit comes near that of the noise alone"] = 200.0,
) -> Problem:
    V = FunctionSpace(unit_square(n), skfem.ElementTriP1())
    ticks = np.linspace(0, 1, sensors + 2)[1:-1]
    points = np.stack(np.meshgrid(ticks, ticks)).reshape(2, -1)
    data, sigma = add_noise(simulated(n, k, points), noise, seed)
    functional = ReducedFunctional(
        state_equation(V, k),
        L2Misfit.of(AtPoints.of(V, points), data, sigma),
        h1(V, weight),  # or a list of terms: tikhonov, total_variation, your own function of m
        # parametrization=Log() keeps a coefficient positive; the default is the coefficient itself
    )
    return Problem(
        functional,
        initial=np.zeros(V.n),
        parameter=Parameter(V, "heat source (W/m³)"),
        truth=V.nodal(true_source),  # None where it is not known
        data_label="temperature (K)",
        points=points,
    )
'''


def write_template(name: str) -> Path:
    """Write the file of a new problem into the current folder, and return its path.

    Args:
        name: The name of the problem, with or without ".py".

    Raises:
        UsageError: The name is none, or the file exists or cannot be written.
    """
    stem = name.removesuffix(".py")
    if not re.fullmatch(r"[A-Za-z_][\w-]*", stem):
        raise UsageError(f"{name!r} is no name for a problem: use letters, digits and _, as in my_problem")
    path = Path(f"{stem}.py")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.replace("NAME", stem))
    except FileExistsError:
        raise UsageError(f"{path} exists; it is not overwritten") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path
