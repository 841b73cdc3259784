"""Systems in wild units and near the ends of double precision: solved in scaled units, or refused with the reason."""

import numpy as np
import pytest
import scipy.sparse as sp
from direct_solvers import every_solver

from pdeopt.sparse import SolveError, SparsityPattern, clear_memo, resolve_solver
from pdeopt.sparse.solvers.scaling import equilibrated

KRYLOV = pytest.mark.parametrize("solver", ["cg+jacobi", "cg+amg", "minres+jacobi", "gmres+ilu", "bicgstab+ilu"])


def laplacian(n):
    return sp.diags([-np.ones(n - 1), 2.1 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1]).tocsr()


def sprinkled(n, seed):
    rng = np.random.default_rng(seed)
    return (sp.random(n, n, 0.1, random_state=rng) + 2 * sp.eye(n)).tocsr()


def solve(S, b, solver, transposed=False):
    pattern = SparsityPattern.from_scipy(S)
    columns = b if b.ndim == 2 else b[:, None]
    x = resolve_solver(solver).solve(pattern, S.data, columns, transposed)
    return x if b.ndim == 2 else x[:, 0]


def in_units(S, left, right):
    """2^left S 2^right."""
    T = sp.csr_matrix(S, copy=True)
    T.data = np.ldexp(T.data, left[np.repeat(np.arange(len(left)), np.diff(T.indptr))] + right[T.indices])
    return T


@every_solver
@pytest.mark.parametrize("rows_too", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_columns_and_rows_in_units_over_sixty_orders_of_magnitude(seed, transposed, rows_too, solver):
    rng = np.random.default_rng(seed)
    S, b = sprinkled(50, seed), rng.standard_normal(50)
    left, right = rng.integers(-100, 101, (2, 50))
    left = left if rows_too else 0 * left
    T = in_units(S, left, right)
    before, after = (right, left) if transposed else (left, right)
    x = np.ldexp(solve(T, np.ldexp(b, before), solver, transposed), after)
    exact = np.linalg.solve(S.T.toarray() if transposed else S.toarray(), b)
    np.testing.assert_allclose(x, exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())


@pytest.mark.parametrize("solver", ["cg+jacobi", "cg+amg", "minres+jacobi", "rslab", "superlu"])
@pytest.mark.parametrize("bits", [10, 40, 100])
def test_a_definite_matrix_in_wild_units_is_right_or_refused(bits, solver):
    rng = np.random.default_rng(bits)
    S, b, d = laplacian(40), rng.standard_normal(40), rng.integers(-bits, bits + 1, 40)
    clear_memo()
    try:
        x = np.ldexp(solve(in_units(S, d, d), np.ldexp(b, d), solver), d)
    except SolveError:
        assert "+" in solver
        return
    np.testing.assert_allclose(x, np.linalg.solve(S.toarray(), b), rtol=1e-6, atol=1e-6)


@every_solver
@pytest.mark.parametrize("size", [8e-322, 1e-310, 1e306])
def test_right_hand_sides_at_the_ends_of_double_precision(size, solver):
    S, shape = 1e-20 * laplacian(5) if size < 1 else laplacian(5), np.array([1.0, 0, 1, 0, 1])
    expected = np.linalg.solve(S.toarray() * (1e20 if size < 1 else 1), (size * shape) * (1e300 if size < 1 else 1e-8))
    x = solve(S, size * shape, solver) * (1e280 if size < 1 else 1e-8)
    np.testing.assert_allclose(x, expected, rtol=1e-12)


@every_solver
def test_small_and_zero_columns_are_judged_by_themselves(solver):
    b = np.random.default_rng(0).standard_normal((30, 4)) * [1e250, 0, 1e-250, 1]
    x = solve(sprinkled(30, 0), b, solver)
    np.testing.assert_array_equal(x[:, 1], 0)
    sizes = np.array([1e250, 1, 1e-250, 1])
    np.testing.assert_allclose(x / sizes, np.linalg.solve(sprinkled(30, 0).toarray(), b / sizes), rtol=1e-10)


@KRYLOV
def test_a_solution_that_underflows_is_refused_not_zero(solver):
    with pytest.raises(SolveError, match=r"the solution underflows.*other units"):
        solve(1e255 * laplacian(6), np.full(6, 1e-247), solver)


@every_solver
@pytest.mark.parametrize(("matrix", "size", "word"), [(1e255, 1e-247, "underflows"), (1e-255, 1e247, "overflows")])
def test_solutions_beyond_the_range_are_refused(matrix, size, word, solver):
    with pytest.raises(SolveError, match=f"the solution {word}"):
        solve(matrix * laplacian(6), np.full(6, size), solver)


@KRYLOV
def test_huge_matrices_are_solved_where_the_solution_is_in_range(solver):
    b = np.arange(1.0, 7)
    x = solve(1e255 * laplacian(6), b, solver) * 1e255
    np.testing.assert_allclose(x, np.linalg.solve(laplacian(6).toarray(), b), rtol=1e-8)


@every_solver
def test_a_singular_matrix_in_wild_units_is_still_refused(solver):
    rng = np.random.default_rng(0)
    S = sp.csr_matrix(np.vstack([np.ones(6), np.eye(6)[1:5], np.ones(6)]) * 1.0)
    left, right = rng.integers(-90, 91, (2, 6))
    with pytest.raises(SolveError, match="singular"):
        solve(in_units(S, left, right), np.ones(6), solver)


def test_what_is_scaled_well_is_left_as_it_is():
    S = laplacian(20)
    pattern = SparsityPattern.from_scipy(S)
    found = equilibrated(pattern, S.data)
    assert found.scaling.is_trivial
    assert found.values is S.data


def test_the_fit_undoes_units_but_for_a_common_one_and_keeps_symmetry():
    d = np.random.default_rng(0).integers(-60, 61, 20)
    T = in_units(laplacian(20), d, d)
    found = equilibrated(SparsityPattern.from_scipy(T), T.data)
    assert found.is_symmetric
    np.testing.assert_array_equal(found.scaling.rows, found.scaling.columns)
    assert 0.25 <= np.abs(found.values).min() <= np.abs(found.values).max() < 8
