"""Incompressible flow, for `residual_form`: Navier–Stokes, with and without stabilization."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from pdeopt.fem.field import Field
from pdeopt.fem.forms.coefficients import Coefficients
from pdeopt.fem.helpers import ddot, div, dot, grad, mul


def navier_stokes(u: Field, p: Field, v: Field, q: Field, w: Coefficients) -> Any:
    """Return the residual density ∇u:∇v / Re + (∇u)u·v − p div v − q div u of stationary flow.

    For stable pairs of elements, as Taylor and Hood's; the pressure is determined up to a constant where the velocity
    is prescribed on the whole boundary. The matrix of slow flow is symmetric.

    Args:
        u: The velocity.
        p: The pressure, in units of density × velocity².
        v: The test function of the velocity.
        q: The test function of the pressure.
        w: With the Reynolds number ``w["Re"]``, and optionally a force ``w["f"]``.

    Source:
        H. Elman, D. Silvester, A. Wathen: Finite Elements and Fast Iterative Solvers, 2nd edition, 2014, chapter 8.
    """
    galerkin = ddot(grad(u), grad(v)) / w["Re"] + dot(mul(grad(u), u), v) - p * div(v) - q * div(u)
    return galerkin - dot(w["f"], v) if "f" in w else galerkin


def stabilized_navier_stokes(u: Field, p: Field, v: Field, q: Field, w: Coefficients) -> Any:
    """Return the density of `navier_stokes` with stabilization, for piecewise linear functions.

    With the residual r = (∇u)u + ∇p − f of the momentum in a cell, τ r·((∇v)u − ∇q) is added (streamline upwind and
    pressure stabilization, SUPG and PSPG), with 1/τ² = (2|u|/h)² + 9 (4/(Re h²))². It is consistent: the solution of
    the equations still solves it, but for second derivatives, which linear elements lack.

    Args:
        u: The velocity, piecewise linear.
        p: The pressure, piecewise linear.
        v: The test function of the velocity.
        q: The test function of the pressure.
        w: As for `navier_stokes`; h is the size of the cells, which every form has.

    Source:
        T. Tezduyar, S. Mittal, S. Ray, R. Shih: Computer Methods in Applied Mechanics and Engineering 95, 1992.
    """
    residual = mul(grad(u), u) + grad(p)
    if "f" in w:
        residual = residual - w["f"]
    tau = 1 / jnp.sqrt(4 * dot(u, u) / w["h"] ** 2 + 9 * (4 / (w["Re"] * w["h"] ** 2)) ** 2)
    return navier_stokes(u, p, v, q, w) + tau * dot(residual, mul(grad(v), u) - grad(q))
