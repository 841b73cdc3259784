"""The library of forms: against scikit-fem's, against each other, and against solutions that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from skfem.models import elasticity

from pdeopt.errors import PdeoptError
from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, energy, linear_form
from pdeopt.fem.models import (
    lame_parameters,
    linear_elasticity,
    neo_hookean,
    neo_hookean_plane_strain,
    plane_strain,
    plane_stress,
)
from pdeopt.pde import NonlinearStateEquation

E, NU = 7.0, 0.3
SQUARE = FunctionSpace(skfem.MeshTri().refined(1), skfem.ElementVector(skfem.ElementTriP2()))
CUBE = FunctionSpace(skfem.MeshTet(), skfem.ElementVector(skfem.ElementTetP1()))


def test_lame_parameters_are_those_of_scikit_fem():
    np.testing.assert_allclose(lame_parameters(E, NU), elasticity.lame_parameters(E, NU), rtol=1e-15)


@pytest.mark.parametrize(("form", "V"), [(linear_elasticity, CUBE), (plane_strain, SQUARE)])
def test_small_strain_is_that_of_scikit_fem(form, V):
    ours = bilinear_form(form).assemble(V, E=E, nu=NU).to_scipy()
    other = elasticity.linear_elasticity(*elasticity.lame_parameters(E, NU)).assemble(V.basis)
    assert abs(ours - other).max() < 1e-13 * abs(other).max()


def test_a_thin_plate_contracts_by_poissons_ratio():
    """u = (x, −ν y) E⁻¹ has σ = diag(1, 0), whose energy is ½ E⁻¹ times the area."""
    components, x = np.arange(SQUARE.n) % 2, SQUARE.locations
    assert np.all(components[SQUARE.basis.nodal_dofs] == [[0], [1]])
    u = np.where(components == 0, x[0], -NU * x[1]) / E
    A = bilinear_form(plane_stress).assemble(SQUARE, E=E, nu=NU).to_scipy()
    assert u @ (A @ u) == pytest.approx(1 / E, rel=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("density", "form", "V"),
    [(neo_hookean, linear_elasticity, CUBE), (neo_hookean_plane_strain, plane_strain, SQUARE)],
)
def test_the_tangent_at_rest_is_that_of_small_strain(density, form, V):
    residual, tangent = energy(density).linearized(V, jnp.zeros(V.n), E=E, nu=NU)
    small = bilinear_form(form).assemble(V, E=E, nu=NU).to_scipy()
    assert abs(residual).max() < 1e-14
    assert abs(tangent.to_scipy() - small).max() < 1e-13 * abs(small).max()


def test_plane_strain_is_the_solid_without_strain_along_the_axis():
    G = np.random.default_rng(0).standard_normal((2, 2, 1, 1)) * 0.2
    flat = skfem.MeshTet().p
    u = np.einsum("ij,jk->ik", G[..., 0, 0], flat[:2])
    values = np.zeros(CUBE.n)
    values[CUBE.basis.nodal_dofs[:2]] = u
    plane = np.zeros(SQUARE.n)
    components = np.arange(SQUARE.n) % 2
    plane[:] = (G[..., 0, 0] @ SQUARE.locations)[components, np.arange(SQUARE.n)]
    solid = energy(neo_hookean).value(CUBE, values, E=E, nu=NU)
    assert float(energy(neo_hookean_plane_strain).value(SQUARE, plane, E=E, nu=NU)) == pytest.approx(
        float(solid), rel=1e-12
    )


def pulled(traction, start=None):
    """Return the square that is held at the bottom and pulled at the top."""
    V = FunctionSpace(skfem.MeshTri().refined(1).with_defaults(), skfem.ElementVector(skfem.ElementTriP1()))
    pull = linear_form(lambda v, w: dot(w["t"], v)).assemble(V.boundary("top"), t=np.reshape(traction, (2, 1, 1)))
    solid = energy(neo_hookean_plane_strain)

    def system(u, modulus):
        inside, tangent = solid.linearized(V, u, E=modulus, nu=NU)
        return inside - pull, tangent

    start = None if start is None else start(V)
    return NonlinearStateEquation(system, Dirichlet.on(V, "bottom"), start=start, parts={"displacement": V})


@pytest.mark.slow
def test_a_solid_that_is_turned_inside_out_is_one_clear_message():
    def mirrored(V):
        return np.where(np.arange(V.n) % 2 == 0, 0.0, -2 * V.locations[1])

    with pytest.raises(PdeoptError, match=r"not finite at the first iterate.*determinant") as caught:
        jax.block_until_ready(pulled((0.0, 0.1), mirrored)(E))
    assert str(caught.value).count("\n") == 0


@pytest.mark.slow
def test_a_load_that_no_solid_bears_is_one_clear_message():
    with pytest.raises(PdeoptError, match=r"Newton's method did not converge: after \d+ steps .*load_steps") as caught:
        jax.block_until_ready(pulled((0.0, -1e3))(E))
    assert str(caught.value).count("\n") == 0
