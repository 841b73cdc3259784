"""Krylov solvers: their derivatives against the dense rule, their residuals, their refusals, and what they reuse."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from pdeopt.sparse import (
    AMG,
    CG,
    GMRES,
    ILU,
    MINRES,
    BiCGSTAB,
    CSRMatrix,
    Jacobi,
    SolveError,
    clear_memo,
    dense_solve_pullback,
    forgetting,
    linear_solve,
    resolve_solver,
    solve_errors,
    solver_names,
    work,
)
from pdeopt.sparse.solvers.krylov import solver as krylov_solver
from pdeopt.sparse.solvers.krylov.by_name import KRYLOV_BY_NAME
from pdeopt.sparse.solvers.krylov.progress import Progress
from pdeopt.sparse.solvers.krylov.set_up_memo import SetUp, SetUpMemo
from pdeopt.verify import adjoint_identity, taylor_test

N = 7
TIGHT = 1e-13


def laplacian(n):
    return 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


def random_like(dense, shape, seed):
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if np.iscomplexobj(dense) else real


B = np.array([[1.0, -1.0, 0.0, 2.0], [0.0, 1.0, -1.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
R, C = (np.where(np.random.default_rng(seed).random((N, N)) < 0.4, random_like(like, (N, N), seed), 0)
        for seed, like in ((1, 1.0), (2, 1j)))  # fmt: skip
MATRICES = {
    "symmetric positive definite": laplacian(N),
    "symmetric negative definite": -laplacian(N),
    "saddle point": np.block([[laplacian(4), B.T], [B, np.zeros((3, 3))]]),
    "non-symmetric": R + 4 * np.eye(N),
    "complex symmetric": laplacian(N) + 1j * np.eye(N) + 0.1j * (R + R.T),
    "complex Hermitian positive definite": laplacian(N) + 0.2j * (np.eye(N, k=1) - np.eye(N, k=-1)),
    "complex": C + 4 * np.eye(N),
}
#: Which kinds of matrices a method is for.
SOLVABLE = {
    "cg": ["symmetric positive definite", "complex Hermitian positive definite"],
    "minres": ["symmetric positive definite", "symmetric negative definite", "saddle point"],
    "gmres": [*MATRICES, "advection"],
    "bicgstab": [*MATRICES, "advection"],
}
SURE = {"cg+jacobi", "cg+amg", "minres+jacobi", "gmres+jacobi", "gmres+ilu", "gmres+amg", "bicgstab+ilu"}
PAIRS = [
    pytest.param(dense, name, id=f"{name}, {kind}")
    for name in sorted(SURE)
    for kind, dense in MATRICES.items()
    if kind in SOLVABLE[name.split("+")[0]]
]
solvable = pytest.mark.parametrize(("dense", "name"), PAIRS)
some_solvable = pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("symmetric positive definite", "cg+amg"),
        ("complex Hermitian positive definite", "cg+jacobi"),
        ("saddle point", "minres+jacobi"),
        ("non-symmetric", "gmres+ilu"),
        ("complex", "gmres+amg"),
        ("non-symmetric", "bicgstab+amg"),
    ],
)


def tight(name):
    """With a tolerance near rounding, to be compared with dense linear algebra."""
    solver = resolve_solver(name)
    return type(solver)(rtol=TIGHT, preconditioner=solver.preconditioner)


def csr(dense):
    return CSRMatrix.from_scipy(sp.csr_matrix(dense))


def on_pattern(A, dense):
    return dense[A.pattern.rows, A.pattern.indices]


def dense_of(A, data):
    return jnp.zeros(A.shape, data.dtype).at[A.pattern.rows, A.pattern.indices].set(data)


def advection(n, velocity=20.0):
    """−Δu + v · ∇u on a square, upwind."""
    line = sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])
    upwind = velocity / (n + 1) * sp.diags([-np.ones(n - 1), np.ones(n)], [-1, 0])
    return (sp.kron(sp.eye(n), line + upwind) + sp.kron(line + 0.5 * upwind, sp.eye(n))).tocsr()


def counted(function, *args):
    before = work.copy()
    jax.block_until_ready(function(*args))
    return work.since(before)


# --- derivatives -------------------------------------------------------------------------------------------------


@solvable
@pytest.mark.parametrize("columns", [(3,)])
def test_solution_and_pullback_equal_the_dense_rule(dense, name, columns):
    A = csr(dense)
    b, x_bar = (random_like(dense, (N, *columns), seed) for seed in (3, 4))
    x, A_bar, b_bar = dense_solve_pullback(dense, b, x_bar)

    @jax.jit
    def solve_and_pull_back(A, b, x_bar):
        got, pullback = jax.vjp(partial(linear_solve, solver=tight(name)), A, b)
        return got, pullback(x_bar)

    got, (A_pulled, b_pulled) = solve_and_pull_back(A, jnp.asarray(b), jnp.asarray(x_bar))
    np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(A_pulled.data, on_pattern(A, A_bar), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(b_pulled, b_bar, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@some_solvable
def test_tangent_and_hessian_product_equal_the_dense_ones(kind, name):
    dense = MATRICES[kind]
    A = csr(dense)
    b = jnp.asarray(random_like(dense, N, 3))
    direction = tuple(jnp.asarray(random_like(dense, size, 5)) for size in (A.pattern.nnz, N))

    def functional(solve, data, b):
        x = solve(data, b)
        return jnp.sum(jnp.sin(x.real) + x.imag**2) if jnp.iscomplexobj(x) else jnp.sum(jnp.sin(x))

    def tangent_and_action(solve):
        derivative = jax.grad(partial(functional, solve), argnums=(0, 1))
        return jax.jvp(solve, (A.data, b), direction)[1], *jax.jvp(derivative, (A.data, b), direction)[1]

    def iterative(data, b):
        return linear_solve(CSRMatrix(data, A.pattern), b, tight(name))

    got = jax.jit(lambda: tangent_and_action(iterative))()
    want = tangent_and_action(lambda data, b: jnp.linalg.solve(dense_of(A, data), b))
    for here, there in zip(got, want, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["gmres+ilu", "bicgstab+amg"])
@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0)], ids=["b", "values", "both"])
def test_vmap_equals_a_loop_and_so_does_its_gradient(axes, name):
    A = csr(MATRICES["non-symmetric"])
    rng = np.random.default_rng(0)
    data = np.asarray(A.data) * (1 + 0.1 * rng.random((3, A.pattern.nnz)))
    b = rng.standard_normal((3, N))
    data, b = (array if axis == 0 else array[0] for array, axis in zip((data, b), axes, strict=True))

    def energy(solve, data, b):
        return jnp.sum(jnp.cos(jax.vmap(solve, axes)(data, b)))

    def with_gradient(solve):
        return jax.jit(jax.value_and_grad(partial(energy, solve), argnums=(0, 1)))(data, b)

    got = with_gradient(lambda data, b: linear_solve(CSRMatrix(data, A.pattern), b, tight(name)))
    want = with_gradient(lambda data, b: jnp.linalg.solve(dense_of(A, data), b))
    for here, there in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cg+amg", "minres+jacobi", "gmres+amg", "bicgstab+ilu"])
def test_taylor_orders_one_two_three_through_the_solve(name):
    """On a mesh on which multigrid has more than one level; the matrix stays symmetric along the line."""
    velocity = 0.0 if name.startswith(("cg", "minres")) else 20.0
    A = CSRMatrix.from_scipy(advection(12, velocity))
    b = jnp.asarray(np.random.default_rng(3).standard_normal(A.shape[0]))
    scale = np.random.default_rng(5).standard_normal(A.shape[0])

    def functional(m):
        data = A.data * jnp.exp(0.5 * (m[A.pattern.rows] + m[A.pattern.indices]))
        return jnp.sum(jnp.exp(0.1 * linear_solve(CSRMatrix(data, A.pattern), b, tight(name))))

    m, direction = 0.1 * scale, np.random.default_rng(4).standard_normal(A.shape[0])
    derivative = jax.jit(jax.grad(functional))
    hessian_action = jax.jvp(derivative, (jnp.asarray(m),), (jnp.asarray(direction),))[1]
    result = taylor_test(
        lambda m: float(functional(jnp.asarray(m))),
        np.asarray(derivative(m)),
        m,
        direction,
        hessian_action=np.asarray(hessian_action),
        first_step=0.05,
    )
    assert result.passed, str(result)
    assert result.orders[2] == pytest.approx(2, abs=0.1)
    assert result.orders[3] == pytest.approx(3, abs=0.1)


@some_solvable
def test_tangent_and_pullback_are_adjoint(kind, name):
    dense = MATRICES[kind]
    A = csr(dense)
    b = jnp.asarray(random_like(dense, N, 3))

    def solve(values):
        return linear_solve(CSRMatrix(values[: A.pattern.nnz], A.pattern), values[A.pattern.nnz :], tight(name))

    point = jnp.concatenate([A.data, b])
    direction, cotangent = random_like(dense, len(point), 4), random_like(dense, N, 5)
    image = jax.jvp(solve, (point,), (jnp.asarray(direction),))[1]
    preimage = jax.vjp(solve, point)[1](jnp.asarray(cotangent))[0]
    # JAX pairs without conjugation
    gap = adjoint_identity(lambda _: np.asarray(image), lambda _: np.conj(preimage), direction, np.conj(cotangent))
    assert gap < 1e-11


@pytest.mark.parametrize("name", ["cg+ruge-stuben", "minres+jacobi", "gmres+ruge-stuben"])
def test_a_real_matrix_takes_a_complex_right_hand_side(name):
    b = random_like(1j, (N, 2), 0)
    x = linear_solve(csr(laplacian(N)), b, tight(name))
    np.testing.assert_allclose(x, np.linalg.solve(laplacian(N), b), atol=1e-10)


# --- residuals and refusals --------------------------------------------------------------------------------------

SINGULAR = {
    "singular": np.ones((N, N)),
    "zero": np.zeros((N, N)),
    "zero row": np.diag([1.0, 2, 3, 0, 4, 5, 6]),
    "skew": np.triu(R, 1) - np.triu(R, 1).T,
}
LARGE = {"advection": advection(25).toarray(), "diffusion": advection(25, 0.0).toarray()}


def solution_or_error(solver, A, b, transposed):
    try:
        return solver.solve(A.pattern, np.asarray(A.data), b, transposed)
    except SolveError as error:
        return error


@pytest.mark.parametrize("kind", [*MATRICES, *SINGULAR, *LARGE])
@pytest.mark.parametrize("name", KRYLOV_BY_NAME)
@pytest.mark.parametrize("transposed", [False, True], ids=["primal", "adjoint"])
def test_every_solver_solves_every_matrix_or_says_what_to_try(kind, name, transposed):
    dense = {**MATRICES, **SINGULAR, **LARGE}[kind]
    A = csr(dense) if kind != "zero" else CSRMatrix.from_scipy(sp.csr_matrix(([0.0] * N, (range(N), range(N)))))
    b = random_like(dense, (len(dense), 2), 3)
    solver = resolve_solver(name)
    clear_memo()
    before = work.copy()
    x = solution_or_error(solver, A, b, transposed)
    if isinstance(x, SolveError):
        assert "as rslab or superlu" in str(x) or "use amg" in str(x)
        assert kind not in SOLVABLE[solver.method.name] or name not in SURE
    else:
        assert kind not in SINGULAR
        residual = b - (dense.T if transposed else dense) @ x
        assert (np.linalg.norm(residual, axis=0) <= 1.01 * solver.rtol * np.linalg.norm(b, axis=0)).all()
    assert work.since(before).iterations <= 2 * solver.max_iterations


@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("name", ["cg+jacobi", "cg+amg", "minres+jacobi", "minres+amg", "gmres+ilu", "bicgstab+amg"])
def test_the_true_residual_is_below_the_tolerance_and_not_far_below(name, rtol):
    S = advection(40, 0.0)
    S = S + sp.diags(np.linspace(0, 100, S.shape[0]) ** 2)  # ill-conditioned: MINRES' own test would stop early
    b = np.random.default_rng(0).standard_normal(S.shape[0])
    solver = type(resolve_solver(name))(rtol=rtol, preconditioner=resolve_solver(name).preconditioner)
    x = np.asarray(linear_solve(CSRMatrix.from_scipy(S), b, solver))
    assert 1e-4 * rtol < np.linalg.norm(b - S @ x) / np.linalg.norm(b) <= 1.001 * rtol


def test_a_method_that_stops_short_of_the_residual_starts_again_and_one_that_makes_it_worse_is_ignored():
    progress = Progress(sp.eye(2).tocsr(), sp.eye(2).tocsr(), np.array([1.0, 0.0]), 1e-3)
    corrections = iter([1 - 2e-3, 1.0])
    spent = progress.advance(lambda equation, limit: (next(corrections) * equation.b, 4), lambda r: r, 100)
    assert (spent, progress.iterations, progress.is_done) == (8, 8, True)
    np.testing.assert_allclose(progress.x, [1, 0], atol=1e-15)
    progress = Progress(sp.eye(2).tocsr(), sp.eye(2).tocsr(), np.array([1.0, 0.0]), 1e-3)
    for wrong in (-1.0, np.nan, np.inf):
        progress.advance(lambda equation, limit, wrong=wrong: (wrong * equation.b, 4), lambda r: r, 100)
        np.testing.assert_array_equal(progress.x, 0)
        assert progress.size == 1
        assert progress.reason == "the residual stagnates"


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e150, 1e300])
@pytest.mark.parametrize("name", ["cg+jacobi", "minres+jacobi", "gmres+ilu", "bicgstab+ilu"])
def test_tiny_and_huge_right_hand_sides_are_solved_as_well(name, size):
    b = np.random.default_rng(0).standard_normal(N)
    x = np.asarray(linear_solve(csr(laplacian(N)), size * b, name))
    np.testing.assert_allclose(x / size, np.linalg.solve(laplacian(N), b), rtol=1e-8)


@pytest.mark.parametrize("name", ["cg", "minres", "gmres", "bicgstab"])
def test_zero_columns_are_zero_at_once_and_sizes_may_be_zero_or_one(name):
    b = np.stack([np.zeros(5), np.ones(5), np.zeros(5)], axis=1)
    x = np.asarray(linear_solve(csr(laplacian(5)), b, name))
    np.testing.assert_array_equal(x[:, [0, 2]], 0)
    np.testing.assert_allclose(laplacian(5) @ x, b, atol=1e-9)
    assert counted(lambda: linear_solve(csr(laplacian(5)), np.zeros(5), name)).iterations == 0
    for n, columns in ((0, ()), (1, ()), (3, (0,))):
        got = linear_solve(csr(2 * np.eye(n)), np.ones((n, *columns)), name)
        np.testing.assert_allclose(got, np.full((n, *columns), 0.5), rtol=1e-14)


def test_a_small_column_beside_a_large_one_is_held_to_the_tolerance_too():
    S = advection(12)
    b = np.random.default_rng(0).standard_normal((S.shape[0], 2)) * [1e12, 1]
    x = np.asarray(linear_solve(CSRMatrix.from_scipy(S), b, "gmres+amg"))
    residual = np.linalg.norm(S @ x - b, axis=0) / np.linalg.norm(b, axis=0)
    assert (residual < 1.01e-10).all()


INDEFINITE = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])


@pytest.mark.parametrize(
    ("solver", "dense", "message"),
    [
        ("cg", MATRICES["non-symmetric"], "cg takes symmetric matrices only.*gmres, bicgstab.*as rslab"),
        ("minres", MATRICES["non-symmetric"], "minres takes symmetric matrices only.*gmres, bicgstab"),
        ("cg", MATRICES["complex symmetric"], "cg takes Hermitian matrices only.*gmres, bicgstab"),
        ("minres", MATRICES["complex symmetric"], "minres takes real matrices only.*gmres, bicgstab"),
        ("cg", MATRICES["saddle point"], r"diagonal is 0.0e\+00 in row 4 \(3 such rows\). Take minres"),
        ("cg", -laplacian(N), r"diagonal is -2.0e\+00 in row 0 \(7 such rows\)"),
        ("cg+ruge-stuben", MATRICES["complex Hermitian positive definite"], "ruge-stuben takes real matrices only"),
        ("minres+amg", -laplacian(N), "preconditioner is not positive definite.*minres.jacobi"),
        (GMRES(max_iterations=3), LARGE["advection"], r"gmres\+jacobi did not solve the 625 x 625 system: after 3 "
         r"iterations the residual is .* 1.0e-10 was asked for \(max_iterations is 3; more may help"),
        (CG(rtol=1e-18), LARGE["diffusion"], "rounding allows no smaller one.*larger rtol"),
        (GMRES(rtol=1e-17, preconditioner=ILU()), LARGE["advection"], "rounding allows no smaller one"),
        ("gmres", np.ones((3, 3)), "zero pivot.*singular"),
        ("gmres+jacobi", np.zeros((3, 3)) * 1j, "stagnates.*gmres.ilu"),
        ("cg", laplacian(3) * np.nan, "A is not finite: 9 of 9"),
    ],
)  # fmt: skip
def test_a_failure_says_what_was_reached_and_what_to_try(solver, dense, message):
    A = csr(dense)
    if not A.pattern.nnz:
        A = CSRMatrix.from_scipy(sp.csr_matrix((dense.ravel(), np.indices(dense.shape).reshape(2, -1)), dense.shape))
    with pytest.raises(SolveError, match=message):
        linear_solve(A, np.random.default_rng(0).standard_normal(len(dense)), solver)
    with pytest.raises(SolveError, match=message), solve_errors():
        jax.block_until_ready(jax.jit(lambda b: linear_solve(A, b, solver))(jnp.arange(1.0, len(dense) + 1) ** 2))


def test_cg_on_a_hidden_indefinite_matrix_and_on_an_asymmetry_that_the_sample_missed_is_never_wrong(monkeypatch):
    monkeypatch.setattr("pdeopt.sparse.solvers.scaling.is_symmetric", lambda *_, **__: True)
    for dense in (INDEFINITE, MATRICES["non-symmetric"]):
        A, b = csr(dense), np.random.default_rng(0).standard_normal((len(dense), 1))
        for solver in (CG(), MINRES()):
            for transposed in (False, True):
                x = solution_or_error(solver, A, b, transposed)
                if isinstance(x, SolveError):
                    assert "as rslab" in str(x)
                else:
                    np.testing.assert_allclose((dense.T if transposed else dense) @ x, b, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CG(rtol=0), "cg: rtol is 0; expected a number between 0 and 1"),
        (lambda: GMRES(rtol=1.0), "gmres: rtol is 1.0"),
        (lambda: MINRES(rtol=np.nan), "minres: rtol is nan"),
        (lambda: BiCGSTAB(max_iterations=0), "bicgstab: max_iterations is 0; expected a whole number of at least 1"),
        (lambda: CG(max_iterations=2.5), "max_iterations is 2.5"),
        (lambda: GMRES(restart=0), "gmres: restart is 0"),
        (lambda: CG(preconditioner=ILU()), "CG needs a symmetric preconditioner, ILU is not"),
        (lambda: MINRES(preconditioner=ILU()), "MINRES needs a symmetric preconditioner"),
        (lambda: resolve_solver("cg+ilu"), "unknown solver 'cg.ilu'"),
    ],
)
def test_options_without_meaning_are_refused(make, message):
    with pytest.raises(SolveError, match=message):
        make()


def test_names_resolve_to_solvers_that_bear_them():
    usual = {"cg": "cg+amg", "minres": "minres+jacobi", "gmres": "gmres+ilu", "bicgstab": "bicgstab+ilu"}
    for name in KRYLOV_BY_NAME:
        assert resolve_solver(name).name == usual.get(name, name)
        assert name in solver_names()
    assert resolve_solver("cg+ruge-stuben") == CG(preconditioner=AMG("ruge-stuben"))
    assert resolve_solver("gmres+ilu") == GMRES(preconditioner=ILU())
    assert len({resolve_solver(name) for name in KRYLOV_BY_NAME}) == len(KRYLOV_BY_NAME) - len(usual)


# --- the adjoint -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("velocity", [0.0, 20.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["gmres+ilu", "gmres+amg", "gmres+ruge-stuben", "bicgstab+ilu", "bicgstab+amg"])
def test_the_adjoint_solve_takes_as_many_iterations_and_no_set_up(name, velocity, seed):
    """BiCGSTAB does not minimize anything, and may differ by one or two more."""
    A = CSRMatrix.from_scipy(advection(32, velocity))
    data, solver = np.asarray(A.data), resolve_solver(name)
    b = np.random.default_rng(seed).standard_normal((2, A.shape[0], 1))
    clear_memo()
    primal = counted(solver.solve, A.pattern, data, b[0], False)
    adjoint = counted(solver.solve, A.pattern, data, b[1], True)
    assert (primal.set_ups, adjoint.set_ups) == (1, 0)
    assert (primal.solves, primal.adjoint_solves, adjoint.solves, adjoint.adjoint_solves) == (1, 0, 0, 1)
    assert abs(primal.iterations - adjoint.iterations) <= (1 if name.startswith("gmres") else 2)


def test_the_adjoint_solve_of_a_symmetric_matrix_needs_no_transposed_hierarchy():
    clear_memo()
    for transposed in (False, True):
        solve(advection(20, 0.0), resolve_solver("cg+amg"), transposed=transposed)
    (set_up,) = krylov_solver.memo._set_ups
    assert "_transposed" not in vars(set_up.applied)


def test_the_adjoint_solve_of_a_hermitian_matrix_takes_the_conjugate_preconditioner():
    skew = sp.kron(sp.eye(20), sp.diags([np.full(19, 0.9), np.full(19, -0.9)], [1, -1]))
    S = (advection(20, 0.0) + 1j * skew + sp.eye(400)).tocsr()
    clear_memo()
    primal, adjoint = (counted(solve, S, CG(preconditioner=AMG()), 0, transposed) for transposed in (False, True))
    assert abs(primal.iterations - adjoint.iterations) <= 1


def test_an_iteration_of_bicgstab_takes_two_products():
    S = advection(32, 0.0)
    stabilized, minimal = (counted(solve, S, resolve_solver(name)).iterations for name in ("bicgstab+amg", "gmres+amg"))
    assert stabilized < minimal < 2 * stabilized


def test_value_gradient_and_hessian_product_share_one_set_up():
    A = CSRMatrix.from_scipy(advection(16))
    b = jnp.ones(A.shape[0])
    derivative = jax.grad(lambda data: jnp.sum(linear_solve(CSRMatrix(data, A.pattern), b, "gmres+amg") ** 2))
    clear_memo()
    done = counted(jax.jit(lambda data: jax.jvp(derivative, (data,), (data,))[1]), A.data)
    assert (done.set_ups, done.factorizations, done.solves, done.adjoint_solves) == (1, 0, 2, 2)


# --- reuse -------------------------------------------------------------------------------------------------------


def diffusion(coefficient):
    """−∇·(k ∇u) on a square, k (n + 1, n) on the vertical edges and 1 on the horizontal ones."""
    n = coefficient.shape[1]
    difference = sp.kron(sp.diags([np.ones(n), -np.ones(n)], [0, -1], (n + 1, n)), sp.eye(n))
    line = sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])
    return (difference.T @ sp.diags(coefficient.ravel()) @ difference + sp.kron(sp.eye(n), line)).tocsr()


def field(contrast, n=32):
    """1, and ``contrast`` in one half."""
    k = np.ones((n + 1, n))
    k[: n // 2] = contrast
    return k


def solve(S, solver, seed=0, transposed=False):
    A = CSRMatrix.from_scipy(S)
    b = np.random.default_rng(seed).standard_normal((S.shape[0], 1))
    x = solver.solve(A.pattern, np.asarray(A.data), b, transposed)
    assert np.linalg.norm(S @ x - b if not transposed else S.T @ x - b) <= 1.01 * solver.rtol * np.linalg.norm(b)
    return x


REUSING = CG(preconditioner=AMG())


def test_a_set_up_serves_while_the_values_change_slowly_and_is_replaced_when_they_change_much():
    clear_memo()
    slow = [counted(solve, diffusion(field(1 + 0.05 * step)), REUSING) for step in range(8)]
    assert [done.set_ups for done in slow] == [1] + [0] * 7
    assert max(done.iterations for done in slow) <= 1.5 * slow[0].iterations + 3
    far = diffusion(field(1e4))
    jump = counted(solve, far, REUSING)
    assert jump.set_ups == 1
    assert counted(solve, far, REUSING, 1).set_ups == 0
    clear_memo()
    fresh = counted(solve, far, REUSING)
    assert jump.iterations <= fresh.iterations + 1.5 * slow[0].iterations + 3


def test_the_iterations_done_with_an_old_set_up_are_limited_by_the_rule():
    clear_memo()
    first = counted(solve, diffusion(field(1.0)), REUSING).iterations
    (set_up,) = krylov_solver.memo._set_ups
    assert set_up.iterations == first
    assert set_up.allowance(1000) == int(1.5 * first) + 3
    assert set_up.allowance(5) == 5


def test_values_that_an_old_set_up_served_once_are_not_judged_again():
    """Neither an adjoint solve nor another right-hand side replaces it by needing more iterations."""
    S = sp.csr_matrix(laplacian(50))
    A, solver = CSRMatrix.from_scipy(S), CG(preconditioner=Jacobi())
    eigenvector = np.sin(np.pi * np.arange(1, 51) / 51)[:, None]
    hard = np.random.default_rng(0).standard_normal((50, 1))
    clear_memo()
    for factor in (1, 2):
        solver.solve(A.pattern, factor * np.asarray(A.data), eigenvector, False)
    (set_up,) = krylov_solver.memo._set_ups
    for transposed in (True, False):
        done = counted(solver.solve, A.pattern, 2 * np.asarray(A.data), hard, transposed)
        assert done.iterations > set_up.allowance(1000)
        assert done.set_ups == 0


def test_what_is_solved_aside_leaves_old_set_ups_as_they_were():
    """Neither which values they served, nor how many iterations they may take."""
    A, solver = CSRMatrix.from_scipy(sp.csr_matrix(laplacian(50))), CG(preconditioner=Jacobi())
    data, b = np.asarray(A.data), np.random.default_rng(0).standard_normal((50, 1))
    clear_memo()
    solver.solve(A.pattern, data, np.zeros((50, 1)), False)
    with forgetting():
        solver.solve(A.pattern, data, b, False)
        solver.solve(A.pattern, 2 * data, b, False)
    (set_up,) = krylov_solver.memo._set_ups
    assert (set_up.iterations, len(set_up.served)) == (None, 1)


def test_a_solve_that_an_old_set_up_fails_is_not_given_up_before_a_new_one():
    """Jacobi of the first matrix is as bad as can be for the second one."""
    scale = 10.0 ** np.linspace(-1.5, 1.5, 50)
    D = sp.diags(scale)
    first, second = sp.csr_matrix(laplacian(50)), (D @ sp.csr_matrix(laplacian(50)) @ D).tocsr()
    solver = CG(max_iterations=60, preconditioner=Jacobi())
    clear_memo()
    solve(first, solver)
    assert counted(solve, second, solver).set_ups == 1


def test_a_new_set_up_that_fails_is_reported():
    A = CSRMatrix.from_scipy(advection(20))
    solver = GMRES(max_iterations=4)
    b = np.random.default_rng(0).standard_normal((A.shape[0], 1))
    clear_memo()
    solver.solve(A.pattern, np.where(A.pattern.rows == A.pattern.indices, 1.0, 0.0), b, False)
    with pytest.raises(SolveError, match="after 8 iterations"):
        solver.solve(A.pattern, np.asarray(A.data), b, False)


def test_the_adjoint_solve_takes_the_set_up_of_the_solve_with_the_same_values(monkeypatch):
    """Also an old one, and also after others were made for other values."""
    made = []
    original = AMG.set_up

    class Recorded:
        def __init__(self, inner):
            self.inner, self.calls = inner, []

        def apply(self, r):
            self.calls.append("M")
            return self.inner.apply(r)

        def apply_transposed(self, r):
            self.calls.append("Mᵀ")
            return self.inner.apply_transposed(r)

    def set_up(self, matrix):
        made.append(Recorded(original(self, matrix)))
        return made[-1]

    monkeypatch.setattr(AMG, "set_up", set_up)
    solver = GMRES(preconditioner=AMG())
    first, near = advection(20, 20.0), advection(20, 21.0)
    far = (first @ sp.diags(10.0 ** np.linspace(-3, 3, 400))).tocsr()
    clear_memo()
    solve(first, solver)
    solve(near, solver)  # with the set-up of the first
    assert len(made) == 1
    solve(far, solver)
    assert len(made) == 2
    made[0].calls.clear()
    made[1].calls.clear()
    done = counted(solve, near, solver, 1, True)
    assert done.set_ups == 0
    assert set(made[0].calls) == {"Mᵀ"}
    assert made[1].calls == []


def test_the_memo_is_bounded_and_forgets_the_least_recently_used():
    clear_memo()
    patterns = [advection(n) for n in range(4, 10)]
    for S in patterns:
        solve(S, GMRES(preconditioner=ILU()))
    assert len(krylov_solver.memo._set_ups) == krylov_solver.memo.max_set_ups == 4
    assert counted(solve, patterns[2], GMRES(preconditioner=ILU())).set_ups == 0
    assert counted(solve, patterns[0], GMRES(preconditioner=ILU())).set_ups == 1
    assert counted(solve, patterns[2], GMRES(preconditioner=ILU())).set_ups == 0
    assert counted(solve, patterns[3], GMRES(preconditioner=ILU())).set_ups == 1
    clear_memo()
    assert not krylov_solver.memo._set_ups


def test_a_new_set_up_takes_the_place_of_the_one_that_served_its_values():
    memo = SetUpMemo()
    first, second = SetUp("key", b"a", Jacobi()), SetUp("key", b"b", Jacobi())
    memo.add(first)
    first.serve(b"a", 5)
    first.serve(b"b", 5)
    memo.add(second)
    second.serve(b"b", 5)
    assert memo.serving("key", b"a") is first  # and so the one that was used last
    assert memo.latest("key") is first
    assert memo.serving("key", b"b") is second
    assert memo.serving("key", b"c") is None
    assert memo.latest("other key") is None


def test_forgetting_changes_results_within_the_tolerance_only():
    clear_memo()
    for contrast in (1.0, 1.3):
        remembered = solve(diffusion(field(contrast)), REUSING)
    clear_memo()
    forgotten = solve(diffusion(field(1.3)), REUSING)
    clear_memo()
    again = solve(diffusion(field(1.3)), REUSING)
    np.testing.assert_array_equal(again, forgotten)
    assert np.linalg.norm(remembered - forgotten) < 1e-6 * np.linalg.norm(forgotten)
    assert not np.array_equal(remembered, forgotten)


def test_values_changed_in_place_are_seen():
    S = advection(12)
    A = CSRMatrix.from_scipy(S)
    values, b = np.array(A.data), np.ones((A.shape[0], 1))
    for preconditioner in (Jacobi(), ILU(), AMG()):
        solver = GMRES(preconditioner=preconditioner)
        clear_memo()
        first = solver.solve(A.pattern, values, b, False)
        values *= 2
        np.testing.assert_allclose(solver.solve(A.pattern, values, b, False), first / 2, rtol=1e-7)
