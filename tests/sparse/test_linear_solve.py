"""x = A⁻¹ b: its derivatives against the dense rule, under every transformation, and the work they cost."""

import os
import resource
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from direct_solvers import EVERY_SOLVER, every_solver

from pdeopt.sparse import CSRMatrix, clear_memo, dense_solve_pullback, linear_solve, resolve_solver, work
from pdeopt.sparse.solvers.direct.solver import memo
from pdeopt.verify import adjoint_identity, taylor_test

N = 7


def sparse_random(n, seed, dtype=float):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if dtype is complex else 0)
    return np.where(rng.random((n, n)) < 0.4, values, 0)


def laplacian(n):
    return 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


def saddle_point():
    B = np.array([[1.0, -1.0, 0.0, 2.0], [0.0, 1.0, -1.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    return np.block([[laplacian(4), B.T], [B, np.zeros((3, 3))]])


R, C = sparse_random(N, 1), sparse_random(N, 2, complex)
MATRICES = {
    "symmetric positive definite": laplacian(N),
    "symmetric indefinite": saddle_point(),
    "non-symmetric": R + 4 * np.eye(N),
    "complex symmetric": laplacian(N) + 1j * np.eye(N) + 0.1j * (R + R.T),
    "complex": C + 4 * np.eye(N),
}
every_matrix = pytest.mark.parametrize("dense", MATRICES.values(), ids=MATRICES.keys())
NON_SYMMETRIC = MATRICES["non-symmetric"]


def on_pattern(A, dense):
    return dense[A.pattern.rows, A.pattern.indices]


def dense_of(A, data):
    return jnp.zeros(A.shape, data.dtype).at[A.pattern.rows, A.pattern.indices].set(data)


def random_like(dense, shape, seed):
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if np.iscomplexobj(dense) else real


@pytest.mark.parametrize("solver", [*EVERY_SOLVER, "auto"])
@every_matrix
@pytest.mark.parametrize("columns", [(), (3,)])
@pytest.mark.parametrize("transform", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_solution_and_pullback_equal_the_dense_rule(dense, solver, columns, transform):
    A = CSRMatrix.from_scipy(sp.csr_matrix(dense))
    b, x_bar = (random_like(dense, (N, *columns), seed) for seed in (3, 4))
    x, A_bar, b_bar = dense_solve_pullback(dense, b, x_bar)

    @transform
    def solve_and_pull_back(A, b, x_bar):
        got, pullback = jax.vjp(partial(linear_solve, solver=solver), A, b)
        return got, pullback(x_bar)

    got, (A_pulled, b_pulled) = solve_and_pull_back(A, jnp.asarray(b), jnp.asarray(x_bar))
    np.testing.assert_allclose(got, x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(A_pulled.data, on_pattern(A, A_bar), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(b_pulled, b_bar, rtol=1e-10, atol=1e-12)


def test_the_dense_oracle_itself_against_complex_steps():
    rng = np.random.default_rng(0)
    b, x_bar = rng.standard_normal((2, N, 2))
    _, A_bar, b_bar = dense_solve_pullback(NON_SYMMETRIC, b, x_bar)
    dA, db = rng.standard_normal((N, N)), rng.standard_normal((N, 2))
    h = 1e-30j
    slope = (np.linalg.solve(NON_SYMMETRIC + h * dA, b + h * db).imag / 1e-30 * x_bar).sum()
    assert (A_bar * dA).sum() + (b_bar * db).sum() == pytest.approx(slope, rel=1e-12)


def test_an_adjoint_without_the_transpose_would_be_noticed():
    """The pullback with A in place of Aᵀ is far from the right one on the non-symmetric matrix of the tests above."""
    b, x_bar = np.random.default_rng(0).standard_normal((2, N))
    A_bar, b_bar = dense_solve_pullback(NON_SYMMETRIC, b, x_bar)[1:]
    wrong = np.linalg.solve(NON_SYMMETRIC, x_bar)
    assert np.linalg.norm(wrong - b_bar) > 0.1 * np.linalg.norm(b_bar)
    assert np.linalg.norm(np.outer(wrong, np.linalg.solve(NON_SYMMETRIC, b)) + A_bar) > 0.1 * np.linalg.norm(A_bar)


@every_solver
@every_matrix
@pytest.mark.parametrize("columns", [(), (2,)])
def test_tangent_equals_the_dense_formula(dense, solver, columns):
    A = CSRMatrix.from_scipy(sp.csr_matrix(dense))
    b, b_dot = (random_like(dense, (N, *columns), seed) for seed in (3, 4))
    A_dot = CSRMatrix(jnp.asarray(random_like(dense, A.pattern.nnz, 5)), A.pattern)
    x, x_dot = jax.jvp(partial(linear_solve, solver=solver), (A, jnp.asarray(b)), (A_dot, jnp.asarray(b_dot)))
    np.testing.assert_allclose(x, np.linalg.solve(dense, b), rtol=1e-10)
    np.testing.assert_allclose(x_dot, np.linalg.solve(dense, b_dot - A_dot.to_scipy() @ x), rtol=1e-10)


@every_solver
@every_matrix
@pytest.mark.parametrize("transform", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_hessian_vector_product_equals_the_dense_one(dense, solver, transform):
    A = CSRMatrix.from_scipy(sp.csr_matrix(dense))
    b = jnp.asarray(random_like(dense, N, 3))
    direction = random_like(dense, (A.pattern.nnz + N), 4)
    dA, db = jnp.asarray(direction[: A.pattern.nnz]), jnp.asarray(direction[A.pattern.nnz :])

    def functional(solve, data, b):
        x = solve(data, b)
        return jnp.sum(jnp.sin(x.real) + x.imag**2) if jnp.iscomplexobj(x) else jnp.sum(jnp.sin(x))

    def action(solve):
        derivative = jax.grad(partial(functional, solve), argnums=(0, 1))
        return jax.jvp(derivative, (A.data, b), (dA, db))[1]

    got = transform(lambda: action(lambda data, b: linear_solve(CSRMatrix(data, A.pattern), b, solver)))()
    want = action(lambda data, b: jnp.linalg.solve(dense_of(A, data), b))
    for here, there in zip(got, want, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-11)


@every_solver
def test_forward_and_reverse_jacobians_agree_and_are_the_dense_ones(solver):
    A = CSRMatrix.from_scipy(sp.csr_matrix(NON_SYMMETRIC))
    b = jnp.asarray(np.random.default_rng(0).standard_normal(N))

    def solve(data, b):
        return linear_solve(CSRMatrix(data, A.pattern), b, solver)

    def dense(data, b):
        return jnp.linalg.solve(dense_of(A, data), b)

    wanted = jax.jacfwd(dense, argnums=(0, 1))(A.data, b)
    for jacobian in (jax.jacfwd, jax.jacrev):
        for got, want in zip(jacobian(solve, argnums=(0, 1))(A.data, b), wanted, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-12)


BATCHES = {
    "b": (None, 0),
    "values": (0, None),
    "both": (0, 0),
}


@every_solver
@pytest.mark.parametrize("axes", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("columns", [(), (2,)])
def test_vmap_equals_a_loop_and_so_does_its_gradient(axes, columns, solver):
    A = CSRMatrix.from_scipy(sp.csr_matrix(NON_SYMMETRIC))
    rng = np.random.default_rng(0)
    data = np.asarray(A.data) * (1 + 0.1 * rng.random((3, A.pattern.nnz)))
    b = rng.standard_normal((3, N, *columns))
    data, b = (array if axis == 0 else array[0] for array, axis in zip((data, b), axes, strict=True))

    def solve(data, b):
        return linear_solve(CSRMatrix(data, A.pattern), b, solver)

    def loop(data, b):
        def at(k):
            return (array[k] if axis == 0 else array for array, axis in zip((data, b), axes, strict=True))

        pairs = [tuple(at(k)) for k in range(3)]
        return jnp.stack([jnp.linalg.solve(dense_of(A, d), r) for d, r in pairs])

    def energy(f):
        return jax.grad(lambda data, b: jnp.sum(jnp.cos(f(data, b))), argnums=(0, 1))(data, b)

    batched = jax.vmap(solve, axes)
    np.testing.assert_allclose(batched(data, b), loop(data, b), atol=1e-12)
    np.testing.assert_allclose(jax.jit(batched)(data, b), loop(data, b), atol=1e-12)
    for got, want in zip(energy(batched), energy(loop), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-11)


@pytest.mark.parametrize(
    "axes", [((0, None), (None, 0)), ((None, 0), (0, None)), ((0, 0), (0, None)), ((0, 0), (None, 0))]
)
def test_nested_vmap_equals_nested_loops(axes):
    A = CSRMatrix.from_scipy(sp.csr_matrix(NON_SYMMETRIC))
    rng = np.random.default_rng(0)
    sizes = (2, 3)
    data_lead = tuple(size for size, (d, _) in zip(sizes, axes, strict=True) if d == 0)
    b_lead = tuple(size for size, (_, r) in zip(sizes, axes, strict=True) if r == 0)
    data = np.asarray(A.data) * (1 + 0.1 * rng.random((*data_lead, A.pattern.nnz)))
    b = rng.standard_normal((*b_lead, N))

    def solve(data, b):
        return linear_solve(CSRMatrix(data, A.pattern), b)

    got = jax.vmap(jax.vmap(solve, axes[1]), axes[0])(data, b)
    for index in np.ndindex(*sizes):
        d = data[tuple(i for i, (axis, _) in zip(index, axes, strict=True) if axis == 0)]
        r = b[tuple(i for i, (_, axis) in zip(index, axes, strict=True) if axis == 0)]
        np.testing.assert_allclose(got[index], np.linalg.solve(dense_of(A, d), r), atol=1e-12)


def test_vmap_over_right_hand_sides_factors_once():
    A = CSRMatrix.from_scipy(sp.csr_matrix(NON_SYMMETRIC))
    clear_memo()
    before = work.copy()
    jax.vmap(lambda b: linear_solve(A, b))(jnp.eye(N))
    done = work.since(before)
    assert (done.factorizations, done.solves) == (1, 1)


@every_solver
@pytest.mark.parametrize("name", ["symmetric indefinite", "non-symmetric"])
def test_taylor_orders_one_two_three_through_the_solve(name, solver):
    dense = MATRICES[name]
    A = CSRMatrix.from_scipy(sp.csr_matrix(dense))
    b = jnp.asarray(np.random.default_rng(3).standard_normal(N))

    def functional(data):
        return jnp.sum(jnp.exp(0.1 * linear_solve(CSRMatrix(data, A.pattern), b, solver)))

    m = np.asarray(A.data)
    direction = np.random.default_rng(4).standard_normal(m.shape)
    derivative = jax.grad(functional)
    hessian_action = jax.jvp(derivative, (A.data,), (jnp.asarray(direction),))[1]
    result = taylor_test(
        lambda m: float(functional(jnp.asarray(m))),
        np.asarray(derivative(A.data)),
        m,
        direction,
        hessian_action=np.asarray(hessian_action),
        first_step=0.01,
    )
    assert result.passed, str(result)
    assert result.orders[2] == pytest.approx(2, abs=0.1)
    assert result.orders[3] == pytest.approx(3, abs=0.1)


@every_matrix
def test_tangent_and_pullback_are_adjoint(dense):
    A = CSRMatrix.from_scipy(sp.csr_matrix(dense))
    b = jnp.asarray(random_like(dense, N, 3))

    def solve(values):
        return linear_solve(CSRMatrix(values[: A.pattern.nnz], A.pattern), values[A.pattern.nnz :])

    point = jnp.concatenate([A.data, b])
    direction, cotangent = random_like(dense, len(point), 4), random_like(dense, N, 5)
    image = jax.jvp(solve, (point,), (jnp.asarray(direction),))[1]
    preimage = jax.vjp(solve, point)[1](jnp.asarray(cotangent))[0]
    # JAX pairs without conjugation
    gap = adjoint_identity(lambda _: np.asarray(image), lambda _: np.conj(preimage), direction, np.conj(cotangent))
    assert gap < 1e-12


def test_a_real_matrix_takes_a_complex_right_hand_side():
    A = CSRMatrix.from_scipy(sp.csr_matrix(NON_SYMMETRIC))
    b = random_like(1j, N, 0)
    np.testing.assert_allclose(linear_solve(A, b), np.linalg.solve(NON_SYMMETRIC, b), atol=1e-12)


@pytest.mark.parametrize(("n", "columns"), [(0, ()), (1, ()), (3, (0,))])
def test_edge_sizes(n, columns):
    A = CSRMatrix.from_scipy(sp.csr_matrix(2 * np.eye(n)))
    np.testing.assert_allclose(linear_solve(A, np.ones((n, *columns))), np.full((n, *columns), 0.5), rtol=1e-15)


ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
import scipy.sparse as sp
from pdeopt.sparse import CSRMatrix, linear_solve
n = 300_000  # beyond what JAX hands to a callback at once
A = CSRMatrix.from_scipy(sp.diags_array([-1.0, 3.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr())
import jax
print(float(jax.jit(lambda b: linear_solve(A, b).sum())(np.ones(n))))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot pin a process to a core")
def test_a_large_solve_ends_on_a_single_core():
    environment = {key: value for key, value in os.environ.items() if key != "NPROC"}
    command = [sys.executable, "-c", ONE_CORE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    assert float(done.stdout) == pytest.approx(300_000, rel=1e-4)


# --- what it costs -----------------------------------------------------------------------------------------------


def counted(function, *args):
    before = work.copy()
    jax.block_until_ready(function(*args))
    return work.since(before)


def objective(pattern, data, b):
    return jnp.sum(linear_solve(CSRMatrix(data, pattern), b) ** 2)


@pytest.mark.parametrize("transform", [jax.jit, lambda f: f], ids=["jit", "eager"])
@pytest.mark.parametrize("name", ["symmetric positive definite", "non-symmetric"])
def test_value_and_gradient_cost_one_factorization_and_two_solves(name, transform):
    A = CSRMatrix.from_scipy(sp.csr_matrix(MATRICES[name]))
    b = jnp.ones(N)
    function = partial(objective, A.pattern)
    value_and_gradient = transform(jax.value_and_grad(function, argnums=(0, 1)))
    action = transform(lambda data, b, v: jax.jvp(jax.grad(function), (data, b), (v, 0 * b))[1])
    clear_memo()
    first = counted(value_and_gradient, A.data, b)
    assert (first.analyses, first.factorizations, first.solves, first.adjoint_solves) == (1, 1, 1, 1)
    again = counted(value_and_gradient, A.data, b)
    assert (again.analyses, again.factorizations, again.solves, again.adjoint_solves) == (0, 0, 1, 1)
    hessian = counted(action, A.data, b, A.data)
    assert (hessian.factorizations, hessian.solves, hessian.adjoint_solves) == (0, 2, 2)
    new_values = counted(value_and_gradient, 1.5 * A.data, b)
    assert (new_values.analyses, new_values.factorizations) == (0, 1)
    old_values = counted(value_and_gradient, A.data, b)
    assert old_values.factorizations == 0


def test_the_analysis_is_shared_by_equal_patterns():
    clear_memo()
    S = sp.csr_matrix(laplacian(N))
    done = [counted(linear_solve, CSRMatrix.from_scipy(scale * S), np.ones(N)).analyses for scale in (1.0, 2.0, 3.0)]
    assert done == [1, 0, 0]


@pytest.mark.slow
def test_the_memo_is_bounded_and_forgets_the_least_recently_used():
    clear_memo()
    S = sp.csr_matrix(laplacian(N))
    for scale in range(1, memo.max_factored + 2):
        linear_solve(CSRMatrix.from_scipy(scale * S), np.ones(N))
    assert len(memo._factored) == memo.max_factored
    assert counted(linear_solve, CSRMatrix.from_scipy(2 * S), np.ones(N)).factorizations == 0
    assert counted(linear_solve, CSRMatrix.from_scipy(1 * S), np.ones(N)).factorizations == 1
    for n in range(2, memo.max_analyses + 4):
        linear_solve(CSRMatrix.from_scipy(sp.csr_matrix(laplacian(n))), np.ones(n))
    assert len(memo._analyses) == memo.max_analyses


def test_forgetting_changes_no_number():
    A, b = CSRMatrix.from_scipy(sp.csr_matrix(NON_SYMMETRIC)), jnp.ones(N)
    gradient = jax.grad(partial(objective, A.pattern))
    remembered = gradient(A.data, b), gradient(A.data, b)
    clear_memo()
    forgotten = gradient(A.data, b)
    for values in remembered:
        np.testing.assert_array_equal(values, forgotten)


def test_the_memo_keeps_a_copy_so_that_values_changed_in_place_are_seen():
    A = CSRMatrix.from_scipy(sp.csr_matrix(laplacian(3)))
    values, b = np.array(A.data), np.ones((3, 1))
    first = resolve_solver("auto").solve(A.pattern, values, b, False)
    values *= 2
    np.testing.assert_allclose(resolve_solver("auto").solve(A.pattern, values, b, False), first / 2)


@pytest.mark.slow
def test_a_gradient_at_100_000_unknowns_needs_no_dense_matrix():
    n = 100_000
    S = sp.diags([-np.ones(n - 1), 2.1 * np.ones(n), -0.9 * np.ones(n - 1)], [-1, 0, 1]).tocsr()
    A, b = CSRMatrix.from_scipy(S), jnp.ones(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    A_bar, b_bar = jax.grad(lambda A, b: jnp.sum(linear_solve(A, b) ** 2), argnums=(0, 1))(A, b)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    x = np.asarray(linear_solve(A, b))
    np.testing.assert_allclose(S.T @ b_bar, 2 * x, rtol=1e-9)
    np.testing.assert_allclose(A_bar.data, -np.asarray(b_bar)[A.pattern.rows] * x[A.pattern.indices], rtol=1e-9)
    assert growth < 2e9
