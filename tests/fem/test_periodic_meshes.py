"""scikit-fem's periodic meshes: what works on them has the right numbers, what does not is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FEMError, FunctionSpace, bilinear_form, dot, functional, grad, linear_form
from pdeopt.pde import LinearStateEquation
from pdeopt.run.store.placement import place_field

MESHES = {
    "triangles": (skfem.MeshTri1DG, skfem.ElementTriP1(), 2),
    "quadratic": (skfem.MeshTri1DG, skfem.ElementTriP2(), 3),
    "quadrilaterals": (skfem.MeshQuad1DG, skfem.ElementQuad1(), 2),
}


def space_of(name, n=8, order=None):
    mesh, element, _ = MESHES[name]
    ticks = np.linspace(0, 1, n + 1)
    return FunctionSpace(mesh.init_tensor(ticks, ticks, periodic=[0]), element, order=order)


def exact(x):
    return jnp.sin(2 * jnp.pi * x[0] + 0.3) * jnp.sin(jnp.pi * x[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", MESHES)
def test_a_strip_with_cold_sides_converges_with_the_order_of_its_element(name):
    """−Δu = f, periodic in x, zero at y = 0 and prescribed by a condition on midpoints at y = 1."""
    stiffness = bilinear_form(lambda u, v, w: dot(grad(u), grad(v)))
    load = linear_form(lambda v, w: w["f"] * v)
    squared_error = functional(lambda w: (w["u"] - w["exact"]) ** 2)
    errors = []
    for n in (8, 16, 32):
        V = space_of(name, n, order=6)
        walls = Dirichlet.on(V, lambda x: x[1] == 1, 1.0) + Dirichlet.on(V, lambda x: x[1] == 0)
        b = load.assemble(V, f=lambda x: 5 * jnp.pi**2 * exact(x))
        u = LinearStateEquation(lambda _, V=V, b=b: (stiffness.assemble(V), b), walls)(None)
        errors.append(np.sqrt(squared_error.assemble(V, u=V.interpolate(u), exact=lambda x: exact(x) + x[1])))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert orders[-1] == pytest.approx(MESHES[name][2], abs=0.1)


@pytest.mark.parametrize("name", MESHES)
def test_a_function_on_a_periodic_mesh_is_drawn_on_both_sides(name):
    V = space_of(name)
    at = place_field(V)
    assert at.mesh.vertices.shape[1] == 81
    np.testing.assert_allclose(
        at.drawn(V.nodal(lambda x: np.cos(2 * np.pi * x[0]) + x[1])), np.cos(2 * np.pi * at.x[0]) + at.x[1], atol=1e-12
    )
    corners = at.mesh.p[:, at.mesh.t]
    assert np.ptp(corners, axis=1).max() == pytest.approx(1 / 8), "no cell reaches across the picture"


@pytest.mark.parametrize("name", MESHES)
def test_what_scikit_fem_cannot_do_on_a_periodic_mesh_is_refused(name):
    V = space_of(name)
    with pytest.raises(FEMError, match=r"boundary\(\): scikit-fem integrates over no facets .*MultiPoint.periodic"):
        V.boundary(lambda x: x[1] == 0)
    with pytest.raises(FEMError, match=r"interior_facets\(\): scikit-fem integrates over no facets"):
        V.interior_facets()
    with pytest.raises(FEMError, match=r"scikit-fem finds no points in a periodic mesh"):
        V.point_evaluation([[0.5], [0.5]])
