"""Find the heat flux into a plate over time from thermocouples inside of it: the inverse heat conduction problem.

A steel plate is heated on its left side by an unknown flux q(t), and cooled by air on its right side. Find the flux
that minimizes

    J(q) = ½ Σ_i Σ_k ((θ(x_i, t_k) − d_ik) / σ)²  +  ½ α ∫ (dq/dt)² dt,

where the temperature θ above that of the air solves

    ρc ∂θ/∂t = ∇·(k ∇θ)  in Ω = (0, 20 mm) × (0, 10 mm),      θ = 0  at t = 0,
    k ∂θ/∂n = q(t)  on the left,    k ∂θ/∂n = −h θ  on the right,    k ∂θ/∂n = 0  below and above.

Heat takes the time L²ρc/k to diffuse over a length L, so that changes of q that are faster than that leave no trace
at a depth L: without the smoothness of q, noise in the data is amplified. The flux is piecewise linear in time, between
the steps of implicit Euler. The data d are simulated by Crank–Nicolson with half the steps on a finer mesh, with noise;
or they come from a table, ``--data FILE``, with the columns x (m), y (m), time (s), temperature (K) and, possibly,
uncertainty (K), one row a reading, where thermocouples may have times of their own.
(J. Beck, B. Blackwell, C. St. Clair: Inverse Heat Conduction, 1985, chapters 1 and 4.)
"""

from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import AtPoints, InputError, InTime, L2Misfit, Parameter, Problem, ReducedFunctional, h1
from pdeopt.inverse import mass as mass_form
from pdeopt.io import read_observations, time_series
from pdeopt.pde import Evolution, Modulated, TransientStateEquation

#: Width and height of the plate (m).
WIDTH, HEIGHT = 0.02, 0.01
#: Conductivity k (W/(m K)), heat capacity ρc (J/(m³ K)) and cooling h (W/(m² K)) of steel in moving air.
CONDUCTIVITY, CAPACITY, COOLING = 45.0, 3.6e6, 100.0
#: The unit of the flux, W/m², in which the unknown is of size one.
FLUX = 1e5


@bilinear_form
def conduction(theta, v, _):
    return CONDUCTIVITY * dot(grad(theta), grad(v))


@bilinear_form
def cooling(theta, v, _):
    return COOLING * theta * v


@linear_form
def heated(v, _):
    return FLUX * v


def true_flux(t):
    """q in 10⁵ W/m² at times t (s): a pulse that swells and ebbs, and a shorter one that is switched on and off."""
    return np.exp(-(((t - 6) / 2.5) ** 2)) + 0.6 * ((t > 12) & (t < 16))


def state_equation(V, times, scheme):
    """The temperatures of a flux that is given at all times of the equation."""
    left, right = V.boundary("left"), V.boundary("right")
    C = CAPACITY * mass_form.assemble(V)
    K = conduction.assemble(V) + cooling.assemble(right)
    inflow = heated.assemble(left)
    kept = times[np.linspace(0, len(times) - 1, min(25, len(times))).round().astype(int)]
    return TransientStateEquation(
        lambda q: Evolution(C, K, Modulated(q, inflow)), times, scheme, kept=kept, parts={"temperature": V}
    )


def plate(n):
    """The plate with n × n/2 rectangles, each of them cut into two triangles."""
    ticks = np.linspace(0, WIDTH, 2 * n + 1), np.linspace(0, HEIGHT, n + 1)
    return skfem.MeshTri.init_tensor(*ticks).with_defaults()


def build(
    data: Annotated[str | None, "a table of readings, .csv or .npz (default: simulated)"] = None,
    n: Annotated[int, "rectangles over the height of the plate, twice as many along it"] = 8,
    steps: Annotated[int, "steps in time"] = 80,
    end: Annotated[float, "last time (s)"] = 20.0,
    depth: Annotated[float, "distance of the thermocouples from the heated side (mm)"] = 2.0,
    noise: Annotated[float, "noise level of the thermocouples (K)"] = 0.2,
    seed: Annotated[int, "of the noise"] = 0,
    scheme: Annotated[Literal["implicit-euler", "bdf2", "sdirk2"], "scheme in time"] = "implicit-euler",
    weight: Annotated[float, "weight α of the smoothness in time"] = 30.0,
) -> Problem:
    if n < 2 or steps < 4 or not 0 < end < np.inf or not 0 <= depth <= 1e3 * WIDTH or not noise > 0:
        raise InputError(
            f"n is {n}, steps {steps}, end {end}, depth {depth}, noise {noise}; expected at least 2 rectangles and 4 "
            f"steps, end and noise > 0, and a depth between 0 and {1e3 * WIDTH:g} mm"
        )
    V, times = FunctionSpace(plate(n), skfem.ElementTriP1()), np.linspace(0, end, steps + 1)
    points = np.array([[1e-3 * depth] * 3, [0.25 * HEIGHT, 0.5 * HEIGHT, 0.75 * HEIGHT]])
    if data is None:
        finer, shorter = FunctionSpace(plate(2 * n), skfem.ElementTriP1()), np.linspace(0, end, 2 * steps + 1)
        exact = state_equation(finer, shorter, "crank-nicolson")
        clean = InTime(AtPoints.of(finer, points), times[1:]).of(exact, jnp.asarray(true_flux(shorter)))
        measured = clean + noise * np.random.default_rng(seed).standard_normal(clean.shape)
        misfit = L2Misfit.of(InTime(AtPoints.of(V, points), times[1:]), measured, noise)
    else:
        found = read_observations(
            data, unit="K", time_unit="s", uncertainty=noise, mesh=V.mesh, skip_missing=True, label="temperature"
        )
        points = np.unique(found.points, axis=1)
        misfit = {
            f"temperature θ (K), group {k}": L2Misfit.of(
                InTime(AtPoints.of(V, series.points), series.times), series.values, series.uncertainty
            )
            for k, series in enumerate(time_series(found), 1)
        }
    in_time = FunctionSpace(skfem.MeshLine(times), skfem.ElementLineP1())
    return Problem(
        ReducedFunctional(state_equation(V, times, scheme), misfit, h1(in_time, weight)),
        initial=np.zeros(in_time.n),
        parameter=Parameter(in_time, "flux q (10⁵ W/m²)", coordinate="time t (s)"),
        truth=true_flux(times) if data is None else None,
        data_label="temperature θ (K)",
        points=points,
        optimizer="newton-cg",
        length_unit="m",
        time_unit="s",
    )
