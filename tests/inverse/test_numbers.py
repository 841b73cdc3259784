"""A few unknown numbers without a mesh: runs, pictures, files, comparison, former runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skfem
from run_directories import SUMMARY, write_run

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    AtPoints,
    InputError,
    L2Misfit,
    Numbers,
    Parameter,
    Problem,
    ReducedFunctional,
    inner_product_named,
    inner_product_names,
)
from pdeopt.run.pictures.comparison_figure import draw_comparison
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.store.fields import fields_of, read_fields
from pdeopt.run.store.stored_run import read_runs

pytestmark = pytest.mark.usefixtures("compiled_once")

WELLS = '''"""Rates of two wells and the conductivity of the ground."""
import jax.numpy as jnp, numpy as np, skfem
from pdeopt.fem import *
from pdeopt.inverse import *
from pdeopt.pde import LinearStateEquation

@bilinear_form
def flow(u, v, w):
    return dot(grad(u), grad(v))

WELLS = np.array([[0.25, 0.75], [0.5, 0.5]])

def build(n: int = 4, known: bool = True) -> Problem:
    ticks = np.linspace(0, 1, n + 1)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks).with_defaults(), skfem.ElementTriP1())
    numbers = Numbers(["conductivity k (m/s)", "rate q1 (m³/s)", "rate q2 (m³/s)"], "ground and wells")
    A = flow.assemble(V)
    state = LinearStateEquation(lambda c: (c[0] * A, V.point_load(WELLS, c[1:])), Dirichlet.on(V))
    true = np.array([2.0, 3.0, 0.5])
    points = np.array([[0.25, 0.75, 0.5], [0.25, 0.75, 0.75]])
    data = np.asarray(AtPoints.of(V, points)(state(true), true))
    prior = lambda m: 0.5 * 1e-6 * jnp.sum(m**2)  # only q/k is seen
    J = ReducedFunctional(state, L2Misfit.of(AtPoints.of(V, points), data, 1e-4), prior, Log())
    return Problem(J, np.zeros(3), numbers, truth=true if known else None, points=points, state_space=V)
'''
NAMES = ["conductivity k (m/s)", "rate q1 (m³/s)", "rate q2 (m³/s)"]
SPACE = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())


@pytest.fixture
def wells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wells.py").write_text(WELLS, encoding="utf-8")
    return ["run", "wells.py", "--no-check", "--quiet"]


@pytest.mark.slow
def test_a_run_finds_numbers_and_writes_them_by_name(wells, capsys):
    assert main([*wells, "--gradient-tolerance", "1e-8", "--out", "a"]) == 0
    assert capsys.readouterr().err == ""
    summary = json.loads(Path("a/summary.json").read_text(encoding="utf-8"))
    assert list(summary["numbers"]) == NAMES
    k, q1, q2 = summary["numbers"].values()
    assert (q1 / k, q2 / k) == pytest.approx((1.5, 0.25), rel=1e-3), "what the data tell"
    found, truth = np.array([k, q1, q2]), np.array([2, 3, 0.5])
    assert summary["relative_error"] == pytest.approx(np.sqrt(np.mean((found / truth - 1) ** 2)))
    fields = read_fields(Path("a/result.npz"))
    assert (list(fields.names), fields.at.kind) == (NAMES, "numbers")
    assert fields.coefficient == pytest.approx(found)
    assert not Path("a/fields.vtu").exists()
    assert Path("a/state.vtu").exists()
    assert Path("a/result.png").exists()
    assert main([*wells, "--initial-guess", "a", "--truth", "a", "--max-iterations", "0", "--out", "b"]) == 0
    with np.load("b/result.npz") as again:
        assert again["initial"] == pytest.approx(found)
        assert again["truth"] == pytest.approx(found)
    assert main(["check", "wells.py"]) == 0
    assert NAMES[1] in Path(main(["report", "a", "b", "--out", "r.html"]) or "r.html").read_text(encoding="utf-8")


def problem_of(numbers, truth=None):
    misfit = L2Misfit.of(AtPoints.of(SPACE, [[0.5], [0.5]]), np.ones(1), 0.1)
    functional = ReducedFunctional(lambda c: c.sum() + 0 * SPACE.locations[0], misfit)
    return Problem(functional, np.ones(numbers.size), numbers, truth=truth, state_space=SPACE)


def cells_of(axes):
    return [
        [cell.get_text().get_text() for (row, _), cell in axes.tables[0].get_celld().items() if row == k]
        for k in range(1 + max(row for row, _ in axes.tables[0].get_celld()))
    ]


def test_numbers_are_drawn_as_a_table(tmp_path):
    problem = problem_of(Numbers(["a (m)", "b (kg)"], role="design"), np.array([2.0, 0.0]))
    figure = draw_result(
        fields_of(problem, np.array([1.0, 3.0])), {**SUMMARY, "problem": "p", "numbers": {"a (m)": 1.0}}
    )
    texts = {text for row in cells_of(figure.axes[0]) for text in row}
    assert {"initial guess", "design", "exact", "error", "a (m)", "b (kg)", "-50 %"} <= texts
    assert figure.get_suptitle() == "p: stopped after 2 iterations,  relative error 50 %"
    figure.savefig(tmp_path / "x.png", dpi=30)


def test_of_many_numbers_the_first_are_drawn():
    numbers = Numbers([f"number {k}" for k in range(40)])
    axes = draw_result(fields_of(problem_of(numbers), np.ones(40)), {}).axes[0]
    rows = {row for row, _ in axes.tables[0].get_celld()}
    assert len(rows) == 15
    assert "… and 27 more, in result.npz" in {
        cell.get_text().get_text() for cell in axes.tables[0].get_celld().values()
    }


def test_runs_of_numbers_are_compared_in_a_table(tmp_path):
    problem = problem_of(Numbers(["a", "b"]), np.array([2.0, 4.0]))
    first, second = (fields_of(problem, np.array(m)) for m in ([1.0, 3.0], [2.0, 4.25]))
    of_a_field = replace(
        problem,
        functional=replace(problem.functional),  # of another number of entries
        parameter=Parameter(SPACE, "numbers"),
        initial=np.ones(SPACE.n),
        truth=None,
    )
    function = fields_of(of_a_field, np.ones(SPACE.n))
    runs = read_runs([write_run(tmp_path / str(k), one) for k, one in enumerate((first, second, function))])
    figure = draw_comparison(runs)
    axes = next(axes for axes in figure.axes if axes.tables)
    texts = [cell.get_text().get_text() for cell in axes.tables[0].get_celld().values()]
    assert {"truth", "0", "1", "4.25", "a", "b"} <= set(texts)
    assert "2 (numbers, 2-D)" in figure.get_supxlabel()


def test_numbers_of_other_names_are_not_taken_over(wells, capsys):
    assert main([*wells, "--max-iterations", "0", "--no-pictures", "--out", "a"]) == 0
    Path("other.py").write_text(WELLS.replace("rate q2", "rate q3"), encoding="utf-8")
    assert main(["run", "other.py", "--initial-guess", "a", "--quiet", "--out", "b"]) == 2
    said = capsys.readouterr().err
    assert "a holds conductivity k (m/s), rate q1 (m³/s), rate q2 (m³/s); this problem looks for" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", [name for name in inner_product_names() if name != "regularization"])
def test_every_inner_product_of_numbers_is_the_euclidean(name):
    problem = problem_of(Numbers(["a", "b"]))
    product = inner_product_named(name, problem.functional, problem.parameter)
    derivative = np.array([3.0, -4.0])
    assert product.gradient(derivative) == pytest.approx(derivative)
    assert product.norm(derivative) == pytest.approx(5.0)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "newton-cg", "gauss-newton"])
def test_numbers_are_found_by_every_kind_of_method(optimizer, wells):
    words = [*wells, "--optimizer", optimizer, "--gradient-tolerance", "1e-9", "--no-pictures"]
    assert main([*words, "--out", "run"]) == 0
    k, q1, q2 = read_fields(Path("run/result.npz")).coefficient
    assert (q1 / k, q2 / k) == pytest.approx((1.5, 0.25), rel=1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": []}, r"names of the numbers are \[\]; expected a list of texts"),
        ({"names": "abc"}, "names of the numbers are 'abc'; expected a list"),
        ({"names": ["a", 3]}, "expected a list of texts"),
        ({"names": ["a", "a"]}, "expected a different one for each"),
        (
            {"names": ["a"], "role": "estimate"},
            "the role of a parameter is 'estimate'; expected one of reconstruction, c",
        ),
    ],
)
def test_names_that_are_none_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Numbers(**given)


def test_a_truth_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"the truth has shape \(3,\); the parameter has \(2,\)"):
        problem_of(Numbers(["a", "b"]), np.ones(3))


def test_an_error_relative_to_zero_is_none():
    assert Numbers(["a", "b"]).relative_error(np.ones(2), np.array([1.0, 0.0])) is None
