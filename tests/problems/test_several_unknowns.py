"""Problems with several unknowns: both are found, and what the data do not determine is told."""

import pytest

import pdeopt


@pytest.mark.slow
def test_two_sets_of_heads_determine_two_fields():
    summary = pdeopt.solve(pdeopt.build("joint", n=10), verify=False, progress=False).summary
    assert summary["status"] == "converged"
    assert max(summary["relative_errors"].values()) < 0.15
    assert summary["not_determined"] == "none"
    assert set(summary["misfits"]) == {"heads", "tests"}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "missing"), [("heads", {"kappa", "recharge"}), ("tests", {"recharge"})])
def test_one_set_of_heads_does_not_and_says_which_field(data, missing):
    problem = pdeopt.build("joint", n=8, data=data)
    found = problem.interpret(problem.initial)
    assert set(found["not_determined"].split(", ")) == missing
    assert (found["spread_recharge"] == pytest.approx(1.0)) == (data == "tests")


@pytest.mark.slow
def test_two_moduli_are_found_from_three_experiments():
    problem = pdeopt.build("elastic_moduli", n=8)
    before = problem.parameter.flat(problem.functional.coefficient(problem.initial))
    at_start = problem.parameter.relative_errors(before, problem.truth)
    errors = pdeopt.solve(problem, verify=False, progress=False).summary["relative_errors"]
    assert errors["E"] < 0.5 * at_start["E"]
    assert errors["nu"] < 0.5 * at_start["nu"]
