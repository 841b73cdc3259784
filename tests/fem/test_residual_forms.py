"""Residual forms and energies: their tangents are derivatives, equal forms written by hand, and bad forms are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import (
    FEMError,
    FormError,
    FunctionSpace,
    bilinear_form,
    ddot,
    div,
    dot,
    energy,
    functional,
    grad,
    jump,
    residual_form,
)

MESH = skfem.MeshTri.init_tensor(np.linspace(0, 1, 4), np.linspace(0, 1, 3)).with_boundaries(
    {"right": lambda x: x[0] == 1}
)
SPACES = {
    "P1": FunctionSpace(MESH, skfem.ElementTriP1(), order=4),
    "P2": FunctionSpace(MESH, skfem.ElementTriP2(), order=6),
    "Q1": FunctionSpace(skfem.MeshQuad().refined(1), skfem.ElementQuad1(), order=4),
}
TAYLOR_HOOD = FunctionSpace(MESH, skfem.ElementVector(skfem.ElementTriP2()) * skfem.ElementTriP1(), order=6)
rng = np.random.default_rng(0)


@residual_form
def diffusion(u, v, w):
    return jnp.exp(w["m"]) * (1 + u**2) * dot(grad(u), grad(v)) + u * grad(u)[0] * v - w["x"][0] * v


@bilinear_form
def diffusion_by_hand(du, v, w):
    u = w["u"]
    flux = jnp.exp(w["m"]) * ((1 + u**2) * grad(du) + 2 * u * du * grad(u))
    return dot(flux, grad(v)) + (du * grad(u)[0] + u * grad(du)[0]) * v


@residual_form
def navier_stokes(u, p, v, q, w):
    return (
        ddot(grad(u), grad(v)) / w["Re"]
        + dot(jnp.einsum("ij...,j...->i...", grad(u), u.value), v)
        - p * div(v)
        + q * div(u)
    )


@energy
def membrane(u, w):
    return w["k"] * jnp.sqrt(1 + dot(grad(u), grad(u))) + u**4 / 4


def states(space):
    return jnp.asarray(rng.standard_normal(space.n)), jnp.asarray(rng.standard_normal(space.n))


def by_differences(assemble, u, du, h=1e-5):
    return (assemble(u + h * du) - assemble(u - h * du)) / (2 * h)


@pytest.mark.parametrize("name", SPACES)
def test_the_tangent_is_that_of_the_form_written_by_hand(name):
    V = SPACES[name]
    u, m = states(V)
    found = diffusion.tangent(V, u, m=V.interpolate(m))
    by_hand = diffusion_by_hand.assemble(V, u=V.interpolate(u), m=V.interpolate(m))
    assert found.pattern == by_hand.pattern
    np.testing.assert_allclose(found.data, by_hand.data, rtol=1e-12, atol=1e-12 * abs(by_hand.data).max())


@pytest.mark.parametrize("name", SPACES)
def test_an_energy_has_its_residual_and_a_symmetric_tangent(name):
    V = SPACES[name]
    u, du = states(V)
    residual, tangent = membrane.linearized(V, u, k=2.0)
    np.testing.assert_allclose(residual, jax.grad(lambda u: membrane.value(V, u, k=2.0))(u), atol=1e-12)
    np.testing.assert_allclose(
        tangent @ du, by_differences(lambda u: membrane.assemble(V, u, k=2.0), u, du), rtol=1e-6, atol=1e-7
    )
    dense = tangent.to_scipy().toarray()
    np.testing.assert_allclose(dense, dense.T, atol=1e-13 * abs(dense).max())


def test_an_energy_is_the_integral_of_its_density():
    V = SPACES["P2"]
    u, _ = states(V)
    by_hand = functional(lambda w: 2.0 * jnp.sqrt(1 + dot(grad(w["u"]), grad(w["u"]))) + w["u"] ** 4 / 4)
    assert membrane.value(V, u, k=2.0) == pytest.approx(float(by_hand.assemble(V, u=V.interpolate(u))), rel=1e-14)


@pytest.mark.slow
def test_mixed_elements_have_a_function_for_each_part():
    u, du = states(TAYLOR_HOOD)
    tangent = navier_stokes.tangent(TAYLOR_HOOD, u, Re=10.0)
    slope = by_differences(lambda u: navier_stokes.assemble(TAYLOR_HOOD, u, Re=10.0), u, du)
    np.testing.assert_allclose(tangent @ du, slope, rtol=1e-7, atol=1e-8 * abs(slope).max())


def test_the_boundary_has_forms_of_its_own():
    V = SPACES["P2"]
    radiation = residual_form(lambda u, v, w: w["s"] * u**4 * v)
    wall = V.boundary("right")
    u, du = states(V)
    slope = by_differences(lambda u: radiation.assemble(wall, u, s=3.0), u, du)
    np.testing.assert_allclose(radiation.tangent(wall, u, s=3.0) @ du, slope, rtol=1e-7, atol=1e-8 * abs(slope).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [residual_form, energy], ids=["residual", "energy"])
def test_interior_facets_see_the_state_of_both_sides(kind):
    """∫ [u]⁴/4 over the facets of discontinuous functions, as an energy and by its residual [u]³ [v]."""
    V = FunctionSpace(MESH, skfem.ElementTriP1DG(), order=6)
    sides = V.interior_facets()
    if kind is energy:
        form = energy(lambda u, w: (u[0] - u[1]) ** 4 / 4)
    else:
        form = residual_form(lambda u, v, w: (u[0] - u[1]) ** 3 * jump(w, v))
    u, du = states(V)
    jumps = V.interior_facets()
    total = functional(lambda w: (w["a"] - w["b"]) ** 4 / 4)
    expected = jax.grad(lambda u: total.assemble(jumps[0], a=jumps[0].interpolate(u), b=jumps[1].interpolate(u)))(u)
    np.testing.assert_allclose(form.assemble(sides, u), expected, atol=1e-12)
    slope = by_differences(lambda u: form.assemble(sides, u), u, du)
    np.testing.assert_allclose(form.tangent(sides, u) @ du, slope, rtol=1e-7, atol=1e-8 * abs(slope).max())


@pytest.mark.slow
def test_residual_and_tangent_are_differentiable_in_coefficients_and_state():
    V = SPACES["P1"]
    u, m = states(V)
    du, dm = states(V)

    def number(u, m):
        residual, tangent = diffusion.linearized(V, u, m=V.interpolate(m))
        return (residual**2).sum() + (tangent.data**3).sum()

    _, forward = jax.jvp(number, (u, m), (du, dm))
    backward = jax.grad(number, argnums=(0, 1))(u, m)
    h = 1e-5
    slope = (number(u + h * du, m + h * dm) - number(u - h * du, m - h * dm)) / (2 * h)
    assert forward == pytest.approx(float(slope), rel=1e-6)
    assert forward == pytest.approx(float(backward[0] @ du + backward[1] @ dm), rel=1e-12)


def test_a_bend_takes_the_slope_of_jax():
    V = SPACES["P1"]
    obstacle = residual_form(lambda u, v, w: jnp.maximum(u.value, 0.0) * v)
    lifted = obstacle.tangent(V, jnp.full(V.n, 2.0)).to_scipy().sum()
    assert lifted == pytest.approx(1.0, rel=1e-13)
    assert obstacle.tangent(V, jnp.full(V.n, -2.0)).to_scipy().sum() == 0


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda u, v, w: u * v**2, "form '<lambda>' is not linear in its test function"),
        (lambda u, v, w: u, "form '<lambda>' is not linear in its test function"),
        (lambda u, v, w: u * v * w["k"], "asks for w\\['k'\\], which was not passed"),
        (lambda u, v, w: dot(grad(u), grad(v)) * np.exp(u), "replace np. by jnp."),
        (lambda u, v, w: None, "returns None"),
        (lambda u, v, w: grad(u) * v, "returns a tensor"),
    ],
)
def test_a_form_that_is_none_is_refused(function, expected):
    V = SPACES["P1"]
    for assemble in (residual_form(function).assemble, residual_form(function).tangent):
        with pytest.raises(FormError, match=expected):
            assemble(V, jnp.ones(V.n))


def test_a_state_of_another_size_is_refused():
    with pytest.raises(FEMError, match=r"one value a degree of freedom, \(12,\), got shape \(3,\)"):
        diffusion.assemble(SPACES["P1"], np.ones(3), m=0.0)


def test_a_value_from_outside_that_jax_traces_is_named():
    V = SPACES["P1"]

    def assembled(kappa):
        return residual_form(lambda u, v, w: kappa * u * v).assemble(V, jnp.ones(V.n)).sum()

    with pytest.raises(FormError, match="takes 'kappa' from outside while JAX traces it"):
        jax.grad(assembled)(2.0)


def test_a_form_is_made_of_a_function():
    with pytest.raises(FormError, match="made from a function, got int"):
        energy(3)
