"""Runs with every optimizer, inner product and rule for the strength: how they end, what they count and write."""

import csv
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pdeopt.cli import main, own_arguments
from pdeopt.inverse import inner_product_names
from pdeopt.inversion import minimization
from pdeopt.optimize import optimizers, registry
from pdeopt.run.execution import conclusion, request
from pdeopt.run.pictures import run_pictures as pictures
from pdeopt.run.problem_files.template import TEMPLATE

#: A problem that compiles at once: the state is the parameter.
DENOISING = """
from typing import Annotated
import numpy as np
import skfem
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import FullField, L2Misfit, Parameter, Problem, ReducedFunctional, add_noise, h1, total_variation

def build(
    tv: Annotated[bool, "total variation"] = False,
    continuation: Annotated[bool, "in its smoothing"] = False,
    noise: Annotated[float, "level"] = 0.2,
    weight: Annotated[float, "of H1"] = 5.0,
    goal: Annotated[float, "absolute, of the gradient"] = 0.0,
) -> Problem:
    ticks = np.linspace(0, 1, 9)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    truth = V.nodal(lambda x: 1.0 + (x[0] > 0.5))
    data, sigma = add_noise(truth, noise, 0)
    variation = total_variation(V, 30.0, 0.01, continuation=(100, 10) if continuation else ())
    return Problem(
        ReducedFunctional(lambda m: m, L2Misfit.of(FullField(), data, sigma), variation if tv else h1(V, weight)),
        initial=np.zeros(V.n),
        parameter=Parameter(V, "m"),
        truth=truth,
        points=V.locations,
        optimizer="newton-cg",
        absolute_gradient_tolerance=goal,
        gradient_tolerance=0.0 if goal else 1e-4,
        quantities={"largest": np.max},
    )
"""
SMALL = TEMPLATE.replace("] = 24", "] = 6").replace("] = 12", "] = 4")
BUILT = {}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    (tmp_path / "denoising.py").write_text(DENOISING, encoding="utf-8")


@pytest.fixture
def quick_pictures(monkeypatch):
    """Blank ones of result and history."""
    for name in ("draw_result", "draw_history"):
        monkeypatch.setattr(pictures, name, lambda *_: Figure())


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run and read (summary, history); problems are built and compiled once, and pictures drawn on demand only."""
    build = request.build_problem

    def remembered(function, options, path):
        key = (path.name, *sorted(options.items()))
        if key not in BUILT:
            BUILT[key] = build(function, options, path)
        return BUILT[key]

    def run(*words, status=0, drawn=False):
        monkeypatch.setattr(request, "build_problem", remembered)
        monkeypatch.setattr(conclusion, "write_mesh", lambda *_: None)
        quiet = ["--no-check", "--quiet"] if drawn else ["--no-check", "--quiet", "--no-pictures"]
        assert main(["run", *map(str, words), "--out", "out", *quiet]) == status, capsys.readouterr().err
        return json.loads((tmp_path / "out" / "summary.json").read_text()), history(tmp_path / "out")

    return run


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def built(name, **options):
    """The problem of a run before."""
    (found,) = (key for key in BUILT if key[0] == f"{name}.py" and set(options.items()) <= set(key[1:]))
    return BUILT[found]


def refused(capsys, tmp_path, *words):
    """The one message of a run that must leave nothing behind."""
    before = files(tmp_path)
    assert main(["run", *map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pdeopt: error: ")
    assert error.count("\n") == 1
    assert files(tmp_path) == before
    return error


def files(folder):
    """What is in a folder, without the bytecode that Python keeps beside a problem file."""
    return sorted(path for path in folder.iterdir() if path.name != "__pycache__")


CONDUCTIVITY = ("conductivity", "--n", 8)
DENOISE = ("./denoising.py",)
CONTROL = ("poisson_control", "--n", 8)


def test_the_command_line_knows_the_names_without_importing_them():
    for name in own_arguments.OPTIMIZER_EXAMPLES.removesuffix(", …").split(", "):
        assert name in optimizers()
    assert list(own_arguments.INNER_PRODUCTS) == inner_product_names()
    assert own_arguments.MAX_ITERATIONS == minimization.MAX_ITERATIONS


# --- optimizers --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", optimizers())
def test_every_optimizer_lowers_the_objective_and_its_costs_add_up(run, optimizer):
    summary, rows = run(*CONDUCTIVITY, "--optimizer", optimizer, "--max-iterations", 8)
    assert summary["optimizer"] == optimizer
    assert summary["inner_product"] == "l2"
    assert summary["status"] in ("converged", "stopped")
    assert summary["objective"] < 0.4 * rows[0]["objective"]
    assert [row["iteration"] for row in rows] == list(range(summary["iterations"] + 1))
    assert {row["strength"] for row in rows} == {1.0}
    parts = ("forward_solves", "adjoint_solves", "tangent_solves", "second_order_solves")
    for row in rows:
        assert row["objective"] == pytest.approx(row["misfit"] + row["regularization"])
        assert row["solves"] == sum(row[name] for name in parts)
        assert row["tangent_solves"] == row["second_order_solves"] == row["hessian_products"]
        assert row["hessian_products"] >= row["cg_iterations"]
        assert row["forward_solves"] >= row["adjoint_solves"] >= row["evaluations"]
        assert row["factorizations"] <= row["evaluations"], "products need none"
        assert (row["hessian_products"] > 0) == (bool(optimizers()[optimizer].needs) and row["iteration"] > 0)
    for before, after in pairwise(rows):
        assert all(after[name] >= before[name] for name in (*parts, "evaluations", "factorizations", "cg_iterations"))
    last = {name: rows[-1][name] for name in (*parts, "solves", "cg_iterations", "evaluations", "factorizations")}
    assert last == {name: summary[name] for name in last}
    if optimizer in ("newton-cg", "gauss-newton", "augmented-lagrangian+newton-cg"):
        assert rows[-1]["hessian_products"] == rows[-1]["cg_iterations"] > 0
    elif optimizer == "active-set":  # two more a system: from the entries that are held, and for their multipliers
        assert rows[-1]["hessian_products"] > rows[-1]["cg_iterations"] > 0
    else:
        assert rows[-1]["cg_iterations"] == 0
    if optimizer == "newton-cg":  # eight linearizations, the first five without the adjoint
        assert rows[-1]["forward_solves"] == rows[-1]["evaluations"] + summary["iterations"]
        assert rows[-1]["adjoint_solves"] == rows[-1]["evaluations"] + max(0, summary["iterations"] - 5)


@pytest.mark.slow
def test_newton_takes_far_fewer_steps_to_the_same_objective(run, tmp_path):
    quasi, _ = run(*CONDUCTIVITY, "--gradient-tolerance", 1e-5)
    (tmp_path / "out").rename(tmp_path / "first")
    newton, _ = run(*CONDUCTIVITY, "--gradient-tolerance", 1e-5, "--optimizer", "newton-cg")
    assert newton["status"] == "converged"
    assert newton["objective"] <= quasi["objective"] * (1 + 1e-6)
    assert 3 * newton["iterations"] < quasi["iterations"]


@pytest.mark.parametrize("name", inner_product_names())
def test_every_inner_product_by_name(run, name):
    summary, rows = run(*CONDUCTIVITY, "--inner-product", name, "--max-iterations", 10)
    assert summary["inner_product"] == name
    assert summary["objective"] < 0.4 * rows[0]["objective"]
    config = json.loads(Path("out/config.json").read_text())
    assert config["inner_product"] == name


def test_norms_are_those_of_the_named_product(run, tmp_path):
    norms = {}
    for name in inner_product_names():
        norms[name] = run(*CONDUCTIVITY, "--inner-product", name, "--max-iterations", 0)[1][0]["gradient_norm"]
        (tmp_path / "out").rename(tmp_path / name)
    assert norms["l2"] == pytest.approx(norms["l2-lumped"], rel=0.5)
    assert norms["l2"] > norms["l2-lumped"] > 3 * norms["euclidean"]
    assert len({f"{norm:.6g}" for norm in norms.values()}) == 4


@pytest.mark.slow
def test_a_gradient_tolerance_is_kept_and_a_looser_one_ends_sooner(run, tmp_path):
    counts = []
    for tolerance in (1e-1, 1e-3):
        summary, rows = run(*CONDUCTIVITY, "--optimizer", "newton-cg", "--gradient-tolerance", tolerance)
        assert summary["status"] == "converged"
        assert f"by the factor {tolerance:g}" in summary["message"]
        norms = [row["gradient_norm"] for row in rows]
        assert norms[-1] <= tolerance * norms[0]  # and by more, where the model still saw a decrease then
        counts.append(len(rows))
        (tmp_path / "out").rename(tmp_path / str(tolerance))
    assert counts[0] < counts[1]


def test_a_problems_own_absolute_tolerance_gives_way_to_one_that_is_asked_for(run, tmp_path):
    words = (*DENOISE, "--goal", 1e-2)
    summary, rows = run(*words)
    assert "fell below 0.01" in summary["message"]
    assert rows[-1]["gradient_norm"] <= 0.01
    assert 1.5 < summary["largest"] < 2.5
    (tmp_path / "out").rename(tmp_path / "first")
    summary, rows = run(*words, "--gradient-tolerance", 0.5)
    assert "by the factor 0.5" in summary["message"]
    assert 0.01 < rows[-1]["gradient_norm"] <= 0.5 * rows[0]["gradient_norm"]


# --- what does not fit together ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*CONDUCTIVITY, "--inner-product", "L2"), "invalid choice: 'L2'"),
        ((*CONDUCTIVITY, "--inner-product", "regularisation"), "invalid choice"),
        ((*CONDUCTIVITY, "--gradient-tolerance", "-1"), "invalid factor between 0 and 1"),
        ((*CONDUCTIVITY, "--gradient-tolerance", "1"), "invalid factor between 0 and 1"),
        ((*CONDUCTIVITY, "--gradient-tolerance", "nan"), "invalid factor between 0 and 1"),
        ((*CONDUCTIVITY, "--discrepancy-factor", "0"), "invalid number > 0"),
        ((*CONDUCTIVITY, "--discrepancy-factor", "inf"), "invalid number > 0"),
        ((*CONDUCTIVITY, "--regularization-strength", "discrepency"), "did you mean 'discrepancy'?"),
        ((*CONDUCTIVITY, "--regularization-strength", "0"), "expected a number > 0"),
        ((*CONDUCTIVITY, "--regularization-strength", "-3"), "expected a number > 0"),
        ((*CONDUCTIVITY, "--regularization-strength", "inf"), "expected a number > 0"),
        ((*CONTROL, "--regularization-strength", "discrepancy"), "states no noise level; use lcurve, or a number"),
        ((*CONTROL, "--regularization-strength", "cooling"), "states no noise level; use lcurve, or a number"),
        (("thermal_recovery", "--inner-product", "regularization"), "keeps no bounds on single entries"),
        (("thermal_recovery", "--optimizer", "cg"), "cg keeps no bounds, and the parameter has some; use one of"),
        (("thermal_recovery", "--optimizer", "trust-ncg"), "keeps no bounds"),
        (("thermal_recovery", "--regularization-strength", "lcurve"), "the problem has no regularization"),
        (("thermal_recovery", "--regularization-strength", "discrepancy"), "the problem has no regularization"),
        ((*CONDUCTIVITY, "--weight", 0, "--inner-product", "regularization"), "needs a term that states its operator"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_does_not_fit_together_is_refused_in_one_line(capsys, tmp_path, words, expected):
    assert expected in refused(capsys, tmp_path, *words)


def test_a_dense_matrix_that_is_too_large_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(registry._optimizers, "bfgs", replace(optimizers()["bfgs"], max_parameters=80))
    message = refused(capsys, tmp_path, *DENOISE, "--optimizer", "bfgs")
    assert "bfgs takes at most 80 parameters, and there are 81; use one of l-bfgs-b, newton-cg" in message


def test_strength_of_a_problem_without_regularization(tmp_path, capsys):
    """A number is a factor of nothing; rules have nothing to choose."""
    term = "variation if tv else h1(V, weight)),"
    assert term in DENOISING
    (tmp_path / "bare.py").write_text(DENOISING.replace(term, "()),"), encoding="utf-8")
    for rule in ("discrepancy", "cooling", "lcurve"):
        message = refused(capsys, tmp_path, "./bare.py", "--regularization-strength", rule)
        assert f"regularization strength {rule}: the problem has no regularization" in message


def test_newton_without_regularization_weighs_with_the_mass(run):
    summary, _ = run(*DENOISE, "--weight", 0)
    assert summary["status"] == "converged"
    assert summary["regularization"] == 0
    assert summary["misfit"] < 1e-4


# --- strengths ---------------------------------------------------------------------------------------------------


def test_a_number_multiplies_the_problems_own_regularization(run):
    summary, rows = run(*DENOISE, "--regularization-strength", "0.5")
    functional = built("denoising", tv=False, weight=5.0, goal=0.0).functional
    with np.load("out/result.npz") as arrays:
        terms = functional.with_strength(0.5).terms(arrays["parameter"])
        assert np.linalg.norm(functional.with_strength(0.5).derivative(arrays["parameter"])) < 1e-2
    assert summary["objective"] == pytest.approx(terms.objective)
    assert summary["regularization"] == pytest.approx(terms.regularization)
    assert (summary["regularization_strength"], summary["strength_rule"], summary["strength"]) == (0.5, None, None)
    assert {row["strength"] for row in rows} == {0.5}


def consistent(summary, rows):
    """The last row is the minimizer at the chosen strength, and what summary.json says of it."""
    last, chosen = rows[-1], summary["strength"]
    assert last["strength"] == summary["regularization_strength"] == chosen["strength"]
    for name in ("objective", "misfit", "regularization"):
        assert last[name] == summary[name]
    assert summary["objective"] == pytest.approx(summary["misfit"] + summary["regularization"])
    assert [row["iteration"] for row in rows] == list(range(len(rows)))
    tried = [one["strength"] for one in chosen["tried"]]
    assert {row["strength"] for row in rows} <= {*tried, 1.0}
    assert sum(one["iterations"] for one in chosen["tried"]) <= summary["iterations"]


@pytest.mark.parametrize("rule", ["discrepancy", "cooling"])
@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_rules_that_know_the_noise_meet_its_misfit(run, rule, factor):
    summary, rows = run(*DENOISE, "--regularization-strength", rule, "--discrepancy-factor", factor)
    assert summary["status"] == "converged", summary["message"]
    assert summary["strength_rule"] == rule
    assert summary["discrepancy"] == pytest.approx(factor, rel=0.1 if rule == "cooling" else 0.025)
    assert summary["strength"]["target"] == pytest.approx(factor * summary["expected_misfit"])
    consistent(summary, rows)
    with np.load("out/result.npz") as arrays:
        residual = (arrays["predicted"] - arrays["data"]) / arrays["noise"]
        assert 0.5 * np.sum(residual**2) == pytest.approx(summary["misfit"], rel=1e-8)


@pytest.mark.slow
def test_a_rule_is_drawn_and_drawn_again(run, tmp_path, capsys, quick_pictures):
    words = ("./small.py", "--n", 10, "--sensors", 14, "--noise", 0.03, "--optimizer", "newton-cg")
    summary, rows = run(*words, "--regularization-strength", "lcurve", drawn=True)
    assert summary["status"] == "converged", summary["message"]
    assert summary["strength"]["corner"]["strength"] == pytest.approx(summary["regularization_strength"])
    assert summary["relative_error"] < 0.5
    consistent(summary, rows)
    picture = tmp_path / "out" / "strength.png"
    assert picture.stat().st_size > 10_000
    picture.unlink()
    assert main(["plot", "out"]) == 0
    names = ("result", "history", "strength")
    assert capsys.readouterr().out.split() == [f"out/{name}.{kind}" for name in names for kind in ("png", "pdf")]
    assert picture.exists()


def test_without_a_rule_no_strength_is_drawn(run, tmp_path, quick_pictures):
    run(*DENOISE, "--max-iterations", 1, drawn=True)
    assert (tmp_path / "out" / "history.png").exists()
    assert not (tmp_path / "out" / "strength.png").exists()


@pytest.mark.parametrize("tolerance", [0.5, 1e-2])
def test_the_last_row_is_that_of_the_last_functional_even_where_it_had_nothing_to_do(run, tolerance):
    """A warm start may fulfill the goal at once: then the last iterate stays, and its objective is another."""
    summary, rows = run(*DENOISE, "--regularization-strength", "discrepancy", "--gradient-tolerance", tolerance)
    consistent(summary, rows)


# --- total variation ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_continuation_ends_at_the_same_minimum(run, tmp_path):
    words = (*DENOISE, "--tv", "--gradient-tolerance", 1e-6)
    plain, _ = run(*words)
    (tmp_path / "out").rename(tmp_path / "first")
    summary, rows = run(*words, "--continuation")
    assert plain["status"] == summary["status"] == "converged"
    assert summary["objective"] == pytest.approx(plain["objective"], rel=1e-8)
    assert len(rows) == summary["iterations"] + 1
    assert rows[1]["regularization"] < 0.8 * rows[-1]["regularization"], "smoother at first"


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.9, 1e-2, 1e-6])
def test_a_stage_of_continuation_does_not_pass_for_the_end(run, tolerance):
    """Where the last stage has nothing to do, its objective at the last iterate is another all the same."""
    summary, rows = run(*DENOISE, "--tv", "--continuation", "--gradient-tolerance", tolerance)
    with np.load("out/result.npz") as arrays:
        terms = built("denoising", tv=True, continuation=True).functional.terms(arrays["parameter"])
    for name, value in terms._asdict().items():
        assert value == pytest.approx(summary[name], rel=1e-12)
        assert rows[-1][name] == summary[name]


@pytest.mark.slow
def test_total_variation_keeps_edges(run, tmp_path):
    """At the strength of the same rule, on inclusions without a rim."""
    errors = {}
    for kind in ("h1", "tv"):
        words = (
            "conductivity",
            "--n",
            32,
            "--edge",
            0,
            "--noise",
            0.02,
            "--optimizer",
            "newton-cg",
            "--smoothing",
            0.1,
        )
        summary, _ = run(*words, "--regularization", kind, "--regularization-strength", "discrepancy")
        assert summary["discrepancy"] == pytest.approx(1, abs=0.025)
        errors[kind] = summary["relative_error"]
        (tmp_path / "out").rename(tmp_path / kind)
    assert errors["tv"] < 0.75 * errors["h1"]
