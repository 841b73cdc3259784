"""Runs with several parameters by name: what they write, draw, go on from, and tell."""

import json
from pathlib import Path

import meshio
import numpy as np
import pytest

import pdeopt
from pdeopt.cli import main
from pdeopt.run.store.fields import read_fields

PROBLEM = '''"""A conductivity, the rates of two wells, and the weights of a tree."""
import jax.numpy as jnp, numpy as np, skfem
from pdeopt.fem import *
from pdeopt.inverse import *
from pdeopt.pde import LinearStateEquation

@bilinear_form
def flow(u, v, w):
    return w["kappa"] * dot(grad(u), grad(v))

@linear_form
def rain(v, w):
    return w["rain"] * v

def build(n: int = 4, coarse: int = 2) -> Problem:
    def square(k):
        ticks = np.linspace(0, 1, k + 1)
        return skfem.MeshTri.init_tensor(ticks, ticks).with_defaults()
    V = FunctionSpace(square(n), skfem.ElementTriP1())
    K = FunctionSpace(square(coarse), skfem.ElementTriP0())
    wells = np.array([[0.25, 0.75], [0.5, 0.5]])
    unknowns = Parameters({
        "kappa": Parameter(V, "conductivity (m/s)", parametrization=Log(), truth=1 + V.locations[0]),
        "rain": Parameter(K, "rain (mm/h)", initial=0.5),
        "rates": Numbers(["west (m³/s)", "east (m³/s)"], "rates", initial=1.0, truth=np.array([1.0, 2.0])),
        "net": Tree({"shift": np.array([0.1, 0.2])}),
    })
    def system(c):
        load = V.point_load(wells, c["rates"]) + rain.assemble(V, rain=c["rain"].mean() + c["net"]["shift"].sum())
        return flow.assemble(V, kappa=V.interpolate(c["kappa"])), load
    state = LinearStateEquation(system, Dirichlet.on(V), parts={"head": V})
    true = {"kappa": 1 + V.locations[0], "rain": jnp.ones(K.n), "rates": jnp.array([1.0, 2.0]),
            "net": {"shift": jnp.zeros(2)}}
    points = np.array([[0.25, 0.75, 0.5], [0.25, 0.75, 0.75]])
    observation = AtPoints.of(V, points)
    data = np.asarray(observation(state(true), true))
    terms = [(h1(V, 1e-2) + tikhonov(V, 1e-2)).on("kappa"), tikhonov(K, 1e-2).on("rain"),
             lambda m: 1e-3 * (m["rates"] ** 2).sum() + 1e-3 * (m["net"] ** 2).sum()]
    J = ReducedFunctional(state, L2Misfit.of(observation, data, 0.03), terms, unknowns)
    return Problem(J, points=points, gradient_tolerance=1e-5, optimizer="gauss-newton", length_unit="km")
'''
NAMES = ["kappa", "rain", "rates", "net"]


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    (folder / "several.py").write_text(PROBLEM)
    assert main(["run", str(folder / "several.py"), "--out", str(folder / "a"), "--quiet"]) == 0
    return folder / "a"


def test_the_summary_has_all_errors_and_numbers(run_directory):
    summary = json.loads((run_directory / "summary.json").read_text())
    assert summary["status"] == "converged"
    assert summary["relative_errors"]["rain"] is summary["relative_errors"]["net"] is None
    known = [summary["relative_errors"][name] for name in ("kappa", "rates")]
    assert summary["relative_error"] == pytest.approx(np.sqrt(np.mean(np.square(known))))
    assert list(summary["numbers"]) == ["west (m³/s)", "east (m³/s)"]
    assert summary["parameters"] == 25 + 8 + 2 + 2


def test_files_have_each_parameter_under_its_name(run_directory):
    with np.load(run_directory / "result.npz") as arrays:
        assert arrays["coefficient_kappa"].shape == (25,)
        assert arrays["coefficient_rain"].shape == (8,)
        np.testing.assert_array_equal(arrays["truth_rates"], [1, 2])
        assert "truth_rain" not in arrays
        parts = [arrays[f"parameter_{name}"] for name in NAMES]
        np.testing.assert_array_equal(np.concatenate(parts), arrays["parameter"])
        np.testing.assert_allclose(np.exp(arrays["parameter_kappa"]), arrays["coefficient_kappa"])
    fields = read_fields(run_directory / "result.npz")
    assert list(fields.each) == NAMES
    assert fields.first.label == "conductivity (m/s)"
    assert fields.each["rain"].at.kind == "cells"
    assert fields.each["rain"].truth is None
    assert fields.each["rates"].names == ("west (m³/s)", "east (m³/s)")
    assert fields.extra == {}
    assert fields.first.at.mesh.unit == "km"
    on_mesh = meshio.read(run_directory / "fields.vtu")
    assert {"coefficient_kappa", "truth_kappa", "error_kappa", "state"} <= set(on_mesh.point_data)
    assert "coefficient_rain" in meshio.read(run_directory / "fields_rain.vtu").cell_data


@pytest.mark.slow
def test_pictures_show_all_and_are_drawn_again(run_directory):
    for name in ("result", "unknowns", "history"):
        picture = run_directory / f"{name}.png"
        picture.unlink()
        assert main(["plot", str(run_directory)]) == 0
        assert picture.stat().st_size > 10_000
    report = run_directory.parent / "report.html"
    assert main(["report", str(run_directory), "--out", str(report)]) == 0
    assert report.stat().st_size > 50_000


def test_the_python_face_has_coefficients_by_name(run_directory):
    solution = pdeopt.load(run_directory)
    assert list(solution.coefficient) == NAMES
    assert solution.coefficient["rates"].shape == (2,)


@pytest.mark.slow
def test_a_run_goes_on_from_another_and_is_compared_with_it(run_directory, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source, again = run_directory.parent / "several.py", ["--initial-guess", run_directory, "--truth", run_directory]
    words = ["run", source, "--out", "b", "--max-iterations", "0", "--no-check", "--no-pictures", *again]
    assert main(list(map(str, words))) == 0
    first = json.loads((run_directory / "summary.json").read_text())
    summary = json.loads(Path("b/summary.json").read_text())
    assert summary["objective"] == pytest.approx(first["objective"])
    assert summary["relative_errors"] == dict.fromkeys(NAMES, 0.0)
    capsys.readouterr()
    assert main([*map(str, words), "--n", "8", "--coarse", "4", "--out", "c"]) == 0
    coarse, fine = (pdeopt.load(one).coefficient for one in (run_directory, "c"))
    shared = fine["kappa"].reshape(9, 9)[::2, ::2].ravel()
    np.testing.assert_allclose(shared, coarse["kappa"], rtol=1e-12)
    assert set(np.round(fine["rain"], 9)) == set(np.round(coarse["rain"], 9))
    np.testing.assert_allclose(fine["rates"], coarse["rates"])
    longer = tmp_path / "longer" / "several.py"
    longer.parent.mkdir()
    longer.write_text(PROBLEM.replace("np.array([0.1, 0.2])", "np.zeros(3)"))
    assert main(["run", str(longer), "--out", "d", "--no-check", "--initial-guess", str(run_directory)]) != 0
    assert "2 values of 'weights'; this problem looks for 3 of 'weights': trees" in capsys.readouterr().err
    renamed = tmp_path / "renamed" / "several.py"
    renamed.parent.mkdir()
    renamed.write_text(
        PROBLEM.replace('c["rain"]', 'c["snow"]').replace('"rain": ', '"snow": ').replace('on("rain")', 'on("snow")')
    )
    assert main(["run", str(renamed), "--out", "d", "--no-check", "--initial-guess", str(run_directory)]) != 0
    assert "kappa, rain, rates, net; this problem looks for kappa, snow, rates, net" in capsys.readouterr().err
    swapped = tmp_path / "several.py"  # the same labels and sizes, in another order
    swapped.write_text(PROBLEM.replace('"west (m³/s)", "east (m³/s)"', '"east (m³/s)", "west (m³/s)"'))
    assert main(["run", str(swapped), "--out", "d", "--no-check", "--initial-guess", str(run_directory)]) != 0
    assert "west (m³/s), east (m³/s); this problem looks for east (m³/s), west" in capsys.readouterr().err


@pytest.mark.slow
def test_each_parameter_has_the_inner_product_that_is_asked_for(run_directory, tmp_path, capsys):
    words = ["run", run_directory.parent / "several.py", "--out", tmp_path / "c", "--max-iterations", "2", "--no-check"]
    words = [*map(str, words), "--no-pictures", "--optimizer", "l-bfgs-b", "--inner-product"]
    assert main([*words, "kappa=regularization,net=euclidean"]) == 0
    summary = json.loads((tmp_path / "c/summary.json").read_text())
    assert summary["inner_product"] == "kappa=regularization,rain=l2,rates=l2,net=euclidean"
    for wrong, message in (
        ("kapa=l2", "there is no parameter 'kapa'; the problem has kappa, rain, rates, net"),
        ("kappa=h1", "invalid choice: 'kappa=h1'"),
        ("l2,euclidean", "invalid choice: 'l2,euclidean'"),
    ):
        capsys.readouterr()
        assert main([*words, wrong, "--out", str(tmp_path / "d")]) != 0
        assert message in capsys.readouterr().err
