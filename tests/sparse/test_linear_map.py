"""Sparse linear maps as gathers: equal to the dense matrix in values and in all derivatives, without scatters."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from pdeopt.sparse import LinearMap, SparsityPattern, materialized, with_stored_derivatives
from pdeopt.sparse.linear_map import BUNDLE_LENGTHS, MAX_READINGS, LongRows, grouped
from pdeopt.sparse.solvers.krylov import row_blocks
from pdeopt.sparse.solvers.krylov.row_blocks import RowBlocks

RNG = np.random.default_rng(0)


def random_entries(count, shape, seed=0):
    """With duplicates."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, shape[0], count), rng.integers(0, shape[1], count), shape


def rows_of_lengths(lengths, columns):
    lengths = np.asarray(lengths)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    cols = np.random.default_rng(1).integers(0, columns, len(rows))
    order = np.random.default_rng(2).permutation(len(rows))
    return rows[order], cols[order], (len(lengths), columns)


LONG = BUNDLE_LENGTHS[-1] + 1
CASES = {
    "a few": random_entries(12, (5, 7)),
    "duplicates": (np.array([1, 1, 0, 1, 2]), np.array([2, 2, 0, 1, 2]), (3, 3)),
    "duplicates only": (np.zeros(5, int), np.zeros(5, int), (1, 1)),
    "empty rows and columns": (np.array([1, 4, 4]), np.array([2, 5, 2]), (8, 9)),
    "no entries": (np.zeros(0, int), np.zeros(0, int), (3, 4)),
    "no rows": (np.zeros(0, int), np.zeros(0, int), (0, 4)),
    "no columns": (np.zeros(0, int), np.zeros(0, int), (4, 0)),
    "equal rows in order": (np.repeat(np.arange(6), 2), np.arange(12) % 5, (6, 5)),
    "a long row": rows_of_lengths([3, LONG, 0, 1], 90),
    "long rows only": rows_of_lengths([LONG, 2 * LONG], 40),
    "long columns": (*rows_of_lengths([3, LONG, 0, 1], 90)[1::-1], (90, 4)),
    "each bundle's longest row": rows_of_lengths(RNG.permutation(BUNDLE_LENGTHS), 60),
    "rows of many lengths": rows_of_lengths(RNG.permutation([*range(11), 13, LONG, LONG + 4]), 80),
    "many entries for few rows": rows_of_lengths([MAX_READINGS + 1] * 6, 200),
    "many entries for few columns": rows_of_lengths([2] * 60, 5),
}
WEIGHTS = ["ones", "real"]


def weights_of(case, kind):
    return None if kind == "ones" else np.random.default_rng(3).standard_normal(len(case[0]))


def dense(case, weights=None):
    rows, cols, shape = case
    D = np.zeros(shape, float if weights is None else weights.dtype)
    np.add.at(D, (rows, cols), 1.0 if weights is None else weights)
    return D


def values(size, trailing=(), seed=4):
    return np.random.default_rng(seed).standard_normal((size, *trailing))


def assert_close(got, want, tolerance=1e-13):
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1.0, np.abs(want).max(initial=0)))


def curved(S):
    return lambda x: jnp.sin(S(x)).sum()


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_map_equals_its_dense_matrix_and_the_transposed_map_the_transposed_one(case, kind):
    weights = weights_of(case, kind)
    S, D = LinearMap.from_entries(*case, weights), dense(case, weights)
    assert S.shape == D.shape
    assert S.T.shape == D.T.shape
    for trailing in ((), (3,)):
        x, y = values(D.shape[1], trailing), values(D.shape[0], trailing)
        assert_close(S(x), np.tensordot(D, x, 1))
        assert_close(S.T(y), np.tensordot(D.T, y, 1))
        assert_close(S.T.T(x), np.tensordot(D, x, 1))


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_image_on_the_host_is_the_same(case, kind):
    weights = weights_of(case, kind)
    x = np.asarray(values(case[2][1]))
    assert_close(LinearMap.from_entries(*case, weights).on_host(x), dense(case, weights) @ x)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("name", ["a few", "empty rows and columns", "rows of many lengths", "a long row"])
def test_complex_values_and_complex_weights_are_mapped(name, kind):
    case = CASES[name]
    weights = weights_of(case, kind)
    D = dense(case, weights)
    z = values(D.shape[1]) + 1j * values(D.shape[1], seed=5)
    assert_close(LinearMap.from_entries(*case, weights)(z), D @ z)
    turned = np.exp(1j * np.arange(len(case[0])))
    T = LinearMap.from_entries(*case, turned)
    assert_close(T(z), dense(case, turned) @ z)
    assert_close(T(z.real), dense(case, turned) @ z.real)
    assert_close(T.T(np.ones(D.shape[0])), dense(case, turned).T @ np.ones(D.shape[0]))


def test_entries_may_have_any_shape_and_type_of_integers():
    rows, cols = np.array([[0, 1], [2, 0]], np.int64), np.array([[1, 1], [0, 1]], np.uint8)
    S = LinearMap.from_entries(rows, cols, (3, 2), np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(S(np.eye(2)), [[0.0, 5.0], [0.0, 2.0], [3.0, 0.0]])


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_a_selection_is_indexing_and_its_transpose_adds_up(shape):
    indices = np.array([3, 0, 3, 4, 3, 0]).reshape(shape)
    S = LinearMap.selection(indices, 6)
    x = values(6, (2,))
    np.testing.assert_array_equal(S(x), x[indices.ravel()])
    np.testing.assert_array_equal(S.T(np.arange(1.0, 7)), [8.0, 0.0, 0.0, 9.0, 4.0, 0.0])
    assert S.rows.order is None


@pytest.mark.parametrize("name", ["a few", "rows of many lengths", "no entries"])
def test_a_compiled_function_takes_a_map_as_an_argument_and_from_outside(name):
    case = CASES[name]
    weights = weights_of(case, "real")
    S, D = LinearMap.from_entries(*case, weights), dense(case, weights)
    x, y = values(D.shape[1]), values(D.shape[0])
    as_argument = jax.jit(lambda S, x: S(x))
    assert_close(as_argument(S, x), D @ x)
    assert_close(as_argument(S.T, y), D.T @ y)
    assert_close(jax.jit(lambda x: S(x))(x), D @ x)
    gradient = jax.jit(lambda S, x: jax.grad(curved(S))(x))
    assert_close(gradient(S, x), D.T @ np.cos(D @ x))
    other = LinearMap.from_entries(*case, 2 * weights)
    assert_close(as_argument(other, x), 2 * D @ x)
    assert as_argument._cache_size() == (2 if S.T.shape != S.shape else 1)  # other weights, same program


def test_a_map_passes_through_loops_and_checkpoints():
    case = random_entries(20, (6, 6))
    weights = 0.2 * weights_of(case, "real")
    S, D = LinearMap.from_entries(*case, weights), dense(case, weights)

    def looped(S, x):
        return jax.lax.scan(lambda c, _: (jnp.sin(S.T(S(c))), None), x, None, length=3)[0].sum()

    def written_out(x):
        for _ in range(3):
            x = jnp.sin(D.T @ (D @ x))
        return x.sum()

    x = values(6)
    want = jax.grad(written_out)(x)
    assert_close(jax.jit(jax.grad(looped, argnums=1))(S, x), want)
    assert_close(jax.grad(lambda x: jax.checkpoint(looped)(S, x))(x), want)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize(
    "name", ["a few", "duplicates", "empty rows and columns", "no entries", "a long row", "rows of many lengths"]
)
def test_jacobians_in_both_modes_and_second_derivatives_are_those_of_the_dense_matrix(name, kind):
    case = CASES[name]
    weights = weights_of(case, kind)
    S, D = LinearMap.from_entries(*case, weights), dense(case, weights)
    x = values(D.shape[1])
    assert_close(jax.jacfwd(S)(x), D)
    assert_close(jax.jacrev(S)(x), D)
    hessian = -D.T @ (np.sin(D @ x)[:, None] * D)
    for forward_or_reverse in (jax.jacfwd, jax.jacrev):
        assert_close(forward_or_reverse(jax.grad(curved(S)))(x), hessian)
    assert_close(jax.jvp(jax.grad(curved(S)), (x,), (x,))[1], hessian @ x)


@pytest.mark.slow
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["as it is", "compiled"])
@pytest.mark.parametrize("name", ["a few", "rows of many lengths", "many entries for few columns"])
def test_vmap_over_any_axis_equals_a_loop(name, transform):
    case = CASES[name]
    weights = weights_of(case, "real")
    S, D = LinearMap.from_entries(*case, weights), dense(case, weights)
    n = D.shape[1]
    X = values(n, (3,))
    assert_close(transform(jax.vmap(S, in_axes=1, out_axes=1))(X), D @ X)
    assert_close(transform(jax.vmap(S, in_axes=-1))(X), (D @ X).T)
    assert_close(transform(jax.vmap(S))(X.T), (D @ X).T)
    Y = values(n, (2, 3))
    assert_close(transform(jax.vmap(S, in_axes=1, out_axes=1))(Y), np.tensordot(D, Y, 1))
    assert_close(transform(jax.vmap(jax.vmap(S, 1, 1), 2, 2))(Y), np.tensordot(D, Y, 1))
    assert_close(transform(jax.vmap(jax.grad(curved(S)), 1, 1))(X), D.T @ np.cos(D @ X))
    assert_close(jax.vmap(lambda S, x: S(x), in_axes=(None, 1), out_axes=1)(S, X), D @ X)


def test_linear_transpose_gives_the_transposed_map():
    for name in ("a few", "rows of many lengths", "empty rows and columns"):
        case = CASES[name]
        weights = weights_of(case, "real")
        S, D = LinearMap.from_entries(*case, weights), dense(case, weights)
        y = values(D.shape[0], (2,))
        (got,) = jax.linear_transpose(S, jnp.zeros((D.shape[1], 2)))(y)
        assert_close(got, D.T @ y)


def test_differentiating_in_the_weights_is_refused_with_a_way_out():
    rows, cols, shape = CASES["a few"]
    x = values(shape[1])

    def of_weights(S):
        return S(x).sum()

    S = LinearMap.from_entries(rows, cols, shape, np.ones(len(rows)))
    with pytest.raises(NotImplementedError, match=r"weights of a LinearMap are constants.*CSRMatrix"):
        jax.grad(of_weights, allow_int=True)(S)
    with pytest.raises(NotImplementedError, match="CSRMatrix"):
        jax.jvp(lambda s: jax.tree.map(lambda a: s * a if a.dtype == float else a, S)(x), (1.0,), (1.0,))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["a few", "all lengths", "a long row"])
def test_spread_is_the_product_with_the_matrix_of_weights(case):
    cells, per_cell = 9, 4
    rows = {
        "a few": np.random.default_rng(1).integers(0, 7, cells * per_cell),
        "all lengths": np.repeat(np.arange(9), np.arange(9))[np.random.default_rng(1).permutation(cells * per_cell)],
        "a long row": np.zeros(LONG * per_cell, int),
    }[case]
    cells, count = len(rows) // per_cell, len(rows)
    S = LinearMap.from_entries(rows, np.arange(count), (9, count))
    weights = np.random.default_rng(2).standard_normal((per_cell, cells))
    W = np.zeros((count, cells))
    W[np.arange(count), np.arange(count) % cells] = weights.ravel()
    D = dense((rows, np.arange(count), (9, count))) @ W
    T = S.spread(weights)
    x, y = values(cells, (2,)), values(9, (2,))
    assert T.shape == D.shape
    assert_close(T(x), D @ x)
    assert_close(T.T(y), D.T @ y)
    assert np.isnan(T(np.append(np.nan, np.ones(cells - 1)))).tolist() == (D[:, 0] != 0).tolist()
    assert_close(jax.jacfwd(T)(x[:, 0]), D)
    assert_close(jax.jacrev(T)(x[:, 0]), D)
    assert_close(
        S(x[np.arange(count) % cells]), dense((rows, np.arange(count), (9, count))) @ x[np.arange(count) % cells]
    )


def has_scatter(f, x):
    """Whether the compiled gradient does: an instruction or the origin of one, and not a function's name."""
    return re.search(r'\bscatter(-add)?["(]', jax.jit(jax.grad(f)).lower(x).compile().as_text()) is not None


@pytest.mark.slow
def test_no_scatter_is_left_in_a_compiled_gradient_of_ordinary_rows():
    indices = np.arange(40) % 13
    S, x = LinearMap.selection(indices, 13), values(13)
    T = LinearMap.from_entries(*CASES["a few"], weights_of(CASES["a few"], "real"))
    assert has_scatter(lambda x: jnp.sin(x[indices]).sum(), x)  # it would be seen
    assert not has_scatter(curved(S), x)
    assert not has_scatter(curved(T), x[: T.shape[1]])
    assert not has_scatter(lambda x: jnp.sin(S.T(x)).sum(), values(40))


def test_only_rows_beyond_the_longest_bundle_are_scattered():
    for length, is_long in ((LONG - 1, False), (LONG, True)):
        S = LinearMap.from_entries(*rows_of_lengths([1, length], 90))
        assert any(isinstance(part, LongRows) for part in S.rows.parts) == is_long


@pytest.mark.parametrize("count", [0, 1, 50])
def test_grouped_is_a_stable_counting_sort(count):
    keys = np.random.default_rng(0).integers(0, 6, count, np.int32) * np.int32(2)
    starts, order = grouped(keys, 13)
    assert starts.dtype == order.dtype == np.int32
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(np.sort(keys), np.arange(14)))


SPECIAL = np.array([1.0, -2.0, np.nan, np.inf, -np.inf, -0.0, 1e308])


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["as it is", "compiled"])
def test_materialized_changes_no_value(transform, index):
    for x in (SPECIAL, SPECIAL[:6].astype(np.float32), 1j * SPECIAL[:2], np.arange(3), np.array([True, False])):
        got = transform(materialized)(x, jnp.asarray(index))
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got, x)
    first, second = transform(materialized)((SPECIAL, [np.ones(2)]), jnp.asarray(index))
    np.testing.assert_array_equal(first, SPECIAL)
    np.testing.assert_array_equal(second[0], np.ones(2))
    np.testing.assert_array_equal(transform(jax.vmap(materialized, (0, None)))(SPECIAL, jnp.asarray(index)), SPECIAL)
    indices = jnp.arange(len(SPECIAL))
    np.testing.assert_array_equal(transform(jax.vmap(materialized))(SPECIAL, indices), SPECIAL)


@pytest.mark.slow
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["as it is", "compiled"])
@pytest.mark.parametrize("stored", [materialized, with_stored_derivatives])
def test_storing_changes_no_tangent_cotangent_or_hessian(stored, transform):
    index, x, v = jnp.asarray(2), values(5), values(5, seed=6)

    def f(x):
        y = stored(jnp.sin(x), index)
        return (stored(y * x, index) * y).sum()

    def g(x):
        return (jnp.sin(x) * x * jnp.sin(x)).sum()

    for here, there in (
        (f, g),
        (lambda x: jax.jvp(f, (x,), (v,))[1], lambda x: jax.jvp(g, (x,), (v,))[1]),
        (jax.grad(f), jax.grad(g)),
        (lambda x: jax.jvp(jax.grad(f), (x,), (v,))[1], lambda x: jax.jvp(jax.grad(g), (x,), (v,))[1]),
        (jax.grad(lambda x: jax.grad(f)(x) @ v), jax.grad(lambda x: jax.grad(g)(x) @ v)),
    ):
        assert_close(transform(here)(x), there(x))
        X = values(5, (3,))
        assert_close(transform(jax.vmap(here, 1))(X), jax.vmap(there, 1)(X))


@pytest.mark.parametrize("stored", [materialized, with_stored_derivatives])
def test_storing_passes_nan_and_infinity_on_in_both_modes(stored):
    f = lambda x: stored(x, jnp.asarray(1))  # noqa: E731
    np.testing.assert_array_equal(f(SPECIAL), SPECIAL)
    np.testing.assert_array_equal(jax.jvp(f, (np.ones(7),), (SPECIAL,))[1], SPECIAL)
    np.testing.assert_array_equal(jax.vjp(f, np.ones(7))[1](SPECIAL)[0], SPECIAL)


def test_nan_and_infinity_stay_in_the_rows_that_read_them():
    case = CASES["rows of many lengths"]
    S, D = LinearMap.from_entries(*case, weights_of(case, "real")), dense(case)
    for value in (np.nan, np.inf):
        x = np.ones(D.shape[1])
        x[3] = value
        np.testing.assert_array_equal(~np.isfinite(S(x)), D[:, 3] > 0)


@pytest.mark.slow
@pytest.mark.parametrize("as_argument", [False, True])
def test_vmap_of_a_conditional_with_a_map_in_its_branches(as_argument):
    case = CASES["a few"]
    weights = weights_of(case, "real")
    S, D = LinearMap.from_entries(*case, weights), dense(case, weights)
    X, which = values(3, (D.shape[1],)), np.array([True, False, True])

    def either(S, which, x):
        return jax.lax.cond(which, lambda x: S(x), lambda x: 2 * S(x), x)

    either_of_all = jax.vmap(either, (None, 0, 0)) if as_argument else jax.vmap(lambda *xs: either(S, *xs))
    args = (S, which, X) if as_argument else (which, X)
    assert_close(either_of_all(*args), np.where(which, 1, 2)[:, None] * (X @ D.T))


@pytest.mark.parametrize(("kind", "weight"), [(float, 1.0 + 2.0j), (np.float32, 1.0)])
def test_a_gradient_has_the_type_of_its_argument(kind, weight):
    case = CASES["a few"]
    weights = np.full(len(case[0]), weight)
    S, x = LinearMap.from_entries(*case, weights), jnp.ones(case[2][1], kind)
    gradient = jax.grad(lambda x: S(x).real.sum())(x)
    assert gradient.dtype == x.dtype
    assert_close(gradient, dense(case, weights).real.sum(0), 1e-6)


PATTERNS = {
    "random": random_entries(60, (7, 9)),
    "duplicates of one entry": (np.full(4, 2), np.full(4, 1), (3, 3)),
    "the same column at the end of a row and in the next": (np.array([1, 0, 2, 1]), np.array([2, 2, 2, 2]), (3, 3)),
    "none": (np.zeros(0, int), np.zeros(0, int), (3, 2)),
    "one row": (np.zeros(6, int), np.array([4, 1, 4, 0, 1, 3]), (1, 5)),
    "one column": (np.array([4, 1, 4, 0, 1, 3]), np.zeros(6, int), (5, 1)),
    "empty rows at both ends": (np.array([3, 2, 3]), np.array([0, 1, 0]), (6, 2)),
    "of two axes": (*(a.reshape(6, 10) for a in random_entries(60, (7, 9))[:2]), (7, 9)),
}


@pytest.mark.parametrize("case", PATTERNS.values(), ids=PATTERNS.keys())
def test_a_pattern_of_entries_is_what_unique_finds(case):
    rows, cols, shape = case
    pattern, place = SparsityPattern.from_entries(rows, cols, shape)
    unique, inverse = np.unique(np.ravel(rows) * shape[1] + np.ravel(cols), return_inverse=True)
    np.testing.assert_array_equal(pattern.rows * shape[1] + pattern.indices, unique)
    np.testing.assert_array_equal(pattern.indptr, np.searchsorted(unique, np.arange(shape[0] + 1) * shape[1]))
    np.testing.assert_array_equal(place, inverse.reshape(np.shape(rows)))
    assert pattern.shape == shape
    assert {a.dtype for a in (pattern.indptr, pattern.indices, place)} == {np.dtype(np.int32)}


MATRICES = {
    "random": sp.random(40, 30, 0.2, random_state=np.random.default_rng(0)).tocsr(),
    "sparse array": sp.csr_array(sp.random(40, 30, 0.2, random_state=np.random.default_rng(0))),
    "complex": 1j * sp.random(40, 40, 0.2, random_state=np.random.default_rng(0)).tocsr(),
    "empty rows at the end": sp.vstack([sp.eye(5, 8), sp.csr_matrix((20, 8))]).tocsr(),
    "empty rows at the start": sp.vstack([sp.csr_matrix((20, 8)), sp.eye(5, 8)]).tocsr(),
    "all entries in one row": sp.csr_matrix((np.ones(8), (np.full(8, 3), np.arange(8))), (10, 8)),
    "fewer rows than cores": sp.csr_matrix(np.arange(8.0).reshape(1, 8)),
    "no entries": sp.csr_matrix((6, 4)),
}


@pytest.mark.parametrize("cores", [1, 2, 3, 4])
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_a_product_by_blocks_of_rows_is_the_matrix_product(matrix, cores, monkeypatch):
    monkeypatch.setattr(row_blocks, "MIN_ENTRIES", 0)
    monkeypatch.setattr(row_blocks, "cores", lambda: cores)
    blocks = RowBlocks(matrix)
    x = values(matrix.shape[1])
    assert len(blocks._blocks) == cores
    assert sum(block.shape[0] for block in blocks._blocks) == matrix.shape[0]
    assert (blocks.shape, blocks.dtype) == (matrix.shape, matrix.dtype)
    np.testing.assert_array_equal(blocks @ x, matrix @ x)
    np.testing.assert_array_equal(blocks @ np.repeat(x, 2)[::2], matrix @ x)


def test_blocks_share_out_the_entries_and_not_the_rows(monkeypatch):
    monkeypatch.setattr(row_blocks, "MIN_ENTRIES", 0)
    monkeypatch.setattr(row_blocks, "cores", lambda: 3)
    matrix = sp.vstack([np.ones((10, 30)), sp.csr_matrix((200, 30))]).tocsr()
    sizes = [block.nnz for block in RowBlocks(matrix)._blocks]
    assert sum(sizes) == 300
    assert max(sizes) <= 130


def test_a_small_matrix_is_one_block():
    matrix = MATRICES["random"]
    assert matrix.nnz < row_blocks.MIN_ENTRIES
    blocks = RowBlocks(matrix)
    assert len(blocks._blocks) == 1
    np.testing.assert_array_equal(blocks @ np.ones(30), matrix @ np.ones(30))
    assert 1 <= row_blocks.cores() <= row_blocks.MAX_CORES
