"""Function spaces: what they name, interpolate and evaluate, and which meshes they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import FEMError, FunctionSpace, MeshError, bilinear_form, check_mesh, functional, grad
from pdeopt.sparse import CSRMatrix

TICKS = np.linspace(0, 1, 4)
MESH = (
    skfem.MeshTri.init_tensor(np.linspace(0, 1, 5), np.linspace(0, 1, 5))
    .with_boundaries({"left": lambda x: x[0] == 0, "right": lambda x: x[0] == 1, "top": lambda x: x[1] == 1})
    .with_subdomains({"west": lambda x: x[0] < 0.5})
)
P1, P2 = skfem.ElementTriP1(), skfem.ElementTriP2()
V = FunctionSpace(MESH, P1)
length = functional(lambda w: 1.0 + 0.0 * w.x[0])
ELEMENTS = {
    "line": (skfem.MeshLine(TICKS), skfem.ElementLineP2()),
    "triangles": (MESH, P2),
    "quads": (skfem.MeshQuad.init_tensor(TICKS, TICKS), skfem.ElementQuad2()),
    "tetrahedra": (skfem.MeshTet.init_tensor(TICKS, TICKS, TICKS), skfem.ElementTetP2()),
    "hexahedra": (skfem.MeshHex.init_tensor(TICKS, TICKS, TICKS), skfem.ElementHex1()),
}


def linear(x):
    return 1.0 + np.arange(1, len(x) + 1) @ x.reshape(len(x), -1)


# --- parts of a space --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_measures_of_cells_boundaries_and_subdomains():
    expected = {
        V: 1.0,
        V.boundary(): 4.0,
        V.boundary("left"): 1.0,
        V.boundary(["left", "top"]): 2.0,
        V.boundary(("left", "left")): 1.0,
        V.boundary(lambda x: x[1] == 0): 1.0,
        V.boundary(MESH.boundaries["right"][:2]): 0.5,
        V.boundary(np.isin(np.arange(MESH.nfacets), MESH.boundaries["right"])): 1.0,
        V.subdomain("west"): 0.5,
        V.subdomain(lambda x: x[1] > 0.5): 0.5,
        V.subdomain(np.arange(8)): 0.25,
    }
    for space, measure in expected.items():
        assert length.assemble(space) == pytest.approx(measure, rel=1e-14), space


def test_a_condition_on_midpoints_selects_boundary_facets_only():
    assert length.assemble(V.boundary(lambda x: x[0] < 0.5)) == pytest.approx(2.0)
    np.testing.assert_array_equal(V.dofs(lambda x: x[0] <= 0.5), np.flatnonzero(on_boundary(V.locations) & west(V)))


def on_boundary(x):
    return ((x == 0) | (x == 1)).any(0)


def west(space):
    return space.locations[0] <= 0.5


@pytest.mark.parametrize("facets", ["left", ["left"], lambda x: x[0] == 0, MESH.boundaries["left"]])
def test_dofs_on_a_boundary_are_sorted_and_lie_there(facets):
    for element in (P1, P2):
        space = V.with_element(element)
        np.testing.assert_array_equal(space.dofs(facets), np.flatnonzero(space.locations[0] == 0))
    np.testing.assert_array_equal(V.dofs(), np.flatnonzero(on_boundary(V.locations)))
    np.testing.assert_array_equal(V.subdomain_dofs("west"), np.flatnonzero(west(V)))


@pytest.mark.parametrize("part", [lambda s: s, lambda s: s.boundary("top"), lambda s: s.subdomain("west")])
def test_with_element_keeps_cells_and_quadrature(part):
    space = part(V)
    other = space.with_element(P2)
    assert isinstance(other.element, skfem.ElementTriP2)
    np.testing.assert_array_equal(other.basis.dx, space.basis.dx)
    np.testing.assert_array_equal(other.basis.default_parameters()["x"], space.basis.default_parameters()["x"])
    assert (V.with_element(P2).order, V.order) == (2, 2)
    assert FunctionSpace(MESH, P2).order == 4
    assert FunctionSpace(MESH, P1, order=7).order == 7


def test_both_sides_of_interior_facets_stay_apart_in_other_elements():
    here, there = V.interior_facets()
    inside = MESH.f2t[:, MESH.f2t[1] >= 0]
    for element in (P1, skfem.ElementTriP0()):
        np.testing.assert_array_equal(here.with_element(element).basis.tind, inside[0])
        np.testing.assert_array_equal(there.with_element(element).basis.tind, inside[1])
    np.testing.assert_array_equal(there.with_element(P2).with_element(P1).basis.tind, inside[1])
    jump = functional(lambda w: (w["a"] - w["b"]) ** 2)
    cells = np.random.default_rng(0).standard_normal(MESH.nelements)
    measured = jump.assemble(here, a=here.per_element(cells), b=there.per_element(cells))
    lengths = here.basis.dx.sum(1)
    assert measured == pytest.approx((lengths * (cells[inside[0]] - cells[inside[1]]) ** 2).sum())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: V.boundary("bottom"), "no boundary named 'bottom'; it has 'left', 'right', 'top'"),
        (lambda: V.dofs(["left", "bottom"]), "no boundary named 'bottom'"),
        (lambda: V.subdomain("east"), "no subdomain named 'east'; it has 'west'"),
        (lambda: V.subdomain_dofs("east"), "no subdomain named 'east'"),
        (lambda: FunctionSpace(skfem.MeshTri(), P1).boundary("a"), r"it has none; name them with mesh.with_boundaries"),
        (lambda: V.boundary(lambda x: x[0] > 2), "the boundary is empty"),
        (lambda: V.boundary([]), "the boundary is empty"),
        (lambda: V.boundary(np.zeros(MESH.nfacets, bool)), "the boundary is empty"),
        (lambda: V.subdomain(lambda x: x[0] > 2), "the subdomain is empty"),
    ],
)
def test_unknown_and_empty_parts_are_refused_with_the_known_names(ask, message):
    with pytest.raises(MeshError, match=message):
        ask()


# --- functions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mesh", "element"), ELEMENTS.values(), ids=ELEMENTS.keys())
def test_a_linear_function_is_interpolated_with_its_gradient(mesh, element):
    space = FunctionSpace(mesh, element)
    for part in (space, space.boundary()):
        u = part.interpolate(space.nodal(linear))
        x = np.asarray(part.tables.geometry["x"].value)
        np.testing.assert_allclose(u.value, linear(x).reshape(x.shape[1:]), atol=1e-13)
        slope = np.arange(1.0, mesh.dim() + 1)[:, None, None]
        np.testing.assert_allclose(u.grad, np.broadcast_to(slope, u.grad.shape), atol=1e-12)


def test_interpolation_of_mixed_functions_gives_a_field_for_each_component():
    space = FunctionSpace(MESH, skfem.ElementVector(P2) * P1)
    u, p = space.interpolate(np.ones(space.n))
    assert u.value.shape[0] == 2
    np.testing.assert_allclose(u.value, 1)
    np.testing.assert_allclose(p.value, 1)


def test_interpolation_is_differentiable_and_linear():
    u, v = np.random.default_rng(0).standard_normal((2, V.n))
    tangent = jax.jvp(lambda u: V.interpolate(u).value, (u,), (v,))[1]
    np.testing.assert_allclose(tangent, V.interpolate(v).value, atol=1e-14)


def test_nodal_values_of_functions_and_constants():
    np.testing.assert_array_equal(V.nodal(lambda x: 3.0), np.full(V.n, 3.0))
    np.testing.assert_array_equal(V.nodal(lambda x: x[0]), MESH.p[0])
    vector = FunctionSpace(MESH, skfem.ElementVector(P1))
    np.testing.assert_array_equal(vector.nodal(lambda x: x[0])[::2], MESH.p[0])


def test_per_element_values_on_cells_subdomains_and_boundaries():
    cells = np.arange(MESH.nelements) + 0.5
    assert length.assemble(V) == pytest.approx(1)
    weigh = functional(lambda w: w["k"] + 0 * w.x[0])
    area = V.basis.dx.sum(1)
    inside = MESH.subdomains["west"]
    facets = MESH.boundaries["top"]
    assert weigh.assemble(V, k=V.per_element(cells)) == pytest.approx((cells * area).sum())
    part = V.subdomain("west")
    assert weigh.assemble(part, k=part.per_element(cells)) == pytest.approx((cells * area)[inside].sum())
    top = V.boundary("top")
    assert weigh.assemble(top, k=top.per_element(cells)) == pytest.approx(0.25 * cells[MESH.f2t[0, facets]].sum())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: V.interpolate(np.ones(3)), r"one value a degree of freedom, \(25,\), got shape \(3,\)"),
        (lambda: V.interpolate(np.ones((V.n, 2))), r"got shape \(25, 2\)"),
        (lambda: V.per_element(np.ones(V.n)), r"per_element expects shape \(32,\), got \(25,\)"),
        (lambda: V.nodal(lambda x: x), r"the function returned shape \(2, 25\); expected a number or \(25,\)"),
        (lambda: FunctionSpace(MESH, skfem.ElementQuad1()), "ElementQuad1 lives on RefQuad, MeshTri1 has RefTri cells"),
    ],
)
def test_arrays_and_elements_that_do_not_fit_are_refused(ask, message):
    with pytest.raises(FEMError, match=message):
        ask()


# --- points ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mesh", "element"), ELEMENTS.values(), ids=ELEMENTS.keys())
def test_point_evaluation_is_exact_for_linear_functions(mesh, element):
    points = np.random.default_rng(0).random((mesh.dim(), 20))
    space = FunctionSpace(mesh, element)
    E = space.point_evaluation(points)
    assert isinstance(E, CSRMatrix)
    np.testing.assert_allclose(E @ space.nodal(linear), linear(points), atol=1e-12)


def test_point_evaluation_at_vertices_picks_their_values():
    u = np.random.default_rng(0).standard_normal(V.n)
    np.testing.assert_allclose(V.point_evaluation(MESH.p) @ u, u, atol=1e-13)


def test_point_evaluation_of_vectors_lists_the_first_component_first():
    space = FunctionSpace(MESH, skfem.ElementVector(P1))
    u = np.ravel(MESH.p.T * [1.0, 10.0])
    points = np.array([[0.3, 0.6, 0.9], [0.2, 0.9, 0.1]])
    np.testing.assert_allclose(space.point_evaluation(points) @ u, np.concatenate([points[0], 10 * points[1]]))


def test_point_evaluation_finds_points_on_an_anisotropic_mesh():
    ticks = np.r_[0, np.geomspace(1e-4, 1, 8)]
    space = FunctionSpace(skfem.MeshTri.init_tensor(ticks, np.linspace(0, 1, 4)), P1)
    points = np.random.default_rng(0).random((2, 50)) ** [[4], [1]]
    np.testing.assert_allclose(space.point_evaluation(points) @ space.nodal(linear), linear(points), atol=1e-12)


@pytest.mark.parametrize(
    ("space", "points", "message"),
    [
        (V, [[0.5, 2.0, -1.0], [0.5, 0.0, 0.5]], r"2 of 3 points lie outside .* \(1: \[2.0, 0.0\]; 2: \[-1.0, 0.5\]"),
        (V, np.full((2, 7), 9.0), r"7 of 7 points.* …\)"),
        (V, [[0.5, np.nan], [0.5, 0.5]], "1 of 2 points lie outside"),
        (V, np.ones((3, 2)), r"points have shape \(3, 2\); expected \(2, k\), one column a point"),
        (V, np.ones(2), r"points have shape \(1, 2\)"),
        (V, np.zeros((2, 0)), r"points have shape \(2, 0\)"),
        (V.boundary("left"), np.zeros((2, 1)), "cannot be evaluated at points"),
        (FunctionSpace(MESH, skfem.ElementVector(P2) * P1), np.zeros((2, 1)), "one component of a mixed one"),
    ],
)
def test_points_that_cannot_be_evaluated_are_listed(space, points, message):
    with pytest.raises(FEMError, match=message):
        space.point_evaluation(points)


# --- tables ------------------------------------------------------------------------------------------------------


def test_tables_are_made_once_also_inside_a_trace():
    space = FunctionSpace(MESH, P1)
    first = jax.jit(lambda u: space.interpolate(u).value.sum())(np.ones(space.n))
    assert first == pytest.approx(space.basis.dx.size)
    assert space.tables is space.tables
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(space.tables))


def test_tables_store_constant_parts_once():
    gradients = V.tables.components[0]["grad"]
    assert gradients.shape == (2, 3, MESH.nelements, 1)  # constant in each cell
    assert V.tables.components[0]["value"].shape == (3, 1, V.basis.dx.shape[1])  # the same in all cells
    assert "MeshTri1" in repr(V)


# --- meshes ------------------------------------------------------------------------------------------------------


def moved(mesh, vertex, to):
    p = mesh.p.copy()
    p[:, vertex] = to
    return type(mesh)(p, mesh.t)


TRI, QUAD = (kind.init_tensor(TICKS, TICKS) for kind in (skfem.MeshTri, skfem.MeshQuad))
TET, HEX = (kind.init_tensor(TICKS, TICKS, TICKS) for kind in (skfem.MeshTet, skfem.MeshHex))
LINE = skfem.MeshLine(TICKS)
INSIDE = {"line": (LINE, 1), "triangles": (TRI, 5), "quads": (QUAD, 5), "tetrahedra": (TET, 21), "hexahedra": (HEX, 21)}


@pytest.mark.parametrize(("mesh", "vertex"), INSIDE.values(), ids=INSIDE.keys())
@pytest.mark.parametrize(
    ("to", "message"),
    [
        pytest.param(lambda mesh, k: 0.95, "inverted", id="vertex beyond its neighbors"),
        pytest.param(lambda mesh, k: mesh.p[:, k + 1], "inverted", id="two vertices in one place"),
        pytest.param(lambda mesh, k: np.nan, r"1 vertices with NaN or infinite coordinates, first: \[", id="NaN"),
        pytest.param(lambda mesh, k: np.inf, "NaN or infinite", id="infinite"),
    ],
)
def test_meshes_on_which_nothing_can_be_computed_are_refused(mesh, vertex, to, message):
    element = {skfem.MeshTri1: P1, skfem.MeshLine1: skfem.ElementLineP1()}.get(type(mesh))
    bad = moved(mesh, vertex, to(mesh, vertex))
    with pytest.raises(MeshError, match=message):
        check_mesh(bad)
    if element is not None:
        with pytest.raises(MeshError, match=message):
            FunctionSpace(bad, element)


def test_the_message_names_the_elements_and_where_they_are():
    bad = moved(TRI, 5, [0.9, 0.9])
    with pytest.raises(MeshError, match=r"elements: \[3, .* of 18; the first lies at \[0\.\d+, 0\.\d+\]"):
        check_mesh(bad)


def test_one_reversed_element_in_a_row_is_refused_in_every_vertex_order():
    for x, t in [([0, 0.6, 0.4, 1], [[0, 1, 2], [1, 2, 3]]), ([0, 0.6, 0.4, 1], [[1, 1, 3], [0, 2, 2]])]:
        with pytest.raises(MeshError, match="inverted"):
            check_mesh(skfem.MeshLine(np.array([x]), np.array(t)))
        strip = np.array([[*x, *x], [0] * 4 + [1] * 4], float)
        with pytest.raises(MeshError, match="inverted"):
            check_mesh(skfem.MeshQuad(strip, np.array([[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6]]).T))


GRADED = np.r_[0, np.geomspace(1e-8, 1, 12)]
UNIT_SQUARE = np.array([[0, 1, 0, 1.0], [0, 0, 1, 1]])
ORDINARY = {
    "line": skfem.MeshLine().refined(3),
    "square": skfem.MeshTri().refined(3),
    "disc": skfem.MeshTri.init_circle(3),
    "L": skfem.MeshTri.init_lshaped().refined(2),
    "curved disc": skfem.MeshTri2.init_circle(2),
    "quads": skfem.MeshQuad().refined(2),
    "curved quads": skfem.MeshQuad2.from_mesh(skfem.MeshQuad().refined(1)),
    "tetrahedra": skfem.MeshTet().refined(2),
    "ball": skfem.MeshTet.init_ball(2),
    "curved ball": skfem.MeshTet2.init_ball(1),
    "hexahedra": skfem.MeshHex().refined(2),
    "sheared hexahedra": skfem.MeshHex().refined(1).translated((0, 0, 0)).scaled((1, 2, 3)),
    "graded to 1e-8": skfem.MeshTri.init_tensor(GRADED, GRADED),
    "graded to 1e-8, quads": skfem.MeshQuad.init_tensor(GRADED, GRADED),
    "graded to 1e-5, tetrahedra": skfem.MeshTet.init_tensor(*[np.r_[0, np.geomspace(1e-5, 1, 5)]] * 3),
    "thin": skfem.MeshTri.init_tensor(TICKS, 1e-6 * TICKS),
    "in micrometers": skfem.MeshTet().refined(1).scaled(1e-6),
    "mixed orientation": skfem.MeshTri(UNIT_SQUARE, np.array([[0, 1, 2], [3, 1, 2]]).T),
    "clockwise": skfem.MeshTri(UNIT_SQUARE, np.array([[0, 2, 1], [3, 1, 2]]).T, sort_t=False),
    "periodic": skfem.MeshTri1DG.periodic(
        skfem.MeshTri.init_tensor(np.linspace(0, 1, 5), np.linspace(0, 1, 5)), np.arange(5), 20 + np.arange(5)
    ),
    "with a hole": skfem.MeshTri().refined(3).remove_elements(np.arange(20, 24)),
}


@pytest.mark.parametrize("mesh", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_meshes_are_not_refused(mesh):
    check_mesh(mesh)


def test_a_periodic_mesh_can_be_assembled_on():
    mesh = ORDINARY["periodic"]
    V = FunctionSpace(mesh, skfem.ElementTriP1())
    stiffness = bilinear_form(lambda u, v, w: (grad(u) * grad(v)).sum(0))
    A = stiffness.assemble(V)
    np.testing.assert_allclose(A @ jnp.ones(V.n), 0, atol=1e-13)


def test_boundary_of_a_part_is_refused():
    part = V.subdomain("west")
    with pytest.raises(FEMError, match="of a part of the mesh"):
        part.boundary()
    with pytest.raises(FEMError, match="of a part of the mesh"):
        V.boundary("left").interior_facets()


# --- meshes that do not conform ----------------------------------------------------------------------------------


def box(kind, n, low=(0.0, 0.0, 0.0), size=1.0):
    """A square or cube of n cells (or n[i]) a side."""
    dim = kind().dim()
    counts = np.broadcast_to(n, dim)
    axes = [np.linspace(a, a + size, k + 1) for a, k in zip(low, counts, strict=False)]
    return kind(*axes) if dim == 1 else kind.init_tensor(*axes)


def together(*meshes, merged=True):
    """Both in one mesh; with one vertex at each place where they are merged."""
    starts = np.cumsum([0, *(mesh.nvertices for mesh in meshes)])
    p = np.hstack([mesh.p for mesh in meshes])
    t = np.hstack([mesh.t + start for mesh, start in zip(meshes, starts, strict=False)])
    if merged:
        _, first, inverse = np.unique(np.round(p, 10), axis=1, return_index=True, return_inverse=True)
        p, t = p[:, first], inverse.ravel()[t]
    return type(meshes[0])(p, t)


def mirrored(mesh):
    """The same cube, cut along the other diagonals."""
    return skfem.MeshTet(np.vstack([mesh.p[0], 1 - mesh.p[1], mesh.p[2]]), mesh.t)


RIGHT = (1.0, 0.0, 0.0)
HANGING = "vertices lie on the side of a cell that does not have them"
TOUCH = "parts, some touch at {} places without a common facet"
OVERLAP = "overlapping parts"
NOT_CONFORMING = {
    "quads 1:2": (
        together(box(skfem.MeshQuad, 1), box(skfem.MeshQuad, 2, RIGHT)),
        f"1 {HANGING}.*near \\[1.0, 0.5\\]; .*Coherence",
    ),
    "parts of 4 and 3 triangles": (together(box(skfem.MeshTri, 4), box(skfem.MeshTri, 3, RIGHT)), f"5 {HANGING}"),
    "in single precision": (
        together(box(skfem.MeshTri, 4), box(skfem.MeshTri, 2, (1 + 6e-8, 0)), merged=False),
        f"8 {HANGING}",
    ),
    "hexahedra 1:8": (together(box(skfem.MeshHex, 1), box(skfem.MeshHex, 2, RIGHT)), f"5 {HANGING}"),
    "tetrahedra 1:2": (together(box(skfem.MeshTet, 1), box(skfem.MeshTet, 2, RIGHT)), f"5 {HANGING}"),
    "other diagonals": (
        together(box(skfem.MeshTet, 2), mirrored(box(skfem.MeshTet, 2, RIGHT))),
        "16 facets lie on others with different",
    ),
    "curved triangles": (
        skfem.MeshTri2.from_mesh(together(box(skfem.MeshTri, 2), box(skfem.MeshTri, 3, RIGHT))),
        f"3 {HANGING}",
    ),
    "not merged": (together(box(skfem.MeshTri, 4), box(skfem.MeshTri, 4, RIGHT), merged=False), TOUCH.format(5)),
    "not merged, hexahedra": (
        together(box(skfem.MeshHex, 2), box(skfem.MeshHex, 2, RIGHT), merged=False),
        TOUCH.format(9),
    ),
    "not merged, lines": (
        together(box(skfem.MeshLine, 2), box(skfem.MeshLine, 2, RIGHT), merged=False),
        TOUCH.format(1),
    ),
    "a common vertex": (together(box(skfem.MeshTri, 2), box(skfem.MeshTri, 2, (1.0, 1.0))), TOUCH.format(1)),
    "a common vertex of cubes": (
        together(box(skfem.MeshHex, 1), box(skfem.MeshHex, 1, (1.0, 1.0, 1.0))),
        TOUCH.format(1),
    ),
    "a common edge of cubes": (
        together(box(skfem.MeshHex, 1), box(skfem.MeshHex, 1, (1.0, 1.0, 0.0))),
        TOUCH.format(2),
    ),
    "overlap": (together(box(skfem.MeshTri, 4), box(skfem.MeshTri, 4, (0.9, 0.05))), OVERLAP),
    "a cross": (
        together(box(skfem.MeshQuad, (5, 1), (0, 2), 5.0), box(skfem.MeshQuad, (1, 5), (2, 0), 5.0)),
        "do not match|overlap",
    ),
    "one inside": (together(box(skfem.MeshTri, 8), box(skfem.MeshTri, 1, (0.52, 0.51), 0.01)), OVERLAP),
    "one inside, tetrahedra": (
        together(box(skfem.MeshTet, 6), box(skfem.MeshTet, 1, (0.52, 0.51, 0.53), 0.01)),
        OVERLAP,
    ),
    "one inside, lines": (together(box(skfem.MeshLine, 4), box(skfem.MeshLine, 1, (0.51,), 0.01)), OVERLAP),
    "lines that overlap": (together(box(skfem.MeshLine, 4), box(skfem.MeshLine, 4, (0.9,))), OVERLAP),
    "everything twice": (
        together(box(skfem.MeshTri, 2), box(skfem.MeshTri, 2), merged=False),
        "8 places lie several facets.*same side",
    ),
    "a point of three lines": (
        skfem.MeshLine(np.arange(4.0)[None], np.array([[0, 1, 1], [1, 2, 3]])),
        "1 facets .* three or more",
    ),
}
FIRST_ORDER = {
    skfem.MeshLine1: skfem.ElementLineP1(),
    skfem.MeshTri: P1,
    skfem.MeshQuad: skfem.ElementQuad1(),
    skfem.MeshTet: skfem.ElementTetP1(),
    skfem.MeshHex: skfem.ElementHex1(),
    skfem.MeshTri2: P1,
}


@pytest.mark.parametrize(("mesh", "message"), NOT_CONFORMING.values(), ids=NOT_CONFORMING.keys())
def test_meshes_that_do_not_conform_are_refused_with_the_places_unless_meant(mesh, message):
    element = FIRST_ORDER[type(mesh)]
    for _ in range(2):  # also where the mesh is seen again
        with pytest.raises(MeshError, match=message):
            FunctionSpace(mesh, element)
    assert FunctionSpace(mesh, element, check_conformity=False).n == mesh.nvertices


def slit(mesh, tear):
    """The mesh with a second vertex at the place of each in ``tear``, of the cells above."""
    t, above = mesh.t.copy(), mesh.p[-1, mesh.t].mean(0) > 0.5
    for k, vertex in enumerate(tear):
        t[(t == vertex) & above] = mesh.nvertices + k
    return type(mesh)(np.hstack([mesh.p, mesh.p[:, tear]]), t)


def vertex_at(mesh, *x):
    return int(np.argmin(((mesh.p.T - x) ** 2).sum(1)))


CONFORMING = {
    "a crack": slit(box(skfem.MeshTri, 4), [vertex_at(box(skfem.MeshTri, 4), 0.5, 0.5)]),
    "a crack in tetrahedra": slit(box(skfem.MeshTet, 4), [vertex_at(box(skfem.MeshTet, 4), 0.5, 0.5, 0.5)]),
    "parts apart": together(box(skfem.MeshQuad, 2), box(skfem.MeshQuad, 3, (1.01, 0.0))),
    "a part in the hole of another": together(
        box(skfem.MeshQuad, 4, size=4.0).remove_elements(np.array([5, 6, 9, 10])), box(skfem.MeshQuad, 3, (1.5, 1.5))
    ),
    "a thin coating": skfem.MeshTri.init_tensor(np.linspace(0, 1, 11), np.r_[np.linspace(0, 1, 11), 1 + 1e-7]),
    "a thin coating, quads": skfem.MeshQuad.init_tensor(np.linspace(0, 1, 11), np.r_[np.linspace(0, 1, 11), 1 + 1e-7]),
    "pixels that meet at corners": box(skfem.MeshQuad, 4).remove_elements(np.array([5, 10])),
    "a cavity": box(skfem.MeshHex, 3).remove_elements(np.array([13])),
    "refined here": skfem.MeshTri().refined(2).refined(np.arange(5)),
    "refined here, tetrahedra": skfem.MeshTet().refined(1).refined(np.arange(3)),
}


@pytest.mark.parametrize("mesh", CONFORMING.values(), ids=CONFORMING.keys())
def test_cracks_parts_apart_holes_and_thin_layers_are_not_refused(mesh):
    check_mesh(mesh)
