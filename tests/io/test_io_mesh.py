"""Meshes from files: the same cells, names and sizes in every format, and one clear message for each bad file."""

from pathlib import Path

import meshio
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace
from pdeopt.io import FileError, read_mesh
from pdeopt.io.meshes.formats import mesh_formats, meshio_process
from pdeopt.io.meshes.formats.gmsh_sections import announced_elements
from pdeopt.io.meshes.formats.meshio_process import MeshioProcess

TICKS = np.linspace(0, 2, 5), np.linspace(0, 1, 4)


def named(mesh):
    """With sides, an interface at x = 1 and two materials."""
    sides = {"left": lambda x: x[0] == 0, "rest": lambda x: x[0] > 0, "middle": lambda x: x[0] == 1}
    facets = {name: mesh.facets_satisfying(side, name != "middle") for name, side in sides.items()}
    return mesh.with_boundaries(facets).with_subdomains({"steel": lambda x: x[0] < 1, "copper": lambda x: x[0] > 1})


MESHES = {
    "tri": named(skfem.MeshTri.init_tensor(*TICKS)),
    "quad": named(skfem.MeshQuad.init_tensor(*TICKS)),
    "tet": named(skfem.MeshTet.init_tensor(*TICKS, np.linspace(0, 1, 3))),
    "hex": named(skfem.MeshHex.init_tensor(*TICKS, np.linspace(0, 1, 3))),
}
CELLS = {
    "tri": ("line", "triangle"),
    "quad": ("line", "quad"),
    "tet": ("triangle", "tetra"),
    "hex": ("quad", "hexahedron"),
}
HEX_ORDER = [0, 3, 6, 2, 1, 5, 7, 4]


def raw_mesh(kind):
    """As meshio has it from Gmsh: groups are numbered anew in each dimension, one block of cells a group."""
    mesh, (small, large) = MESHES[kind], CELLS[kind]
    corners = mesh.t[HEX_ORDER] if kind == "hex" else mesh.t
    blocks = [(small, mesh.facets[:, np.asarray(facets)].T) for facets in mesh.boundaries.values()]
    blocks += [(large, corners[:, cells].T) for cells in mesh.subdomains.values()]
    tags = [np.full(len(blocks[k][1]), number) for k, number in enumerate((1, 2, 3, 1, 2))]
    groups = {name: np.array([k, mesh.dim() - 1]) for k, name in enumerate(mesh.boundaries, 1)}
    groups |= {name: np.array([k, mesh.dim()]) for k, name in enumerate(mesh.subdomains, 1)}
    points = np.zeros((mesh.nvertices, 3))
    points[:, : mesh.dim()] = mesh.p.T
    return meshio.Mesh(points, blocks, cell_data={"gmsh:physical": tags, "gmsh:geometrical": tags}, field_data=groups)


def write_gmsh(path, raw, version="gmsh22", binary=False):
    if version == "gmsh":
        owner = np.zeros((len(raw.points), 2), int)
        for block, tags in reversed(list(zip(raw.cells, raw.cell_data["gmsh:geometrical"], strict=True))):
            owner[block.data.ravel()] = block.dim, tags[0]
        raw.point_data["gmsh:dim_tags"] = owner
    raw.write(path, file_format=version, binary=binary)


def size(space):
    return float(space.basis.dx.sum())


def assert_same(mesh, kind, boundaries=None, subdomains=None):
    """The same cells, and the same sizes of all named parts; by default under the same names."""
    own = MESHES[kind]
    assert type(mesh) is type(own)
    np.testing.assert_allclose(_sorted_centers(mesh), _sorted_centers(own), atol=1e-12)
    there, here = FunctionSpace(mesh, mesh.elem()), FunctionSpace(own, own.elem())
    assert size(there) == pytest.approx(size(here))
    boundaries = {name: name for name in own.boundaries} if boundaries is None else boundaries
    subdomains = {name: name for name in own.subdomains} if subdomains is None else subdomains
    for name, theirs in boundaries.items():
        assert size(there.boundary(theirs)) == pytest.approx(size(here.boundary(name)))
        np.testing.assert_allclose(_center(mesh, theirs), _center(own, name), atol=1e-12)
    for name, theirs in subdomains.items():
        assert size(there.subdomain(theirs)) == pytest.approx(size(here.subdomain(name)))
        x = mesh.p[:, mesh.t[:, mesh.subdomains[theirs]]].mean((1, 2))
        assert (x[0] < 1) == (name == "steel")


def _center(mesh, name):
    return mesh.p[:, mesh.facets[:, np.asarray(mesh.boundaries[name])]].mean((1, 2))


def _sorted_centers(mesh):
    centers = mesh.p[:, mesh.t].mean(1).round(9)
    return centers[:, np.lexsort(centers)]


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize(("version", "binary"), [("gmsh22", False), ("gmsh22", True), ("gmsh", False), ("gmsh", True)])
def test_gmsh_files_keep_cells_and_names(tmp_path, kind, version, binary):
    write_gmsh(tmp_path / "m.msh", raw_mesh(kind), version, binary)
    mesh = read_mesh(tmp_path / "m.msh", require=("left", "middle", "steel"))
    assert_same(mesh, kind)
    assert set(mesh.boundaries) == {"left", "rest", "middle"}
    assert set(mesh.subdomains) == {"steel", "copper"}


NUMBERED = (
    {"left": "physical 1", "rest": "physical 2", "middle": "physical 3"},
    {
        "steel": "physical 1",
        "copper": "physical 2",
    },
)


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("ending", ["vtu", "vtk", "xdmf"])
def test_other_formats_name_groups_by_their_numbers(tmp_path, kind, ending):
    options = {"data_format": "XML"} if ending == "xdmf" else {}
    raw_mesh(kind).write(tmp_path / f"m.{ending}", **options)
    assert_same(read_mesh(tmp_path / f"m.{ending}"), kind, *NUMBERED)


def split_square(directory, ending, tags, **options):
    """Two triangles with an array "mat_id"."""
    raw = meshio.Mesh(np.array(SQUARE[:4], float), [("triangle", TWO)], cell_data={"mat_id": [np.array(tags)]})
    raw.write(directory / f"m.{ending}", **options)
    return {name: members.tolist() for name, members in (read_mesh(directory / f"m.{ending}").subdomains or {}).items()}


FORMATS_OF_TAGS = [("vtk", {}), ("vtu", {}), ("xdmf", {"data_format": "XML"}), ("vtk", {"binary": False})]


@pytest.mark.parametrize(("ending", "options"), FORMATS_OF_TAGS)
def test_tags_are_whole_numbers_however_they_are_stored(tmp_path, ending, options):
    for tags in ([3, 7], [3.0, 7.0], [[3], [7]], [[3.0], [7.0]], np.array([3, 7], np.float32), np.array([3, 7], "i4")):
        assert split_square(tmp_path, ending, tags, **options) == {"mat_id 3": [0], "mat_id 7": [1]}
    assert split_square(tmp_path, ending, [-1.0, np.nan], **options) == {"mat_id -1": [0]}
    for field in ([3.0, 7.5], [[3, 7], [7, 3]], [np.inf, 1.0]):
        assert not split_square(tmp_path, ending, field, **options)


def test_a_field_of_many_whole_values_is_no_tag(tmp_path):
    mesh = skfem.MeshTri.init_tensor(*(np.linspace(0, 1, 13),) * 2)
    for kind in (int, float):
        data = {"temperature": [np.arange(mesh.nelements).astype(kind)], "zone": [np.arange(mesh.nelements) // 200]}
        meshio.Mesh(mesh.p.T, [("triangle", mesh.t.T)], cell_data=data).write(tmp_path / "m.vtu")
        assert set(read_mesh(tmp_path / "m.vtu").subdomains) == {"zone 0", "zone 1"}


def test_scalars_of_one_component_in_legacy_vtk(tmp_path):
    rows = ["# vtk DataFile Version 3.0", "t", "ASCII", "DATASET UNSTRUCTURED_GRID", "POINTS 4 double"]
    rows += ["0 0 0 1 0 0 1 1 0 0 1 0", "CELLS 2 8", "3 0 1 2", "3 0 2 3", "CELL_TYPES 2", "5", "5", "CELL_DATA 2"]
    for scalars in ("SCALARS mat_id int 1", "SCALARS mat_id int", "SCALARS mat_id double 1"):
        (tmp_path / "m.vtk").write_text("\n".join([*rows, scalars, "LOOKUP_TABLE default", "3", "7", ""]))
        assert set(read_mesh(tmp_path / "m.vtk", subdomains="mat_id 3").subdomains) == {"mat_id 3", "mat_id 7"}
    (tmp_path / "m.vtk").write_text("\n".join(rows).replace("CELLS 2", "CELLS 3"))
    with pytest.raises(FileError, match="it announces 3 cells, and 2 are there"):
        read_mesh(tmp_path / "m.vtk")


def test_xdmf_with_its_data_in_hdf5(tmp_path):
    pytest.importorskip("h5py")
    raw_mesh("tet").write(tmp_path / "m.xdmf")
    assert_same(read_mesh(tmp_path / "m.xdmf"), "tet", *NUMBERED)


def test_med_files_keep_the_names_of_their_groups(tmp_path):
    pytest.importorskip("h5py")
    mesh = MESHES["tri"]
    family = np.where(np.isin(np.arange(mesh.nelements), mesh.subdomains["steel"]), -6, -7)
    cells = [("triangle", mesh.t.T), ("line", mesh.facets[:, mesh.boundaries["left"]].T)]
    raw = meshio.Mesh(mesh.p.T, cells, cell_data={"cell_tags": [family, np.full(len(cells[1][1]), -8)]})
    raw.cell_tags = {-6: ["steel", "plate"], -7: ["plate"], -8: ["left"]}
    raw.write(tmp_path / "m.med")
    read = read_mesh(tmp_path / "m.med")
    assert_same(read, "tri", {"left": "left"}, {"steel": "steel"})
    assert len(read.subdomains["plate"]) == mesh.nelements


def test_groups_of_nodes_in_a_med_file_are_boundaries(tmp_path):
    pytest.importorskip("h5py")
    mesh = MESHES["tri"]
    families = np.where(mesh.p[0] == 0, 2, np.where(mesh.p[0] == 1, 3, 0))
    families[np.argmax(mesh.p.sum(0))] = 4
    raw = meshio.Mesh(mesh.p.T, [("triangle", mesh.t.T)], point_data={"point_tags": families})
    raw.point_tags = {2: ["left", "fixed"], 3: ["middle", "fixed"], 4: ["point"]}
    raw.write(tmp_path / "m.med")
    read = read_mesh(tmp_path / "m.med", boundaries=("left", "middle", "fixed"))
    assert_same(read, "tri", {"left": "left", "middle": "middle"}, {})
    assert len(read.boundaries["fixed"]) == 6
    with pytest.raises(FileError, match="the set of nodes 'point' is no boundary: no facet has all its vertices in it"):
        read_mesh(tmp_path / "m.med", boundaries="point")


def test_sets_of_abaqus_are_subdomains(tmp_path):
    mesh = MESHES["tri"]
    sets = {name: [np.asarray(cells)] for name, cells in mesh.subdomains.items()}
    meshio.Mesh(mesh.p.T, [("triangle", mesh.t.T)], cell_sets=sets).write(tmp_path / "m.inp")
    text = (tmp_path / "m.inp").read_text()
    assert "elset=steel" in text.lower()
    names = {name.lower(): name for name in read_mesh(tmp_path / "m.inp").subdomains}
    assert_same(read_mesh(tmp_path / "m.inp"), "tri", {}, {name: names[name] for name in mesh.subdomains})


def test_names_survive_a_conversion_by_meshio(tmp_path):
    raw = raw_mesh("tri")
    raw.cell_sets = {
        name: [np.arange(len(block.data)) if k == own else np.empty(0, int) for k, block in enumerate(raw.cells)]
        for own, name in enumerate(raw.field_data)
    }
    raw.cell_data = {}
    raw.cell_sets_to_data()
    raw.write(tmp_path / "m.vtu")
    assert_same(read_mesh(tmp_path / "m.vtu"), "tri")


@pytest.mark.parametrize("ending", ["msh", "vtu"])
@pytest.mark.parametrize("kind", MESHES)
def test_files_of_scikit_fem(tmp_path, kind, ending):
    MESHES[kind].save(tmp_path / f"m.{ending}")
    assert_same(read_mesh(tmp_path / f"m.{ending}"), kind)


def test_a_line_with_named_ends(tmp_path):
    cells = [("line", [[0, 1], [1, 2]]), ("vertex", [[0]])]
    tags = [np.array([4, 5]), np.array([1])]
    raw = meshio.Mesh(np.diag([1.0, 0, 0])[[1, 0, 0]] * [[1], [1], [3]], cells, cell_data={"gmsh:physical": tags})
    raw.write(tmp_path / "m.vtu")
    mesh = read_mesh(tmp_path / "m.vtu")
    assert isinstance(mesh, skfem.MeshLine1)
    np.testing.assert_array_equal(mesh.p, [[0, 1, 3]])
    assert mesh.boundaries["physical 1"].tolist() == [0]


def quarter_disk(kind):
    """One curved cell between the axes and the unit circle, with the arc as a line of second order."""
    a = np.sqrt(0.5)
    if kind == "triangle6":
        return meshio.Mesh(
            [[0, 0], [1, 0], [0, 1], [0.5, 0], [a, a], [0, 0.5]], [(kind, [[0, 1, 2, 3, 4, 5]]), ("line3", [[1, 2, 4]])]
        )
    corners = [[0.5, 0], [1, 0], [0, 1], [0, 0.5]]
    middles = [[0.75, 0], [a, a], [0, 0.75], [a / 2, a / 2], [0.75 * a, 0.75 * a]]
    return meshio.Mesh(corners + middles, [(kind, [list(range(9))]), ("line3", [[1, 2, 5]])])


@pytest.mark.parametrize(("kind", "area"), [("triangle6", np.pi / 4), ("quad9", 3 * np.pi / 16)])
def test_second_order_cells_keep_their_curves_and_names(tmp_path, kind, area):
    raw = quarter_disk(kind)
    raw.cell_data = {"part": [np.array([0]), np.array([1])]}
    raw.write(tmp_path / "m.vtu")
    element = {"triangle6": skfem.ElementTriP2, "quad9": skfem.ElementQuad2}[kind]
    V = FunctionSpace(read_mesh(tmp_path / "m.vtu"), element())
    assert size(V) == pytest.approx(area, rel=0.03)
    assert size(V.boundary("part 1")) == pytest.approx(np.pi / 2, rel=0.01)
    assert len(V.dofs("part 1")) == 3


def test_an_interface_is_oriented_as_in_the_file(tmp_path):
    for upward, normal in ((True, 1.0), (False, -1.0)):
        raw = raw_mesh("tri")
        ends = raw.cells[2].data
        rises = raw.points[ends[:, 1], 1] > raw.points[ends[:, 0], 1]
        raw.cells[2].data = np.where((rises == upward)[:, None], ends, ends[:, ::-1])
        write_gmsh(tmp_path / "m.msh", raw)
        mesh = read_mesh(tmp_path / "m.msh")
        middle = FunctionSpace(mesh, mesh.elem()).boundary("middle")
        np.testing.assert_allclose(middle.basis.normals[0], normal, atol=1e-12)


def test_an_interface_in_space_is_oriented_as_in_the_file(tmp_path):
    for turned, normal in ((False, 1.0), (True, -1.0)):
        raw = raw_mesh("tet")
        a, b, c = (raw.points[raw.cells[2].data[:, k]] for k in range(3))
        forward = np.cross(b - a, c - a)[:, 0] > 0
        raw.cells[2].data = np.where((forward != turned)[:, None], raw.cells[2].data, raw.cells[2].data[:, ::-1])
        write_gmsh(tmp_path / "m.msh", raw)
        mesh = read_mesh(tmp_path / "m.msh")
        middle = FunctionSpace(mesh, mesh.elem()).boundary("middle")
        np.testing.assert_allclose(middle.basis.normals[0], normal, atol=1e-12)


def test_conditions_go_by_the_names_of_the_file(tmp_path):
    write_gmsh(tmp_path / "m.msh", raw_mesh("tri"))
    V = FunctionSpace(read_mesh(tmp_path / "m.msh"), skfem.ElementTriP1())
    for name, x in (("left", 0), ("middle", 1)):
        np.testing.assert_allclose(V.locations[0, Dirichlet.on(V, name).dofs], x)
    assert size(V.subdomain("steel")) == pytest.approx(1.0)


def test_a_cell_of_two_groups_that_is_there_twice(tmp_path):
    raw = raw_mesh("tri")
    both = np.concatenate([block.data for block in raw.cells[3:]])
    tags = [*raw.cell_data["gmsh:physical"], np.full(len(both), 3)]
    cells = [*((block.type, block.data) for block in raw.cells), ("triangle", both)]
    groups = raw.field_data | {"plate": np.array([3, 2])}
    data = {"gmsh:physical": tags, "gmsh:geometrical": tags}
    write_gmsh(tmp_path / "m.msh", meshio.Mesh(raw.points, cells, cell_data=data, field_data=groups))
    mesh = read_mesh(tmp_path / "m.msh")
    assert_same(mesh, "tri")
    assert len(mesh.subdomains["plate"]) == mesh.nelements


def test_reversed_curves_belong_to_their_group(tmp_path):
    raw = raw_mesh("tri")
    raw.cell_data["gmsh:physical"][0][1:] *= -1
    write_gmsh(tmp_path / "m.msh", raw)
    assert_same(read_mesh(tmp_path / "m.msh"), "tri")


def test_unused_vertices_are_left_out_and_coordinates_scaled(tmp_path):
    raw = raw_mesh("tri")
    raw.points = np.vstack([raw.points, [[7.0, 7.0, 0.0]]])
    write_gmsh(tmp_path / "m.msh", raw)
    mesh = read_mesh(tmp_path / "m.msh", scale=1e-3)
    assert mesh.nvertices == MESHES["tri"].nvertices
    np.testing.assert_allclose(mesh.p.max(1), [2e-3, 1e-3])


def torn():
    """Both halves with vertices of their own along the interface."""
    raw = raw_mesh("tri")
    raw.cells[4].data = raw.cells[4].data + len(raw.points)
    raw.points = np.vstack([raw.points, raw.points])
    return raw


def test_vertices_at_the_same_place_are_refused_or_merged(tmp_path):
    write_gmsh(tmp_path / "torn.msh", torn())
    with pytest.raises(FileError, match=r"torn\.msh: \d+ vertices share their place.*'merge'"):
        read_mesh(tmp_path / "torn.msh")
    assert_same(read_mesh(tmp_path / "torn.msh", coincident="merge"), "tri")


def test_vertices_at_the_same_place_are_kept_as_a_crack(tmp_path):
    raw = torn()
    meshio.Mesh(raw.points, [("triangle", block.data) for block in raw.cells[3:]]).write(tmp_path / "torn.vtu")
    mesh = read_mesh(tmp_path / "torn.vtu", coincident="keep")
    assert mesh.nvertices == MESHES["tri"].nvertices + 4
    assert len(mesh.boundary_facets()) == len(MESHES["tri"].boundary_facets()) + 2 * 3


@pytest.mark.parametrize("ending", ["vtu", "msh", "xdmf"])
@pytest.mark.parametrize("kind", ["triangle", "quad"])
def test_parts_that_do_not_match_are_refused_with_the_name_of_the_file_unless_meant(tmp_path, kind, ending):
    """Two squares of 4 and 3 cells a side: after merging, only the ends of the interface are common vertices."""
    make = {"triangle": skfem.MeshTri, "quad": skfem.MeshQuad}[kind].init_tensor
    ticks = [np.linspace(0, 1, n + 1) for n in (4, 3)]
    left, right = make(ticks[0], ticks[0]), make(1 + ticks[1], ticks[1])
    points = np.vstack([left.p.T, right.p.T])
    raw = meshio.Mesh(np.c_[points, 0 * points[:, 0]], [(kind, np.hstack([left.t, right.t + left.nvertices]).T)])
    file = tmp_path / f"parts.{ending}"
    raw.write(file, **({"file_format": "gmsh"} if ending == "msh" else {}))
    with pytest.raises(FileError, match=rf"parts\.{ending}: the mesh does not conform: 5 vertices lie on the side"):
        read_mesh(file, coincident="merge")
    mesh = read_mesh(file, coincident="merge", check_conformity=False)
    assert mesh.nvertices == 25 + 16 - 2


FOUND = Path(__file__).parents[3] / "shared" / "found"


@pytest.mark.parametrize("name", ["hanging_quads.vtu", "parts_that_do_not_match.vtu"])
def test_meshes_that_gave_wrong_numbers_are_refused(name):
    if not (FOUND / name).exists():
        pytest.skip("the file is not beside this checkout")
    with pytest.raises(FileError, match=rf"{name}: the mesh does not conform: \d vertices lie on the side"):
        read_mesh(FOUND / name, coincident="merge")


# --- bad files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["gmsh22", "gmsh"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(tmp_path, version):
    for binary in (False, True):
        write_gmsh(tmp_path / "m.msh", raw_mesh("tri"), version, binary)
        content = (tmp_path / "m.msh").read_bytes()
        end = content.rindex(b"$EndElements") + len(b"$EndElements")
        for cut in [*range(0, end - 1, 37), end - 3, end - 14, end - 16]:
            (tmp_path / "cut.msh").write_bytes(content[:cut])
            with pytest.raises(FileError, match=r"cut\.msh"):
                read_mesh(tmp_path / "cut.msh")


def test_where_a_file_is_cut_short_is_said(tmp_path):
    write_gmsh(tmp_path / "m.msh", raw_mesh("tri"))
    lines = (tmp_path / "m.msh").read_text().splitlines()
    begun = lines.index("$Elements") + 1
    (tmp_path / "cut.msh").write_text("\n".join(lines[: begun + 5])[:-2])
    with pytest.raises(FileError, match=rf"line {begun + 5}: .* cut short: .*begun in line {begun}, has no \$End"):
        read_mesh(tmp_path / "cut.msh")


def test_a_row_that_is_missing_or_no_row_of_numbers_is_named(tmp_path):
    write_gmsh(tmp_path / "m.msh", raw_mesh("tri"))
    lines = (tmp_path / "m.msh").read_text().splitlines()
    at = lines.index("$Elements")
    (tmp_path / "less.msh").write_text("\n".join(lines[: at + 3] + lines[at + 4 :]))
    with pytest.raises(FileError, match=rf"line {at + 2}: section \$Elements announces 41 rows and has 40"):
        read_mesh(tmp_path / "less.msh")
    (tmp_path / "word.msh").write_text("\n".join([*lines[: at + 3], "2 a " + lines[at + 3][4:], *lines[at + 4 :]]))
    with pytest.raises(FileError, match=rf"word\.msh, line {at + 4}: .* is no row of numbers"):
        read_mesh(tmp_path / "word.msh")


def test_points_that_are_not_there_are_not_taken_for_others(tmp_path):
    write_gmsh(tmp_path / "m.msh", raw_mesh("tri"))
    lines = (tmp_path / "m.msh").read_text().splitlines()
    last = lines.index("$EndElements") - 1
    lines[last] = " ".join([*lines[last].split()[:-1], "0"])
    (tmp_path / "m.msh").write_text("\n".join(lines))
    with pytest.raises(FileError, match=rf"m\.msh, line {last + 1}: there is a node 0; expected nodes that are numb"):
        read_mesh(tmp_path / "m.msh")
    triangle = meshio.Mesh(np.eye(3), [("triangle", np.array([[0, 1, 7]]))])
    triangle.write(tmp_path / "m.vtu")
    with pytest.raises(FileError, match=r"m\.vtu: cells have points that are not in the file, which holds 3"):
        read_mesh(tmp_path / "m.vtu")


HALF_IN_A_GROUP = """$MeshFormat
4.1 0 8
$EndMeshFormat
$PhysicalNames
1
2 1 "steel"
$EndPhysicalNames
$Entities
0 0 2 0
1 0 0 0 1 1 0 1 1 0
2 0 0 0 1 1 0 0 0
$EndEntities
$Nodes
1 4 1 4
2 1 0 4
1
2
3
4
0 0 0
1 0 0
1 1 0
0 1 0
$EndNodes
$Elements
2 2 1 2
2 1 2 1
1 1 2 3
2 2 2 1
2 1 3 4
$EndElements
"""


def test_elements_without_a_group_beside_others_with_one(tmp_path):
    (tmp_path / "m.msh").write_text(HALF_IN_A_GROUP.replace("1 1 0 0 0", "1 1 0 1 1 0"))
    assert len(read_mesh(tmp_path / "m.msh").subdomains["steel"]) == 2
    (tmp_path / "m.msh").write_text(HALF_IN_A_GROUP)
    with pytest.raises(FileError, match=r"some elements belong to no physical group.*Mesh\.SaveAll = 0"):
        read_mesh(tmp_path / "m.msh")


def test_files_of_gmsh_that_are_not_read_say_why(tmp_path):
    plain = HALF_IN_A_GROUP.replace("1 1 0 0 0", "1 1 0 1 1 0")
    files = {
        "partitioned": plain.replace("$Nodes", "$PartitionedEntities\n2\n0\n0 0 0 0\n$EndPartitionedEntities\n$Nodes"),
        r"parametric.*SaveParametric": plain.replace("2 1 0 4\n", "2 1 1 4\n"),
        r"parametric .*SaveParametric": plain.replace("$Nodes", "$ParametricNodes").replace(
            "EndNodes", "EndParametricNodes"
        ),
        "announces 5 nodes, and its blocks hold 4": plain.replace("1 4 1 4\n", "1 5 1 5\n"),
        "announces 3 cells, and 2 are there": plain.replace("2 2 1 2\n", "2 3 1 3\n"),
        "announces 2 cells, and 1 are there": plain.replace("2 2 1 2\n", "1 2 1 2\n"),
    }
    for message, text in files.items():
        (tmp_path / "m.msh").write_text(text)
        with pytest.raises(FileError, match=rf"m\.msh: .*{message}") as caught:
            read_mesh(tmp_path / "m.msh")
        assert "cut short" not in str(caught.value)
    (tmp_path / "m.msh").write_text(plain.replace("4.1 0 8", "4 0 8").replace("1 4 1 4\n", "1 4\n"))
    with pytest.raises(FileError, match=r"the file is of format 4\.0, .*save it as 4\.1 or 2\.2"):
        read_mesh(tmp_path / "m.msh")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("count", [10, 13])
def test_a_binary_file_whose_count_has_the_byte_of_a_line_end(tmp_path, count, end):
    """The numbers of blocks of nodes, of blocks of cells and of cells begin with the byte."""
    angles = np.linspace(0, 1, count + 1)
    points = np.vstack([np.zeros(3), np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)])
    triangles = np.array([[0, k, k + 1] for k in range(1, count + 1)])
    blocks = [("triangle", triangles[k : k + 1]) for k in range(count)]
    own = [np.array([k]) for k in range(1, count + 1)]
    data = {"gmsh:physical": [np.array([1])] * count, "gmsh:geometrical": own}
    raw = meshio.Mesh(points, blocks, cell_data=data)
    raw.point_data["gmsh:dim_tags"] = np.stack([np.full(count + 2, 2), np.arange(count + 2) % count + 1], 1)
    raw.write(tmp_path / "m.msh", file_format="gmsh", binary=True)
    content = (tmp_path / "m.msh").read_bytes()
    assert content.partition(b"$Elements\n")[2][0] == count
    for name in (b"$Nodes", b"$Elements"):
        content = content.replace(name + b"\n", name + end)
    (tmp_path / "m.msh").write_bytes(content)
    assert announced_elements(tmp_path / "m.msh") == count
    if end == b"\n":
        assert read_mesh(tmp_path / "m.msh").nelements == count


@pytest.mark.parametrize("kind", ["tri", "tet"])
@pytest.mark.parametrize("version", ["gmsh22", "gmsh"])
def test_a_lost_block_or_count_in_a_binary_file_is_missed(tmp_path, kind, version):
    write_gmsh(tmp_path / "m.msh", raw_mesh(kind), version, binary=True)
    content = (tmp_path / "m.msh").read_bytes()
    start = content.index(b"$Elements\n") + len(b"$Elements\n")
    for at in (start, start + 8) if version == "gmsh" else (start,):
        (tmp_path / "m.msh").write_bytes(content[:at] + bytes([content[at] - 1]) + content[at + 1 :])
        with pytest.raises(FileError, match=r"m\.msh: (it announces \d+ cells, and \d+ are there|not readable)"):
            read_mesh(tmp_path / "m.msh")


@pytest.mark.slow
def test_a_reader_that_does_not_end_is_ended(tmp_path, monkeypatch):
    (tmp_path / "m.bdf").write_text("BEGIN BULK\n")  # meshio looks for ever for what follows
    raw_mesh("tri").write(tmp_path / "m.vtu")
    own = MeshioProcess()
    monkeypatch.setattr(mesh_formats, "MESHIO", own)
    read_mesh(tmp_path / "m.vtu")
    monkeypatch.setattr(meshio_process, "READING_SECONDS", 0.5)
    with pytest.raises(FileError, match=r"m\.bdf: reading it did not end within 1 s: it is damaged"):
        read_mesh(tmp_path / "m.bdf")
    monkeypatch.setattr(meshio_process, "READING_SECONDS", 60)
    assert_same(read_mesh(tmp_path / "m.vtu"), "tri", *NUMBERED)
    own._process.kill()
    assert_same(read_mesh(tmp_path / "m.vtu"), "tri", *NUMBERED)


def test_the_time_to_start_the_reader_is_no_time_of_the_file(tmp_path, monkeypatch):
    slow = "import time\ntime.sleep(1)\ndef read(path, file_format):\n    raise ValueError('it has started')\n"
    (tmp_path / "meshio.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(meshio_process, "READING_SECONDS", 0.5)
    (tmp_path / "m.vtu").write_text("any")
    assert MeshioProcess().read(tmp_path / "m.vtu", "vtu") == (None, "ValueError", "it has started")


def test_the_size_of_a_file_is_that_of_its_data_too(tmp_path):
    raw_mesh("tri").write(tmp_path / "m.xdmf", data_format="Binary")
    binary = list(tmp_path.glob("*.bin"))
    assert binary
    sizes = [file.stat().st_size for file in (tmp_path / "m.xdmf", *binary)]
    assert meshio_process._size(tmp_path / "m.xdmf", "xdmf") == sum(sizes)
    (tmp_path / "h.xdmf").write_text("<a>h.h5:/data0</a><a>\n h.h5:/data1 </a><a>gone.h5:/data0</a><a>1 2\0 3</a>")
    (tmp_path / "h.h5").write_bytes(bytes(1000))
    assert meshio_process._size(tmp_path / "h.xdmf", "xdmf") == 1000 + (tmp_path / "h.xdmf").stat().st_size


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    write_gmsh(tmp_path / "m.msh", raw_mesh("tri"), "gmsh")
    text = (tmp_path / "m.msh").read_text().replace("\n20\n", "\n2000000000\n")  # the number of a node
    (tmp_path / "m.msh").write_text(text)
    monkeypatch.setattr(mesh_formats, "MESHIO", MeshioProcess())
    with pytest.raises(FileError, match=r"m\.msh.*(more than there is memory for|crashed)"):
        read_mesh(tmp_path / "m.msh")


@pytest.mark.parametrize("size", [1e101, 1e155, 1e300])
def test_coordinates_at_the_end_of_the_numbers(tmp_path, size):
    raw = raw_mesh("tri")
    raw.points = raw.points * size
    raw.write(tmp_path / "m.vtu")
    with pytest.raises(FileError, match=r"m\.vtu: coordinates reach .*; expected none above 1e\+100"):
        read_mesh(tmp_path / "m.vtu")
    assert_same(read_mesh(tmp_path / "m.vtu", scale=1 / size), "tri", *NUMBERED)


TETGEN = {".node": "# nodes\n4 3 0 0\n1 0 0 0\n2 1 0 0\n3 0 1 0\n4 0 0 1\n", ".ele": "1 4 1\n1 1 2 3 4 7\n"}
BAD_TETGEN = {
    "comments": ({".ele": "# a\n# b\n"}, r"m\.ele: there is no header"),
    "less": ({".ele": "2 4 1\n1 1 2 3 4 7\n"}, r"m\.ele: it announces 2 rows, and 1 are there"),
    "more": ({".node": TETGEN[".node"] + "5 1 1 1\n"}, r"m\.node: it announces 4 rows, and 5 are there"),
    "short": ({".node": TETGEN[".node"].replace("3 0 1 0", "3 0 1")}, r"m\.node, line 5: 3 numbers; expected 4"),
    "word": ({".node": TETGEN[".node"].replace("3 0 1 0", "3 0 a 0")}, r"m\.node: not readable as numbers"),
    "node": ({".ele": "1 4 1\n1 1 2 3 9 7\n"}, r"m\.ele: it names nodes that the \.node file does not hold"),
    "order": ({".ele": "1 10 0\n1 1 2 3 4 1 2 3 4 1 2\n"}, "elements have 10 nodes; expected 4: .*without -o2"),
    "faces": ({".face": "2 1\n1 1 2 3 5\n"}, r"m\.face: it announces 2 rows"),
    "no marker": ({".face": "1 1\n1 1 2 3\n"}, r"m\.face: rows of 4 numbers; expected 3 nodes and a marker"),
}


@pytest.mark.parametrize("bad", BAD_TETGEN)
def test_damaged_files_of_tetgen(tmp_path, bad):
    changed, message = BAD_TETGEN[bad]
    for ending, text in (TETGEN | changed).items():
        (tmp_path / f"m{ending}").write_text(text)
    with pytest.raises(FileError, match=message):
        read_mesh(tmp_path / "m.ele")
    (tmp_path / "m.node").unlink()
    with pytest.raises(FileError, match=r"m\.node: there is no such file"):
        read_mesh(tmp_path / "m.ele")


def test_files_of_tetgen_are_read_from_either_and_any_numbering(tmp_path):
    for ending, text in TETGEN.items():
        (tmp_path / f"m{ending}").write_text(
            text.replace("1 0 0 0\n", "9 0 0 0\n").replace("1 1 2 3 4 7", "1 9 2 3 4 7")
        )
    (tmp_path / "m.face").write_text("3 1\n1 9 2 3 5\n2 9 2 4 0\n3 2 3 4 6\n")
    for ending in (".node", ".ele"):
        mesh = read_mesh(tmp_path / f"m{ending}")
        assert (set(mesh.boundaries), set(mesh.subdomains)) == ({"marker 5", "marker 6"}, {"region 7"})


def test_facets_of_tetgen_with_their_cells_and_without_any(tmp_path):
    for ending, text in TETGEN.items():
        (tmp_path / f"m{ending}").write_text(text)
    (tmp_path / "m.face").write_text("3 1\n1 1 2 3 5 1 -1\n2 1 2 4 0 1 -1\n3 2 3 4 6 1 -1\n")
    assert set(read_mesh(tmp_path / "m.ele").boundaries) == {"marker 5", "marker 6"}
    for marked in (0, 1):
        (tmp_path / "m.face").write_text(f"0 {marked}\n")
        assert not read_mesh(tmp_path / "m.ele").boundaries


SU2 = """NDIME= 2
NELEM= 2
5 0 1 2 0
5 0 2 3 1
NPOIN= 4
0 0 0
1 0 1
1 1 2
0 1 3
NMARK= 1
MARKER_TAG= left
MARKER_ELEMS= 1
3 3 0
"""
BAD_SU2 = {
    "less": (SU2.replace("NELEM= 2", "NELEM= 3"), "line 2: the section announces 3 rows and has 2"),
    "more": (SU2.replace("NELEM= 2", "NELEM= 1"), "line 4: '5 0 2 3 1' stands between the sections"),
    "cut": (SU2[: SU2.index("MARKER_T")], "some of 1 markers are missing: it is cut short"),
    "no points": (SU2[: SU2.index("NPOIN")], "points, cells or some of"),
    "cell": (SU2.replace("5 0 2 3 1", "5 0 2"), "line 4: '5 0 2' is no cell"),
    "word": (SU2.replace("1 1 2\n", "1 a 2\n"), "line 8: '1 a 2' is no row of numbers"),
    "point": (SU2.replace("1 1 2\n", "1\n"), "expected 2 or 3 coordinates each"),
    "count": (SU2.replace("NELEM= 2", "NELEM= many"), "line 2: 'many' is no count"),
    "zones": ("NZONE= 2\n" + SU2, "there are 2 zones; expected one"),
}


@pytest.mark.parametrize("bad", BAD_SU2)
def test_damaged_files_of_su2(tmp_path, bad):
    text, message = BAD_SU2[bad]
    (tmp_path / "m.su2").write_text(text)
    with pytest.raises(FileError, match=rf"m\.su2.*{message}"):
        read_mesh(tmp_path / "m.su2")


def test_boxes_of_free_form_deformation_in_a_file_of_su2(tmp_path):
    box = "FFD_NBOX= 1\nFFD_TAG= b\nFFD_CORNER_POINTS= 2\n0 0\n-1 1\nFFD_SURFACE_POINTS= 1\nleft 3 0.5 0.5\n"
    for text in (SU2 + box, box + SU2):
        (tmp_path / "m.su2").write_text(text)
        mesh = read_mesh(tmp_path / "m.su2")
        assert (mesh.nelements, list(mesh.boundaries)) == (2, ["left"])


def test_a_lost_element_of_nastran_is_said(tmp_path):
    raw_mesh("tri").write(tmp_path / "m.bdf")
    lines = (tmp_path / "m.bdf").read_text().splitlines(keepends=True)
    lost = next(k for k, line in enumerate(lines) if line.startswith("CTRIA3")) + 2
    (tmp_path / "m.bdf").write_text("".join(lines[:lost] + lines[lost + 1 :]))
    with pytest.warns(UserWarning, match=r"m\.bdf: elements are numbered from 1 to 41 without 1"):
        read_mesh(tmp_path / "m.bdf", check_conformity=False)


def test_a_cut_vtu_file_is_refused_with_its_line(tmp_path):
    raw_mesh("tri").write(tmp_path / "m.vtu", binary=False)
    content = (tmp_path / "m.vtu").read_bytes()
    (tmp_path / "cut.vtu").write_bytes(content[: len(content) // 2])
    line = content[: len(content) // 2].count(b"\n") + 1
    with pytest.raises(FileError, match=rf"cut\.vtu, line {line}: no element found: not readable as a mesh"):
        read_mesh(tmp_path / "cut.vtu")


def test_files_that_are_none_of_a_known_format(tmp_path):
    (tmp_path / "plate.msh").write_text("no mesh\n")
    with pytest.raises(FileError, match=r"plate\.msh: not readable as a mesh"):
        read_mesh(tmp_path / "plate.msh")
    with pytest.raises(FileError, match=r"no such file; expected a mesh file.*did you mean 'plate\.msh'\?"):
        read_mesh(tmp_path / "plates.msh")
    with pytest.raises(FileError, match="is a folder"):
        read_mesh(tmp_path)
    (tmp_path / "empty.msh").touch()
    with pytest.raises(FileError, match=r"empty\.msh is empty; expected a mesh file"):
        read_mesh(tmp_path / "empty.msh")
    (tmp_path / "plate.dwg").write_text("no mesh\n")
    with pytest.raises(FileError, match=r"the ending '\.dwg' is of no format.* \.msh .*\.vtu"):
        read_mesh(tmp_path / "plate.dwg")


def test_the_data_beside_an_xdmf_file_are_missed(tmp_path):
    pytest.importorskip("h5py")
    raw_mesh("tri").write(tmp_path / "m.xdmf")
    (tmp_path / "m.h5").unlink()
    with pytest.raises(FileError, match=r"m\.xdmf: a file that it refers to is missing .*m\.h5"):
        read_mesh(tmp_path / "m.xdmf")


def test_a_format_that_needs_another_package_says_so(tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("raise ImportError('absent', name='h5py')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(mesh_formats, "MESHIO", MeshioProcess())
    (tmp_path / "m.med").write_text("no mesh")
    with pytest.raises(FileError, match=r"needs the package 'h5py': install it \(pip install h5py\)"):
        read_mesh(tmp_path / "m.med")


def test_names_that_are_required(tmp_path):
    raw = raw_mesh("tri")
    raw.field_data["empty"] = np.array([9, 1])
    write_gmsh(tmp_path / "m.msh", raw)
    with pytest.raises(FileError, match=r"no boundary or subdomain named 'lefft'; it has .*did you mean 'left'\?"):
        read_mesh(tmp_path / "m.msh", require=("steel", "lefft"))
    with pytest.raises(FileError, match="the group 'empty' is empty"):
        read_mesh(tmp_path / "m.msh", require="empty")


def test_one_name_for_groups_of_two_dimensions_is_refused(tmp_path):
    write_gmsh(tmp_path / "m.msh", raw_mesh("tri"))
    text = (tmp_path / "m.msh").read_text().replace('"copper"', '"left"')
    (tmp_path / "m.msh").write_text(text)
    with pytest.raises(FileError, match="the name 'left' is given to a physical group of dimension 2, and in line 6"):
        read_mesh(tmp_path / "m.msh")


SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0.5, 0]]
TWO = [[0, 1, 2], [0, 2, 3]]
BAD_MESHES = {
    "two kinds": (SQUARE, [("quad", [[0, 1, 2, 3]]), ("triangle", [[1, 4, 2]])], "kinds, 1 quad and 1 triangle"),
    "pyramid": ([*SQUARE[:4], [0, 0, 1]], [("pyramid", [[0, 1, 2, 3, 4]])], "the kind 'pyramid'; expected one of"),
    "quad8": ([*SQUARE[:4], *SQUARE[:4]], [("quad8", [list(range(8))])], "SecondOrderIncomplete"),
    "no cells": (SQUARE, [("vertex", [[0]])], "there are no cells"),
    "surface": ([*SQUARE[:3], [0, 1, 1]], [("triangle", TWO)], "tilted in space: z reaches from 0 to 1"),
    "flat cell": ([[0, 0], [1, 0], [2, 0], [0, 1]], [("triangle", TWO)], "inverted or degenerate"),
    "folded": ([[0, 0], [1, 0], [1, 1], [1.5, 0.5]], [("triangle", TWO)], "overlapping a neighbor"),
    "nan": ([[0, 0], [1, 0], [np.nan, 1], [0, 1]], [("triangle", TWO)], "NaN or infinite coordinates"),
    "loose facet": (SQUARE, [("triangle", TWO), ("line", [[0, 4]])], "'tag 1' has 1 of 1 facets that bound no cell"),
}


@pytest.mark.parametrize("bad", BAD_MESHES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_meshes_without_a_meaning_are_refused(tmp_path, bad):
    points, cells, message = BAD_MESHES[bad]
    points = np.hstack([points, np.zeros((len(points), 3 - len(points[0])))])
    tags = {"tag": [np.full(len(nodes), k) for k, (_, nodes) in enumerate(cells)]}
    meshio.Mesh(points, cells, cell_data=tags).write(tmp_path / "bad.vtu")
    with pytest.raises(FileError, match=f"bad.vtu: .*{message}"):
        read_mesh(tmp_path / "bad.vtu")


def test_impossible_arguments(tmp_path):
    write_gmsh(tmp_path / "m.msh", raw_mesh("tri"))
    with pytest.raises(FileError, match=r"the scale is 0\.0"):
        read_mesh(tmp_path / "m.msh", scale=0.0)
    with pytest.raises(FileError, match="coincident is 'join'"):
        read_mesh(tmp_path / "m.msh", coincident="join")
