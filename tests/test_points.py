"""Where points lie: on the rim, in cells with curved sides, outside."""

import jax
import numpy as np
import pytest
import skfem

from pdeopt.fem import FEMError, FunctionSpace, cells_at

TICKS = [np.array([0, 0.4, 1.0]), np.array([0, 0.3, 1.0]), np.array([0, 1.0])]
CURVED = {
    "tri": (skfem.MeshTri2.init_circle(2), skfem.ElementTriP2()),
    "quad": (skfem.MeshQuad2.from_mesh(skfem.MeshQuad.init_tensor(*TICKS[:2])), skfem.ElementQuad2()),
    "tet": (skfem.MeshTet2.init_ball(1), skfem.ElementTetP2()),
    "hex": (skfem.MeshHex2.from_mesh(skfem.MeshHex.init_tensor(*TICKS)), skfem.ElementHex2()),
}


def test_points_on_the_rim_are_inside():
    mesh = skfem.MeshTri.init_circle(4)
    points = mesh.p[:, mesh.facets[:, mesh.boundary_facets()]].mean(1)
    V = FunctionSpace(mesh, skfem.ElementTriP1())
    np.testing.assert_allclose(V.point_evaluation(points).to_scipy() @ mesh.p[0], points[0], atol=1e-8)
    assert (cells_at(mesh, points * (1 + 1e-6)) < 0).all()


@pytest.mark.parametrize("kind", CURVED)
def test_functions_are_evaluated_in_second_order_cells(kind):
    mesh, element = CURVED[kind]
    V = FunctionSpace(mesh, element)
    inside = mesh.p.min(1)[:, None] * 0.4 + np.random.default_rng(0).random((mesh.dim(), 70)) * 0.5
    points = np.hstack([inside, mesh.p])  # nodes on the rim among them
    u = V.nodal(lambda x: 1 + x[0] - 2 * x[-1])
    np.testing.assert_allclose(V.point_evaluation(points).to_scipy() @ u, 1 + points[0] - 2 * points[-1], atol=1e-10)


def test_the_bulge_of_a_curved_side_belongs_to_its_cell():
    mesh, _ = CURVED["tri"]
    straight = skfem.MeshTri(mesh.p[:, : mesh.nvertices], mesh.t)
    middle = straight.p[:, straight.facets[:, straight.boundary_facets()]].mean(1)
    bulge = middle / np.linalg.norm(middle, axis=0) * 0.999
    assert (cells_at(straight, bulge) < 0).all()
    assert (cells_at(mesh, bulge) >= 0).all()
    assert (cells_at(mesh, 1.01 * bulge) < 0).all()


def test_points_in_long_cells_are_found_though_other_centers_are_nearer():
    straight = skfem.MeshTri.init_tensor(np.linspace(0, 1, 30) ** 4, np.linspace(0, 1, 4))
    points = np.random.default_rng(0).random((2, 500))
    cells = cells_at(skfem.MeshTri2.from_mesh(straight), points)
    np.testing.assert_array_equal(cells, cells_at(straight, points))


def test_no_points_lie_in_no_cells():
    assert cells_at(CURVED["tri"][0], np.empty((2, 0))).shape == (0,)
    assert cells_at(skfem.MeshTri(), np.array([[0.2, np.nan], [0.2, 0.2]])).tolist() == [0, -1]


# --- point sources -----------------------------------------------------------------------------------------------

SOURCES = {
    "line": (skfem.MeshLine(TICKS[0]), skfem.ElementLineP2()),
    "triangles": (skfem.MeshTri.init_tensor(*TICKS[:2]), skfem.ElementTriP1()),
    "cells": (skfem.MeshQuad.init_tensor(*TICKS[:2]), skfem.ElementQuad0()),
    "curved": CURVED["tri"],
    "solid": (skfem.MeshHex.init_tensor(*TICKS), skfem.ElementHex1()),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_point_load_is_the_sum_of_rates_times_test_functions(kind):
    V = FunctionSpace(*SOURCES[kind])
    points = np.random.default_rng(1).uniform(0.1, 0.3, (V.mesh.dim(), 3))
    rates, v = np.array([2.0, -1.0, 0.5]), np.random.default_rng(2).random(V.n)
    at_points = V.point_evaluation(points).to_scipy() @ v
    load = V.point_load(points, rates)
    assert load.shape == (V.n,)
    assert load @ v == pytest.approx(rates @ at_points, rel=1e-12)
    assert load.sum() == pytest.approx(rates.sum(), rel=1e-9)
    np.testing.assert_allclose(jax.grad(lambda q: V.point_load(points, q) @ v)(rates), at_points, rtol=1e-12)
    several = V.point_load(points, np.stack([rates, 3 * rates], 1))
    np.testing.assert_allclose(several, np.stack([load, 3 * load], 1), atol=1e-14)


@pytest.mark.parametrize("element", [skfem.ElementTriP1(), skfem.ElementTriP2()])
def test_forces_at_points_have_a_row_a_component(element):
    V = FunctionSpace(skfem.MeshTri.init_tensor(*TICKS[:2]), skfem.ElementVector(element))
    points, forces = np.array([[0.2, 0.7, 0.5], [0.3, 0.6, 0.1]]), np.array([[1.0, 2.0, 3.0], [-5.0, 0.0, 7.0]])
    v = np.asarray(V.basis.project(lambda x: np.stack([x[0], 10 * x[1]])))
    load = V.point_load(points, forces)
    assert load @ v == pytest.approx((forces * points * [[1], [10]]).sum())
    np.testing.assert_allclose(V.point_load(points, forces[..., None])[:, 0], load)
    values = (V.point_evaluation(points).to_scipy() @ v).reshape(2, 3)
    np.testing.assert_allclose(values, points * [[1], [10]], atol=1e-9)


def test_rates_and_points_that_do_not_fit_are_refused():
    V = FunctionSpace(*SOURCES["triangles"])
    points = np.array([[0.2, 0.7], [0.3, 0.6]])
    for rates in (np.ones(3), 1.0, np.ones((2, 2, 2))):
        with pytest.raises(FEMError, match=r"rates have shape .*; expected \(2,\), or one axis more for several loads"):
            V.point_load(points, rates)
    vectors = V.with_element(skfem.ElementVector(skfem.ElementTriP1()))
    with pytest.raises(FEMError, match=r"rates have shape \(2,\); expected \(2, 2\)"):
        vectors.point_load(points, np.ones(2))
    with pytest.raises(FEMError, match="1 of 2 points lie outside the mesh"):
        V.point_load(points + np.array([[0.5], [0]]), np.ones(2))
