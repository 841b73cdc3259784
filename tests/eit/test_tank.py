"""Tanks and their meshes: electrodes where they belong, triangles of good shape, and meshes of the user's own."""

import meshio
import numpy as np
import pytest
import skfem

from pdeopt.eit.tanks.tank import Tank, electrode_names
from pdeopt.eit.tanks.tank_cylinder import cylinder_mesh
from pdeopt.eit.tanks.tank_disk import disk_mesh, with_electrodes
from pdeopt.eit.tanks.tank_file import electrode_names_of, read_tank_mesh
from pdeopt.eit.tanks.tank_mesher import smallest_angles
from pdeopt.fem import FunctionSpace, MeshError, check_mesh
from pdeopt.inverse import InputError
from pdeopt.io import FileError

TANK = Tank()
MESH = disk_mesh(TANK)
NAMES = electrode_names(32)
SMALL = Tank(radius=1.0, electrodes=4)
COARSE = disk_mesh(SMALL, 0.5, end_size=0.2)
SOLID = cylinder_mesh(SMALL, 1.5, electrode_bottom=0.5, electrode_height=0.4, size=0.5)


def facet_sizes(mesh, name):
    """Lengths or areas of the facets of a boundary."""
    corners = mesh.p[:, mesh.facets[:, mesh.boundaries[name]]]
    along = corners[:, 1] - corners[:, 0]
    if mesh.dim() == 2:
        return np.hypot(*along)
    return np.linalg.norm(np.cross(along.T, (corners[:, 2] - corners[:, 0]).T), axis=1) / 2


def volume(mesh):
    return FunctionSpace(mesh, mesh.elem()).basis.dx.sum()


def least_angle(mesh):
    return np.degrees(smallest_angles(mesh.p.T, mesh.t.T).min())


# --- the cross-section -------------------------------------------------------------------------------------------


def test_the_default_tank_is_the_challenges():
    assert pytest.approx(2 * np.pi * 0.115 * 5.625 / 360) == TANK.width
    assert pytest.approx(TANK.width) == TANK.gap
    np.testing.assert_allclose(np.degrees(TANK.angles[[0, 1, 8]]), [90, 101.25, 180])
    np.testing.assert_allclose(np.degrees(TANK.ends[:, 0]), [90 - 2.8125, 90 + 2.8125])


def test_electrodes_lie_where_the_tank_says():
    for name, angle in zip(NAMES, TANK.angles, strict=True):
        middle = MESH.p[:, np.unique(MESH.facets[:, MESH.boundaries[name]])].mean(1)
        np.testing.assert_allclose(middle / np.hypot(*middle), [np.cos(angle), np.sin(angle)], atol=1e-9)
    top, left = (MESH.p[:, MESH.facets[:, MESH.boundaries[f"electrode {l}"]]].mean((1, 2)) for l in (1, 9))
    assert top[1] > 0.11
    assert left[0] < -0.11


def test_electrodes_have_the_same_facets_and_end_at_vertices():
    lengths = np.array([facet_sizes(MESH, name) for name in NAMES])
    np.testing.assert_allclose(lengths, np.tile(lengths[0], (32, 1)), rtol=1e-9)
    angles = np.arctan2(*MESH.p[::-1, MESH.boundary_nodes()])
    for end in TANK.ends.ravel():
        assert np.abs(np.exp(1j * angles) - np.exp(1j * end)).min() < 1e-12


def test_lengths_and_area_converge_at_second_order():
    errors = []
    for size in (0.008, 0.004):
        tank = Tank(electrodes=4, coverage=0.3)
        mesh = disk_mesh(tank, size, boundary_size=size, end_size=size)
        length = sum(facet_sizes(mesh, name).sum() for name in mesh.boundaries)
        errors.append((4 * tank.width - length, np.pi * tank.radius**2 - volume(mesh)))
    assert (np.array(errors) > 0).all()
    np.testing.assert_allclose(np.divide(*errors), 4, rtol=0.15)


def test_all_boundary_vertices_lie_on_the_circle():
    np.testing.assert_allclose(np.hypot(*MESH.p[:, MESH.boundary_nodes()]), TANK.radius, rtol=1e-12)
    assert (np.hypot(*MESH.p[:, MESH.interior_nodes()]) < TANK.radius).all()
    on_wall = np.isin(MESH.t, MESH.boundary_nodes()).sum(0)
    assert on_wall.max() == 2  # three would make a sliver


def test_edges_are_shortest_at_electrode_ends_and_longest_in_the_middle():
    along = facet_sizes(MESH, "electrode 5")[np.argsort(np.arctan2(*_middles("electrode 5")))]
    assert along[[0, -1]].max() < 0.6 * along[len(along) // 2]
    edges = np.hypot(*(MESH.p[:, MESH.facets[0]] - MESH.p[:, MESH.facets[1]]))
    shortest = MESH.p[:, MESH.facets[:, edges.argmin()]].mean(1)
    away = np.abs(np.exp(1j * np.arctan2(*shortest[::-1])) - np.exp(1j * TANK.ends)).min()
    assert away * TANK.radius < 0.1 * TANK.width
    inner = np.hypot(*MESH.p[:, MESH.facets].mean(1)) < TANK.radius / 2
    assert edges[inner].mean() > 4 * edges.min()


def _middles(name):
    return MESH.p[:, MESH.facets[:, MESH.boundaries[name]]].mean(1)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "vertices"), [(12, 2500), (25, 5000), (45, 11_000)])
def test_one_number_sets_the_number_of_vertices(part, vertices):
    mesh = disk_mesh(TANK, TANK.radius / part)
    assert mesh.nvertices == pytest.approx(vertices, rel=0.1)
    assert least_angle(mesh) > 22


@pytest.mark.slow
@pytest.mark.parametrize("electrodes", [2, 4, 16, 32, 64])
@pytest.mark.parametrize("coverage", [0.1, 0.5, 0.9])
def test_any_tank_gets_good_triangles(electrodes, coverage):
    tank = Tank(radius=3.0, electrodes=electrodes, coverage=coverage, first_angle=0.3)
    mesh = disk_mesh(tank, 0.4)
    check_mesh(mesh)
    assert least_angle(mesh) > 22
    assert electrode_names_of(mesh) == electrode_names(electrodes)
    counts = {len(facets) for facets in mesh.boundaries.values()}
    assert len(counts) == 1
    assert counts.pop() >= 4
    covered = sum(facet_sizes(mesh, name).sum() for name in mesh.boundaries)
    assert covered == pytest.approx(coverage * 2 * np.pi * 3.0, rel=5e-3)


@pytest.mark.parametrize("options", [{"size": 0.5}, {"size": 0.1, "end_size": 1e-4}, {"growth": 0.5}, {"growth": 0.1}])
def test_other_gradings_give_good_triangles(options):
    mesh = disk_mesh(SMALL, **options)
    check_mesh(mesh)
    assert least_angle(mesh) > 18


@pytest.mark.slow
def test_the_same_arguments_give_the_same_mesh_and_another_angle_another():
    again, turned = disk_mesh(TANK), disk_mesh(Tank(first_angle=0.1))
    np.testing.assert_array_equal(again.p, MESH.p)
    np.testing.assert_array_equal(again.t, MESH.t)
    assert turned.p.shape != MESH.p.shape or np.abs(turned.p - MESH.p).max() > 1e-3


def test_electrodes_are_named_on_a_mesh_that_fits():
    bare = skfem.MeshTri(COARSE.p, COARSE.t)
    named = with_electrodes(bare, SMALL)
    assert {name: set(facets) for name, facets in named.boundaries.items()} == {
        name: set(facets) for name, facets in COARSE.boundaries.items()
    }
    with pytest.raises(MeshError, match="reach over the end of an electrode"):
        with_electrodes(bare, Tank(radius=1.0, electrodes=4, first_angle=1.0))
    with pytest.raises(MeshError, match="same units"):
        with_electrodes(bare, Tank(radius=1000.0, electrodes=4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tank(radius=0.0), "radius of the tank is 0.0"),
        (lambda: Tank(radius=np.nan), "radius of the tank is nan"),
        (lambda: Tank(electrodes=1), "two or more"),
        (lambda: Tank(electrodes=4.5), "whole number"),
        (lambda: Tank(coverage=1.0), "0.01 to 0.99"),
        (lambda: Tank(electrodes=np.nan), "whole number"),
        (lambda: Tank(first_angle=np.inf), "radians"),
        (lambda: disk_mesh(TANK, 0.2), "larger than the tank"),
        (lambda: disk_mesh(TANK, -1.0), "size is -1.0"),
        (lambda: disk_mesh(TANK, boundary_size=0.0), "boundary_size is 0.0"),
        (lambda: disk_mesh(TANK, growth=0.0), "growth = 0.0"),
        (lambda: disk_mesh(TANK, 1e-6), "vertices"),
        (lambda: cylinder_mesh(TANK, 0.1, electrode_bottom=0.05, electrode_height=0.06), "leave the tank"),
        (lambda: cylinder_mesh(TANK, 0.1, electrode_bottom=-0.01, electrode_height=0.06), "leave the tank"),
        (lambda: cylinder_mesh(TANK, 0.0, electrode_bottom=0.0, electrode_height=0.06), "height of the tank"),
        (lambda: cylinder_mesh(TANK, 0.1, electrode_bottom=0.0, electrode_height=0.0), "electrode_height"),
        (lambda: cylinder_mesh(TANK, 0.1, electrode_bottom=0.0, electrode_height=0.1, layer_size=9), "layer_size"),
    ],
)
def test_impossible_tanks_and_sizes_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


# --- the cylinder ------------------------------------------------------------------------------------------------


def test_the_cylinder_fills_the_prism_over_its_cross_section():
    check_mesh(SOLID)
    base = facet_sizes(SOLID, "bottom").sum()
    assert base == pytest.approx(np.pi, rel=0.01)
    assert volume(SOLID) == pytest.approx(1.5 * base, rel=1e-12)
    whole = sum(facet_sizes(SOLID, name).sum() for name in SOLID.boundaries)
    assert whole == pytest.approx(2 * base + 1.5 * 2 * np.pi, rel=0.01)
    assert sum(map(len, SOLID.boundaries.values())) == len(SOLID.boundary_facets())


def test_patches_of_the_cylinder_are_exactly_resolved():
    assert electrode_names_of(SOLID) == electrode_names(4)
    for name, angle in zip(electrode_names(4), SMALL.angles, strict=True):
        x, y, z = SOLID.p[:, np.unique(SOLID.facets[:, SOLID.boundaries[name]])]
        np.testing.assert_allclose([z.min(), z.max()], [0.5, 0.9], atol=1e-12)
        assert np.arctan2(y.mean(), x.mean()) == pytest.approx((angle + np.pi - 1e-9) % (2 * np.pi) - np.pi, abs=1e-6)
        assert facet_sizes(SOLID, name).sum() == pytest.approx(0.4 * SMALL.width, rel=0.01)


def test_electrodes_may_reach_from_the_bottom_to_the_top():
    mesh = cylinder_mesh(SMALL, 0.5, electrode_bottom=0.0, electrode_height=0.5, size=0.5)
    area = sum(facet_sizes(mesh, name).sum() for name in electrode_names(4))
    assert area == pytest.approx(0.5 * np.pi, rel=0.01)
    assert facet_sizes(mesh, "wall").sum() == pytest.approx(0.5 * np.pi, rel=0.01)


# --- meshes of the user's own ------------------------------------------------------------------------------------


def named(**parts):
    """COARSE with other names; ``_`` stands for a blank."""
    bare = skfem.MeshTri(COARSE.p, COARSE.t)
    return bare.with_boundaries({name.replace("_", " "): facets for name, facets in parts.items()})


FIRST, SECOND = COARSE.boundaries["electrode 1"], COARSE.boundaries["electrode 2"]


def test_electrodes_come_in_numerical_order():
    outer = COARSE.boundary_facets()
    mesh = named(wall=outer[:1], **{f"electrode_{l}": outer[[l]] for l in (10, 2, 1, 3, 4, 5, 6, 7, 8, 9)})
    assert electrode_names_of(mesh) == electrode_names(10)
    mesh = skfem.MeshTri(COARSE.p, COARSE.t).with_boundaries({"Electrode_02": SECOND, "ELECTRODE1": FIRST})
    assert electrode_names_of(mesh) == ("ELECTRODE1", "Electrode_02")


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (named(), "it has no names at all"),
        (named(wall=FIRST), "it has boundaries 'wall'"),
        (named(electrode_1=FIRST), "one electrode only"),
        (named(electrode_1=FIRST, electrode_4=SECOND), r"without \[2, 3\]"),
        (named(electrode_1=FIRST, electrode1=SECOND), "the same number"),
        (named(electrode_1=FIRST, electrode_2=np.zeros(0, int)), "'electrode 2' has no facets"),
        (named(electrode_1=FIRST, electrode_2=np.append(SECOND, FIRST[0])), "1 facets in common"),
        (named(electrode_1=FIRST, electrode_2=np.flatnonzero(COARSE.f2t[1] >= 0)[:3]), "3 facets inside the mesh"),
    ],
)
def test_improper_electrodes_are_refused(mesh, message):
    with pytest.raises(MeshError, match=message):
        electrode_names_of(mesh)


def gmsh_file(path, mesh, version, orphan=False):
    """Write a mesh as Gmsh does: physical groups numbered anew in each dimension, "water" being the first."""
    small, large = ("line", "triangle") if mesh.dim() == 2 else ("triangle", "tetra")
    cells, numbers = [(large, mesh.t.T)], [np.ones(mesh.nelements, int)]
    groups = {"water": np.array([1, mesh.dim()])}
    owner = np.tile(np.array([mesh.dim(), 1], np.int32), (mesh.nvertices, 1))
    for k, (name, facets) in enumerate(mesh.boundaries.items(), 1):
        cells.append((small, mesh.facets[:, np.asarray(facets)].T))
        numbers.append(np.full(len(facets), k))
        groups[name] = np.array([k, mesh.dim() - 1])
        owner[mesh.facets[:, np.asarray(facets)].ravel()] = mesh.dim() - 1, k
    points = np.zeros((mesh.nvertices, 3))
    points[:, : mesh.dim()] = mesh.p.T
    if orphan:
        points, owner = np.vstack([points[:1], points]), np.vstack([owner[:1], owner])
        cells = [(kind, block + 1) for kind, block in cells]
    tags = {"gmsh:physical": numbers, "gmsh:geometrical": numbers}
    data = {"gmsh:dim_tags": owner} if version == "gmsh" else {}
    meshio.write(path, meshio.Mesh(points, cells, data, tags, groups), file_format=version, binary=False)


def same_electrodes(mesh, other):
    assert electrode_names_of(mesh) == electrode_names_of(other)
    for name in electrode_names_of(mesh):
        assert np.sort(facet_sizes(mesh, name)) == pytest.approx(np.sort(facet_sizes(other, name)), rel=1e-6)
        here, there = (np.unique(m.facets[:, m.boundaries[name]]) for m in (mesh, other))
        np.testing.assert_allclose(mesh.p[:, here].mean(1), other.p[:, there].mean(1), atol=1e-6)


@pytest.mark.parametrize("version", ["gmsh", "gmsh22"])
@pytest.mark.parametrize("mesh", [COARSE, SOLID], ids=["disk", "cylinder"])
def test_gmsh_files_keep_their_electrodes(tmp_path, version, mesh):
    gmsh_file(tmp_path / "tank.msh", mesh, version)
    read = read_tank_mesh(tmp_path / "tank.msh")
    same_electrodes(read, mesh)
    assert set(read.boundaries) == set(mesh.boundaries)
    assert len(read.subdomains["water"]) == mesh.nelements


@pytest.mark.parametrize("ending", ["msh", "vtu"])
def test_files_of_scikit_fem_keep_their_electrodes(tmp_path, ending):
    COARSE.save(tmp_path / f"tank.{ending}")
    same_electrodes(read_tank_mesh(tmp_path / f"tank.{ending}"), COARSE)


def test_vertices_without_elements_are_left_out(tmp_path):
    gmsh_file(tmp_path / "tank.msh", COARSE, "gmsh22", orphan=True)
    read = read_tank_mesh(tmp_path / "tank.msh")
    assert read.nvertices == COARSE.nvertices
    same_electrodes(read, COARSE)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        read_tank_mesh(tmp_path / "none.msh")


def test_a_file_without_electrodes_is_refused(tmp_path):
    skfem.MeshTri(COARSE.p, COARSE.t).with_boundaries({"rim": FIRST}).save(tmp_path / "tank.vtu")
    with pytest.raises(MeshError, match=r"tank\.vtu: the mesh has no boundary named 'electrode 1'.*'rim'"):
        read_tank_mesh(tmp_path / "tank.vtu")


def test_a_second_order_file_is_refused(tmp_path):
    triangle = np.array([[0, 1, 2, 3, 4, 5]])
    points = np.array([[0, 0], [1, 0], [0, 1], [0.5, 0], [0.5, 0.5], [0, 0.5]])
    meshio.Mesh(points, [("triangle6", triangle), ("line3", [[0, 1, 3]])]).write(tmp_path / "tank.vtu")
    with pytest.raises(FileError, match="second order"):
        read_tank_mesh(tmp_path / "tank.vtu")
