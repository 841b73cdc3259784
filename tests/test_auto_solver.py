"""Solver "auto": which solver it takes, that it reports it, and that it never fails where another would not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from pdeopt.sparse import (
    CSRMatrix,
    SolveError,
    SparsityPattern,
    clear_memo,
    dense_solve_pullback,
    linear_solve,
    resolve_solver,
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
    monkeypatch.setattr(auto, "WIDE", 20)
    clear_memo()
    yield
    clear_memo()


def solved(S, b, transposed=False):
    A = CSRMatrix.from_scipy(S)
    return resolve_solver("auto").solve(A.pattern, np.asarray(A.data), b, transposed)


@pytest.mark.parametrize(("shape", "width"), [((50,), 1), ((10, 10), 10), ((30, 5), 5), ((6, 6, 6), 27)])
def test_the_widest_level_is_that_of_balls_around_a_corner(eager, shape, width):
    """Balls of the 1-norm: min(sides) in 2-D, about ¾ n² in 3-D."""
    assert widest_level(SparsityPattern.from_scipy(laplacian(shape))) == (width if np.prod(shape) > 20 else 0)


def test_small_and_narrow_matrices_are_solved_directly():
    solved(laplacian((8, 8, 8)), np.ones((512, 1)))
    assert resolve_solver("auto").name == fastest_direct().name
    assert resolve_solver("auto").rtol is None


def test_wide_definite_ones_by_multigrid_with_its_adjoint(eager):
    S, b = laplacian((8, 8, 8)), np.random.default_rng(0).standard_normal((512, 2))
    before = work.copy()
    for transposed in (False, True):
        x = solved(S, b, transposed)
        assert (np.linalg.norm(S @ x - b, axis=0) <= MULTIGRID.rtol * np.linalg.norm(b, axis=0)).all()
    assert work.since(before).set_ups == 1
    assert work.since(before).factorizations == 0
    assert (resolve_solver("auto").name, resolve_solver("auto").rtol) == ("cg+ruge-stuben", 1e-10)


@pytest.mark.parametrize(
    ("change", "columns"),
    [(lambda S: S + sp.diags(np.ones(511), 1), 1), (lambda S: S - 20 * sp.eye(512), 1), (lambda S: S, 5)],
    ids=["non-symmetric", "negative diagonal", "many right-hand sides"],
)
def test_others_are_solved_directly_however_wide(eager, change, columns):
    S, b = change(laplacian((8, 8, 8))).tocsr(), np.ones((512, columns))
    np.testing.assert_allclose(S @ solved(S, b), b, atol=1e-9)
    assert resolve_solver("auto").name == fastest_direct().name


def test_a_direct_solver_takes_over_where_multigrid_fails(eager, monkeypatch):
    S = laplacian((8, 8, 8)) - 2.9 * sp.eye(512)  # positive diagonal, indefinite
    before = work.copy()
    for _ in range(2):
        np.testing.assert_allclose(S @ solved(sp.csr_matrix(S), np.ones((512, 1))), np.ones((512, 1)), atol=1e-9)
    assert work.since(before).set_ups == 1  # not tried again for this pattern
    assert resolve_solver("auto").name == fastest_direct().name


def test_data_that_are_not_finite_are_no_reason_to_give_up_multigrid(eager):
    S, b = laplacian((8, 8, 8)), np.ones((512, 1))
    with pytest.raises(SolveError, match="b is not finite"):
        solved(S, np.where(np.arange(512)[:, None] == 3, np.nan, b))
    solved(S, b)
    assert resolve_solver("auto").name == "cg+ruge-stuben"


def test_an_unknown_that_stands_alone_does_not_hide_the_others(eager):
    S = sp.block_diag([sp.eye(1), laplacian((8, 8, 8))]).tocsr()
    assert widest_level(SparsityPattern.from_scipy(S)) == widest_level(SparsityPattern.from_scipy(laplacian((8, 8, 8))))


def test_derivatives_through_multigrid_equal_the_dense_rule(eager):
    S = laplacian((6, 6, 6)) + sp.diags(np.linspace(0, 1, 216))
    A, (b, x_bar) = CSRMatrix.from_scipy(S), np.random.default_rng(0).standard_normal((2, 216))
    x, A_bar, b_bar = dense_solve_pullback(S.toarray(), b, x_bar)
    got, pullback = jax.vjp(lambda A, b: linear_solve(A, b, "auto"), A, jnp.asarray(b))
    A_pulled, b_pulled = pullback(jnp.asarray(x_bar))
    assert resolve_solver("auto").name == "cg+ruge-stuben"
    np.testing.assert_allclose(got, x, atol=1e-8)
    np.testing.assert_allclose(b_pulled, b_bar, atol=1e-8)
    np.testing.assert_allclose(A_pulled.data, A_bar[A.pattern.rows, A.pattern.indices], atol=1e-8)
