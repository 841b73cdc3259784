"""Abaqus decks: all sets in all their pieces, node sets and surfaces as boundaries, parts; lost lines are noticed."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.io import FileError, read_mesh

FOUND = Path(__file__).parents[3] / "shared" / "found"
found = pytest.mark.skipif(not FOUND.is_dir(), reason="the files that were found are not here")


def square_deck(n=4, kind="CPS4", elset=", ELSET=all", first=1):
    """The square of side n with nodes 1, 2, … and elements ``first``, … row by row."""
    nodes = [f"{1 + i + (n + 1) * j}, {i}., {j}." for j in range(n + 1) for i in range(n + 1)]
    corners = [(1 + i + (n + 1) * j, 2 + i + (n + 1) * j) for j in range(n) for i in range(n)]
    rows = [f"{k}, {a}, {b}, {b + n + 1}, {a + n + 1}" for k, (a, b) in enumerate(corners, first)]
    return "\n".join(["*NODE", *nodes, f"*ELEMENT, TYPE={kind}{elset}", *rows, ""])


def read(tmp_path, text, **options):
    (tmp_path / "m.inp").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_mesh(tmp_path / "m.inp", **options)


def cells(mesh, name):
    return sorted(mesh.subdomains[name].tolist())


def length(mesh, name):
    return float(FunctionSpace(mesh, mesh.elem()).boundary(name).basis.dx.sum())


@found
def test_decks_that_were_found():
    assert cells(read_mesh(FOUND / "abaqus_two_names.inp"), "PQ") == list(range(8))
    assert cells(read_mesh(FOUND / "abaqus_lines_of_names.inp"), "PQR") == list(range(6))
    mesh = read_mesh(FOUND / "abaqus_nset.inp", boundaries="FIX")
    assert length(mesh, "FIX") == pytest.approx(10)
    np.testing.assert_array_equal(mesh.p[0, mesh.facets[:, mesh.boundaries["FIX"]]], 0)


P, Q, R = "*ELSET, ELSET=P\n1,2\n", "*ELSET, ELSET=Q\n3,4\n", "*ELSET, ELSET=R\n9\n"
SETS = {
    "a line of names": (P + Q + R + "*ELSET, ELSET=X\nP, Q, R\n", [0, 1, 2, 3, 8]),
    "names on lines": (P + Q + R + "*ELSET, ELSET=X\nP,\nQ\nR,\n", [0, 1, 2, 3, 8]),
    "in pieces": ("*ELSET, ELSET=X\n1,2\n*ELSET, ELSET=x\n9, 10\n", [0, 1, 8, 9]),
    "names and numbers": (P + "*ELSET, ELSET=X\nP, 9\n16\n", [0, 1, 8, 15]),
    "sets of sets of sets": (P + "*ELSET, ELSET=Y\np\n*ELSET, ELSET=X\nY, 3\n", [0, 1, 2]),
    "generated": ("*ELSET, ELSET=X, GENERATE\n1, 7, 2\n10, 11\n", [0, 2, 4, 6, 9, 10]),
    "generated and listed": ("*ELSET, GENERATE, ELSET=X\n1, 3\n*ELSET, ELSET=X\n3, 5\n", [0, 1, 2, 4]),
    "options over two lines": ("*ELSET,\n ELSET=X\n1, 2\n", [0, 1]),
    "quoted, any case": ('*Elset, elset="X"\n 1 ,2 ,\n 3\n', [0, 1, 2]),
    "a name with a dot": ("*ELSET, ELSET=x.1\n1, 2\n*ELSET, ELSET=X\nx.1, 3\n", [0, 1, 2]),
    "comments": ("** one\n*ELSET, ELSET=X\n** two\n1, 2\n", [0, 1]),
    "defined below": ("*ELSET, ELSET=X\nP\n" + P, [0, 1]),
}


@pytest.mark.parametrize("way", SETS)
def test_element_sets_hold_all_their_pieces(tmp_path, way):
    text, expected = SETS[way]
    assert cells(read(tmp_path, square_deck() + text), "X") == expected


def test_element_sets_over_several_blocks_of_elements(tmp_path):
    text = square_deck(2, first=1, elset=", ELSET=a")
    rows = text.splitlines()
    rows.insert(-2, "*ELEMENT, TYPE=CPS4R, ELSET=b")
    text = "\n".join([*rows, "*ELSET, ELSET=both", "a, b", "*ELSET, ELSET=some", "2, 3", ""])
    mesh = read(tmp_path, text, subdomains=("a", "b", "both", "some"))
    assert [cells(mesh, name) for name in ("a", "b", "both", "some")] == [[0, 1], [2, 3], [0, 1, 2, 3], [1, 2]]


def test_one_element_set_in_two_element_blocks_of_its_name(tmp_path):
    rows = square_deck(2, elset=", ELSET=a").splitlines()
    rows.insert(-2, "*ELEMENT, TYPE=CPS4, ELSET=A")
    assert cells(read(tmp_path, "\n".join(rows)), "a") == [0, 1, 2, 3]


LEFT, BOTTOM = "1, 6, 11, 16, 21", "1, 2, 3, 4, 5"
NODE_SETS = {
    "one side": (f"*NSET, NSET=X\n{LEFT},\n", 4),
    "in pieces": (f"*NSET, NSET=X\n{LEFT}\n*NSET, NSET=X\n{BOTTOM}\n", 8),
    "of sets": (f"*NSET, NSET=L\n{LEFT}\n*NSET, NSET=B\n{BOTTOM}\n*NSET, NSET=X\nL, B\n", 8),
    "generated": ("*NSET, NSET=X, GENERATE\n1, 21, 5\n", 4),
    "inside": ("*NSET, NSET=X\n11, 12, 13, 14, 15\n", 4),
    "inside and a side": (f"*NSET, NSET=X\n{LEFT}\n12, 13, 14, 15\n", 8),
    "a node beside": (f"*NSET, NSET=X\n{LEFT}, 25\n", 4),
    "surface of nodes": (f"*NSET, NSET=L\n{LEFT}\n*SURFACE, NAME=X, TYPE=NODE\nL, 1.0\n", 4),
}


@pytest.mark.parametrize("way", NODE_SETS)
def test_node_sets_are_boundaries(tmp_path, way):
    text, expected = NODE_SETS[way]
    assert length(read(tmp_path, square_deck() + text, boundaries="X"), "X") == pytest.approx(expected)


def test_a_corner_cell_between_two_sides_adds_no_facet_inside(tmp_path):
    triangles = "*ELEMENT, TYPE=CPS3\n1, 1, 2, 3\n2, 2, 4, 3\n"
    text = "*NODE\n1, 0, 0\n2, 1, 0\n3, 0, 1\n4, 1, 1\n" + triangles + "*NSET, NSET=X\n1, 2, 3\n"
    assert length(read(tmp_path, text), "X") == pytest.approx(2)


@pytest.mark.parametrize(("nodes", "what"), [("7", "no facet has"), ("7, 8, 12, 13", "those of whole cells")])
def test_node_sets_that_are_no_boundary(tmp_path, nodes, what):
    with pytest.raises(FileError, match=f"the set of nodes 'X' is no boundary: .*{what}"):
        read(tmp_path, square_deck() + f"*NSET, NSET=X\n{nodes}\n", boundaries="X")


SURFACES = {
    "faces of a set": ("*ELSET, ELSET=low\n1,2,3,4\n*SURFACE, NAME=X, TYPE=ELEMENT\nlow, S1\n", 4),
    "faces of elements": ("*SURFACE, NAME=X\n1, S1\n4, S2\n4, S1\n", 3),
    "in pieces": ("*SURFACE, NAME=X\n1, S1\n*SURFACE, NAME=X\n2, S1\n", 2),
    "edges of shells": ("*SURFACE, NAME=X\n1, E1\n4, E2\n4, E1\n", 3),
    "free faces": ("*ELSET, ELSET=low\n1,2,3,4\n*SURFACE, NAME=X\nlow,\n", 6),
    "beside sets of its name": ("*ELSET, ELSET=X\n1\n*NSET, NSET=X\n1, 2, 3\n*SURFACE, NAME=X\n1, S1\n", 1),
}


@pytest.mark.parametrize("way", SURFACES)
def test_surfaces_are_boundaries(tmp_path, way):
    text, expected = SURFACES[way]
    mesh = read(tmp_path, square_deck() + text, boundaries="X")
    assert length(mesh, "X") == pytest.approx(expected)
    if "low" in (mesh.subdomains or {}) and expected == 4:
        np.testing.assert_array_equal(mesh.p[1, mesh.facets[:, mesh.boundaries["X"]]], 0)


def test_a_surface_inside_points_out_of_its_elements(tmp_path):
    for elements, face, normal in (("1,2,3,4", "S3", 1.0), ("5,6,7,8", "S1", -1.0)):
        text = f"*ELSET, ELSET=row\n{elements}\n*SURFACE, NAME=X\nrow, {face}\n"
        mesh = read(tmp_path, square_deck() + text)
        X = FunctionSpace(mesh, mesh.elem()).boundary("X")
        np.testing.assert_allclose(X.basis.normals[1], normal, atol=1e-12)
        assert X.basis.dx.sum() == pytest.approx(4)


def test_a_surface_inside_points_out_of_elements_that_are_numbered_clockwise(tmp_path):
    text = square_deck(2).replace("2, 2, 3, 6, 5", "2, 2, 5, 6, 3").replace("1, 1, 2, 5, 4", "1, 1, 4, 5, 2")
    for element, face, normal in ((1, "S3", 1.0), (2, "S1", -1.0)):
        mesh = read(tmp_path, text + f"*SURFACE, NAME=X\n{element}, {face}\n")
        np.testing.assert_allclose(FunctionSpace(mesh, mesh.elem()).boundary("X").basis.normals[0], normal, atol=1e-12)


@pytest.mark.parametrize(("kind", "mesh"), [("C3D4", skfem.MeshTet()), ("C3D8", skfem.MeshHex())])
def test_every_face_of_a_solid(tmp_path, kind, mesh):
    """The faces of a cell, one by one, close it: their outward normals add up to nothing."""
    order = [0, 3, 6, 2, 1, 5, 7, 4] if kind == "C3D8" else [0, 1, 2, 3]
    nodes = [f"{k}, {x}, {y}, {z}" for k, (x, y, z) in enumerate(mesh.p.T, 1)]
    rows = [f"{k}, {', '.join(map(str, row + 1))}" for k, row in enumerate(mesh.t[order].T, 1)]
    faces = [f"*SURFACE, NAME=F{k}\n1, S{k}" for k in range(1, 7 if kind == "C3D8" else 5)]
    read_ = read(tmp_path, "\n".join(["*NODE", *nodes, f"*ELEMENT, TYPE={kind}", *rows, *faces]))
    V, total, seen = FunctionSpace(read_, read_.elem()), np.zeros(3), set()
    for name in read_.boundaries:
        basis = V.boundary(name).basis
        total += (basis.normals * basis.dx).sum((1, 2))
        seen.add(int(read_.boundaries[name][0]))
    np.testing.assert_allclose(total, 0, atol=1e-12)
    assert seen == set(read_.t2f[:, 0].tolist())


PART = "*PART, NAME=P\n" + square_deck(2) + "*NSET, NSET=left\n1, 4, 7\n*END PART\n"


def test_parts_are_put_in_their_places(tmp_path):
    text = (
        "*HEADING\nany text, 1, 2\n" + PART + "*ASSEMBLY, NAME=A\n*INSTANCE, NAME=one, PART=P\n*END INSTANCE\n"
        "*INSTANCE, NAME=two, PART=P\n7., 0., 0.\n7., 0., 0., 7., 0., 1., 90.\n*END INSTANCE\n"
        "*ELSET, ELSET=picked, INSTANCE=two\n1, 2\n*NSET, NSET=both\none.left, two.left\n*END ASSEMBLY\n"
    )
    mesh = read(tmp_path, text)
    assert mesh.nelements == 8
    np.testing.assert_allclose([mesh.p.min(1), mesh.p.max(1)], [[0, 0], [7, 2]], atol=1e-12)
    assert len(mesh.subdomains["picked"]) == 2
    assert length(mesh, "both") == length(mesh, "left") == pytest.approx(4)
    turned = mesh.p[:, mesh.facets[:, mesh.boundaries["left"]]].reshape(2, -1)
    np.testing.assert_allclose(sorted(set(np.round(turned[1, turned[0] > 4], 9))), [0])


def test_sets_of_the_assembly_name_each_other(tmp_path):
    """As Abaqus/CAE writes them: INSTANCE= says whose numbers a set of the assembly holds, not whose set it is."""
    text = (
        PART + "*ASSEMBLY, NAME=A\n*INSTANCE, NAME=one, PART=P\n*END INSTANCE\n"
        "*INSTANCE, NAME=two, PART=P\n7., 0., 0.\n*END INSTANCE\n"
        "*ELSET, ELSET=_s_S1, INTERNAL, INSTANCE=one\n1\n*ELSET, ELSET=_s_S1, INTERNAL, INSTANCE=two\n1, 2\n"
        "*SURFACE, TYPE=ELEMENT, NAME=s\n_s_S1, S1\n"
        "*NSET, NSET=n, INSTANCE=two\n1, 2\n*SURFACE, TYPE=NODE, NAME=t\nn, 1.\n*NSET, NSET=u\nn,\n"
        "*NSET, NSET=left, INSTANCE=two\nleft,\n*NSET, NSET=v, INSTANCE=one\nleft\n*END ASSEMBLY\n"
    )
    mesh = read(tmp_path, text, boundaries=("s", "t", "u", "v"))
    assert [length(mesh, name) for name in ("s", "t", "u", "v")] == pytest.approx([3, 1, 1, 2])
    np.testing.assert_array_equal(mesh.p[0, mesh.facets[:, mesh.boundaries["v"]]], 0)
    with pytest.raises(FileError, match=r"no \*NSET 'three\.left'"):
        read(tmp_path, text.replace("*NSET, NSET=u\nn,", "*NSET, NSET=u\nthree.left"))


def test_nodes_in_cylindrical_coordinates(tmp_path):
    nodes = "*NODE, SYSTEM=C\n1, 1.\n2, 2., 0.\n3, 2., 90.\n4, 1., 90.\n"
    elements = "*ELEMENT, TYPE=CPS4\n1, 1, 2, 3, 4\n"
    expected = [[0, 0, 1, 2], [1, 2, 0, 0]]
    mesh = read(tmp_path, nodes + elements)
    np.testing.assert_allclose(sorted(mesh.p.T.tolist()), sorted(np.transpose(expected).tolist()), atol=1e-12)
    part = f"*PART, NAME=P\n{nodes}{elements}*END PART\n*INSTANCE, NAME=i, PART=P\n5., 0., 0.\n*END INSTANCE\n"
    moved = read(tmp_path, part)
    np.testing.assert_allclose([moved.p.min(1), moved.p.max(1)], [[5, 0], [7, 2]], atol=1e-12)
    assert read(tmp_path, square_deck().replace("*NODE", "*NODE, SYSTEM=R")).nelements == 16


def test_a_part_without_an_assembly(tmp_path):
    assert length(read(tmp_path, PART), "left") == pytest.approx(2)


def test_files_that_a_deck_includes(tmp_path):
    (tmp_path / "sub").mkdir()
    head, _, elements = square_deck(2).partition("*ELEMENT")
    (tmp_path / "sub" / "nodes.inp").write_text(head)
    (tmp_path / "rows.txt").write_text(elements.partition("\n")[2])
    text = "*INCLUDE, INPUT=sub/nodes.inp\n*ELEMENT, TYPE=CPS4, ELSET=all, INPUT=rows.txt\n"
    assert cells(read(tmp_path, text), "all") == [0, 1, 2, 3]
    with pytest.raises(FileError, match=r"m\.inp, line 1: the file 'gone\.inp' that it includes is missing"):
        read(tmp_path, "*INCLUDE, INPUT=gone.inp\n")
    with pytest.raises(FileError, match="files include each other"):
        read(tmp_path, "*INCLUDE, INPUT=m.inp\n")
    for k in range(12):
        (tmp_path / f"{k}.inp").write_text(f"*INCLUDE, INPUT={k + 1}.inp\n" * 2)
    (tmp_path / "12.inp").write_text("** the end\n")
    with pytest.raises(FileError, match="more than 1000 files are included"):
        read(tmp_path, "*INCLUDE, INPUT=0.inp\n")


@pytest.mark.parametrize(
    ("kind", "area"), [("CPE4", 1), ("S4R5", 1), ("CAX4P", 1), ("DC2D4", 1), ("CPS4R", 1), ("M3D4R", 1), ("R3D4", 1)]
)
def test_element_types(tmp_path, kind, area):
    assert read(tmp_path, square_deck(1, kind)).nelements == area


SET = "*ELSET, ELSET=X\n"
SOLID = "*NODE\n1, 0, 0, 0\n2, 1, 0, 0\n3, 0, 1, 0\n4, 0, 0, 1\n*ELEMENT, TYPE=C3D4\n1, 1, 2, 3, 4\n"
BAD = {
    "unknown element": (square_deck() + SET + "3, 99\n", r"line 45: 'X' names element 99, which the deck does not"),
    "unknown in generated": (square_deck() + "*ELSET, ELSET=X, GENERATE\n17, 20\n", "defines none of these numbers"),
    "unknown node": (square_deck() + "*NSET, NSET=X\n99\n", "'X' names node 99"),
    "unknown set": (square_deck() + P + SET + "PP\n", r"there is no \*ELSET 'PP', .*did you mean 'P'\?"),
    "of itself": (square_deck() + SET + "X\n", "the set 'X' holds itself"),
    "of itself by another": (square_deck() + SET + "Y\n*ELSET, ELSET=Y\nX\n", "holds itself"),
    "huge range": (square_deck() + "*ELSET, ELSET=X, GENERATE\n17, 999999999999\n", "defines none of these numbers"),
    "backward": (square_deck() + "*ELSET, ELSET=X, GENERATE\n3, 1\n", r"\[3, 1\] is no range"),
    "no step": (square_deck() + "*ELSET, ELSET=X, GENERATE\n1, 3, 0\n", r"\[1, 3, 0\] is no range"),
    "no range": (square_deck() + "*ELSET, ELSET=X, GENERATE\n,\n", r"\[\] is no range"),
    "spherical": (square_deck().replace("*NODE", "*NODE, SYSTEM=S"), "nodes of SYSTEM=S are not read"),
    "face of a solid": (SOLID + "*SURFACE, NAME=X\n1, E1\n", "'E1' is no face of tetra; expected S1"),
    "no name": (square_deck() + "*ELSET\n1\n", r"\*ELSET has no ELSET=…"),
    "no type": (square_deck().replace(" TYPE=CPS4,", ""), r"\*ELEMENT has no TYPE=…"),
    "type": (square_deck(kind="COH2D4"), "elements of type 'COH2D4' are not read"),
    "face": (square_deck() + "*SURFACE, NAME=X\n1, S5\n", "'S5' is no face of quad; expected S1"),
    "generated nodes": ("*NGEN\n1, 5\n" + square_deck(), r"\*NGEN makes or moves nodes or elements and is not read"),
    "word": (square_deck().replace("7, 1., 1.", "7, one, 1."), "line 8: 'one' is no number; expected coordinates"),
    "no whole number": (square_deck().replace("3, 3, 4, 9, 8", "3, 3, 4, 9.5, 8"), "'9.5' is no whole number"),
    "short row": (square_deck().replace("3, 3, 4, 9, 8", "3, 3, 4, 9"), "an element of 8 nodes; CPS4 has 4: .* cut"),
    "unknown corner": (square_deck().replace("3, 3, 4, 9, 8", "3, 3, 4, 9, 80"), "element 3 has node 80, which the"),
    "twice": (square_deck().replace("3, 3, 4, 9, 8", "2, 3, 4, 9, 8"), "element 2 is there twice"),
    "node twice": (square_deck().replace("7, 1., 1.", "6, 1., 1."), "line 8: node 6 is there twice"),
    "lost keyword": (square_deck().replace("*ELEMENT, TYPE=CPS4, ELSET=all", ""), "node 1 is there twice"),
    "blank line": (
        square_deck().replace("3, 3, 4, 9, 8", ""),
        "a blank line before it, and numbers 3 to 3 are missing",
    ),
    "no elements": ("*NODE\n1, 0, 0\n", "there are no elements"),
    "no deck": ("1, 2, 3\n", "no Abaqus deck"),
    "unknown part": ("*INSTANCE, NAME=i, PART=Q\n*END INSTANCE\n" + PART, r"there is no \*PART 'Q'"),
    "place": (PART + "*INSTANCE, NAME=i, PART=P\n1, 2\n*END INSTANCE\n", "no position of an instance"),
}


@pytest.mark.parametrize("bad", BAD)
def test_decks_that_are_refused(tmp_path, bad):
    text, message = BAD[bad]
    with pytest.raises(FileError, match=f"m.inp.*{message}"):
        read(tmp_path, text)


def test_signs_of_lost_lines_are_said(tmp_path):
    lost = square_deck().replace("3, 3, 4, 9, 8\n", "")
    (tmp_path / "m.inp").write_text(lost)
    with pytest.warns(UserWarning, match=r"numbered from 1 to 16 without 1, the first is 3: lines may be missing"):
        assert read_mesh(tmp_path / "m.inp").nelements == 15
    (tmp_path / "m.inp").write_text("\n".join(square_deck().splitlines()[:-4]))
    with pytest.warns(UserWarning, match=r"5 of 25 nodes belong to no element, the first is number 21"):
        read_mesh(tmp_path / "m.inp")
    (tmp_path / "m.inp").write_text(square_deck() + "*SURFACE, NAME=tool, TYPE=REVOLUTION\n1, 2\n")
    with pytest.warns(UserWarning, match="the surface 'tool' is left out"):
        read_mesh(tmp_path / "m.inp")


NOTES = {
    "beyond the last": ("*ELSET, ELSET=X, GENERATE\n15, 18\n", [14, 15], "from 15 to 18 by 1: .* define 2 of these 4"),
    "far beyond": ("*ELSET, ELSET=X, GENERATE\n15, 999999999999, 1\n", [14, 15], "does not define 999999999983 of"),
    "springs": ("*ELEMENT, TYPE=SPRINGA\n17, 1, 25\n*ELSET, ELSET=X\n1, 17\n", [0], "1 elements of type SPRINGA are"),
    "a mass": ("*ELEMENT, TYPE=MASS, ELSET=Y\n17, 3\n*ELSET, ELSET=X\n2, Y\n", [1], "of type MASS are left out"),
    "a connector": (
        "*ELEMENT, TYPE=CONN2D2\n17, , 3\n*ELSET, ELSET=X, GENERATE\n16, 17\n",
        [15],
        "of type CONN2D2 are left out",
    ),
}


@pytest.mark.parametrize("way", NOTES)
def test_what_is_left_out_is_said(tmp_path, way):
    text, expected, note = NOTES[way]
    (tmp_path / "m.inp").write_text(square_deck() + text)
    with pytest.warns(UserWarning, match=note) as said:
        assert cells(read_mesh(tmp_path / "m.inp"), "X") == expected
    assert len(said) == 1


def test_a_boundary_is_not_a_subdomain_of_its_name(tmp_path):
    text = square_deck() + f"*ELSET, ELSET=FIX\n1\n*NSET, NSET=L\n{LEFT}\n"
    with pytest.raises(FileError, match=r"'FIX' is a group of cells; expected a boundary, a group of facets; .*'L'"):
        read(tmp_path, text, boundaries="FIX")
    with pytest.raises(FileError, match="'L' is a group of facets; expected a subdomain"):
        read(tmp_path, text, subdomains=["FIX", "L"])
    with pytest.raises(FileError, match="no boundary named 'M'"):
        read(tmp_path, text, boundaries="M")
    read(tmp_path, text, require=("FIX", "L"), boundaries="L", subdomains="FIX")
