"""What a failed search is told about the point where it failed, and the backward error of a state."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from small_problem import SMALL, WRONG_ADJOINT

from pdeopt.cli import main
from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import FullField, L2Misfit, Log, NewtonModel, Parameter, Problem, ReducedFunctional, h1, l2_product
from pdeopt.inversion.diagnosis import FailedIterate, with_diagnosis
from pdeopt.optimize import euclidean, minimize
from pdeopt.optimize.trace import STEP_REMEDY
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import resolve_solver

FAILED = f"the search failed; {STEP_REMEDY}"


@bilinear_form
def conduction(u, v, w):
    return w["k"] * dot(grad(u), grad(v))


@linear_form
def load(v, w):
    return 1.0 * v


def space(n=5):
    return FunctionSpace(skfem.MeshTri.init_tensor(*[np.linspace(0, 1, n + 1)] * 2), skfem.ElementTriP1())


def problem_of(V, misfit=None, bounds=None, state=None):
    state = state or LinearStateEquation(
        lambda k: (conduction.assemble(V, k=V.interpolate(k)), load.assemble(V)), Dirichlet.on(V)
    )
    data = np.asarray(state(V.nodal(lambda x: 1 + x[0])))
    noisy = data + 1e-3 * np.random.default_rng(0).standard_normal(V.n)
    J = ReducedFunctional(state, misfit or L2Misfit.of(FullField(), noisy, 1e-3), h1(V, 1.0), Log())
    return Problem(J, np.zeros(V.n), Parameter(V, "k"), bounds=bounds)


def place_of(problem, m, accuracy=1e-13):
    return FailedIterate(problem, problem.functional, l2_product(problem.parameter), m, accuracy)


@pytest.fixture(scope="module")
def solved():
    """A problem and its minimizer, to rounding."""
    problem = problem_of(space())
    model = NewtonModel(problem.functional, problem.parameter)
    result = minimize(
        model, problem.initial, optimizer="newton-cg", preconditioner=model.preconditioner, gradient_tolerance=1e-12
    )
    return problem, result.m


@pytest.mark.slow
def test_at_a_minimum_the_derivative_is_exact_and_nothing_is_left_to_gain(solved):
    problem, minimizer = solved
    rng = np.random.default_rng(0)
    message = with_diagnosis(FAILED, place_of(problem, minimizer + 1e-9 * rng.standard_normal(len(minimizer))))
    assert message.startswith("the search failed; at the last iterate the derivative is exact (order 2.0"), message
    assert "J has reached the accuracy of its evaluation" in message
    assert "the state is solved to a backward error of" in message
    assert STEP_REMEDY not in message
    assert "far from rounding" not in message


@pytest.mark.slow
def test_far_from_a_minimum_the_direction_is_to_blame():
    problem = problem_of(space())
    message = with_diagnosis(FAILED, place_of(problem, problem.initial))
    assert "the derivative is exact" in message
    assert "the direction was bad" in message


def test_on_bounds_only_feasible_steps_are_tried():
    """J is NaN outside the bounds."""
    V = space()
    inside = lambda u, k: jnp.where(jnp.all((k > 0.9) & (k < 1.5)), 1e3 * jnp.sum((u - 0.05) ** 2), jnp.nan)  # noqa: E731
    bounds = (np.log(0.91), np.log(1.49))
    problem = problem_of(V, inside, bounds)
    m = np.where(np.arange(V.n) % 2, bounds[0], 0.0)
    place = FailedIterate(problem, problem.functional, euclidean(V.n), m, 1e-13)
    assert "the derivative is exact" in with_diagnosis(FAILED, place)


def test_a_rough_objective_is_called_so():
    V = space()
    rough = lambda u, k: 1e3 * jnp.sum((u - 0.05) ** 2) + 1e-4 * jnp.sin(1e13 * jnp.sum(k))  # noqa: E731
    problem = problem_of(V, rough)
    assert "too rough" in with_diagnosis(FAILED, place_of(problem, problem.initial, accuracy=1e-10))


def test_what_goes_wrong_meanwhile_hides_nothing(monkeypatch):
    def fail(self, m):
        raise ValueError("no derivative")

    monkeypatch.setattr(ReducedFunctional, "derivative", fail)
    problem = problem_of(space())
    assert with_diagnosis(FAILED, place_of(problem, problem.initial)) == FAILED


def test_a_state_without_an_equation_is_left_out():
    V = space()
    problem = problem_of(V, state=lambda k: k**2)
    assert "backward error" not in with_diagnosis(FAILED, place_of(problem, problem.initial))


@pytest.mark.slow
def test_a_run_with_a_wrong_adjoint_says_order_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wrong = WRONG_ADJOINT.replace("1.01 * g", "1.1 * g")  # by 1 % cg still comes to rest near the minimum
    text = SMALL.replace("import skfem\n", f"import skfem\n{wrong}")
    text = text.replace("source=V.interpolate(source))", "source=V.interpolate(broken(source)))")
    (tmp_path / "wrong.py").write_text(text, encoding="utf-8")
    words = ["--optimizer", "cg", "--gradient-tolerance", "0", "--out", "out", "--no-check", "--quiet"]
    assert main(["run", "./wrong.py", "--no-pictures", *words]) == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert "the remainder with the derivative has order 1.0" in summary["message"]
    assert "the derivative is wrong" in summary["message"]
    assert summary["message"] in capsys.readouterr().err


class Inexact:
    """A solver that is off by 1e-6."""

    name = "inexact"

    def solve(self, pattern, data, b, transposed):
        return resolve_solver("superlu").solve(pattern, data, b, transposed) * (1 + 1e-6)


@pytest.mark.parametrize("columns", [(), (3,)], ids=["one load", "three loads"])
def test_backward_error_is_that_of_the_reduced_system(columns):
    """Against dense arrays."""
    V = space(3)
    K, fixed = conduction.assemble(V, k=1.0), Dirichlet.on(V, values=2.0)
    loads = jnp.ones((V.n, *columns))

    def error_with(solver):
        return LinearStateEquation(lambda k: (K, k * loads), fixed, solver).backward_error(1.0)

    A, free = K.to_scipy().toarray(), fixed.free
    reduced = A[np.ix_(free, free)]
    b = (np.asarray(loads).T - 2.0 * A[:, fixed.dofs].sum(1)).T[free]
    u = np.linalg.solve(reduced, b) * (1 + 1e-6)
    expected = np.max(abs(reduced @ u - b) / (abs(reduced) @ abs(u) + abs(b)))
    assert error_with(Inexact()) == pytest.approx(expected, rel=1e-6)
    assert error_with("auto") < 1e-14
