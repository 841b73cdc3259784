"""Matrices of blocks against SciPy's, their derivatives, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from pdeopt.sparse import CSRMatrix, SolveError, block_matrix, diagonal_matrix, linear_solve
from pdeopt.sparse.blocks import _layout


def random_matrix(rows, cols, seed=0, density=0.4):
    rng = np.random.default_rng(seed)
    return sp.random(rows, cols, density, random_state=rng, data_rvs=rng.standard_normal).tocsr()


A, B, C, D = random_matrix(5, 5, 1), random_matrix(5, 3, 2), random_matrix(2, 5, 3), random_matrix(2, 3, 4)
LAYOUTS = {
    "full": [[A, B], [C, D]],
    "with zeros": [[None, B], [C, None]],
    "one row": [[A, None, B], [None, D, None]],
    "a single block": [[B]],
    "a block without entries": [[A, sp.csr_matrix((5, 4))]],
    "complex": [[A * 1j, B]],
}


def converted(blocks):
    return [[None if block is None else CSRMatrix.from_scipy(block) for block in row] for row in blocks]


@pytest.mark.parametrize("blocks", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("transform", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_equal_to_scipy(blocks, transform):
    got, want = transform(block_matrix)(converted(blocks)).to_scipy(), sp.block_array(blocks).tocsr()
    assert got.shape == want.shape
    assert got.nnz == sum(block.nnz for row in blocks for block in row if block is not None)
    assert got.has_canonical_format
    np.testing.assert_array_equal(got.toarray(), want.toarray())


def test_stored_zeros_stay_stored():
    zero = CSRMatrix(jnp.zeros(A.nnz), CSRMatrix.from_scipy(A).pattern)
    assert block_matrix([[zero, CSRMatrix.from_scipy(B)]]).pattern.nnz == A.nnz + B.nnz


def test_derivative_in_the_data_of_every_block():
    parts, x = converted(LAYOUTS["full"]), np.arange(1.0, 9.0)
    weight = np.arange(1.0, 8.0)

    def pairing(parts):
        return jnp.vdot(weight, block_matrix(parts) @ x)

    derivative = jax.grad(pairing)(parts)
    for top, i in ((0, 0), (5, 1)):
        for left, j in ((0, 0), (5, 1)):
            pattern = parts[i][j].pattern
            expected = weight[top + pattern.rows] * x[left + pattern.indices]
            np.testing.assert_array_equal(derivative[i][j].data, expected)


def test_derivative_through_a_solve_equals_the_dense_one():
    S, T, coupling = sp.csr_matrix(A @ A.T + 5 * sp.eye(5)), 4 * sp.eye(3).tocsr(), CSRMatrix.from_scipy(B)
    fixed = converted([[S, T]])[0]

    def dense(data):
        K = jnp.zeros((5, 3)).at[coupling.pattern.rows, coupling.pattern.indices].set(data)
        return jnp.sum(jnp.linalg.solve(jnp.block([[S.toarray(), K], [K.T, T.toarray()]]), jnp.ones(8)) ** 2)

    def sparse(data):
        K = CSRMatrix(data, coupling.pattern)
        return jnp.sum(linear_solve(block_matrix([[fixed[0], K], [K.T, fixed[1]]]), jnp.ones(8)) ** 2)

    np.testing.assert_allclose(jax.grad(sparse)(coupling.data), jax.grad(dense)(coupling.data), rtol=1e-10)


def test_the_pattern_is_made_once():
    _layout.cache_clear()
    first, second = block_matrix(converted(LAYOUTS["full"])), block_matrix(converted([[2 * A, B], [C, D]]))
    assert first.pattern is second.pattern


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([[A, B], [C]], r"rows of blocks have lengths \[2, 1\]"),
        ([], "lengths"),
        ([[]], "lengths"),
        ([[A, C]], r"row 0 have different heights: \[5, 2\]"),
        ([[A], [B]], r"column 0 have different widths: \[5, 3\]"),
        ([[A, None], [C, None]], "column 1 of the blocks is all None"),
        ([[A, B], [None, None]], "row 1 of the blocks is all None"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(blocks, message):
    with pytest.raises(SolveError, match=message):
        block_matrix(converted(blocks))


def test_another_kind_of_matrix_is_refused():
    with pytest.raises(SolveError, match="a block is a csr_matrix; expected a CSRMatrix or None"):
        block_matrix([[A]])


def test_a_diagonal_matrix():
    values = np.array([2.0, 0.0, -1.5])
    np.testing.assert_array_equal(diagonal_matrix(values).to_scipy().toarray(), np.diag(values))
