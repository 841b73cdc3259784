"""Problems of optimal control with bounds, on the boundary and with constrained states: the numbers that are known."""

import numpy as np
import pytest
import scipy.sparse.linalg as spla

import pdeopt


def solved(name, **options):
    """The summary of a run with the problem's defaults."""
    return pdeopt.solve(pdeopt.build(name, **options), progress=False).summary


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["active-set", "newton-cg"])
def test_bounded_control_has_the_known_minimum_on_the_known_bounds(optimizer):
    """A well-known code stops 1.1 % above it."""
    problem = pdeopt.build("box_control")
    assert problem.functional(problem.initial) == pytest.approx(0.12097128187037, rel=1e-13)
    summary = pdeopt.solve(problem, optimizer=optimizer, progress=False).summary
    assert summary["objective"] == pytest.approx(0.0416860633791, rel=1e-10)
    assert (summary["at_lower_bound"], summary["at_upper_bound"]) == (212, 207)


@pytest.mark.slow
def test_boundary_control_has_the_known_start_and_minimum():
    problem = pdeopt.build("neumann_control")
    objective, derivative = problem.functional.value_and_derivative(problem.initial)
    assert objective == pytest.approx(0.1224024929641499, rel=1e-13)
    gradient_norm = np.sqrt(derivative @ spla.spsolve(problem.parameter.mass.tocsc(), derivative))
    assert gradient_norm == pytest.approx(0.041817054799018, rel=1e-12)
    summary = pdeopt.solve(problem, progress=False).summary
    assert summary["objective"] == pytest.approx(0.0617470239038681, rel=1e-11)
    assert summary["control_norm"] == pytest.approx(7.16960156, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gamma", "minimum", "violation"),
    [
        (0.0, 0.123325490854261, 0.61),
        (10.0, 0.174799578838978, 0.09),
        (1e4, 0.184918508913321, 6.9e-4),
        (1e7, 0.184960222779095, 1.4e-5),
    ],
)
def test_penalized_states_have_the_known_minima(gamma, minimum, violation):
    summary = solved("state_constrained_control", gamma=gamma)
    assert summary["objective"] == pytest.approx(minimum, rel=1e-9)
    assert summary["largest_violation"] == pytest.approx(violation, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "minimum", "zeros"), [(32, 0.01672544809413, 0.586), (64, 0.016846576023321, 0.602)])
def test_sparse_control_has_the_known_minimum_and_zeros(n, minimum, zeros):
    summary = solved("sparse_control", n=n)
    assert summary["objective"] == pytest.approx(minimum, rel=1e-12)
    assert summary["zero_part"] == pytest.approx(zeros, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("box_control", {"limit": 0.0}, "limit 0.0; expected"),
        ("neumann_control", {"alpha": -1.0}, "alpha -1.0; expected"),
        ("state_constrained_control", {"gamma": -1.0}, "gamma -1.0.*expected"),
        ("sparse_control", {"beta": -1.0}, "beta -1.0.*expected"),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options, message):
    with pytest.raises(pdeopt.PdeoptError, match=message):
        pdeopt.build(name, **options)
