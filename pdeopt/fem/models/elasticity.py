"""Elastic solids: small strain, plane strain, plane stress, and neo-Hookean ones at large strain.

All take Young's modulus E, in units of stress, and Poisson's ratio ν from the coefficients of the form, ``E`` and
``nu``: numbers, fields or arrays, differentiable as every coefficient. The displacement u is that of a vector-valued
element, such as ``skfem.ElementVector(skfem.ElementTriP1())``.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from pdeopt.fem.field import Field, value_of
from pdeopt.fem.forms.coefficients import Coefficients
from pdeopt.fem.helpers import ddot, det, div, grad, identity, inner, sym_grad


def lame_parameters(E: Any, nu: Any) -> tuple[Any, Any]:
    """Return Lamé's parameters λ = E ν / ((1 + ν) (1 − 2ν)) and μ = E / (2 (1 + ν)) of an isotropic solid.

    Source: Sadd, Elasticity, 4th edition, 2020, table 4.1.

    Args:
        E: Young's modulus, in units of stress.
        nu: Poisson's ratio, below ½.

    Returns:
        The pair (λ, μ), in units of stress. μ is the shear modulus.
    """
    E, nu = value_of(E), value_of(nu)
    return E * nu / ((1 + nu) * (1 - 2 * nu)), E / (2 * (1 + nu))


def linear_elasticity(u: Field, v: Field, w: Coefficients) -> Any:
    """Return σ(u) : ε(v) = λ div u div v + 2μ ε(u) : ε(v), in 3-D, for `bilinear_form`.

    Source: Hughes, The Finite Element Method, 2000, section 2.7.

    Args:
        u: The displacement.
        v: The test function.
        w: The coefficients of the form, with ``E`` and ``nu``.
    """
    return _isotropic(u, v, *lame_parameters(w["E"], w["nu"]))


def plane_strain(u: Field, v: Field, w: Coefficients) -> Any:
    """Return σ(u) : ε(v) of a long body that cannot strain along its axis, for `bilinear_form`.

    It is `linear_elasticity` with nothing along the third axis. Where ν comes near ½, as in tissue or rubber, linear
    triangles lock: take quadratic ones.

    Source: Hughes, The Finite Element Method, 2000, section 2.7.

    Args:
        u: The displacement.
        v: The test function.
        w: The coefficients of the form, with ``E`` and ``nu``.
    """
    return _isotropic(u, v, *lame_parameters(w["E"], w["nu"]))


def plane_stress(u: Field, v: Field, w: Coefficients) -> Any:
    """Return σ(u) : ε(v) of a thin plate without stress across its thickness, for `bilinear_form`.

    It is `plane_strain` with λ* = 2λμ / (λ + 2μ) = E ν / (1 − ν²) in place of λ, which is finite at ν = ½.

    Source: Hughes, The Finite Element Method, 2000, section 2.7.

    Args:
        u: The displacement, its mean over the thickness.
        v: The test function.
        w: The coefficients of the form, with ``E`` and ``nu``.
    """
    E, nu = w["E"], w["nu"]
    return _isotropic(u, v, E * nu / (1 - nu * nu), E / (2 * (1 + nu)))


def neo_hookean(u: Field, w: Coefficients) -> Any:
    """Return the energy density of a compressible neo-Hookean solid in 3-D, for `energy`.

    With the deformation gradient F = I + ∇u, J = det F and I_c = tr FᵀF it is::

        ψ = μ/2 (I_c − 3) − μ ln J + λ/2 (ln J)²,

    NaN where J ≤ 0, where the solid is turned inside out. At small strain it is that of `linear_elasticity`.

    Source: Bonet, Wood, Nonlinear Continuum Mechanics for Finite Element Analysis, 2nd edition, 2008,
        section 6.4.3.

    Args:
        u: The displacement, from the stress-free configuration.
        w: The coefficients of the form, with ``E`` and ``nu``.
    """
    return _neo_hookean(u, w)


def neo_hookean_plane_strain(u: Field, w: Coefficients) -> Any:
    """Return the energy density of a compressible neo-Hookean solid in plane strain, for `energy`.

    It is `neo_hookean` for u = (u₁(x₁, x₂), u₂(x₁, x₂), 0), whose I_c is that of the plane and one more.

    Source: Bonet, Wood, Nonlinear Continuum Mechanics for Finite Element Analysis, 2nd edition, 2008,
        section 6.4.3.

    Args:
        u: The displacement (2, c, q), from the stress-free configuration.
        w: The coefficients of the form, with ``E`` and ``nu``.
    """
    return _neo_hookean(u, w)


def _isotropic(u: Field, v: Field, lam: Any, mu: Any) -> Any:
    return lam * div(u) * div(v) + 2 * mu * ddot(sym_grad(u), sym_grad(v))


def _neo_hookean(u: Field, w: Coefficients) -> Any:
    lam, mu = lame_parameters(w["E"], w["nu"])
    F = identity(u) + grad(u)
    log_J = jnp.log(det(F))
    return mu / 2 * (inner(F, F) - len(F)) - mu * log_J + lam / 2 * log_J**2
