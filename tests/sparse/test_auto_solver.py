"""Solver "auto": which solver it takes, that it reports it, and that it never fails where another would not."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from pdeopt.inversion.minimization import accuracy_of
from pdeopt.pde import FunctionState, LinearStateEquation
from pdeopt.run.execution.request import solver_name
from pdeopt.sparse import (
    CG,
    CSRMatrix,
    SolveError,
    SparsityPattern,
    chosen_solver,
    clear_memo,
    dense_solve_pullback,
    forgetting,
    linear_solve,
    resolve_solver,
    solver_accuracy,
    work,
)
from pdeopt.sparse.solvers import auto
from pdeopt.sparse.solvers.auto import MULTIGRID, fastest_direct, widest_level


def laplacian(shape):
    total = sp.csr_matrix((1, 1))
    for n in shape:
        line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))
        total = sp.kron(total, sp.eye(n)) + sp.kron(sp.eye(total.shape[0]), line)
    return sp.csr_matrix(total)


@pytest.fixture
def eager(monkeypatch):
    """Multigrid for small matrices, too."""
    monkeypatch.setattr(auto, "MAX_DIRECT_WIDTH", 20)
    clear_memo()
    yield
    clear_memo()


def chosen(S, columns=1):
    A = CSRMatrix.from_scipy(S)
    return resolve_solver("auto").chosen(A.pattern, np.asarray(A.data), columns)


def solved(S, b, transposed=False):
    A = CSRMatrix.from_scipy(S)
    return resolve_solver("auto").solve(A.pattern, np.asarray(A.data), b, transposed)


@pytest.mark.parametrize(("shape", "width"), [((50,), 1), ((10, 10), 10), ((30, 5), 5), ((6, 6, 6), 27)])
def test_the_widest_level_is_that_of_balls_around_a_corner(eager, shape, width):
    """Balls of the 1-norm: min(sides) in 2-D, about ¾ n² in 3-D."""
    assert widest_level(SparsityPattern.from_scipy(laplacian(shape))) == (width if np.prod(shape) > 20 else 0)


def test_small_and_narrow_matrices_are_solved_directly():
    assert chosen(laplacian((8, 8, 8))) is fastest_direct()
    assert solver_accuracy(chosen(laplacian((8, 8, 8)))) == 1e-13


def test_wide_definite_ones_by_multigrid_with_its_adjoint(eager):
    S, b = laplacian((8, 8, 8)), np.random.default_rng(0).standard_normal((512, 2))
    before = work.copy()
    for transposed in (False, True):
        x = solved(S, b, transposed)
        assert (np.linalg.norm(S @ x - b, axis=0) <= MULTIGRID.rtol * np.linalg.norm(b, axis=0)).all()
    assert work.since(before).set_ups == 1
    assert work.since(before).factorizations == 0
    assert (chosen(S, 2).name, solver_accuracy(chosen(S, 2))) == ("cg+ruge-stuben", 1e-10)


@pytest.mark.parametrize(
    ("change", "columns"),
    [(lambda S: S + sp.diags(np.ones(511), 1), 1), (lambda S: S - 20 * sp.eye(512), 1), (lambda S: S, 5)],
    ids=["non-symmetric", "negative diagonal", "many right-hand sides"],
)
def test_others_are_solved_directly_however_wide(eager, change, columns):
    S, b = change(laplacian((8, 8, 8))).tocsr(), np.ones((512, columns))
    before = work.copy()
    np.testing.assert_allclose(S @ solved(S, b), b, atol=1e-9)
    assert chosen(S, columns) is fastest_direct()
    assert work.since(before).set_ups == 0


def test_a_direct_solver_takes_over_where_multigrid_fails(eager, monkeypatch):
    S = laplacian((8, 8, 8)) - 2.9 * sp.eye(512)  # positive diagonal, indefinite
    before = work.copy()
    for _ in range(2):
        np.testing.assert_allclose(S @ solved(sp.csr_matrix(S), np.ones((512, 1))), np.ones((512, 1)), atol=1e-9)
    assert work.since(before).set_ups == 1  # not tried again for these values
    solved(sp.csr_matrix(S + 3 * sp.eye(512)), np.ones((512, 1)))
    assert work.since(before).set_ups == 2  # but for others


def test_data_that_are_not_finite_are_no_reason_to_give_up_multigrid(eager):
    S, b = laplacian((8, 8, 8)), np.ones((512, 1))
    with pytest.raises(SolveError, match="b is not finite"):
        solved(S, np.where(np.arange(512)[:, None] == 3, np.nan, b))
    before = work.copy()
    solved(S, b)
    assert work.since(before).factorizations == 0


def test_an_unknown_that_stands_alone_does_not_hide_the_others(eager):
    S = sp.block_diag([sp.eye(1), laplacian((8, 8, 8))]).tocsr()
    assert widest_level(SparsityPattern.from_scipy(S)) == widest_level(SparsityPattern.from_scipy(laplacian((8, 8, 8))))


def test_derivatives_through_multigrid_equal_the_dense_rule(eager):
    S = laplacian((6, 6, 6)) + sp.diags(np.linspace(0, 1, 216))
    A, (b, x_bar) = CSRMatrix.from_scipy(S), np.random.default_rng(0).standard_normal((2, 216))
    x, A_bar, b_bar = dense_solve_pullback(S.toarray(), b, x_bar)
    assert chosen(A.to_scipy()).name == "cg+ruge-stuben"
    got, pullback = jax.vjp(lambda A, b: linear_solve(A, b, "auto"), A, jnp.asarray(b))
    A_pulled, b_pulled = pullback(jnp.asarray(x_bar))
    np.testing.assert_allclose(got, x, atol=1e-8)
    np.testing.assert_allclose(b_pulled, b_bar, atol=1e-8)
    np.testing.assert_allclose(A_pulled.data, A_bar[A.pattern.rows, A.pattern.indices], atol=1e-8)


# --- nothing remembered changes a choice, an accuracy or a number ----------------------------------------------------


def answers_of(S, b, failing=False):
    """What is said of a system and its solution, and the solution."""
    A = CSRMatrix.from_scipy(S)
    equation = LinearStateEquation(lambda load: (A, load))
    assert equation.accuracy(b) == solver_accuracy(equation.chosen_solver(b))
    return equation.chosen_solver(b).name, equation.accuracy(b), np.asarray(equation(b))


def systems():
    """A wide one, a narrow one, a wide one on which multigrid fails, and the pattern of that with other values."""
    wide, b = laplacian((8, 8, 8)), jnp.asarray(np.random.default_rng(0).standard_normal(512))
    indefinite = sp.csr_matrix(laplacian((8, 8, 9)) - 2.9 * sp.eye(576))
    definite = laplacian((8, 8, 9))
    loads = jnp.asarray(np.random.default_rng(1).standard_normal(576))
    return [(wide, b), (laplacian((5, 60)), b[:300]), (indefinite, loads), (definite, loads)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 2, 0, 1, 3)])
def test_what_was_solved_before_changes_no_name_no_accuracy_and_no_number(eager, order):
    alone = []
    for system in systems():
        clear_memo()
        alone.append(answers_of(*system))
    assert [name for name, *_ in alone] == ["cg+ruge-stuben", fastest_direct().name, *["cg+ruge-stuben"] * 2]
    clear_memo()
    for k in order:
        name, accuracy, x = answers_of(*systems()[k])
        assert (name, accuracy) == alone[k][:2]
        if {2, 3} <= set(order) and k == 3:  # the same pattern: a preconditioner may be that of the other values
            np.testing.assert_allclose(systems()[k][0] @ x, systems()[k][1], atol=1e-9)
        else:
            np.testing.assert_array_equal(x, alone[k][2])


def test_the_choice_needs_no_values_but_of_wide_systems(eager):
    """They are traced, and evaluated only where symmetry and signs decide."""
    seen = []

    def system(S):
        A = CSRMatrix.from_scipy(S)

        def evaluated(load):
            seen.append(isinstance(load, jax.core.Tracer))
            return A, load

        return evaluated

    assert chosen_solver(system(laplacian((30, 5))), jnp.ones(150)) is fastest_direct()
    assert seen == [True]
    assert chosen_solver(system(laplacian((8, 8, 8))), jnp.ones(512)) is MULTIGRID
    assert seen == [True, True, False]
    assert chosen_solver(system(laplacian((8, 8, 8))), jnp.ones((512, 5))) is fastest_direct()
    assert chosen_solver(system(laplacian((8, 8, 8))), jnp.ones(512, complex)) is fastest_direct()
    assert chosen_solver(None, None, CG(rtol=1e-6)) == CG(rtol=1e-6)


def test_a_failure_inside_of_forgetting_is_forgotten(eager):
    S, b = sp.csr_matrix(laplacian((8, 8, 8)) - 2.9 * sp.eye(512)), np.ones((512, 1))
    with forgetting():
        solved(S, b)
    before = work.copy()
    solved(S, b)
    assert work.since(before).set_ups == 1, "tried again"
    with forgetting():
        pass
    before = work.copy()
    solved(S, b)
    assert work.since(before).set_ups == 0, "remembered from before"


def conductivity(**options):
    path = Path(__file__).parents[2] / "problems" / "conductivity.py"
    spec = importlib.util.spec_from_file_location("conductivity", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(**options)


@pytest.mark.slow
def test_simulating_on_a_wide_mesh_changes_neither_accuracy_nor_name_of_the_inversion(monkeypatch):
    """In 3-D data are simulated by multigrid, on 7 cells a side with quadratic elements, and inverted directly."""
    monkeypatch.setattr(auto, "MAX_DIRECT_WIDTH", 100)
    clear_memo()

    def answers():
        problem = conductivity(dim=3, n=4)
        coefficient = problem.functional.coefficient(problem.initial)
        name, accuracy = problem.functional.state.chosen_solver(coefficient).name, accuracy_of(problem)
        return name, accuracy, problem.functional.value_and_derivative(problem.initial)

    before = work.copy()
    name, accuracy, (value, derivative) = answers()
    assert work.since(before).set_ups == 1, "the simulation is by multigrid"
    assert (name, accuracy) == (fastest_direct().name, 1e-13)
    solved(laplacian((12, 12, 12)), np.ones((1728, 1)))
    conductivity(dim=2, n=4)
    again = answers()
    assert again[:2] == (name, accuracy)
    assert again[2][0] == value
    np.testing.assert_array_equal(again[2][1], derivative)
    clear_memo()


class Inexact:
    """A solver of a user, which states what it leaves."""

    name, rtol = "inexact", 1e-5

    def solve(self, pattern, data, rhs, transposed):
        return resolve_solver("superlu").solve(pattern, data, rhs, transposed)


@pytest.mark.parametrize(
    ("solver", "name", "accuracy"),
    [
        ("superlu", "superlu", 1e-13),
        ("cg+amg", "cg+amg", 1e-10),
        (CG(rtol=1e-15), "cg+jacobi", 1e-13),
        (Inexact(), "inexact", 1e-5),
    ],
)
def test_a_run_asks_the_state_equation_for_solver_and_accuracy(solver, name, accuracy):
    problem = conductivity(n=4).with_solver(solver)
    assert accuracy_of(problem) == accuracy
    assert solver_name(problem, "rslab") == name
    functional = problem.functional
    plain = replace(
        problem, functional=replace(functional, state=FunctionState(functional.state, functional.state.axes))
    )
    assert accuracy_of(plain) == 1e-13, "nothing is known of a function"
    assert solver_name(plain, "rslab") == "rslab"
    assert solver_name(plain) is None
