"""Derivatives are verified before an optimization: wrong ones stop it, and right ones never do."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_problem import NO_DERIVATIVE, SMALL, WRONG_ADJOINT, WRONG_TANGENT, WRONG_TRANSPOSE, rows_of

from pdeopt.cli import main
from pdeopt.inverse import ReducedFunctional
from pdeopt.inversion import verification
from pdeopt.inversion.checking import VerificationPoint
from pdeopt.inversion.verification import Probe, Verification, verify_derivatives
from pdeopt.run.execution import inversion
from pdeopt.run.problem_files.loading import build_problem, find_problem, load_build
from pdeopt.sparse import CG, SolveError, clear_memo, work

WRONG_SIGN = WRONG_ADJOINT.replace("1.01 * g", "-g")
REVERSE_ONLY = WRONG_ADJOINT.replace("1.01 * g", "g")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def verify(problem):
    return verify_derivatives(problem, lambda: False)


def built(name, **options):
    path = find_problem(name)
    return build_problem(load_build(path), options, path)


def problem_of(objective, initial=None, bounds=None, state=lambda m: m):
    """A problem without an equation: J is a function of the state, which is m itself."""
    functional = ReducedFunctional(state, lambda u, _: objective(u))
    initial = np.linspace(-1.0, 1.0, 9) if initial is None else initial
    return SimpleNamespace(functional=functional, initial=initial, bounds=bounds)


def run_with(rule, *words):
    """The exit status of a run whose source goes through the function ``broken``."""
    text = SMALL.replace("import skfem\n", f"import skfem\n{rule}", 1)
    text = text.replace("source=V.interpolate(source))", "source=V.interpolate(broken(source)))")
    with open("small.py", "w", encoding="utf-8") as file:
        file.write(text)
    return main(["run", "./small.py", "--max-iterations", "1", "--no-pictures", "--out", "out", *words])


# --- right ones pass ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-8])
def test_an_inexact_solver_is_no_wrong_derivative(rtol):
    assert verify(built("conductivity", n=8).with_solver(CG(rtol=rtol))).passed is not False


FUNCTIONS = {
    "linear": lambda u: jnp.sum(3.0 * u),
    "quadratic": lambda u: 0.5 * jnp.sum(u**2),
    "of fourth degree": lambda u: jnp.sum(u**4),
    "large": lambda u: 1e12 + jnp.sum(u**2),
    "steep": lambda u: jnp.sum(jnp.exp(20 * u)),
    "oscillating": lambda u: jnp.sum(jnp.sin(300 * u)),
    "with a kink": lambda u: jnp.sum(jnp.abs(u)),
    "smoothed kink": lambda u: jnp.sum(jnp.sqrt(u**2 + 1e-12)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_right_derivatives_of_odd_functions_raise_no_alarm(name):
    found = verify(problem_of(FUNCTIONS[name]))
    assert found.passed is True, found


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (lambda u: 1.0 + 0.0 * jnp.sum(u), "J does not change along this direction"),
        (lambda u: jnp.sum(u**2) * (1 + 0.01 * jax.lax.stop_gradient(jnp.sin(3e8 * jnp.sum(u)))), "J is too rough"),
        (lambda u: jnp.sum(u) / 0.0, "the objective is not finite near the initial guess"),
    ],
    ids=["constant", "rough", "infinite"],
)
def test_what_cannot_be_told_is_said_and_no_alarm(objective, reason):
    found = verify(problem_of(objective))
    assert found.passed is None
    assert found.fault == ""
    assert found.message.startswith(f"derivatives could not be verified: {reason}")
    found.raise_if_wrong("x", "x")


def test_the_distance_shrinks_where_the_objective_is_not_finite():
    problem = problem_of(lambda u: -jnp.sum(jnp.log(0.01 - jnp.abs(u - 1.0))), initial=np.ones(5))
    assert verify(problem).passed is True


def test_it_shrinks_where_the_state_equation_cannot_be_solved():
    class Functional(ReducedFunctional):
        def terms_and_derivative(self, m):
            if np.abs(np.asarray(m) - 1.0).max() > 0.02:
                raise SolveError("singular")
            return super().terms_and_derivative(m)

    problem = problem_of(lambda u: jnp.sum(u**2), initial=np.ones(5))
    problem.functional = Functional(problem.functional.state, problem.functional.misfit)
    assert verify(problem).passed is True


def test_no_step_leaves_the_bounds():
    objective = lambda u: jnp.sum(jnp.sqrt(u)) + jnp.sum(jnp.sqrt(1.0 - u))  # noqa: E731  # NaN beyond them
    assert verify(problem_of(objective, initial=np.full(6, 1.0), bounds=(0.0, 1.0))).passed is True


# --- wrong ones do not -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rule", [WRONG_SIGN, WRONG_ADJOINT, WRONG_TANGENT, WRONG_TRANSPOSE, NO_DERIVATIVE])
def test_a_wrong_derivative_stops_the_run_before_it_begins(tmp_path, capsys, rule):
    assert run_with(rule) == 1
    said = capsys.readouterr()
    assert said.err.startswith("pdeopt: error: the derivatives of small are wrong, so nothing was optimized\n")
    for word in ("Taylor test: along a random direction J changes at the rate ", "expected 2"):
        assert word in said.err
    assert 0.8 < float(said.err.split("has order ")[1].split(",")[0]) < 1.2
    assert "'pdeopt check ./small.py'" in said.err
    assert "--no-check" in said.err
    assert "iteration" not in said.out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_rates_are_those_of_the_objective_and_of_its_derivative(capsys):
    run_with(WRONG_SIGN)
    error = capsys.readouterr().err
    measured, derived = (float(error.split(word)[1].split(";")[0].split(",")[0]) for word in ("the rate ", "says "))
    assert measured == pytest.approx(-derived, rel=0.02), "the regularization has the right sign"


def test_a_wrong_forward_mode_is_found_by_the_adjoint_identity():
    class Functional(ReducedFunctional):
        def tangent_and_adjoint(self, m, v, w):
            tangent, adjoint = super().tangent_and_adjoint(m, v, w)
            return 1.01 * tangent, adjoint

    problem = problem_of(lambda u: jnp.sum(u**2))
    problem.functional = Functional(problem.functional.state, problem.functional.misfit)
    found = verify(problem)
    assert found.passed is False
    assert found.orders[2] == pytest.approx(2, abs=0.1)
    assert "adjoint identity" in found.fault
    assert "reverse mode is right" in found.fault


def test_jumps_of_the_objective_are_no_pass():
    found = verify(problem_of(lambda u: jnp.sum(u) + jnp.sum(jnp.floor(1e7 * u))))
    assert found.passed is None
    assert "it jumps" in found.message


@pytest.mark.slow
def test_the_sign_is_told_even_with_a_poor_solver():
    functional = built("conductivity", n=8).functional.with_solver(CG(rtol=1e-4))

    class Negative(ReducedFunctional):
        def terms_and_derivative(self, m):
            terms, derivative = super().terms_and_derivative(m)
            return terms, -derivative

    wrong = Negative(functional.state, functional.misfit, functional.regularization, functional.parametrization)
    found = verify(SimpleNamespace(functional=wrong, initial=np.zeros(81), bounds=None))
    assert found.passed is False


@pytest.mark.slow
def test_it_may_be_run_all_the_same(tmp_path, capsys):
    assert run_with(WRONG_ADJOINT, "--no-check", "--quiet") == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["verification"] is None
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_derivative_that_is_found_wrong_after_the_first_iterations_fails_the_run(tmp_path, capsys, monkeypatch):
    right = Verification({2: 2.0}, None, True, "", "derivatives verified")
    monkeypatch.setattr(inversion, "verify_derivatives", lambda *_: right)
    assert run_with(WRONG_ADJOINT) == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["message"].startswith("after iteration 1: the derivative is wrong there: Taylor test: along a")
    assert summary["verification"]["passed"] is summary["verification"]["later"]["passed"] is False
    assert "its derivative says" in capsys.readouterr().err


@pytest.mark.slow
def test_a_rule_of_reverse_mode_alone_is_enough_for_optimizers_of_first_order(tmp_path, capsys):
    assert run_with(REVERSE_ONLY) == 0
    said = capsys.readouterr().out
    assert "verified: Taylor order 2.00, adjoint identity not told: a custom_vjp rule has no forward mode" in said
    verification = json.loads((tmp_path / "out" / "summary.json").read_text())["verification"]
    assert (verification["passed"], verification["adjoint_gap"]) == (True, None)


# --- it costs the optimization nothing ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_optimization_is_the_same_without_it(tmp_path):
    words = ["run", "poisson_control", "--n", "8", "--max-iterations", "3", "--no-pictures", "--quiet"]
    for more in (["--out", "with"], ["--out", "without", "--no-check"]):
        clear_memo()
        assert main([*words, *more]) == 0
    checked, bare = (rows_of(tmp_path / name) for name in ("with", "without"))
    for row in (*checked, *bare):
        del row["seconds"]
    assert checked == bare, "numbers and counts"
    summary = json.loads((tmp_path / "with" / "summary.json").read_text())
    assert summary["verification"]["passed"] is True
    assert summary["verification"]["taylor_orders"]["2"] == pytest.approx(2, abs=0.1)
    assert summary["seconds"] > summary["stage_seconds"]["compiling"], "compilation is in it, as without"


@pytest.mark.slow
def test_it_takes_few_evaluations():
    problem = built("conductivity", n=8)
    before = work.copy()
    verify(problem)
    spent = work.since(before)
    assert spent.factorizations <= 9, "the initial guess, a step that bends, the point beyond, and three steps there"
    assert spent.solves + spent.adjoint_solves <= 20


def test_ctrl_c_is_seen_between_two_evaluations():
    seen = []

    def stop():
        seen.append(True)
        return len(seen) == 3

    with pytest.raises(KeyboardInterrupt):
        verify_derivatives(problem_of(FUNCTIONS["quadratic"]), stop)


@pytest.mark.slow
def test_tangent_and_adjoint_are_those_of_the_single_programs():
    functional = built("conductivity", n=4).functional
    rng = np.random.default_rng(0)
    m, v = rng.standard_normal((2, 25))
    w = rng.standard_normal(functional.misfit.data.shape)
    tangent, adjoint = functional.tangent_and_adjoint(m, v, w)
    assert functional.prediction_type(m).shape == w.shape
    assert tangent == pytest.approx(functional.prediction_tangent(m, v))
    assert adjoint == pytest.approx(functional.prediction_adjoint(m, w))


@pytest.mark.parametrize(("factor", "is_wrong"), [(1.0, False), (1.01, True)])
def test_a_bend_narrower_than_the_steps_of_the_test_is_no_wrong_derivative(factor, is_wrong):
    """Half of m is flat still, and the steps along the way go over the smoothed edge of its total variation."""
    x = np.linspace(0, 1, 100)

    def value_and_derivative(m):
        jumps = np.diff(m)
        slopes = jumps / np.hypot(jumps, 1e-6)
        derivative = m - (x > 0.5)
        value = 0.5 * derivative @ derivative + np.hypot(jumps, 1e-6).sum()
        derivative[1:] += slopes
        derivative[:-1] -= slopes
        return value, factor * derivative

    m = 0.3 * np.maximum(x - 0.5, 0)
    direction = m + 0.01 * np.random.default_rng(0).standard_normal(len(m))
    probe = Probe(SimpleNamespace(value_and_derivative=value_and_derivative), lambda: False)
    test = verification._taylor(probe, VerificationPoint(m, direction, direction), direction, 1e-14)
    assert not is_wrong or test.orders[2] < 1.9
    assert bool(verification._taylor_fault(test, probe, m, direction, 1e-14)) == is_wrong
