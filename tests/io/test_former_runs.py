"""Fields of former runs as the initial guess and the truth: taken over as they are, or to another mesh."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skfem

from pdeopt.cli import main
from pdeopt.inverse import Log
from pdeopt.io import FileError, FormerRun, read_run
from pdeopt.run.problem_files.loading import load_build, problem_files
from pdeopt.run.store.former_runs import with_former_runs
from pdeopt.run.store.history import read_history

pytestmark = pytest.mark.usefixtures("compiled_once")


def run(*words):
    """Exit status and what was said on stderr."""
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        status = main(["run", *map(str, words), "--no-check", "--no-pictures", "--quiet"])
    return status, said.getvalue()


@pytest.fixture(scope="module")
def former(tmp_path_factory):
    """A short run of the main job."""
    path = tmp_path_factory.mktemp("former") / "run"
    assert run("conductivity", "--n", 8, "--max-iterations", 2, "--out", path) == (0, "")
    return path


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(*words):
    """The one message of a run that must exit with status 2 and leave nothing behind."""
    before = sorted(Path().rglob("*"))
    status, said = run(*words)
    assert status == 2
    assert said.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return said


@pytest.mark.slow
def test_a_run_goes_on_where_another_ended(former):
    assert run("conductivity", "--n", 8, "--max-iterations", 0, "--initial-guess", former, "--out", "next")[0] == 0
    last, first = (read_history(path / "history.csv")["objective"] for path in (former, Path("next")))
    assert first[0] == last[-1]
    with np.load(former / "result.npz") as theirs, np.load("next/result.npz") as ours:
        np.testing.assert_array_equal(ours["parameter"], theirs["parameter"])
    assert json.loads(Path("next/config.json").read_text())["initial_guess"] == str(former)
    assert json.loads(Path("next/config.json").read_text())["truth"] is None


@pytest.mark.slow
def test_another_mesh_takes_the_values_at_its_vertices(former):
    words = ("--initial-guess", former, "--truth", former, "--max-iterations", 0, "--out", "coarse")
    assert run("conductivity", "--n", 4, *words)[0] == 0
    with np.load(former / "result.npz") as theirs, np.load("coarse/result.npz") as ours:
        fine = {tuple(x): value for x, value in zip(theirs["p"].T.round(9), theirs["coefficient"], strict=True)}
        expected = [fine[tuple(x)] for x in ours["p"].T.round(9)]
        np.testing.assert_allclose(ours["initial"], expected, rtol=1e-12)
        np.testing.assert_allclose(ours["truth"], expected, rtol=1e-12)
    assert json.loads(Path("coarse/summary.json").read_text())["relative_error"] == pytest.approx(0, abs=1e-12)
    assert json.loads(Path("coarse/config.json").read_text())["truth"] == str(former)


@pytest.mark.slow
def test_runs_of_another_kind_are_refused(former):
    said = refused("robin", "--n", 2, "--initial-guess", former)
    assert "holds 'conductivity κ (S/m)'; this problem looks for 'heat-transfer coefficient γ (1/m)'" in said
    said = refused("conductivity", "--dim", 3, "--n", 2, "--truth", former)
    assert f"--truth: {former}: its mesh has 2 dimensions; this problem's has 3" in said


def test_folders_without_a_run_are_refused(former, tmp_path):
    said = refused("conductivity", "--n", 4, "--initial-guess", "nowhere")
    assert "--initial-guess: nowhere holds no run with a result: there is no such folder" in said
    Path("empty").mkdir()
    assert "it has no result.npz" in refused("conductivity", "--n", 4, "--truth", "empty")
    shutil.copytree(former, "cut")
    content = (former / "result.npz").read_bytes()
    Path("cut/result.npz").write_bytes(content[: len(content) // 2])
    assert f"{Path('cut/result.npz')}: not readable" in refused("conductivity", "--n", 4, "--truth", "cut")
    np.savez("cut/result.npz", parameter=np.ones(3))
    assert "there is no array 'coefficient'" in refused("conductivity", "--n", 4, "--truth", "cut")
    said = refused("conductivity", "--n", 4, "--truth", former / "result.npz")
    assert "result.npz holds no run with a result: it is a file" in said


@pytest.mark.parametrize("change", [lambda array: array[:20], lambda array: array.astype(str)])
def test_arrays_that_do_not_fit_each_other_are_refused(former, change):
    shutil.copytree(former, "changed")
    with np.load(former / "result.npz") as result:
        np.savez("changed/result.npz", **{**result, "coefficient": change(result["coefficient"])})
    said = refused("conductivity", "--n", 4, "--truth", "changed")
    assert f"{Path('changed/result.npz')}: its arrays do not fit each other" in said


def test_a_checkpoint_without_finite_numbers_is_refused(former):
    unfinished(former)
    np.savez("killed/checkpoint.npz", parameter=np.full(81, np.nan))
    said = refused("conductivity", "--n", 8, "--initial-guess", "killed")
    assert "--initial-guess: the initial guess has NaN or infinite values" in said


@pytest.mark.slow
def test_a_boundary_parameter_is_taken_over_where_it_sits_at_the_same_places():
    assert run("robin", "--n", 2, "--max-iterations", 1, "--out", "former")[0] == 0
    assert run("robin", "--n", 2, "--max-iterations", 0, "--initial-guess", "former", "--out", "next")[0] == 0
    last, first = (read_history(Path(name) / "history.csv")["objective"] for name in ("former", "next"))
    assert first[0] == last[-1]
    said = refused("robin", "--n", 3, "--initial-guess", "former")
    assert "its parameter sits at 17 places (boundary), this problem's at 25 (boundary)" in said


def unfinished(former, problem="conductivity"):
    """As a run leaves its folder that was killed."""
    Path("killed").mkdir()
    Path("killed/config.json").write_text(json.dumps({"problem": problem}))
    with np.load(former / "result.npz") as result:
        np.savez("killed/checkpoint.npz", parameter=result["parameter"])


@pytest.mark.slow
def test_an_unfinished_run_is_a_start_on_its_own_mesh(former):
    unfinished(former)
    assert run("conductivity", "--n", 8, "--max-iterations", 0, "--initial-guess", "killed", "--out", "next")[0] == 0
    last, first = (read_history(path / "history.csv")["objective"] for path in (former, Path("next")))
    assert first[0] == last[-1]
    said = refused("conductivity", "--n", 6, "--initial-guess", "killed")
    assert "killed: its checkpoint has parameters of shape (81,); this problem has (49,)" in said
    assert "killed holds no run with a result" in refused("conductivity", "--n", 8, "--truth", "killed")


def test_a_resumed_run_that_is_not_finished_is_its_checkpoint_and_not_its_former_result(former):
    shutil.copytree(former, "resumed")
    Path("resumed/summary.json").unlink()
    np.savez("resumed/checkpoint.npz", parameter=np.full(81, 0.125))
    problem = load_build(problem_files()["conductivity"])(n=8)
    np.testing.assert_array_equal(with_former_runs(problem, "conductivity", Path("resumed"), None).initial, 0.125)


def test_an_unfinished_run_of_another_problem_is_refused(former):
    unfinished(former, problem="robin")
    said = refused("conductivity", "--n", 8, "--initial-guess", "killed")
    assert "killed holds an unfinished run of 'robin'; expected one of 'conductivity'" in said


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("result.npz", 3, "result.npz: its format is 3; this version of pdeopt reads up to 2: update it"),
        ("result.npz", "two", "result.npz: its format is 'two'; expected a whole number"),
        ("checkpoint.npz", 9, "checkpoint.npz: its format is 9; this version of pdeopt reads up to 2: update it"),
        ("config.json", 9, "config.json: its format is 9; this version of pdeopt reads up to 1: update it"),
    ],
)
def test_files_of_a_newer_version_are_refused(former, name, number, words):
    option, folder = ("--truth", former) if name == "result.npz" else ("--initial-guess", Path("killed"))
    if name == "result.npz":
        folder = Path(shutil.copytree(former, "newer"))
    else:
        unfinished(former)
    if name == "config.json":
        (folder / name).write_text(json.dumps({"problem": "conductivity", "format": number}))
    else:
        with np.load(folder / name) as file:
            np.savez(folder / name, **{**file, "format": number})
    assert words in refused("conductivity", "--n", 8, option, folder)


def test_another_parametrization_of_the_same_coefficient(former):
    problem = load_build(problem_files()["conductivity"])(n=8)
    doubled = replace(problem, functional=replace(problem.functional, parametrization=Log(2.0)))
    changed = with_former_runs(doubled, "conductivity", former, None)
    np.testing.assert_allclose(changed.functional.coefficient(changed.initial), read_run(former).coefficient)
    assert changed.truth is problem.truth
    assert not np.allclose(changed.initial, read_run(former).parameter)


# --- values at any points ----------------------------------------------------------------------------------------

TICKS = np.linspace(0, 1, 4), np.linspace(0, 2, 5)
MESHES = {
    "line": skfem.MeshLine(TICKS[0]),
    "triangle": skfem.MeshTri.init_tensor(*TICKS),
    "quad": skfem.MeshQuad.init_tensor(*TICKS),
    "tetra": skfem.MeshTet.init_tensor(*TICKS, TICKS[0]),
    "hexahedron": skfem.MeshHex.init_tensor(*TICKS, TICKS[0]),
}


def plane(x):
    return 1 + np.arange(1, len(x) + 1) @ x


def result(cell, kind, mesh=None):
    """A run whose coefficient is a linear function."""
    mesh = MESHES[cell] if mesh is None else mesh
    x = mesh.p if kind == "vertices" else mesh.p[:, mesh.t].mean(1)
    values = plane(x)
    gather = np.arange(len(values))[None]
    return FormerRun(Path("former"), "κ", values, values, mesh.p, mesh.t, cell, kind, gather, x)


@pytest.mark.parametrize("cell", MESHES)
def test_between_vertices_the_coefficient_is_linear(cell):
    points = np.random.default_rng(0).random((MESHES[cell].dim(), 30))
    points = np.hstack([points, MESHES[cell].p])
    np.testing.assert_allclose(result(cell, "vertices").coefficient_at(points), plane(points))


@pytest.mark.parametrize("cell", MESHES)
def test_in_cells_it_is_constant(cell):
    centers = MESHES[cell].p[:, MESHES[cell].t].mean(1)
    np.testing.assert_allclose(result(cell, "cells").coefficient_at(centers * (1 + 1e-3)), plane(centers))


@pytest.mark.parametrize("kind", ["vertices", "cells"])
def test_points_a_little_outside_take_the_value_beside_them(kind):
    polygon = result("triangle", kind, skfem.MeshTri.init_circle(2))
    angle = np.linspace(0, 2 * np.pi, 50)
    circle = np.array([np.cos(angle), np.sin(angle)])
    assert np.abs(polygon.coefficient_at(circle) - plane(circle)).max() < 1.2
    with pytest.raises(FileError, match=r"former: 50 points lie outside its mesh, up to .* from the nearest vertex"):
        polygon.coefficient_at(3 * circle)


def test_values_that_are_missing_are_not_made_up():
    known = result("triangle", "vertices")
    gather = known.gather.copy()
    gather[0, np.flatnonzero(known.p[0] == 0)] = -1
    holed = replace(known, gather=gather)
    np.testing.assert_allclose(holed.coefficient_at(np.array([[0.5, 1.0], [1.0, 2.0]])), [3.5, 6.0])
    with pytest.raises(FileError, match="former: the coefficient has no value at 1 of the points"):
        holed.coefficient_at(np.array([[0.1, 0.5], [1.0, 1.0]]))


def test_what_cannot_be_evaluated():
    with pytest.raises(FileError, match="lives on a boundary"):
        replace(result("triangle", "vertices"), kind="boundary").coefficient_at(np.zeros((2, 1)))
    several = replace(result("triangle", "vertices"), gather=np.zeros((2, 1, 4), int))
    with pytest.raises(FileError, match="its coefficient has several components"):
        several.coefficient_at(np.zeros((2, 1)))
    with pytest.raises(FileError, match="its mesh has 2 dimensions; the points have 3"):
        result("triangle", "vertices").coefficient_at(np.zeros((3, 1)))
