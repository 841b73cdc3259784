"""Pictures and mesh files: the right values at the right places, for every kind of parameter."""

import json

import jax.numpy as jnp
import meshio
import numpy as np
import pytest
import skfem
from matplotlib.image import imread

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import AtDofs, L2Misfit, Parameter, Problem, ReducedFunctional
from pdeopt.run.boundary import curve_coordinate
from pdeopt.run.comparison_figure import draw_comparison
from pdeopt.run.directory import write_json
from pdeopt.run.fields import fields_of, read_fields, write_fields
from pdeopt.run.history_figure import draw_history
from pdeopt.run.mesh_output import write_mesh
from pdeopt.run.pictures import draw_histories, draw_run, redraw
from pdeopt.run.placement import place_field, place_parameter
from pdeopt.run.recorder import Row, write_history
from pdeopt.run.result_figure import draw_result
from pdeopt.run.surface import surface_of

TICKS = np.linspace(0, 1, 5)
MESHES = {
    "triangles": skfem.MeshTri.init_tensor(TICKS, TICKS),
    "quadrilaterals": skfem.MeshQuad.init_tensor(TICKS, TICKS),
    "tetrahedra": skfem.MeshTet.init_tensor(TICKS, TICKS, TICKS),
    "hexahedra": skfem.MeshHex.init_tensor(TICKS, TICKS, TICKS),
}
SPACES = {
    "P1": ("triangles", skfem.ElementTriP1(), "vertices"),
    "P2": ("triangles", skfem.ElementTriP2(), "vertices"),
    "P0": ("triangles", skfem.ElementTriP0(), "cells"),
    "DG1": ("triangles", skfem.ElementDG(skfem.ElementTriP1()), "cells"),
    "Q1": ("quadrilaterals", skfem.ElementQuad1(), "vertices"),
    "Q0": ("quadrilaterals", skfem.ElementQuad0(), "cells"),
    "tetrahedra P1": ("tetrahedra", skfem.ElementTetP1(), "vertices"),
    "tetrahedra P0": ("tetrahedra", skfem.ElementTetP0(), "cells"),
    "hexahedra Q1": ("hexahedra", skfem.ElementHex1(), "vertices"),
}


def linear(x):
    return 1 + x[0] + 2 * x[1]


def space_of(name):
    mesh, element, _ = SPACES[name]
    return FunctionSpace(MESHES[mesh], element)


def problem_on(space, truth=True, dofs=None):
    """The 'state' is the coefficient, put on the whole space; enough to draw."""
    where = np.arange(space.n) if dofs is None else dofs
    misfit = L2Misfit.of(AtDofs(where[::2]), linear(space.locations[:, where[::2]]), 0.1)
    functional = ReducedFunctional(lambda m: jnp.zeros(space.n).at[where].set(m), misfit)
    return Problem(
        functional,
        initial=np.ones(len(where)),
        parameter=Parameter(space, "coefficient (–)", dofs),
        truth=linear(space.locations[:, where]) if truth else None,
        points=space.locations[:, where[::2]],
    )


@pytest.mark.parametrize("name", SPACES)
def test_a_linear_field_is_drawn_where_it_belongs(name):
    space = space_of(name)
    at = place_field(space)
    assert at.kind == SPACES[name][2]
    assert at.drawn(linear(space.locations)) == pytest.approx(linear(at.x), abs=1e-12)


@pytest.mark.parametrize("name", MESHES)
def test_triangles_cover_the_square_and_carry_vertex_values(name):
    mesh = MESHES[name]
    cell = {3: "triangle", 4: "quad" if mesh.dim() == 2 else "tetra", 8: "hexahedron"}[len(mesh.t)]
    surface = surface_of(mesh.p, mesh.t, cell)
    a, b, c = (surface.x[:, surface.triangles[:, k]] for k in range(3))
    areas = 0.5 * np.abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0])
    assert areas.sum() == pytest.approx(1)
    assert surface.on_vertices(linear(mesh.p)) == pytest.approx(linear(surface.x))
    centers = mesh.p[:2, mesh.t].mean(1)[:, surface.cells]
    assert np.abs(centers - surface.x[:, surface.triangles].mean(2)).max() < 0.25, "each triangle lies in its cell"


def test_a_slice_in_general_position_is_whole():
    mesh = MESHES["tetrahedra"].translated((0, 0, 0.03)).refined(1)
    mesh = type(mesh)(mesh.p * np.array([[1], [1], [0.97]]) + np.array([[0], [0], [0.013]]) * mesh.p[:1], mesh.t)
    surface = surface_of(mesh.p, mesh.t, "tetra")
    a, b, c = (surface.x[:, surface.triangles[:, k]] for k in range(3))
    areas = 0.5 * np.abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0])
    assert areas.sum() == pytest.approx(1)


def test_wedges_cannot_be_drawn_and_do_no_harm():
    assert surface_of(np.zeros((3, 6)), np.arange(6)[:, None], "") is None


def test_boundary_coordinate():
    mesh = MESHES["triangles"]
    left = np.array([[0.0, 0.0, 0.0], [0.75, 0.0, 0.25]])
    s, label = curve_coordinate(mesh, left)
    assert label == "y"
    assert s == pytest.approx([0.75, 0, 0.25])
    corner = np.array([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.0, 0.0]])  # down the left side, along the bottom
    s, label = curve_coordinate(mesh, corner)
    assert label.startswith("arc length")
    assert np.abs(np.diff(s)) == pytest.approx([0.5, 0.5, 0.5])
    whole = mesh.p[:, mesh.boundary_nodes()]
    s, _ = curve_coordinate(mesh, whole)
    assert np.sort(s) == pytest.approx(np.arange(16) * 0.25)
    assert curve_coordinate(MESHES["tetrahedra"], np.zeros((3, 2)))[0].size == 0


def test_boundary_coordinate_of_two_loops_is_one_to_one():
    frame = skfem.MeshTri.init_tensor(np.linspace(0, 3, 7), np.linspace(0, 3, 7))
    ring = frame.remove_elements(np.flatnonzero((np.abs(frame.p[:, frame.t].mean(1) - 1.5) < 0.5).all(0)))
    ring = ring.remove_unused_nodes()
    s, _ = curve_coordinate(ring, ring.p[:, ring.boundary_nodes()])
    assert len(np.unique(np.round(s, 9))) == len(ring.boundary_nodes())


def test_boundary_parameters_are_placed_along_the_boundary():
    space = space_of("P2")
    dofs = space.dofs(lambda x: x[0] == 1)
    at = place_parameter(Parameter(space, "", dofs))
    assert at.kind == "boundary"
    assert at.abscissa == pytest.approx(np.linspace(0, 1, 9))
    assert at.drawn(linear(space.locations[:, dofs])) == pytest.approx(2 + 2 * at.abscissa)
    on_facets = place_parameter(Parameter(space_of("P1").boundary(lambda x: x[0] == 1), ""))
    assert on_facets.kind == "boundary"
    assert on_facets.abscissa == pytest.approx(TICKS)
    inside = np.flatnonzero(space.locations[0] < 0.6)
    within = place_parameter(Parameter(space, "", inside))
    assert within.kind == "vertices"
    assert np.isnan(within.drawn(np.ones(len(inside)))[within.x[0] > 0.6]).all()


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("name", ["P1", "P0", "Q0", "tetrahedra P1", "tetrahedra P0", "hexahedra Q1"])
def test_result_page(tmp_path, name, truth):
    problem = problem_on(space_of(name), truth)
    figure = draw_result(fields_of(problem, problem.initial + 0.5), {})
    titles = " / ".join(axes.get_title() for axes in figure.axes)
    expected = ["truth", "reconstruction − truth"] if truth else ["initial guess"]
    for title in [*expected, "reconstruction", "data fit", "residuals", "state"]:
        assert title in titles
    if problem.parameter.space.mesh.dim() == 3:
        assert "slice z = 0.5" in titles
    figure.savefig(tmp_path / "x.png", dpi=30)


def test_truth_and_reconstruction_share_a_color_scale():
    problem = problem_on(space_of("P1"))
    figure = draw_result(fields_of(problem, 10 * problem.truth), {})
    truth, reconstruction, error = (axes.collections[0].norm for axes in figure.axes[:3])
    assert (truth.vmin, truth.vmax) == (reconstruction.vmin, reconstruction.vmax) == pytest.approx((1, 40))
    assert error.vmin == -error.vmax == pytest.approx(-36)


@pytest.mark.parametrize("name", ["P1", "tetrahedra P1"])
@pytest.mark.parametrize("truth", [True, False])
def test_result_page_of_a_boundary_parameter(tmp_path, name, truth):
    space = space_of(name)
    problem = problem_on(space, truth, space.dofs(lambda x: x[0] == 1))
    fields = fields_of(problem, problem.initial)
    draw_result(fields, {}).savefig(tmp_path / "x.png", dpi=30)
    write_fields(tmp_path / "result.npz", fields)
    again = read_fields(tmp_path / "result.npz")
    assert again.at.abscissa_label == ("y" if name == "P1" else "")
    assert (again.truth is None) is not truth


@pytest.mark.parametrize("name", SPACES)
def test_mesh_file_holds_the_fields(tmp_path, name):
    problem = problem_on(space_of(name))
    assert write_mesh(tmp_path / "fields.vtu", fields_of(problem, problem.truth + 1))
    mesh = meshio.read(tmp_path / "fields.vtu")
    assert len(mesh.points) == problem.parameter.space.mesh.nvertices
    if SPACES[name][2] == "vertices":
        data, x = mesh.point_data, mesh.points.T
    else:
        data = {key: value[0] for key, value in mesh.cell_data.items()}
        x = mesh.points[mesh.cells[0].data].mean(1).T
    assert data["truth"] == pytest.approx(linear(x))
    assert data["coefficient"] == pytest.approx(linear(x) + 1)
    assert data["error"] == pytest.approx(1)
    assert data["state"] == pytest.approx(linear(x) + 1)


def test_hexahedra_are_not_inside_out_in_the_mesh_file(tmp_path):
    problem = problem_on(space_of("hexahedra Q1"))
    write_mesh(tmp_path / "fields.vtu", fields_of(problem, problem.initial))
    mesh = meshio.read(tmp_path / "fields.vtu")
    corners = mesh.points[mesh.cells[0].data]
    sides = [corners[:, k] - corners[:, 0] for k in (1, 3, 4)]
    assert np.abs(np.linalg.det(np.stack(sides, 1))) == pytest.approx(0.25**3)
    assert corners[:, 6] - corners[:, 0] == pytest.approx(sum(sides)), "VTK: vertex 6 is opposite of vertex 0"


def test_mesh_file_of_a_boundary_parameter_has_the_state_only(tmp_path):
    space = space_of("P1")
    problem = problem_on(space, dofs=space.dofs())
    write_mesh(tmp_path / "fields.vtu", fields_of(problem, problem.initial))
    assert list(meshio.read(tmp_path / "fields.vtu").point_data) == ["state"]


def rows(objectives):
    return [
        Row(k, j, 0.9 * j, 0.1 * j, abs(j), 0.1, k + 1, 0, k + 1, 2 * k + 2, 0.1 * k, 1.0, k + 1, k + 1, 0, 0, 0)
        for k, j in enumerate(objectives)
    ]


@pytest.mark.parametrize(
    ("objectives", "scale"), [((10, 1, 0.1), "log"), ((10, 1, 0), "log"), ((1, -1, -2), "symlog"), ((0, 0), "linear")]
)
def test_history_axis_fits_the_values(tmp_path, objectives, scale):
    history = {name: np.array([getattr(row, name) for row in rows(objectives)], float) for name in Row.__annotations__}
    figure = draw_history(history, {"problem": "p", "status": "stopped", "message": "x", "expected_misfit": 2.0})
    assert figure.axes[0].get_yscale() == scale
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_label() == "misfit of noise alone"]
    assert levels == [2.0]
    figure.savefig(tmp_path / "x.png", dpi=30)


@pytest.fixture
def two_runs(tmp_path):
    """Directories of the same quantity on different meshes."""
    folders = []
    for name in ("P1", "Q0"):
        folder = tmp_path / name
        folder.mkdir()
        problem = problem_on(space_of(name))
        summary = {"problem": name, "status": "stopped", "message": "", "iterations": 2, "relative_error": 0.5}
        write_fields(folder / "result.npz", fields_of(problem, problem.initial))
        write_history(folder / "history.csv", rows((3, 2, 1)))
        write_json(folder / "summary.json", {**summary, "expected_misfit": 1.0})
        folders.append(folder)
    return folders


def test_plot_redraws_and_compares(two_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(two_runs[0])]) == 0
    assert imread(two_runs[0] / "result.png").std() > 0.05, "the page is not blank"
    assert (two_runs[0] / "history.png").exists()
    assert main(["plot", *map(str, two_runs)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "comparison.png"
    assert imread(tmp_path / "comparison.png").std() > 0.05
    assert redraw([two_runs[1]], tmp_path / "page.pdf") == [tmp_path / "page.pdf", tmp_path / "page-history.pdf"]
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_plot_says_when_a_picture_cannot_be_written(two_runs, tmp_path, capsys):
    assert main(["plot", str(two_runs[0]), "--out", str(tmp_path / "no" / "page.png")]) == 2
    assert "cannot write the picture" in capsys.readouterr().err
    assert main(["plot", str(two_runs[0]), "--out", str(tmp_path / "page.docx")]) == 2
    assert "page" in capsys.readouterr().err


def test_histories_alone(two_runs, tmp_path):
    draw_histories(two_runs, tmp_path / "h.png")
    draw_histories(two_runs[:1], tmp_path / "h1.png")
    assert imread(tmp_path / "h.png").shape != imread(tmp_path / "h1.png").shape


@pytest.mark.parametrize("name", ["result.npz", "summary.json", "history.csv"])
def test_a_file_that_is_damaged_is_named(two_runs, capsys, name):
    (two_runs[0] / name).write_text("damaged")
    assert main(["plot", *map(str, two_runs)]) == 2
    assert f"cannot read {two_runs[0] / name}" in capsys.readouterr().err


def test_boundary_coefficients_are_compared_as_curves(tmp_path):
    space = space_of("P1")
    problem = problem_on(space, dofs=space.dofs(lambda x: x[0] == 1))
    fields = fields_of(problem, problem.initial)
    history = {name: np.ones(2) for name in Row.__annotations__}
    figure = draw_comparison({"a": history, "b": history}, {"a": {}, "b": {}}, {"a": fields, "b": fields})
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == ["truth", "a", "b"]


def test_an_unfinished_run_can_be_plotted(two_runs):
    (two_runs[0] / "summary.json").unlink()
    (two_runs[0] / "result.npz").unlink()
    assert redraw(two_runs[:1], None) == [two_runs[0] / "history.png"]


def test_a_picture_that_fails_is_a_warning(tmp_path):
    problem = problem_on(space_of("P1"))
    broken = {"relative_error": "not a number", "status": "stopped", "problem": "p", "iterations": 1, "message": ""}
    warnings = draw_run(tmp_path, fields_of(problem, problem.initial), rows((2, 1)), json.loads(json.dumps(broken)))
    assert len(warnings) == 1
    assert warnings[0].startswith("result.png could not be written: ")
    assert (tmp_path / "history.png").exists()


def test_second_order_cells_are_drawn_by_their_vertices():
    mesh = skfem.MeshTri2.init_circle(1)
    surface = surface_of(mesh.p, mesh.t, "triangle")
    assert surface.x.shape == (2, mesh.nvertices)
    assert surface.on_vertices(mesh.p[0, : mesh.nvertices]) == pytest.approx(surface.x[0])
