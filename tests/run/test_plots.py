"""Pictures and mesh files: the right values at the right places, for every kind of parameter."""

import json
from dataclasses import replace

import meshio
import numpy as np
import pytest
import scipy.sparse as sp
import skfem
from matplotlib.colors import LogNorm
from matplotlib.image import imread
from run_directories import (
    MESHES,
    SPACES,
    TICKS,
    fields_on,
    linear,
    problem_on,
    rows,
    space_of,
    write_meshes,
    write_run,
)

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import FieldMisfit, InputError, Parameter, Problem, ReducedFunctional
from pdeopt.inversion.history import Row
from pdeopt.pde import LinearStateEquation
from pdeopt.run.pictures.canvas.surface import surface_of
from pdeopt.run.pictures.components_figure import draw_components
from pdeopt.run.pictures.history_figure import draw_history
from pdeopt.run.pictures.parts_figure import draw_parts
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.pictures.run_pictures import draw_histories, draw_run, redraw
from pdeopt.run.store.boundary import curve_coordinate
from pdeopt.run.store.fields import fields_of, read_fields, write_fields
from pdeopt.run.store.mesh_output import mesh_files
from pdeopt.run.store.placement import PlainMesh, has_place, place_field, place_parameter
from pdeopt.sparse import CSRMatrix

VELOCITY = skfem.ElementVector(skfem.ElementTriP2())
#: Of vector-valued functions.
VECTORS = {
    "P1": ("triangles", skfem.ElementVector(skfem.ElementTriP1()), "vertices"),
    "P2": ("triangles", skfem.ElementVector(skfem.ElementTriP2()), "vertices"),
    "P0": ("triangles", skfem.ElementVector(skfem.ElementTriP0()), "cells"),
    "DG1": ("triangles", skfem.ElementDG(skfem.ElementVector(skfem.ElementTriP1())), "cells"),
    "three dimensions": ("tetrahedra", skfem.ElementVector(skfem.ElementTetP1()), "vertices"),
    "mixed": ("triangles", skfem.ElementComposite(VELOCITY, skfem.ElementTriP1()), "vertices"),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_linear_field_is_drawn_where_it_belongs(name):
    space = space_of(name)
    at = place_field(space)
    assert at.kind == SPACES[name][2]
    assert at.drawn(linear(space.locations)) == pytest.approx(linear(at.x), abs=1e-12)


@pytest.mark.parametrize("name", VECTORS)
def test_all_components_of_a_vector_are_drawn(name):
    mesh, element, kind = VECTORS[name]
    space = FunctionSpace(MESHES[mesh], element)
    at = place_field(space)
    assert (at.kind, at.components) == (kind, MESHES[mesh].dim())

    def vector(x):
        return np.stack([linear(x), -3 * x[0], 7 + x[1]])[: len(x)]

    values = np.zeros(space.n)
    if name == "mixed":
        values[space.basis.split_indices()[0]] = space.basis.split_bases()[0].project(vector)
    else:
        values[:] = space.basis.project(vector)
    assert at.drawn(values) == pytest.approx(vector(at.x), abs=1e-9)
    assert at.magnitude(values) == pytest.approx(np.linalg.norm(vector(at.x), axis=0))


@pytest.mark.parametrize(
    ("element", "known"),
    [
        (skfem.ElementTriRT0(), False),
        (skfem.ElementComposite(skfem.ElementTriP0(), skfem.ElementTriP0()), False),
        (skfem.ElementTriCR(), True),
        (skfem.ElementTriMorley(), True),
    ],
)
def test_fluxes_are_not_drawn_as_values(element, known):
    assert has_place(FunctionSpace(MESHES["triangles"], element)) is known


@pytest.mark.parametrize("name", MESHES)
def test_triangles_cover_the_square_and_carry_vertex_values(name):
    mesh = MESHES[name]
    surface = surface_of(PlainMesh.of(mesh))
    a, b, c = (surface.x[:, surface.triangles[:, k]] for k in range(3))
    areas = 0.5 * np.abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0])
    assert areas.sum() == pytest.approx(1)
    assert surface.on_vertices(linear(mesh.p)) == pytest.approx(linear(surface.x))
    centers = mesh.p[:2, mesh.t].mean(1)[:, surface.cells]
    assert np.abs(centers - surface.x[:, surface.triangles].mean(2)).max() < 0.25, "each triangle lies in its cell"


@pytest.mark.parametrize("name", ["tetrahedra", "hexahedra", "wedges"])
def test_a_slice_in_general_position_is_whole(name):
    mesh = MESHES[name]
    p = mesh.p * np.array([[1], [1], [0.97]]) + np.array([[0], [0], [0.013]]) * (1 + mesh.p[:1])
    surface = surface_of(replace(PlainMesh.of(mesh), p=p))
    a, b, c = (surface.x[:, surface.triangles[:, k]] for k in range(3))
    areas = 0.5 * np.abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0])
    assert areas.sum() == pytest.approx(1)


def test_cells_that_are_not_known_are_named_instead_of_drawn():
    fields = fields_on("P1")
    unknown = replace(fields.at.mesh, cell="")
    figure = draw_result(replace(fields, at=replace(fields.at, mesh=unknown), state_at=None), {})
    assert surface_of(unknown) is None
    assert "cells with 3 vertices in 2-D cannot be drawn" in figure.subfigs[0].texts[0].get_text()


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
@pytest.mark.parametrize("name", ["P1", "P0", "Q0", "tetrahedra P1", "tetrahedra P0", "hexahedra Q1", "wedges"])
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
    assert (error.vmin, error.vmax) == pytest.approx((0.1, 10)), "a ratio, for what is drawn in a logarithmic scale"


@pytest.mark.parametrize(("element", "kind"), [(skfem.ElementLineP1(), "vertices"), (skfem.ElementLineP0(), "cells")])
def test_result_page_in_one_dimension(tmp_path, element, kind):
    mesh = skfem.MeshLine(np.array([0, 0.2, 0.3, 0.7, 1])).refined(1)  # new vertices come last
    problem = problem_on(FunctionSpace(mesh, element))
    fields = fields_of(problem, problem.initial + 0.5)
    assert (fields.at.kind, fields.at.mesh.cell) == (kind, "line")
    figure = draw_result(fields, {})
    coefficient, error, *_, state = figure.axes
    assert [line.get_label() for line in coefficient.lines] == ["truth", "initial guess", "reconstruction"]
    x, truth = coefficient.lines[0].get_data()
    assert (np.diff(x) > 0).all(), "from left to right, however vertices are numbered"
    assert truth == pytest.approx(linear(np.stack([x, 0 * x])))
    assert error.lines[1].get_ydata() == pytest.approx(1.5 - truth)
    assert (state.get_title(), len(state.lines)) == ("state", 1)
    write_meshes(tmp_path, fields)
    assert meshio.read(tmp_path / "fields.vtu").cells[0].type == "line"
    figure.savefig(tmp_path / "x.png", dpi=30)


def test_a_vector_valued_state_is_drawn_by_its_magnitude_and_stored_whole(tmp_path):
    space = FunctionSpace(MESHES["triangles"], VECTORS["P2"][1])
    state = space.basis.project(lambda x: np.stack([3 * linear(x), 4 * linear(x)]))
    fields = replace(fields_on("P1"), state=state, adjoint=2 * state, state_at=place_field(space))
    axes = next(one for one in draw_result(fields, {}).axes if "state" in one.get_title())
    assert axes.get_title() == "magnitude of the state"
    assert axes.collections[0].norm.vmax == pytest.approx(20)
    write_fields(tmp_path / "result.npz", fields)
    write_meshes(tmp_path, read_fields(tmp_path / "result.npz"))
    mesh = meshio.read(tmp_path / "fields.vtu")
    values = linear(mesh.points.T)
    expected = np.stack([3 * values, 4 * values, 0 * values], axis=1)
    assert mesh.point_data["state"] == pytest.approx(expected, abs=1e-9)
    assert mesh.point_data["adjoint"] == pytest.approx(2 * expected, abs=1e-9)


@pytest.mark.parametrize(("low", "logarithmic"), [(0.3, True), (0.5, False), (-1.0, False), (0.0, False)])
def test_a_positive_coefficient_of_more_than_a_decade_has_a_logarithmic_scale(low, logarithmic):
    fields = fields_on("P1")  # the truth ends at 4
    figure = draw_result(replace(fields, coefficient=np.full_like(fields.coefficient, low)), {})
    truth, reconstruction, error = (axes.collections[0].norm for axes in figure.axes[:3])
    assert {isinstance(norm, LogNorm) for norm in (truth, reconstruction, error)} == {logarithmic}
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels.count("coefficient (–), log scale") == 2 * logarithmic
    if logarithmic:
        assert figure.axes[2].get_title() == "reconstruction / truth"
        assert "ratio, log scale" in labels
        assert np.asarray(figure.axes[2].collections[0].get_array()) == pytest.approx(low / fields.truth)
        assert (error.vmin, error.vmax) == pytest.approx((low / 4, 4 / low)), "1 in the middle"


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
    assert write_meshes(tmp_path, fields_of(problem, problem.truth + 1))
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
    assert data["parameter"] == pytest.approx(data["coefficient"])


def test_hexahedra_are_not_inside_out_in_the_mesh_file(tmp_path):
    problem = problem_on(space_of("hexahedra Q1"))
    write_meshes(tmp_path, fields_of(problem, problem.initial))
    mesh = meshio.read(tmp_path / "fields.vtu")
    corners = mesh.points[mesh.cells[0].data]
    sides = [corners[:, k] - corners[:, 0] for k in (1, 3, 4)]
    assert np.abs(np.linalg.det(np.stack(sides, 1))) == pytest.approx(0.25**3)
    assert corners[:, 6] - corners[:, 0] == pytest.approx(sum(sides)), "VTK: vertex 6 is opposite of vertex 0"


def test_mesh_file_of_a_boundary_parameter_has_the_state_only(tmp_path):
    space = space_of("P1")
    problem = problem_on(space, dofs=space.dofs())
    write_meshes(tmp_path, fields_of(problem, problem.initial))
    assert list(meshio.read(tmp_path / "fields.vtu").point_data) == ["state"]


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


@pytest.mark.parametrize(
    ("against", "label", "last"),
    [("iterations", "iteration", 2), ("evaluations", "evaluations of the objective", 3), ("seconds", "time (s)", 0.2)],
)
def test_histories_are_drawn_against_what_is_asked_for(against, label, last):
    changing = [replace(row, strength=10.0**row.iteration) for row in rows((3, 2, 1))]
    history = {name: np.array([getattr(row, name) for row in changing], float) for name in Row.__annotations__}
    axes = draw_history(history, {}, against).axes[0]
    assert axes.get_xlabel() == label
    x = axes.lines[0].get_xdata()
    assert x[~np.isnan(x)] == pytest.approx([last - 2 * last / (2 if last != 3 else 3), x[2], last])
    changes = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    kept = x[~np.isnan(x)]
    assert changes == pytest.approx(0.5 * (kept[1:] + kept[:-1]))


@pytest.fixture
def two_runs(tmp_path):
    """Directories of the same quantity on different meshes."""
    return [write_run(tmp_path / name, fields_on(name)) for name in ("P1", "Q0")]


@pytest.mark.slow
def test_plot_redraws_and_compares(two_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(two_runs[0])]) == 0
    assert imread(two_runs[0] / "result.png").std() > 0.05, "the page is not blank"
    for name in ("result.pdf", "history.pdf"):
        assert (two_runs[0] / name).read_bytes().startswith(b"%PDF")
    assert main(["plot", *map(str, two_runs)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "comparison.png"
    assert imread(tmp_path / "comparison.png").std() > 0.05
    assert redraw(two_runs, tmp_path / "both.svg") == [tmp_path / "both.svg"]
    assert "<svg" in (tmp_path / "both.svg").read_text()
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
@pytest.mark.parametrize("left", [0, 0.5, 0.9, "damaged", "[1]", '{"status": "stopped"}'], ids=str)
@pytest.mark.parametrize("command", ["plot", "report"])
def test_a_file_that_is_damaged_is_named(two_runs, capsys, command, name, left):
    path = two_runs[0] / name
    content = path.read_bytes()
    path.write_bytes(left.encode() if isinstance(left, str) else content[: int(left * len(content))])
    assert main([command, *map(str, two_runs), "--out", str(two_runs[0] / "out.html")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith((f"pdeopt: error: cannot read {path}: ", f"pdeopt: error: {path}: not readable"))
    assert captured.err.count("\n") == 1, "one message, one line"
    assert not (two_runs[0] / "out.html").exists()


def test_an_array_that_is_missing_is_named(two_runs, capsys):
    path = two_runs[0] / "result.npz"
    with np.load(path) as arrays:
        np.savez(path, **{name: array for name, array in arrays.items() if name != "state"})
    assert main(["plot", str(two_runs[0])]) == 2
    assert capsys.readouterr().err == f"pdeopt: error: cannot read {path}: it has no 'state'\n"


def test_a_folder_that_is_no_run_is_named(two_runs, tmp_path, capsys):
    assert main(["plot", str(tmp_path)]) == 2
    assert f"{tmp_path} is not a run directory: it has no history.csv; it holds runs: " in capsys.readouterr().err
    assert main(["report", str(two_runs[0]), str(tmp_path / "none")]) == 2
    assert "(there is no such folder)" in capsys.readouterr().err


def test_an_unfinished_run_can_be_plotted(two_runs):
    (two_runs[0] / "summary.json").unlink()
    (two_runs[0] / "result.npz").unlink()
    assert redraw(two_runs[:1], None) == [two_runs[0] / "history.png", two_runs[0] / "history.pdf"]


def test_a_picture_that_fails_is_a_warning(tmp_path):
    problem = problem_on(space_of("P1"))
    broken = {"relative_error": "not a number", "status": "stopped", "problem": "p", "iterations": 1, "message": ""}
    warnings = draw_run(tmp_path, fields_of(problem, problem.initial), rows((2, 1)), json.loads(json.dumps(broken)))
    assert len(warnings) == 1
    assert warnings[0].startswith("result.png and result.pdf could not be written: ")
    assert (tmp_path / "history.png").exists()


def test_second_order_cells_are_drawn_by_their_vertices():
    mesh = skfem.MeshTri2.init_circle(1)
    surface = surface_of(PlainMesh.of(mesh))
    assert surface.x.shape == (2, mesh.nvertices)
    assert surface.on_vertices(mesh.p[0, : mesh.nvertices]) == pytest.approx(surface.x[0])


@pytest.mark.parametrize(("unit", "axis"), [("m", "x (m)"), ("", "x")])
def test_coordinates_have_the_unit_that_the_problem_states(tmp_path, unit, axis):
    plane, solid = (replace(problem_on(space_of(name)), length_unit=unit) for name in ("P1", "tetrahedra P0"))
    fields = fields_of(plane, plane.initial)
    write_fields(tmp_path / "result.npz", fields)
    axes = draw_result(read_fields(tmp_path / "result.npz"), {}).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (axis, axis.replace("x", "y"))
    surface = surface_of(fields_of(solid, solid.initial).at.mesh)
    assert (surface.axes[0], surface.note) == (axis, f"slice z = 0.5 {unit}".strip())
    line = Parameter(space_of("P1"), "", space_of("P1").dofs(lambda x: x[0] == 1))
    assert place_parameter(line, unit).abscissa_label == axis.replace("x", "y")


@pytest.mark.parametrize("role", ["control", "design", "result"])
def test_only_a_reconstruction_has_a_truth(role):
    problem = problem_on(space_of("P1"))
    problem = replace(problem, parameter=replace(problem.parameter, role=role))
    titles = [axes.get_title() for axes in draw_result(fields_of(problem, problem.initial), {}).axes]
    assert titles[:3] == ["exact", role, f"{role} − exact"]
    with pytest.raises(
        InputError, match="the role of a parameter is 'estimate'; expected one of reconstruction, control"
    ):
        replace(problem.parameter, role="estimate")


def test_an_error_along_a_curve_is_a_ratio_where_the_curve_is_logarithmic():
    space = space_of("P1")
    problem = problem_on(space, dofs=space.dofs(lambda x: x[0] == 1))
    fields = fields_of(problem, 0.1 * problem.truth)
    axes = draw_result(fields, {}).axes
    assert [one.get_yscale() for one in axes[:2]] == ["log", "log"]
    assert axes[1].get_title() == "reconstruction / truth"
    assert axes[1].lines[1].get_ydata() == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["P2", "P0", "three dimensions"])
def test_the_components_of_a_vector_valued_state_are_drawn(tmp_path, name):
    mesh, element, kind = VECTORS[name]
    space = FunctionSpace(MESHES[mesh], element)
    state = np.asarray(space.basis.project(lambda x: np.stack([linear(x), -3 * x[0], 7 + x[1]])[: len(x)]))
    fields = replace(fields_on("P1"), state=state, state_at=place_field(space))
    figure = draw_components(fields, {})
    panels = [axes for axes in figure.axes if axes.get_title()]
    note = " (slice z = 0.5)" if name == "three dimensions" else ""
    assert [axes.get_title() for axes in panels] == [f"state, {x} component{note}" for x in "xyz"[: len(space.mesh.p)]]
    drawn = np.asarray(panels[1].collections[0].get_array())
    x = panels[1].collections[0]._triangulation.x if kind == "vertices" else fields.state_at.x[0]
    assert drawn == pytest.approx(-3 * x, abs=1e-9)
    scales = {(axes.collections[0].norm.vmin, axes.collections[0].norm.vmax) for axes in panels}
    assert len(scales) == 1, "components can be compared"
    assert -scales.pop()[0] == pytest.approx(np.abs(fields.state_at.drawn(state)).max())
    figure.savefig(tmp_path / "x.png", dpi=30)


def flow_fields():
    """Fields of a control of velocity and pressure in which both are linear functions, and their first misfit."""
    space = FunctionSpace(MESHES["triangles"], skfem.ElementComposite(VELOCITY, skfem.ElementTriP1()))
    velocity, pressure = space.split()
    state = np.zeros(space.n)
    state[velocity.indices] = velocity.nodal(lambda x: np.stack([linear(x), -3 * x[0]]))
    state[pressure.indices] = pressure.nodal(linear)
    identity = CSRMatrix.from_scipy(sp.eye_array(space.n).tocsr())
    parts = {"velocity": velocity, "pressure": pressure}
    equation = LinearStateEquation(lambda k: (identity, k.sum() * state), parts=parts)
    cells = space.with_element(skfem.ElementTriP0())
    misfit = FieldMisfit.of(velocity, velocity.nodal(lambda x: np.stack([0 * x[0], 0 * x[0] + 1])))
    problem = Problem(ReducedFunctional(equation, misfit), np.ones(cells.n) / cells.n, Parameter(cells, "k"))
    return fields_of(problem, problem.initial)


@pytest.mark.slow
def test_the_parts_of_a_coupled_state_are_drawn_and_written_each_where_it_lives(tmp_path):
    write_fields(tmp_path / "result.npz", flow_fields())
    fields = read_fields(tmp_path / "result.npz")
    figure = draw_parts(fields, {})
    flow, pressure = (axes for axes in figure.axes if axes.get_title())
    assert [flow.get_title(), pressure.get_title()] == ["magnitude of the velocity", "pressure"]
    x = fields.parts["pressure"].x
    np.testing.assert_allclose(pressure.collections[0].get_array(), linear(x), atol=1e-12)
    np.testing.assert_allclose(flow.collections[0].get_array(), np.hypot(linear(x), -3 * x[0]), atol=1e-12)
    arrows = flow.collections[1]
    np.testing.assert_allclose(arrows.V, -3 * arrows.X, atol=1e-12)
    assert draw_parts(fields_on("P1"), {}) is None
    result = draw_result(fields, {})
    titles = {axes.get_title(): axes for axes in result.axes}
    np.testing.assert_allclose(titles["target"].collections[0].get_array(), 1)
    gap = titles["state − target"].collections[0].get_array()
    np.testing.assert_allclose(gap, np.hypot(linear(x), -3 * x[0] - 1), atol=1e-12)
    data = mesh_files(fields)["fields.vtu"].data
    names = ["state_velocity", "state_pressure", "adjoint_velocity", "adjoint_pressure", "target"]
    assert [name for name in data if name not in ("parameter", "coefficient")] == names
    np.testing.assert_allclose(data["state_pressure"][1], linear(x), atol=1e-12)
    np.testing.assert_allclose(data["target"][1], [[0, 1, 0]] * x.shape[1], atol=1e-12)
    assert data["state_velocity"][1].shape == (x.shape[1], 3)


def test_scalars_have_no_components():
    assert draw_components(fields_on("P1"), {}) is None


def test_the_components_of_a_vector_valued_coefficient_are_drawn_beside_the_true_ones():
    space = FunctionSpace(MESHES["triangles"], VECTORS["P1"][1])
    figure = draw_components(fields_of(problem_on(space), np.ones(space.n)), {})
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"{what}, {x} component" for what in ("truth", "reconstruction", "state") for x in "xy"]
