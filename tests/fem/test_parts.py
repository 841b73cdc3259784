"""Parts of mixed spaces: their degrees of freedom, conditions, observations and misfits, against scikit-fem's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FEMError, FunctionSpace
from pdeopt.inverse import AtDofs, AtPoints, BoundaryFlux, FieldMisfit, OfPart

SQUARE = skfem.MeshTri().refined(2).with_defaults()
P2 = skfem.ElementVector(skfem.ElementTriP2())
TAYLOR_HOOD = P2 * skfem.ElementTriP1()
MIXED = {
    "Taylor-Hood": (SQUARE, TAYLOR_HOOD),
    "MINI": (SQUARE, skfem.ElementVector(skfem.ElementTriMini()) * skfem.ElementTriP1()),
    "discontinuous pressure": (SQUARE, P2 * skfem.ElementTriP0()),
    "Raviart-Thomas": (SQUARE, skfem.ElementTriRT0() * skfem.ElementTriP0()),
    "three parts": (SQUARE, P2 * skfem.ElementTriP1() * skfem.ElementTriP2()),
    "quadrilaterals": (
        skfem.MeshQuad().refined(2),
        skfem.ElementVector(skfem.ElementQuad2()) * skfem.ElementQuad1(),
    ),
    "three dimensions": (skfem.MeshTet().refined(1), skfem.ElementVector(skfem.ElementTetP2()) * skfem.ElementTetP1()),
}


def vectors(x):
    return np.stack([1 + x[0] * x[1], 3 - x[1]])


@pytest.fixture
def V():
    return FunctionSpace(SQUARE, TAYLOR_HOOD)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "MINI")) for name in MIXED])
def test_a_part_is_the_function_that_the_whole_has_there(name):
    mesh, element = MIXED[name]
    V = FunctionSpace(mesh, element)
    values = np.random.default_rng(0).standard_normal(V.n)
    whole = V.interpolate(values)
    for part, field in zip(V.split(), whole, strict=True):
        assert part.whole is V
        np.testing.assert_allclose(part.interpolate(part.restrict(values)).value, field.value, atol=1e-13)
        assert (np.diff(part.indices) > 0).all(), "values of conditions are in the order of dofs"
    assert sum(part.n for part in V.split()) == V.n


def test_a_component_of_a_part_is_a_part_of_the_whole(V):
    velocity, _ = V.split()
    second = velocity.split()[1]
    values = np.random.default_rng(0).standard_normal((V.n, 2))
    assert second.whole is V
    field = V.interpolate(values[:, 1])[0].value[1]
    np.testing.assert_allclose(second.interpolate(second.restrict(values)[:, 1]).value, field, atol=1e-13)


def test_a_scalar_space_has_no_parts_and_is_its_own_whole():
    space = FunctionSpace(SQUARE, skfem.ElementTriP1())
    with pytest.raises(FEMError, match="ElementTriP1 has one component only; parts are those of mixed elements"):
        space.split()
    assert space.whole is space
    assert not space.is_part
    np.testing.assert_array_equal(space.restrict(np.arange(space.n)), np.arange(space.n))


def test_restriction_refuses_what_is_no_state_and_is_differentiable_while_traced(V):
    _, pressure = V.split()
    with pytest.raises(
        FEMError, match=rf"restrict expects the {V.n} degrees of freedom of .*, got shape \({V.n - 1},\)"
    ):
        pressure.restrict(np.ones(V.n - 1))
    derivative = jax.jit(jax.grad(lambda u: pressure.restrict(u).sum()))(jnp.ones(V.n))
    np.testing.assert_array_equal(np.flatnonzero(derivative), pressure.indices)


def test_a_condition_on_a_part_prescribes_it_in_the_whole(V):
    velocity, pressure = V.split()
    condition = Dirichlet.on(velocity, "top", vectors)
    assert condition.n == V.n
    u = np.full(V.n, np.nan)
    u[condition.dofs] = condition.values
    at = velocity.dofs("top")
    expected = np.full(velocity.n, np.nan)
    for k, own in enumerate(velocity.basis.split_indices()):
        rows = np.intersect1d(own, at)
        expected[rows] = vectors(velocity.locations[:, rows])[k]
    np.testing.assert_array_equal(u[velocity.indices], expected)
    assert np.isnan(u[pressure.indices]).all()


def test_conditions_on_parts_add_up_and_values_may_be_traced(V):
    velocity, pressure = V.split()

    def total(height):
        walls = Dirichlet.on(velocity, "left") + Dirichlet.on(
            velocity, "right", lambda x: height * jnp.stack([x[1], 0 * x[1]])
        )
        return (walls + Dirichlet.at(pressure, [0, 0], 5.0)).extend(jnp.zeros(walls.n - len(walls.dofs) - 1)).sum()

    ys = velocity.split()[0].locations[1, velocity.split()[0].dofs("right")]
    assert float(total(2.0)) == pytest.approx(5.0 + 2.0 * ys.sum())
    assert float(jax.jit(jax.grad(total))(2.0)) == pytest.approx(ys.sum())


def test_a_point_is_prescribed_where_degrees_of_freedom_lie(V):
    velocity, pressure = V.split()
    pin = Dirichlet.at(pressure, [0.25, 0.5], 3.0)
    np.testing.assert_allclose(V.locations[:, pin.dofs].T, [[0.25, 0.5]])
    assert set(pin.dofs) <= set(pressure.indices)
    assert len(Dirichlet.at(velocity, [0.125, 0.5]).dofs) == 2  # the middle of an edge, both components
    with pytest.raises(FEMError, match=r"lies at \[0.125, 0.5\]; the nearest place of one is \[0"):
        Dirichlet.at(pressure, [0.125, 0.5])


def test_vectors_are_interpolated_at_the_nodes(V):
    velocity, _ = V.split()
    x = velocity.basis.interpolate(velocity.nodal(vectors))
    coordinates = velocity.basis.global_coordinates()
    np.testing.assert_allclose(np.asarray(x), vectors(np.asarray(coordinates)), atol=1e-13)
    with pytest.raises(FEMError, match=r"returned shape \(3, "):
        velocity.nodal(lambda x: np.ones((3, x.shape[1])))


def state_of(V, velocity, pressure):
    first, second = V.split()
    u = np.zeros(V.n)
    u[first.indices], u[second.indices] = first.nodal(velocity), second.nodal(pressure)
    return u


def test_parts_are_observed_without_counting(V):
    velocity, pressure = V.split()
    u = state_of(V, vectors, lambda x: 2 * x[0] - x[1])
    points = np.array([[0.3, 0.71], [0.2, 0.4]])
    np.testing.assert_allclose(AtPoints.of(velocity, points)(u, None), vectors(points).ravel(), atol=1e-13)
    np.testing.assert_allclose(AtPoints.of(pressure, points)(u, None), 2 * points[0] - points[1], atol=1e-13)
    edge = pressure.locations[0, pressure.dofs("bottom")]
    np.testing.assert_allclose(AtDofs.on_boundary(pressure, "bottom")(u, None), 2 * edge, atol=1e-13)
    np.testing.assert_array_equal(OfPart(pressure)(u, None), pressure.restrict(u))
    flux = BoundaryFlux.through(pressure, ["right", "top"], lambda c, trace: c)
    np.testing.assert_allclose(flux(jnp.asarray(u), 3.0), [-6.0, 3.0], atol=1e-12)


def test_the_misfit_of_a_part_is_that_of_its_field(V):
    velocity, pressure = V.split()
    u = state_of(V, vectors, lambda x: x[0])
    wanted = FieldMisfit.of(velocity, velocity.nodal(lambda x: vectors(x) - [[1.0], [2.0]]))
    assert float(wanted(u, None)) == pytest.approx(0.5 * 5)
    on_top = FieldMisfit.of(pressure.boundary("top"), np.zeros(pressure.n))
    assert float(on_top(u, None)) == pytest.approx(0.5 / 3)  # ½ ∫ x² along it
