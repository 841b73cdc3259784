"""A parameter on one mesh and a state on another: each is drawn, stored and compared on its own."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import meshio
import numpy as np
import pytest
import skfem
from run_directories import linear, wedges, write_meshes, write_run

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import FieldMisfit, FullField, InputError, L2Misfit, Parameter, Problem, ReducedFunctional
from pdeopt.pde import LinearStateEquation
from pdeopt.run.pictures.common_truth import shared_truth
from pdeopt.run.pictures.comparison_figure import draw_comparison
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.store.fields import fields_of, read_fields, write_fields
from pdeopt.run.store.stored_run import read_runs


def ticks(cells, size=1.0):
    return np.linspace(0, size, cells + 1)


def triangles(cells, element, size=1.0):
    return FunctionSpace(skfem.MeshTri.init_tensor(ticks(cells, size), ticks(cells, size)), element)


COARSE, FINE = triangles(3, skfem.ElementTriP1()), triangles(5, skfem.ElementTriP1())
QUADS = skfem.MeshQuad.init_tensor(ticks(3), ticks(4))
TETRAHEDRA = skfem.MeshTet.init_tensor(ticks(2), ticks(2), ticks(3))
WEDGES = wedges(skfem.MeshTri.init_tensor(ticks(3), ticks(2)), ticks(2))
LINE = skfem.MeshLine(ticks(6))
#: Parameter, and space of the state.
PAIRS = {
    "state on the finer mesh": (Parameter(COARSE, "k"), FINE),
    "state on the coarser mesh": (Parameter(FINE, "k"), COARSE),
    "as many degrees of freedom": (
        Parameter(triangles(6, skfem.ElementTriP1()), "k"),
        triangles(3, skfem.ElementTriP2()),
    ),
    "parameter in the cells": (Parameter(FunctionSpace(QUADS, skfem.ElementQuad0()), "k"), FINE),
    "parameter on a boundary": (Parameter(COARSE, "k", COARSE.dofs(lambda x: x[0] == 0)), FINE),
    "parameter on facets": (
        Parameter(COARSE.boundary(lambda x: x[0] == 0), "k", COARSE.dofs(lambda x: x[0] == 0)),
        FINE,
    ),
    "parameter along a line": (Parameter(FunctionSpace(LINE, skfem.ElementLineP1()), "k"), FINE),
    "vectors of second order": (Parameter(COARSE, "k"), triangles(4, skfem.ElementVector(skfem.ElementTriP2()))),
    "state in the cells": (Parameter(COARSE, "k"), FunctionSpace(QUADS, skfem.ElementQuad0())),
    "solids": (
        Parameter(FunctionSpace(TETRAHEDRA, skfem.ElementTetP1()), "k"),
        FunctionSpace(WEDGES, skfem.ElementWedge1()),
    ),
    "second-order cells": (Parameter(COARSE, "k"), FunctionSpace(skfem.MeshTri2.init_circle(1), skfem.ElementTriP2())),
}


def state_of(space):
    """1 + x + 2 y, twice that as the second component of vectors."""
    if isinstance(space.element, skfem.ElementVector):
        return np.asarray(space.basis.project(lambda x: np.stack([linear(x), 2 * linear(x)])))
    return linear(space.locations)


def problem_of(parameter, space, **more):
    """The state does not depend on the parameter: enough to draw it."""
    where = np.arange(parameter.space.n) if parameter.dofs is None else parameter.dofs
    state, truth = jnp.asarray(state_of(space)), 3 * linear(parameter.space.locations[:, where])
    functional = ReducedFunctional(lambda k: state + 0 * k.sum(), L2Misfit.of(FullField(), np.asarray(state), 0.1))
    return Problem(functional, np.ones(parameter.size), parameter, **{"truth": truth, "state_space": space, **more})


def fields_on(name):
    problem = problem_of(*PAIRS[name])
    return fields_of(problem, problem.truth)


def field_of(file, name):
    """Values, and where they sit."""
    mesh = meshio.read(file)
    if name in mesh.point_data:
        return mesh.point_data[name], mesh.points.T
    return mesh.cell_data[name][0], mesh.points[mesh.cells[0].data].mean(1).T


@pytest.mark.parametrize("name", PAIRS)
def test_each_field_is_written_on_its_own_mesh(tmp_path, name):
    parameter, space = PAIRS[name]
    write_fields(tmp_path / "result.npz", fields_on(name))
    fields = read_fields(tmp_path / "result.npz")
    boundary = fields.at.kind == "boundary"
    assert fields.state_has_own_mesh
    assert write_meshes(tmp_path, fields) == ["fields.vtu"] * (not boundary) + ["state.vtu"]
    np.testing.assert_array_equal(fields.at.mesh.p, parameter.space.mesh.p)
    np.testing.assert_array_equal(fields.state_at.mesh.t, space.mesh.t)
    state, x = field_of(tmp_path / "state.vtu", "state")
    assert len(state) == fields.state_at.x.shape[1]
    expected = linear(x) if state.ndim == 1 else np.stack([linear(x), 2 * linear(x), 0 * x[0]], 1)
    np.testing.assert_allclose(state, expected, atol=1e-9)
    if not boundary:
        coefficient, x = field_of(tmp_path / "fields.vtu", "coefficient")
        np.testing.assert_allclose(coefficient, 3 * linear(x[: parameter.space.mesh.dim()]), atol=1e-9)
        assert "state" not in meshio.read(tmp_path / "fields.vtu").point_data
    assert set(meshio.read(tmp_path / "state.vtu").point_data) <= {"state"}


@pytest.mark.parametrize("name", ["state on the finer mesh", "as many degrees of freedom", "parameter along a line"])
def test_each_field_is_drawn_on_its_own_mesh(name):
    figure = draw_result(fields_on(name), {})
    panel = next(axes for axes in figure.axes if axes.get_title() == "state")
    drawn = panel.collections[0]
    x = np.stack([drawn._triangulation.x, drawn._triangulation.y])
    np.testing.assert_allclose(drawn.get_array(), linear(x), atol=1e-9)
    assert x.shape == (2, PAIRS[name][1].mesh.nvertices)
    if name == "parameter along a line":
        assert figure.axes[0].lines[0].get_xdata() == pytest.approx(ticks(6))


def test_a_target_is_drawn_beside_the_state_on_its_mesh(tmp_path):
    problem = problem_of(*PAIRS["state on the coarser mesh"])
    misfit = FieldMisfit.of(COARSE, 2 * linear(COARSE.locations))
    fields = fields_of(replace(problem, functional=replace(problem.functional, misfit=misfit)), problem.truth)
    figure = draw_result(fields, {})
    target = next(axes for axes in figure.axes if axes.get_title() == "target").collections[0]
    x = np.stack([target._triangulation.x, target._triangulation.y])
    np.testing.assert_allclose(target.get_array(), 2 * linear(x), atol=1e-9)
    write_meshes(tmp_path, fields)
    target, x = field_of(tmp_path / "state.vtu", "target")
    np.testing.assert_allclose(target, 2 * linear(x), atol=1e-9)


def test_points_of_data_lie_in_the_mesh_of_the_state():
    parameter = PAIRS["parameter along a line"][0]
    points = np.array([[0.5, 0.25], [0.5, 0.75]])
    assert problem_of(parameter, FINE, points=points).points is points
    with pytest.raises(InputError, match=r"points have shape \(1, 2\); expected \(2, k\)"):
        problem_of(parameter, FINE, points=points[:1])


def test_a_state_of_another_length_than_its_space_is_refused():
    problem = replace(problem_of(Parameter(COARSE, "k"), FINE), state_space=COARSE)
    with pytest.raises(InputError, match="the state has 36 degrees of freedom, the problem's state_space 16 "):
        fields_of(problem, problem.initial)


@pytest.mark.slow
def test_a_run_says_so_before_it_begins(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(TWO_MESHES.replace("state_space=V", "state_space=P"), encoding="utf-8")
    assert main(["run", "two.py", "--n", "3", "--nk", "2", "--out", "a"]) == 2
    assert "the state has 16 degrees of freedom, the problem's state_space 9 " in capsys.readouterr().err
    assert not Path("a").exists()


def test_points_of_data_lie_in_the_mesh_of_the_only_part_of_the_state():
    parameter, points = PAIRS["parameter along a line"][0], np.array([[0.5, 0.25], [0.5, 0.75]])
    problem = problem_of(parameter, FINE)
    state = LinearStateEquation(problem.functional.state, parts={"u": FINE})
    functional = replace(problem.functional, state=state)
    assert replace(problem, functional=functional, state_space=None, points=points).known_state_space is FINE
    with pytest.raises(InputError, match=r"points have shape \(2, 2\); expected \(1, k\)"):
        replace(problem, state_space=None, points=points)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.ones(30)}, "the state has 30 values; expected more than 35"),
        ({"coefficient": np.ones(15)}, r"initial has shape \(16,\); expected \(15,\), as coefficient has"),
        ({"truth": np.ones(17)}, r"truth has shape \(17,\)"),
        ({"adjoint": np.ones(16)}, r"adjoint has shape \(16,\); expected \(36,\), as state has"),
    ],
)
def test_arrays_of_another_length_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(fields_on("state on the finer mesh"), **change)


OWN_MESH = ("state_p", "state_t", "state_cell")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("state on the finer mesh", {}, "values at 36 vertices do not belong to the mesh beside them, which has 16"),
        ("as many degrees of freedom", {}, "values at 16 vertices do not belong to the mesh beside them, which has 49"),
        ("state on the finer mesh", {"format": np.array(3)}, "its format is 3; this version of pdeopt reads up to 2"),
    ],
)
def test_a_file_that_holds_one_mesh_for_two_is_refused(tmp_path, capsys, name, change, message):
    folder = write_run(tmp_path / "run", fields_on(name))
    with np.load(folder / "result.npz") as file:
        arrays = {key: array for key, array in file.items() if key not in (*OWN_MESH, "format", "role", "length_unit")}
    np.savez(folder / "result.npz", **arrays, **change)
    assert main(["plot", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"pdeopt: error: cannot read {folder / 'result.npz'}: ")
    assert message in said


def test_a_file_of_before_is_read_where_both_share_a_mesh(tmp_path):
    problem = problem_of(Parameter(FINE, "k"), FINE)
    write_fields(tmp_path / "result.npz", fields_of(problem, problem.truth))
    with np.load(tmp_path / "result.npz") as file:
        before = {key: array for key, array in file.items() if key not in ("format", "role", "length_unit")}
    np.savez(tmp_path / "result.npz", **before)
    fields = read_fields(tmp_path / "result.npz")
    assert not fields.state_has_own_mesh
    assert (fields.role, fields.at.mesh.unit) == ("reconstruction", "")


def test_runs_with_other_meshes_are_compared(tmp_path):
    names = ["state on the finer mesh", "state on the coarser mesh", "parameter in the cells"]
    fields = [fields_on(name) for name in names]
    assert shared_truth(fields) is fields[1]
    figure = draw_comparison(read_runs([write_run(tmp_path / str(k), one) for k, one in enumerate(fields)]))
    panels = [axes for axes in figure.axes if axes.collections and axes.get_title()]
    assert [axes.get_title().split("\n")[0] for axes in panels] == ["truth", "0", "1", "2"]
    for axes, one in zip(panels, [fields[1], *fields], strict=True):
        assert len(axes.collections[0].get_array()) in (one.at.x.shape[1], 2 * one.at.x.shape[1]), (
            "triangles of squares"
        )


TWO_MESHES = '''"""Conductivity on one mesh, temperature on another."""
import jax.numpy as jnp, numpy as np, skfem
from pdeopt.fem import *
from pdeopt.inverse import *
from pdeopt.pde import LinearStateEquation

@bilinear_form
def conduction(u, v, w):
    return w["k"] * dot(grad(u), grad(v))

def square(n):
    return skfem.MeshTri.init_tensor(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1)).with_defaults()

def build(n: int = 4, nk: int = 2) -> Problem:
    V, P = (FunctionSpace(square(k), skfem.ElementTriP1()) for k in (n, nk))
    T = P.point_evaluation(V.mesh.p)
    ends = Dirichlet.on(V, ["left", "right"], values=lambda x: x[0])  # u = x for κ = 1 and for κ = 1 + y
    state = LinearStateEquation(
        lambda k: (conduction.assemble(V, k=V.interpolate(T @ k)), jnp.zeros(V.n)), ends)
    data = np.asarray(state(jnp.ones(P.n)))
    return Problem(ReducedFunctional(state, L2Misfit.of(FullField(), data, 0.01), h1(P, 1.0), Log()),
                   P.nodal(lambda x: np.log(1 + x[1])), Parameter(P, "k"),
                   truth=P.nodal(lambda x: 1 + x[0]), state_space=V)
'''


@pytest.mark.slow
def test_a_run_on_two_meshes_and_one_that_starts_there(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(TWO_MESHES, encoding="utf-8")
    words = ["run", "two.py", "--max-iterations", "0", "--no-check", "--no-pictures", "--quiet"]
    assert main([*words, "--n", "5", "--nk", "2", "--out", "a"]) == 0
    state, x = field_of("a/state.vtu", "state")
    np.testing.assert_allclose(state, x[0], atol=1e-12)
    truth, x = field_of("a/fields.vtu", "truth")
    np.testing.assert_allclose(truth, 1 + x[0], atol=1e-12)
    assert (len(truth), len(state)) == (9, 36)
    with np.load("a/result.npz") as result:
        where = {
            tuple(place): value for place, value in zip(result["state_p"].T.round(9), result["state"], strict=True)
        }
        assert where[0.4, 0.2] == pytest.approx(0.4, abs=1e-12)
    assert main([*words, "--n", "2", "--nk", "5", "--initial-guess", "a", "--truth", "a", "--out", "b"]) == 0
    with np.load("b/result.npz") as result:
        np.testing.assert_allclose(result["truth"], 1 + result["p"][1], atol=1e-12)
    assert capsys.readouterr().err == ""
    assert main(["report", "a", "b", "--out", "both.html"]) == 0
    assert main(["plot", "a", "b"]) == 0
