"""Patterns and CSR matrices: structure, arithmetic, and their life as JAX pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from pdeopt.sparse import CSRMatrix, SolveError, SparsityPattern

WITH_ZERO = sp.csr_matrix((np.array([1.0, 0.0, 2.0, 3.0]), np.array([0, 2, 1, 2]), np.array([0, 2, 2, 4])), (3, 3))


def random_matrix(rows, cols, seed=0, density=0.4):
    rng = np.random.default_rng(seed)
    return sp.random(rows, cols, density, random_state=rng, data_rvs=rng.standard_normal).tocsr()


@pytest.mark.parametrize(
    "S",
    [
        pytest.param(WITH_ZERO, id="explicit zero and empty row"),
        pytest.param(random_matrix(4, 7), id="wide"),
        pytest.param(random_matrix(7, 4), id="tall"),
        pytest.param(random_matrix(5, 5).astype(complex) * 1j, id="complex"),
        pytest.param(sp.csr_matrix((3, 3)), id="no entries"),
        pytest.param(sp.csr_array(WITH_ZERO), id="sparse array"),
        pytest.param(random_matrix(5, 5).tocsc(), id="from CSC"),
        pytest.param(random_matrix(5, 5).tocoo(), id="from COO"),
    ],
)
def test_from_scipy_and_back_keeps_every_stored_entry(S):
    A = CSRMatrix.from_scipy(S)
    back = A.to_scipy()
    assert A.pattern.nnz == back.nnz == S.nnz
    assert A.shape == S.shape
    np.testing.assert_array_equal(back.toarray(), S.toarray())
    assert back.has_canonical_format


def test_from_scipy_sorts_columns_and_adds_duplicates_without_touching_its_argument():
    S = sp.csr_matrix((np.array([1.0, 2.0, 4.0]), np.array([2, 0, 2]), np.array([0, 3, 3, 3])), (3, 3))
    A = CSRMatrix.from_scipy(S)
    np.testing.assert_array_equal(A.pattern.indices, [0, 2])
    np.testing.assert_array_equal(A.data, [2.0, 5.0])
    assert S.nnz == 3
    with pytest.raises(SolveError, match="sum_duplicates"):
        SparsityPattern.from_scipy(S)


@pytest.mark.parametrize("k", [None, 1, 3])
@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (7, 4)])
def test_products_and_transposes_equal_dense_ones(shape, k):
    S = random_matrix(*shape)
    A = CSRMatrix.from_scipy(S)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape[1:] if k is None else (shape[1], k))
    y = rng.standard_normal(shape[:1] if k is None else (shape[0], k))
    np.testing.assert_allclose(A @ x, S.toarray() @ x, atol=1e-14)
    np.testing.assert_allclose(A.T @ y, S.toarray().T @ y, atol=1e-14)
    np.testing.assert_array_equal(A.T.to_scipy().toarray(), S.toarray().T)
    assert A.T.T.pattern == A.pattern
    np.testing.assert_array_equal(A.T.T.data, A.data)


def test_sums_differences_and_scalar_products_of_different_patterns():
    S, T = random_matrix(6, 5, seed=1), random_matrix(6, 5, seed=2)
    A, B = CSRMatrix.from_scipy(S), CSRMatrix.from_scipy(T)
    expected = {
        "A + B": (A + B, S + T),
        "A − B": (A - B, S - T),
        "A + A": (A + A, 2 * S),
        "−A": (-A, -S),
        "2 A": (2 * A, 2 * S),
        "A 2": (A * 2.0, 2 * S),
        "NumPy scalar": (np.float64(2.0) * A, 2 * S),
        "JAX scalar": (jnp.asarray(2.0) * A, 2 * S),
        "complex": (1j * A + B, 1j * S + T),
    }
    for name, (got, want) in expected.items():
        np.testing.assert_allclose(got.to_scipy().toarray(), want.toarray(), atol=1e-15, err_msg=name)
    assert (A + A).pattern is A.pattern
    assert (A + B).pattern == (B + A).pattern


def test_errors_of_arithmetic():
    A = CSRMatrix.from_scipy(random_matrix(4, 3))
    with pytest.raises(SolveError, match=r"expected \(3,\) or \(3, k\)"):
        A @ np.ones(4)
    with pytest.raises(SolveError, match=r"shapes \(4, 3\) and \(3, 4\)"):
        A + A.T
    with pytest.raises(TypeError, match="scalar"):
        A * np.ones(3)
    with pytest.raises(TypeError):
        A + 1.0
    assert "4 x 3" in repr(A)
    assert "nnz" in repr(A.pattern)


def test_patterns_are_equal_and_hash_equal_by_content():
    S = random_matrix(5, 5)
    first, second = SparsityPattern.from_scipy(S), SparsityPattern.from_scipy(S.copy())
    assert first is not second
    assert first == second
    assert hash(first) == hash(second)
    assert first != SparsityPattern.from_scipy(random_matrix(5, 5, seed=3))
    assert first != "a pattern"
    # the same arrays with another shape are another pattern
    wider = SparsityPattern(first.indptr, first.indices, (5, 9))
    assert first != wider
    assert len({first, second, wider}) == 2


def test_from_entries_finds_the_place_of_every_entry():
    rows, cols = np.array([[2, 0], [2, 0]]), np.array([[1, 3], [1, 0]])
    pattern, place = SparsityPattern.from_entries(rows, cols, (3, 4))
    np.testing.assert_array_equal(pattern.rows[place], rows)
    np.testing.assert_array_equal(pattern.indices[place], cols)
    assert pattern.nnz == 3
    np.testing.assert_array_equal(np.diff(pattern.indptr), [2, 0, 1])  # row 1 is empty


def test_union_holds_both_and_says_where():
    a = SparsityPattern.from_scipy(random_matrix(5, 4, seed=1))
    b = SparsityPattern.from_scipy(random_matrix(5, 4, seed=2))
    both, here, there = a.union(b)
    for part, carried in ((a, here), (b, there)):
        values = np.arange(1.0, part.nnz + 1)
        A, wanted = CSRMatrix(carried(values), both), CSRMatrix(jnp.asarray(values), part)
        np.testing.assert_array_equal(A.to_scipy().toarray(), wanted.to_scipy().toarray())
    assert both.nnz == np.count_nonzero(here(np.ones(a.nnz)) + there(np.ones(b.nnz)))


def test_submatrix_equals_slicing():
    S = random_matrix(6, 7)
    rows, cols = np.array([0, 2, 5]), np.array([1, 2, 6])
    pattern, kept = SparsityPattern.from_scipy(S).submatrix(rows, cols)
    sub = CSRMatrix(jnp.asarray(S.data[kept]), pattern)
    np.testing.assert_array_equal(sub.to_scipy().toarray(), S.toarray()[np.ix_(rows, cols)])


def test_a_matrix_is_a_pytree_whose_only_leaf_is_data():
    A = CSRMatrix.from_scipy(random_matrix(5, 5))
    leaves, structure = jax.tree.flatten(A)
    assert len(leaves) == 1
    assert leaves[0] is A.data
    assert jax.tree.unflatten(structure, leaves).pattern is A.pattern
    doubled = jax.tree.map(lambda leaf: 2 * leaf, A)
    np.testing.assert_array_equal(doubled.data, 2 * A.data)


def test_equal_patterns_share_compiled_code():
    traces = []

    @jax.jit
    def total(A, x):
        traces.append(A.pattern)
        return (A @ x).sum()

    S = random_matrix(5, 5)
    for scale in (1.0, 2.0):
        A = CSRMatrix.from_scipy(scale * S)
        assert total(A, np.ones(5)) == pytest.approx(scale * S.sum())
    assert len(traces) == 1
    total(CSRMatrix.from_scipy(random_matrix(5, 5, seed=9)), np.ones(5))
    assert len(traces) == 2


def test_gradients_through_products_transposes_and_sums():
    S, T = random_matrix(5, 5, seed=1), random_matrix(5, 5, seed=2)
    A, B = CSRMatrix.from_scipy(S), CSRMatrix.from_scipy(T)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5))

    def form(A, B, x):
        return jnp.dot(y, (A + 3.0 * B.T) @ x)

    A_bar, B_bar, x_bar = jax.grad(form, argnums=(0, 1, 2))(A, B, x)
    outer = np.outer(y, x)
    np.testing.assert_allclose(A_bar.data, outer[A.pattern.rows, A.pattern.indices], atol=1e-14)
    np.testing.assert_allclose(B_bar.data, 3 * outer.T[B.pattern.rows, B.pattern.indices], atol=1e-14)
    np.testing.assert_allclose(x_bar, (S + 3 * T.T).T @ y, atol=1e-14)
