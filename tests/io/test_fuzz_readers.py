"""Damaged files of every kind: a reader returns what is consistent, or its own error, soon, and shortens nothing."""

import shutil
from functools import cache

import meshio
import numpy as np
import pytest
import skfem
from hypothesis import given
from hypothesis import strategies as st

from pdeopt.fem import check_mesh
from pdeopt.io import FileError, Observations, read_mesh, read_observations, read_run, write_observations

SPECIAL = [
    b"0",
    b"-1",
    b"1e308",
    b"-1e200",
    b"nan",
    b"inf",
    b"99999999999",
    b"2147483648",
    b"1e-320",
    b"",
    b"x",
    b"1.5",
]
#: Formats that state how many cells they hold: what is cut out of them is missed.
COUNTED = {"gmsh22", "gmsh41", "gmsh22-binary", "gmsh41-binary", "vtk", "vtk-binary", "vtu", "xdmf", "medit", "netgen"}
COUNTED |= {"su2", "avs", "tetgen"}


def plane():
    mesh = skfem.MeshTri.init_tensor(np.linspace(0, 2, 3), np.linspace(0, 1, 3))
    return mesh.p.T, [("line", mesh.facets[:, mesh.boundary_facets()].T), ("triangle", mesh.t.T)]


def solid():
    mesh = skfem.MeshTet()
    return mesh.p.T, [("triangle", mesh.facets[:, mesh.boundary_facets()].T), ("tetra", mesh.t.T)]


def deck():
    points, (_, (_, triangles)) = plane()
    nodes = [f"{k}, {x}, {y}" for k, (x, y) in enumerate(points, 1)]
    rows = [f"{k}, {', '.join(map(str, row))}" for k, row in enumerate(triangles + 1, 1)]
    head = ["*HEADING", "a deck", "*NODE, NSET=all", *nodes, "*ELEMENT, TYPE=CPS3, ELSET=plate", *rows]
    sets = ["*ELSET, ELSET=part, GENERATE", "1, 4, 1", "*ELSET, ELSET=more", "part, 5", "*NSET, NSET=left", "1, 2, 3"]
    return "\n".join([*head, *sets, "*SURFACE, NAME=side", "plate,", "1, S1", ""]).encode()


def su2():
    points, ((_, lines), (_, triangles)) = plane()
    rows = ["NDIME= 2", f"NELEM= {len(triangles)}", *(f"5 {a} {b} {c} {k}" for k, (a, b, c) in enumerate(triangles))]
    rows += [f"NPOIN= {len(points)}", *(f"{x} {y} {k}" for k, (x, y) in enumerate(points)), "NMARK= 2"]
    for name, part in (("left", lines[:2]), ("rest", lines[2:])):
        rows += [f"MARKER_TAG= {name}", f"MARKER_ELEMS= {len(part)}", *(f"3 {a} {b}" for a, b in part)]
    return "\n".join([*rows, ""]).encode()


def ugrid():
    points, ((_, triangles), (_, tetrahedra)) = solid()
    rows = [f"{len(points)} {len(triangles)} 0 {len(tetrahedra)} 0 0 0", *(f"{x} {y} {z}" for x, y, z in points)]
    rows += [" ".join(map(str, row + 1)) for row in triangles] + ["1"] * len(triangles)
    return "\n".join([*rows, *(" ".join(map(str, row + 1)) for row in tetrahedra), ""]).encode()


def written(path, points_and_cells, file_format, **options):
    points, cells = points_and_cells
    tags = [np.ones(len(rows), int) if file_format == "gmsh" else np.arange(len(rows)) % 2 + 1 for _, rows in cells]
    array = {"gmsh": "gmsh:physical", "gmsh22": "gmsh:physical", "medit": "medit:ref"}.get(file_format, "material")
    data = {array: tags} | ({"gmsh:geometrical": tags} if "gmsh" in array else {})
    names = {"left": np.array([1, 1]), "steel": np.array([1, 2])} if "gmsh" in array else {}
    if file_format in ("gmsh", "gmsh22", "nastran", "tetgen"):
        points = np.hstack([points, np.zeros((len(points), 3 - points.shape[1]))])
    raw = meshio.Mesh(points, cells, cell_data=data, field_data=names)
    if file_format == "gmsh":
        owner = np.tile([2, 1], (len(points), 1))
        owner[cells[0][1].ravel()] = 1, 1
        raw.point_data["gmsh:dim_tags"] = owner
    raw.write(path, file_format=file_format, **options)


FORMATS = {
    "gmsh22": ("msh", plane, "gmsh22", {"binary": False}),
    "gmsh41": ("msh", plane, "gmsh", {"binary": False}),
    "gmsh22-binary": ("msh", plane, "gmsh22", {"binary": True}),
    "gmsh41-binary": ("msh", plane, "gmsh", {"binary": True}),
    "vtk": ("vtk", plane, "vtk42", {"binary": False}),
    "vtk51": ("vtk", plane, "vtk51", {"binary": False}),
    "vtk-binary": ("vtk", plane, "vtk42", {"binary": True}),
    "vtu": ("vtu", plane, "vtu", {"binary": False}),
    "vtu-binary": ("vtu", plane, "vtu", {"binary": True}),
    "xdmf": ("xdmf", plane, "xdmf", {"data_format": "XML"}),
    "med": ("med", plane, "med", {}),
    "medit": ("mesh", plane, "medit", {}),
    "medit-binary": ("meshb", solid, "medit", {}),
    "nastran": ("bdf", plane, "nastran", {}),
    "netgen": ("vol", solid, "netgen", {}),
    "avs": ("avs", plane, "avsucd", {}),
    "tetgen": ("ele", solid, "tetgen", {}),
}
CHANGES = ["flip", "drop", "cut", "double", "swap", "number", "field"]
OTHERS = {
    "abaqus": "m.inp",
    "su2": "m.su2",
    "ugrid": "m.ugrid",
    "csv": "data.csv",
    "npz": "data.npz",
    "run": "result.npz",
}
OBSERVED = Observations(
    np.array([[0.5, 1.5, 1.0], [0.25, 0.5, 0.75]]), np.array([1.0, -2.5, 3.0]), np.ones(3), "u", "V"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One folder for each reader, with a file as it should be."""
    root = tmp_path_factory.mktemp("files")
    for name, (ending, mesh, file_format, options) in FORMATS.items():
        (root / name).mkdir()
        written(root / name / f"m.{ending}", mesh(), file_format, **options)
    for name, file in OTHERS.items():
        (root / name).mkdir()
        if name in ("csv", "npz"):
            write_observations(root / name / file, OBSERVED)
    (root / "abaqus" / "m.inp").write_bytes(deck())
    (root / "su2" / "m.su2").write_bytes(su2())
    (root / "ugrid" / "m.ugrid").write_bytes(ugrid())
    p, (_, (_, t)) = plane()
    texts = {"label": np.array("k (1)"), "cell": np.array("triangle"), "at_kind": np.array("vertices")}
    numbers = {"parameter": p[:, 0], "coefficient": p[:, 1] + 1, "p": p.T, "t": t.T}
    at = {"at_gather": np.arange(len(p))[np.newaxis], "at_x": p.T}
    np.savez(root / "run" / "result.npz", **texts, **numbers, **at)
    return root


def file_of(root, name):
    return root / name / (OTHERS[name] if name in OTHERS else f"m.{FORMATS[name][0]}")


@cache
def cells_of(path):
    return read_mesh(path).nelements


@st.composite
def mutations(draw):
    """A few changes of a file as a function of its bytes, and whether none of them adds or moves whole lines."""
    kinds = draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3))
    places = [draw(st.floats(0, 1, exclude_max=True)) for _ in range(2 * len(kinds))]
    values = [draw(st.sampled_from(SPECIAL)) for _ in kinds]
    bits = [draw(st.integers(0, 7)) for _ in kinds]

    def apply(content):
        for k, kind in enumerate(kinds):
            content = mutated(content, kind, places[2 * k], places[2 * k + 1], values[k], bits[k])
        return content

    return apply, not {"double", "swap"} & set(kinds)


def mutated(content, kind, first, second, value, bit):
    if not content:
        return content
    at, lines = int(first * len(content)), content.split(b"\n")
    i, j = int(first * len(lines)), int(second * len(lines))
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "drop":
        del lines[i]
    if kind == "double":
        lines.insert(j, lines[i])
    if kind == "swap":
        lines[i], lines[j] = lines[j], lines[i]
    if kind in ("number", "field"):
        separator = b"," if b"," in lines[i] else b" "
        words = lines[i].split(separator)
        words[int(second * len(words))] = value if kind == "number" else b""
        lines[i] = separator.join(words)
    return b"\n".join(lines)


def assert_consistent(mesh):
    check_mesh(mesh)
    assert np.isfinite(mesh.p).all()
    for facets in (mesh.boundaries or {}).values():
        assert len(facets)
        assert 0 <= np.min(facets) <= np.max(facets) < mesh.facets.shape[1]
    for cells in (mesh.subdomains or {}).values():
        assert len(cells)
        assert 0 <= np.min(cells) <= np.max(cells) < mesh.nelements


def read_any(name, path):
    """Read a file with its reader, and check what comes of it."""
    if name in ("csv", "npz"):
        found = read_observations(path, unit="V")
        assert found.points.shape[1:] == found.values.shape == found.uncertainty.shape
        assert np.isfinite([*found.points, found.values]).all()
        assert (found.uncertainty > 0).all()
    elif name == "run":
        assert np.isfinite(read_run(path.parent).coefficient_at(np.array([[0.3, 1.7], [0.2, 0.9]]))).all()
    else:
        mesh = read_mesh(path)
        assert_consistent(mesh)
        return mesh.nelements
    return None


@pytest.mark.fuzz
@given(name=st.sampled_from([*FORMATS, *OTHERS]), mutation=mutations())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_are_refused_or_read_as_they_are(files, name, mutation):
    apply, lines_stay = mutation
    source = file_of(files, name)
    folder = files / "mutated"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source.parent, folder)
    path = folder / source.name
    path.write_bytes(apply(source.read_bytes()))
    try:
        cells = read_any(name, path)
    except FileError:
        return
    if lines_stay and name in COUNTED:
        assert cells == cells_of(source)
