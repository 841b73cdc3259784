"""Where points lie: on the rim, in cells with curved sides, outside."""

import jax
import numpy as np
import pytest
import skfem

from pdeopt.fem import FEMError, FunctionSpace, cells_at
from pdeopt.fem.spaces.points import locate_points
from pdeopt.inverse import AtPoints
from pdeopt.io import FileError, read_observations

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


# --- points a little outside -------------------------------------------------------------------------------------

ROTATED = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
ROUND = skfem.MeshTri.init_circle(4)
SLANTED = skfem.MeshTri(np.array([[0, 1, 0.0], [0, 0.7, 0.9]]), np.array([[0], [1], [2]])).refined(5)
BALL = skfem.MeshTet.init_ball(2)
CUBES, SQUARES = skfem.MeshHex().refined(2), skfem.MeshQuad().refined(3)
TILTED = skfem.MeshHex(np.pi / 3 * CUBES.p + 0.3 * CUBES.p[[1, 2, 0]], CUBES.t)
RIMS = {
    "a disk": (ROUND, skfem.ElementTriP1()),
    "a slanted side": (SLANTED, skfem.ElementTriP1()),
    "quadrilaterals": (
        skfem.MeshQuad(ROTATED @ skfem.MeshQuad().refined(3).p, skfem.MeshQuad().refined(3).t),
        skfem.ElementQuad1(),
    ),
    "a line": (skfem.MeshLine(np.linspace(1 / 3, 2 / 3, 9)), skfem.ElementLineP1()),
    "a ball": (BALL, skfem.ElementTetP1()),
    "hexahedra": (TILTED, skfem.ElementHex1()),
    "a curved disk": CURVED["tri"],
}


@pytest.mark.slow
@pytest.mark.parametrize("decimals", [4, 5, 6])
@pytest.mark.parametrize("rim", RIMS)
def test_sensors_on_the_rim_with_few_decimals_are_moved_to_it_and_counted(rim, decimals, caplog):
    mesh, element = RIMS[rim]
    V = FunctionSpace(mesh, element)
    if mesh.dim() == 1:
        on_rim = mesh.p[:, mesh.facets[0, mesh.boundary_facets()]]
    else:
        on_rim = mesh._mapping().G(np.full((mesh.dim() - 1, 1), 0.3), find=mesh.boundary_facets())[..., 0]
    points = np.round(on_rim, decimals)
    u = V.nodal(lambda x: 1 + x[0] - 2 * x[-1])
    outside = (cells_at(mesh, points) < 0).sum()
    assert outside > 0
    values = V.point_evaluation(points).to_scipy() @ u
    np.testing.assert_allclose(values, 1 + on_rim[0] - 2 * on_rim[-1], atol=3 * 10.0**-decimals)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{outside} of {points.shape[1]} points lie outside the mesh by up to ")
    moved = locate_points(mesh, points)
    assert 0 < moved.distances.max() < 10.0**-decimals
    np.testing.assert_allclose(moved.distances, np.sqrt(((moved.points - points) ** 2).sum(0)), atol=1e-15)


def test_sensors_on_a_circle_are_those_of_its_polygon():
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False) + 0.01
    points = np.stack([np.cos(angles), np.sin(angles)])
    V = FunctionSpace(ROUND, skfem.ElementTriP1())
    with pytest.raises(FEMError, match=r"of 40 points lie outside .*by 0\.00\d+, which is 0\.0\d+ of the cell"):
        V.point_evaluation(points, tolerance=1e-3)
    np.testing.assert_allclose(AtPoints.of(V, points)(ROUND.p[0], None), points[0], atol=0.006)


@pytest.mark.parametrize(
    ("mesh", "point", "distance", "relative"),
    [
        (skfem.MeshTri(), [0.5, 1.5], 0.5, 0.5 / np.sqrt(2)),
        (skfem.MeshTri(), [1.3, 1.4], 0.5, 0.5 / np.sqrt(2)),
        (skfem.MeshQuad(), [-3.0, 0.5], 3.0, 3 / np.sqrt(2)),
        (skfem.MeshLine(np.linspace(0, 1, 3)), [1.25], 0.25, 0.5),
        (skfem.MeshTet(), [0.4, 0.3, -0.2], 0.2, 0.2 / np.sqrt(3)),
        (skfem.MeshHex(), [1.2, 1.0, 2.0], np.sqrt(1.04), np.sqrt(1.04 / 3)),
    ],
)
def test_the_distance_of_the_worst_point_is_told(mesh, point, distance, relative):
    found = locate_points(mesh, np.array(point)[:, None])
    assert (found.cells[0], found.distances[0]) == (-1, pytest.approx(distance))
    assert found.relative[0] == pytest.approx(relative, rel=0.3)
    with pytest.raises(FEMError, match=rf"the worst by {distance:.3g}"):
        FunctionSpace(mesh, mesh.elem()).point_evaluation(np.array(point)[:, None])
    closer = locate_points(mesh, np.array(point)[:, None], tolerance=10.0)
    assert (closer.cells[0] >= 0, closer.distances[0]) == (True, pytest.approx(distance))


def test_points_beyond_either_end_of_a_line_and_between_its_parts_are_outside():
    mesh = skfem.MeshLine(np.array([[0.0, 0.4, 1.0, 2.0, 1.5]]), np.array([[1, 0, 4], [2, 1, 3]]))
    assert cells_at(mesh, np.array([[-0.1, 0.2, 0.4, 0.9, 1.2, 1.7, 2.1]])).tolist() == [-1, 1, 0, 0, -1, 2, -1]


def test_a_tolerance_that_is_no_number_and_places_that_are_none_are_refused():
    V = FunctionSpace(ROUND, skfem.ElementTriP1())
    for tolerance in (-1.0, np.nan):
        with pytest.raises(FEMError, match=r"tolerance of points is .*expected a number ≥ 0"):
            V.point_evaluation(np.zeros((2, 1)), tolerance=tolerance)
    with pytest.raises(FEMError, match="far away, or no number"):
        V.point_evaluation(np.array([[0.0, 1e200], [0.0, 0.0]]), tolerance=1e9)


def test_points_of_a_file_may_lie_on_the_rim_with_few_decimals(tmp_path):
    rim = ROUND.p[:, ROUND.facets[:, ROUND.boundary_facets()]].mean(1)
    rows = [f"{x:.4f},{y:.4f},1.0,0.1" for x, y in rim.T]
    file = tmp_path / "d.csv"
    file.write_text("\n".join(["x (m),y (m),u (V),uncertainty (V)", *rows]) + "\n")
    assert len(read_observations(file, unit="V", mesh=ROUND).values) == rim.shape[1]
    with pytest.raises(FileError, match=r"d\.csv: \d+ of 64 points lie outside.*the worst by [\d.]+e-05.*line \d"):
        read_observations(file, unit="V", mesh=ROUND, tolerance=1e-6)


def test_a_point_outside_prisms_is_told():
    mesh = skfem.MeshWedge1(
        np.array([[0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1]], float), np.arange(6)[:, None]
    )
    with pytest.raises(FEMError, match="1 of 1 points lie"):
        FunctionSpace(mesh, skfem.ElementWedge1()).point_evaluation([[0.3], [0.3], [1.5]])


def test_a_load_at_one_place_of_a_line_needs_no_brackets():
    V = FunctionSpace(skfem.MeshLine(np.linspace(0, 1, 3)), skfem.ElementLineP1())
    np.testing.assert_allclose(V.point_load(0.5, [2.0]), [0, 2, 0], atol=1e-15)
