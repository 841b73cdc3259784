"""What each format of mesh files carries: the table of the page is what comes back, in the plane and in space."""

import re
from pathlib import Path

import meshio
import numpy as np
import pytest
import skfem

from pdeopt.io import FileError, read_mesh
from pdeopt.io.meshes.formats import mesh_formats

PAGE = (Path(__file__).parents[2] / "docs/your_own_mesh_and_data.md").read_text(encoding="utf-8")
#: Rows of the page: endings → (dimensions, boundaries, subdomains).
TABLE = {
    tuple(re.findall(r"`(\.[\w.]+)`", endings)): (dimensions.strip(), boundaries.strip(), subdomains.strip())
    for endings, dimensions, boundaries, subdomains in re.findall(
        r"^\| ([^|]*`\.\w+`[^|]*) \| (2, 3|3) \| (names|numbers|nothing) \| (names|numbers|nothing) \|",
        PAGE,
        re.MULTILINE,
    )
}
MESHES = {
    2: skfem.MeshTri.init_tensor(*(np.linspace(0, 2, 5),) * 2),
    3: skfem.MeshTet.init_tensor(*(np.linspace(0, 2, 5),) * 3),
}
KINDS = {2: ("line", "triangle"), 3: ("triangle", "tetra")}


def parts(dimension):
    """Points, facets of "left" and "rest", cells of "steel" and "copper"."""
    mesh = MESHES[dimension]
    rim = mesh.boundary_facets()
    left = (mesh.p[0, mesh.facets[:, rim]] == 0).all(0)
    steel = mesh.p[0, mesh.t].mean(0) < mesh.p[0].mean()
    facets = [mesh.facets[:, rim[side]].T for side in (left, ~left)]
    return mesh.p.T, facets, [mesh.t[:, part].T for part in (steel, ~steel)]


def raw_mesh(dimension, array, names=False):
    points, facets, cells = parts(dimension)
    small, large = KINDS[dimension]
    blocks = [*((small, rows) for rows in facets), *((large, rows) for rows in cells)]
    tags = [np.full(len(rows), k) for k, (_, rows) in zip((1, 2, 1, 2), blocks, strict=True)]
    groups = {"left": [1, dimension - 1], "rest": [2, dimension - 1], "steel": [1, dimension], "copper": [2, dimension]}
    field = {name: np.array(value) for name, value in groups.items()} if names else {}
    if array == "netgen:index":
        return meshio.Mesh(points, blocks, cell_data={array: tags}, field_data=field)
    space = np.hstack([points, np.zeros((len(points), 3 - dimension))])
    return meshio.Mesh(space, blocks, cell_data={array: tags}, field_data=field)


def write_gmsh(path, dimension):
    for version in ("gmsh22", "gmsh"):
        raw = raw_mesh(dimension, "gmsh:physical", names=True)
        raw.cell_data["gmsh:geometrical"] = raw.cell_data["gmsh:physical"]
        owner = np.zeros((len(raw.points), 2), int)
        for block, tags in reversed(list(zip(raw.cells, raw.cell_data["gmsh:physical"], strict=True))):
            owner[block.data.ravel()] = block.dim, tags[0]
        raw.point_data = {"gmsh:dim_tags": owner} if version == "gmsh" else {}
        raw.write(path, file_format=version, binary=False)
        yield


def by_meshio(array, names=False, **options):
    def write(path, dimension):
        raw_mesh(dimension, array, names).write(path, **options)
        yield

    return write


def write_med(path, dimension):
    points, facets, cells = parts(dimension)
    blocks = [(kind, np.concatenate(groups)) for kind, groups in zip(KINDS[dimension], (facets, cells), strict=True)]
    families = [np.repeat([-3, -4], list(map(len, facets))), np.repeat([-5, -6], list(map(len, cells)))]
    raw = meshio.Mesh(points, blocks, cell_data={"cell_tags": families})
    raw.cell_tags = {-3: ["left"], -4: ["rest"], -5: ["steel"], -6: ["copper"]}
    raw.write(path)
    yield


def write_abaqus(path, dimension):
    points, facets, cells = parts(dimension)
    small, large = {2: ("T2D2", "CPS3"), 3: ("S3", "C3D4")}[dimension]
    lines, number = ["*NODE", *(f"{k}, {', '.join(map(str, x))}" for k, x in enumerate(points, 1))], 0
    for name, kind, rows in zip(
        ["left", "rest", "steel", "copper"], [small, small, large, large], facets + cells, strict=True
    ):
        lines.append(f"*ELEMENT, TYPE={kind}, ELSET={name}")
        lines += [f"{k}, {', '.join(map(str, row))}" for k, row in enumerate(rows + 1, number + 1)]
        number += len(rows)
    path.write_text("\n".join(lines))
    yield


def write_su2(path, dimension):
    points, facets, cells = parts(dimension)
    small, large = {2: (3, 5), 3: (5, 10)}[dimension]
    both = np.concatenate(cells)
    lines = [
        f"NDIME= {dimension}",
        "% a comment",
        f"NELEM= {len(both)}",
        *rows_of(large, both),
        f"NPOIN= {len(points)}",
    ]
    lines += [" ".join(map(str, x)) for x in points] + ["NMARK= 2"]
    for name, rows in zip(("left", "rest"), facets, strict=True):
        lines += [f"MARKER_TAG= {name}", f"MARKER_ELEMS= {len(rows)}", *rows_of(small, rows)]
    path.write_text("\n".join(lines))
    yield


def rows_of(first, rows, last=""):
    return [f"{first} {' '.join(map(str, row))} {last}".strip() for row in rows]


def write_tetgen(path, dimension):
    points, facets, cells = parts(dimension)
    path.with_suffix(".node").write_text(
        "\n".join(
            [
                f"# nodes\n{len(points)} {dimension} 0 0",
                *(f"{k} {' '.join(map(str, x))}" for k, x in enumerate(points, 1)),
            ]
        )
    )
    for ending, groups, head in (
        (".ele", cells, f"{dimension + 1} 1"),
        ({2: ".edge", 3: ".face"}[dimension], facets, "1"),
    ):
        rows = [f"{' '.join(map(str, row + 1))} {k}" for k, group in enumerate(groups, 1) for row in group]
        path.with_suffix(ending).write_text(
            "\n".join([f"{len(rows)} {head}", *(f"{k} {r}" for k, r in enumerate(rows, 1))])
        )
    yield


def write_ugrid(path, dimension):
    points, facets, cells = parts(dimension)
    both, triangles = np.concatenate(cells), np.concatenate(facets)
    lines = [f"{len(points)} {len(triangles)} 0 {len(both)} 0 0 0", *(" ".join(map(str, x)) for x in points)]
    lines += [" ".join(map(str, row + 1)) for row in triangles]
    lines += [str(k) for k, group in enumerate(facets, 1) for _ in group]
    path.write_text("\n".join([*lines, *(" ".join(map(str, row + 1)) for row in both), ""]))
    yield


WRITERS = {
    ".msh": write_gmsh,
    ".inp": write_abaqus,
    ".med": write_med,
    ".vtu": by_meshio("material"),
    ".vtk": by_meshio("material"),
    ".xdmf": by_meshio("material", data_format="XML"),
    ".mesh": by_meshio("medit:ref"),
    ".meshb": by_meshio("medit:ref"),
    ".bdf": by_meshio("nastran:ref"),
    ".vol": by_meshio("netgen:index", names=True),
    ".avs": by_meshio("avsucd:material"),
    ".su2": write_su2,
    ".ele": write_tetgen,
    ".ugrid": write_ugrid,
}


def carried(names, expected):
    """What of the names of a mesh is: the names, numbers, or nothing."""
    if not names:
        return "nothing"
    return (
        "names" if set(expected) == set(names) else "numbers" if {n.split()[-1] for n in names} == {"1", "2"} else names
    )


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_format_carries_what_the_table_says(tmp_path, ending, dimension):
    dimensions, boundaries, subdomains = next(row for endings, row in TABLE.items() if ending in endings)
    if str(dimension) not in dimensions:
        pytest.skip("no meshes of this dimension")
    if ending == ".med":
        pytest.importorskip("h5py")
    own, (_, facets, cells) = MESHES[dimension], parts(dimension)
    for _ in WRITERS[ending](tmp_path / f"m{ending}", dimension):
        mesh = read_mesh(tmp_path / f"m{ending}")
        assert (mesh.nvertices, mesh.nelements) == (own.nvertices, own.nelements)
        assert carried(mesh.boundaries or {}, ["left", "rest"]) == boundaries
        assert carried(mesh.subdomains or {}, ["steel", "copper"]) == subdomains
        sizes = [len(members) for _, members in sorted((mesh.boundaries or {}).items())]
        assert sizes in ([], [len(rows) for rows in facets])
        assert sorted(map(len, (mesh.subdomains or {}).values())) in ([], sorted(map(len, cells)))


def test_the_table_has_every_format_that_is_read():
    endings = [ending for row in TABLE for ending in row]
    assert sorted(endings) == sorted([*mesh_formats.OWN_READERS, *mesh_formats.MESHIO_FORMATS])
    for ending in mesh_formats.REFUSED_FORMATS:
        assert f"`{ending}`" in PAGE
    assert {f".{e.lstrip('.')}" for e in meshio.extension_to_filetypes} - {".svg"} <= {
        *(*endings, *mesh_formats.REFUSED_FORMATS, ".post.gz", ".dato.gz")
    }


@pytest.mark.parametrize("ending", mesh_formats.REFUSED_FORMATS)
def test_formats_that_are_not_read_say_why(tmp_path, ending):
    (tmp_path / f"m{ending}").write_text("anything")
    with pytest.raises(FileError, match=rf"meshes in \{ending} are not read, since .*; write it as Gmsh's \.msh"):
        read_mesh(tmp_path / f"m{ending}")
