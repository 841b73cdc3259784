"""Constraints of problems: their derivatives, what these cost, their minima against dense systems, and their faults."""

import json
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from small_problem import rows_of

import pdeopt
from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import (
    Constraint,
    FullField,
    InputError,
    L2Misfit,
    Log,
    NewtonModel,
    Numbers,
    Parameter,
    Parameters,
    Problem,
    ReducedFunctional,
    h1,
    l2_product,
    lumped_product,
)
from pdeopt.optimize import OptimizerError, minimize, optimizers
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import clear_memo, resolve_solver, work
from pdeopt.verify import adjoint_identity, taylor_test

ALL = [name for name, one in optimizers().items() if "equalities" in one.keeps]
TIGHT = {
    "gradient_tolerance": 1e-9,
    "objective_tolerance": 1e-16,
    "remaining_tolerance": 1e-12,
    "max_iterations": 500,
}


@cache
def control():
    """Optimal control of a plate, whose J is quadratic, and the integrals of the basis functions."""
    problem = pdeopt.build("poisson_control", n=5, alpha=1e-3)
    return problem, np.asarray(problem.parameter.mass.sum(1)).ravel()


SPACE = FunctionSpace(skfem.MeshTri.init_tensor(*2 * (np.linspace(0, 1, 5),)), skfem.ElementTriP1())
WEIGHTS = jnp.asarray(np.asarray(Parameter(SPACE, "κ").mass.sum(1)).ravel())
#: A volume, a work that the state and the coefficient do, and the state in one point.
THREE = (
    Constraint("volume", lambda u, kappa: WEIGHTS @ kappa - 0.9),
    Constraint("work", lambda u, kappa: WEIGHTS @ (kappa * u**2) - 1e-3, "=="),
    Constraint("peak", lambda u, kappa: u[12] / 0.07 - 1),
)


@bilinear_form
def diffusion(u, v, w):
    return w["kappa"] * dot(grad(u), grad(v)) + u.grad[0] * v  # not symmetric


@linear_form
def source(v, w):
    return 1.0 * v


@cache
def conductivity(constraints=THREE):
    """A functional of log κ, whose state solves −∇·(κ∇u) + ∂u/∂x₁ = 1."""
    load = source.assemble(SPACE)
    state = LinearStateEquation(
        lambda kappa: (diffusion.assemble(SPACE, kappa=SPACE.interpolate(kappa)), load), Dirichlet.on(SPACE)
    )
    misfit = L2Misfit.of(FullField(), 0.05 * np.ones(SPACE.n), 0.1)
    return ReducedFunctional(state, misfit, h1(SPACE, 1e-3), Log(), constraints=constraints)


def with_total(limit, kind, tolerance=1e-9):
    """The control problem with ∫u ≤ limit, or = limit."""
    problem, integrals = control()
    return replace(
        problem, constraints=Constraint("total", lambda y, u: jnp.asarray(integrals) @ u - limit, kind, tolerance)
    )


CASES = {"equality": (0.5, "=="), "active": (-0.5, "<="), "inactive": (0.5, "<=")}


@cache
def constrained(case, tolerance=1e-9):
    """The problem of a case, and its minimum with the multiplier, by one dense linear system."""
    problem, integrals = control()
    size = problem.parameter.size
    hessian = np.stack([problem.functional.hessian(np.zeros(size))(column) for column in np.eye(size)])
    derivative = problem.functional.derivative(np.zeros(size))
    limit, kind = CASES[case]
    free = np.linalg.solve(hessian, -derivative)
    if kind == "<=" and integrals @ free <= limit:
        return with_total(limit, kind, tolerance), free, 0.0
    system = np.block([[hessian, integrals[:, None]], [integrals[None], np.zeros((1, 1))]])
    found = np.linalg.solve(system, np.append(-derivative, limit))
    return with_total(limit, kind, tolerance), found[:-1], found[-1]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", [*ALL, "mma", "ccsa"])
@pytest.mark.parametrize("product", ["lumped", "mixing"])
def test_the_minimum_is_that_of_the_dense_system(case, optimizer, product):
    if optimizer not in ALL and case == "equality":
        pytest.skip("the method keeps no equalities")
    problem, minimum, multiplier = constrained(case, 1e-9 if optimizer in ALL else 1e-6)
    inner = (lumped_product if product == "lumped" else l2_product)(problem.parameter)
    result = minimize(
        NewtonModel(problem.functional, problem.parameter),
        np.zeros(len(minimum)),
        optimizer=optimizer,
        inner_product=inner,
        **(TIGHT if optimizer in ALL else {}),  # the others converge slowly
    )
    assert result.status == "converged", result.message
    size = np.abs(minimum).max()
    np.testing.assert_allclose(result.m, minimum, atol=(1e-6 if optimizer in ALL else 1e-2) * size)
    assert result.objective == pytest.approx(problem.functional(minimum), rel=1e-10 if optimizer in ALL else 1e-5)
    assert result.multipliers == pytest.approx([multiplier], abs=1e-9 if optimizer in ALL else 1e-5)
    assert result.constraints.violation <= (1e-9 if optimizer in ALL else 1e-6)


def test_the_counters_show_one_factorization_and_one_block_of_adjoint_solves():
    """A derivative with k constraints: the state, and 1 + k adjoint states in one block."""
    columns = []

    class Counting:
        name = "counting"

        def solve(self, pattern, data, rhs, transposed):
            columns.append((transposed, rhs.shape[1]))
            return resolve_solver("auto").solve(pattern, data, rhs, transposed)

    J = conductivity().with_solver(Counting())
    J.evaluate(np.zeros(SPACE.n))
    clear_memo()
    columns.clear()
    before = work.copy()
    found = J.evaluate(np.full(SPACE.n, 0.1))
    spent = work.since(before)
    assert found.constraints.jacobian.shape == (3, SPACE.n)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 1, 1)
    assert columns == [(False, 1), (True, 4)]


@pytest.mark.parametrize("number", range(3))
def test_each_constraint_has_taylor_orders_and_the_adjoint_identity(number):
    J, rng = conductivity(), np.random.default_rng(number)
    m, direction = 0.2 * rng.standard_normal(SPACE.n), rng.standard_normal(SPACE.n)
    weights = np.eye(3)[number]
    found = J.evaluate(m).constraints
    np.testing.assert_allclose(found.values, J.constraint_values(m), rtol=1e-13)
    action = J.constraint_hessian(m, weights)
    test = taylor_test(
        lambda at: J.constraint_values(at)[number],
        found.jacobian[number],
        m,
        direction,
        hessian_action=action(direction),
    )
    assert test.passed, str(test)
    assert test.resolved
    assert adjoint_identity(action, action, direction, rng.standard_normal(SPACE.n)) < 1e-12
    block = rng.standard_normal((SPACE.n, 2))
    np.testing.assert_allclose(action(block)[:, 1], action(block[:, 1]), rtol=1e-9)


def test_value_and_derivative_of_j_are_those_without_constraints():
    J, m = conductivity(), np.linspace(-0.1, 0.2, SPACE.n)
    found, plain = J.evaluate(m), conductivity(()).evaluate(m)
    assert plain.constraints is None
    assert found.value == pytest.approx(plain.value, rel=1e-13)
    assert found.terms == pytest.approx(plain.terms, rel=1e-13)
    np.testing.assert_allclose(found.derivative, plain.derivative, rtol=1e-9)


@jax.custom_jvp
def wrong(x):
    return x


wrong.defjvp(lambda primals, tangents: (primals[0], 1.01 * tangents[0]))


@pytest.mark.slow
def test_the_check_of_a_problem_tells_a_constraint_whose_derivative_is_wrong():
    def verdicts(*constraints):
        checks = pdeopt.check(conductivity_problem(*constraints))
        return {check.name: check.passed for check in checks if check.name.startswith("constraint")}

    assert verdicts(*THREE) == {f"constraint {one.name}, Taylor remainders": True for one in THREE}
    broken = Constraint("broken", lambda u, kappa: WEIGHTS @ wrong(kappa) - 0.9)
    assert verdicts(THREE[1], broken) == {
        "constraint work, Taylor remainders": True,
        "constraint broken, Taylor remainders": False,
    }


def test_a_constraint_of_several_parameters_takes_them_by_name():
    unknowns = Parameters({"a": Numbers(["a₁", "a₂"], "a", parametrization=Log()), "b": Numbers(["b"], "b")})
    budget = Constraint("budget", lambda u, c: jnp.sum(c["a"]) + 3 * c["b"][0] - 4, "==")
    J = ReducedFunctional(
        lambda c: jnp.concatenate([c["a"] * c["b"], c["b"]]),
        L2Misfit.of(FullField(), np.ones(3), 1.0),
        (),
        unknowns,
        constraints=budget,
    )
    m = np.array([0.1, -0.2, 0.5])
    found = J.evaluate(m).constraints
    assert found.values == pytest.approx([np.exp(m[:2]).sum() + 1.5 - 4])
    np.testing.assert_allclose(found.jacobian, [[*np.exp(m[:2]), 3.0]])
    result = minimize(J, m, optimizer="slsqp", gradient_tolerance=1e-8)
    assert (result.status, result.constraints.violation < 1e-6) == ("converged", True)


def conductivity_problem(*constraints, **options):
    functional = conductivity(()).with_constraints(constraints)
    return Problem(functional, np.zeros(SPACE.n), Parameter(SPACE, "κ"), optimizer="slsqp", **options)


@pytest.mark.slow
def test_a_state_is_kept_below_a_limit_in_every_point():
    """The limit holds the state in some points and not in others, and the multipliers say in which."""
    free = conductivity(()).solution(np.full(SPACE.n, np.log(1.0)))
    limit = 0.8 * free.max()
    J = conductivity(()).with_constraints(Constraint("limit", lambda u, kappa: u / limit - 1, tolerance=1e-8))
    result = minimize(J, np.zeros(SPACE.n), optimizer="slsqp", gradient_tolerance=1e-6)
    assert result.status == "converged", result.message
    state = J.solution(result.m)
    assert state.max() == pytest.approx(limit, rel=1e-7)
    held = state / limit > 1 - 1e-7
    assert 0 < held.sum() < SPACE.n
    assert (result.multipliers[held] > 0).any()
    assert result.multipliers @ (1 - state / limit) < 1e-5 * result.objective, "complementary"
    lagrangian = J.derivative(result.m) + result.multipliers @ result.constraints.jacobian
    assert np.linalg.norm(lagrangian) < 1e-3 * np.linalg.norm(J.derivative(result.m))


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda u, kappa: jnp.outer(u, u),
            r"'odd' returns an array of shape \(25, 25\); expected one number.*jnp.ravel",
        ),
        (lambda u, kappa: u[:0], r"'odd' returns an array of shape \(0,\)"),
        (lambda u, kappa: 1j * u, "'odd' returns complex numbers; expected real ones"),
        (lambda u, kappa: {"a": u}, "'odd' returns a dict; expected one real number, or some in a row"),
    ],
)
def test_a_constraint_of_a_wrong_shape_is_refused(function, message):
    J = conductivity(()).with_constraints(Constraint("odd", function))
    with pytest.raises(InputError, match=message):
        J.evaluate(np.zeros(SPACE.n))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", THREE[0].function), "the name of a constraint is ''"),
        (("volume", 0.4), r"'volume' is 0.4; expected a function of \(u, coefficient\)"),
        (("volume", THREE[0].function, ">="), "kind '>='; expected '<=' or '=='"),
        (
            ("volume", THREE[0].function, "<=", 0.0),
            "the tolerance of the constraint 'volume' is 0.0; expected a number",
        ),
    ],
)
def test_a_constraint_that_says_too_little_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Constraint(*arguments)


def test_what_is_no_constraint_or_has_a_name_twice_is_refused():
    with pytest.raises(InputError, match=r"a constraint is <function.*expected Constraint"):
        conductivity_problem(THREE[0].function)
    with pytest.raises(InputError, match="two constraints have the name 'volume'"):
        conductivity_problem(THREE[0], THREE[0])


def test_an_optimizer_that_keeps_no_constraints_is_refused_with_those_that_do():
    able = "slsqp, trust-constr, augmented-lagrangian, augmented-lagrangian.newton-cg, ipopt"
    with pytest.raises(
        OptimizerError, match=f"newton-cg keeps no equalities, and the problem has some; use one of {able}$"
    ):
        pdeopt.solve(conductivity_problem(*THREE), optimizer="newton-cg", verify=False, progress=False)


# --- runs --------------------------------------------------------------------------------------------------------

PROBLEM_FILE = """
import jax.numpy as jnp
import numpy as np
import skfem
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import Constraint, FullField, L2Misfit, Parameter, Problem, ReducedFunctional, h1

def build() -> Problem:
    ticks = np.linspace(0, 1, 5)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    data = V.nodal(lambda x: 1.0 + (x[0] > 0.5))
    functional = ReducedFunctional(lambda m: m, L2Misfit.of(FullField(), data, 0.2), h1(V, 0.5))
    return Problem(
        functional,
        np.ones(V.n),
        Parameter(V, "m"),
        constraints=[
            Constraint("mean", lambda u, m: jnp.mean(m) - 1.2),
            Constraint("ends", lambda u, m: m[jnp.array([0, -1])] - jnp.array([0.9, 1.9]), "=="),
        ],
        optimizer="slsqp",
    )
"""


@pytest.mark.slow
def test_a_run_tells_violations_and_multipliers_and_resumes(tmp_path, monkeypatch, capsys):
    from pdeopt.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mean.py").write_text(PROBLEM_FILE, encoding="utf-8")
    assert main(["run", "./mean.py", "--max-iterations", "2", "--no-pictures", "--out", "stopped", "--quiet"]) == 0
    before = rows_of(tmp_path / "stopped")
    assert len(before) == 3
    assert main(["resume", "stopped", "--max-iterations", "100", "--quiet"]) == 0, capsys.readouterr().err
    assert main(["run", "./mean.py", "--out", "whole"]) == 0
    assert "constraint mean" in capsys.readouterr().out
    resumed, whole = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("stopped", "whole"))
    rows = rows_of(tmp_path / "whole")
    assert [row["objective"] for row in rows_of(tmp_path / "stopped")] == [row["objective"] for row in rows]
    assert rows[0]["violation"] == pytest.approx(0.9)
    assert rows[-1]["violation"] <= 1e-6
    assert resumed["constraints"] == whole["constraints"]
    assert whole["constraints"]["mean"]["kind"] == "<="
    assert whole["constraints"]["mean"]["multipliers"][0] > 0
    assert whole["constraints"]["ends"]["size"] == len(whole["constraints"]["ends"]["multipliers"]) == 2
    solution = pdeopt.solve(pdeopt.build("./mean.py"), progress=False)
    assert solution.summary["constraints"] == whole["constraints"]
    assert main(["report", "whole"]) == 0
