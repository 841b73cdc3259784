"""Systems that must be refused, systems that must not be, and how a refusal crosses compiled code."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import skfem
from direct_solvers import every_solver
from skfem.models import elasticity, laplace, mass

from pdeopt.sparse import (
    AMG,
    CG,
    CSRMatrix,
    SolveError,
    clear_memo,
    linear_solve,
    resolve_solver,
    solve_errors,
    solver_names,
)
from pdeopt.sparse.solvers.auto import fastest_direct
from pdeopt.sparse.solvers.direct import mkl
from pdeopt.sparse.solvers.direct.solver import RSLAB


def laplacian(n):
    return sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1]).tocsr()


def neumann(kind):
    mesh, element, form = {
        "interval": (skfem.MeshLine().refined(3), skfem.ElementLineP1(), laplace),
        "square": (skfem.MeshTri().refined(4), skfem.ElementTriP1(), laplace),
        "disc, quadratic": (skfem.MeshTri.init_circle(3), skfem.ElementTriP2(), laplace),
        "cube": (skfem.MeshTet().refined(3), skfem.ElementTetP1(), laplace),
        "elastic disc": (
            skfem.MeshTri.init_circle(3),
            skfem.ElementVector(skfem.ElementTriP1()),
            elasticity.linear_elasticity(),
        ),
    }[kind]
    return form.assemble(skfem.Basis(mesh, element))


def residual(S, x, b):
    """Row by row, relative to what rounding of x and b permits."""
    return (np.abs(S @ x - b) / (abs(S) @ np.abs(x) + np.abs(b) + 1e-300)).max()


# --- refused -----------------------------------------------------------------------------------------------------

ZERO_ROW = sp.csr_matrix(np.diag([1.0, 0.0, 1.0]))
DEPENDENT = sp.csr_matrix(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))
DEPENDENT_NON_SYMMETRIC = sp.csr_matrix(np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 3.0, 0.0]]))


@every_solver
@pytest.mark.parametrize(
    ("S", "message"),
    [
        pytest.param(ZERO_ROW, "row 1 is zero", id="zero row"),
        pytest.param(DEPENDENT, "singular", id="dependent rows"),
        pytest.param(DEPENDENT_NON_SYMMETRIC, "singular", id="dependent rows, non-symmetric"),
        pytest.param(sp.csr_matrix((3, 3)), "3 such rows", id="no entries"),
        pytest.param(1j * DEPENDENT, "singular", id="complex"),
    ],
)
def test_a_singular_matrix_is_refused(S, message, solver):
    with pytest.raises(SolveError, match=message):
        linear_solve(CSRMatrix.from_scipy(S), np.ones(3), solver)


@every_solver
@pytest.mark.parametrize("kind", ["interval", "square", "disc, quadratic", "cube", "elastic disc"])
@pytest.mark.parametrize("consistent", [False, True])
def test_a_pure_neumann_problem_is_refused_with_the_remedy_and_again(kind, consistent, solver):
    K = neumann(kind)
    x = np.sin(np.arange(K.shape[0]))
    b = K @ x if consistent else np.cos(np.arange(K.shape[0]))
    clear_memo()
    for scale in (1.0, 2.0, 2.0):  # the second matrix of a pattern, and the second look at a matrix
        with pytest.raises(SolveError, match=r"(?s)singular to working precision.*Dirichlet value, a Robin term"):
            linear_solve(CSRMatrix.from_scipy(scale * K), b, solver)


@every_solver
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name_and_number(bad, solver):
    S = laplacian(5)
    S.data[[1, 4]] = bad
    with pytest.raises(SolveError, match="A is not finite: 2 of 13 values"):
        linear_solve(CSRMatrix.from_scipy(S), np.ones(5), solver)
    with pytest.raises(SolveError, match="b is not finite: 1 of 5 values"):
        linear_solve(CSRMatrix.from_scipy(laplacian(5)), np.array([0, 1, bad, 1, 0]), solver)


def test_infinities_of_both_signs_are_counted():
    S = laplacian(5)
    S.data[:2] = np.inf, -np.inf
    with pytest.raises(SolveError, match="2 of 13"):
        linear_solve(CSRMatrix.from_scipy(S), np.ones(5))


A = CSRMatrix.from_scipy(laplacian(4))


@pytest.mark.parametrize(
    ("matrix", "b", "solver", "message"),
    [
        (CSRMatrix.from_scipy(sp.csr_matrix((3, 4))), np.ones(3), "auto", r"must be square, got shape \(3, 4\)"),
        (laplacian(4), np.ones(4), "auto", r"must be a CSRMatrix.*from_scipy"),
        (A, np.ones(5), "auto", r"b has shape \(5,\); expected \(4,\) or \(4, k\)"),
        (A, np.ones((2, 4)), "auto", r"b has shape \(2, 4\)"),
        (A, np.ones((4, 1, 1)), "auto", r"b has shape \(4, 1, 1\)"),
        (A, np.ones(4, int), "auto", "b has dtype int64; expected float64 or complex128"),
        (A, np.ones(4, np.float32), "auto", "b has dtype float32"),
        (CSRMatrix(A.data.astype(int), A.pattern), np.ones(4), "auto", "A.data has dtype int64"),
        (CSRMatrix(A.data.astype(np.float32), A.pattern), np.ones(4), "auto", "A.data has dtype float32"),
        (CSRMatrix(A.data[:-1], A.pattern), np.ones(4), "auto", r"A.data has shape \(9,\).*stores 10"),
        (A, np.ones(4), "mumps", "unknown solver 'mumps'; expected one of auto, rslab, superlu"),
    ],
)
def test_wrong_input_is_refused_in_and_out_of_jit(matrix, b, solver, message):
    with pytest.raises(SolveError, match=message):
        linear_solve(matrix, b, solver)
    with pytest.raises(SolveError, match=message):
        jax.jit(lambda b: linear_solve(matrix, b, solver))(b)


def test_solver_names_and_objects_resolve():
    assert solver_names()[:5] == ["auto", "rslab", "superlu", "cholmod", "pardiso"]
    assert [resolve_solver(name).name for name in ("rslab", "superlu")] == ["rslab", "superlu"]
    assert resolve_solver(RSLAB) is RSLAB


def test_without_rslab_and_pardiso_auto_is_superlu_and_the_name_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypardiso", None)
    mkl._routine.cache_clear()
    assert fastest_direct().name == "rslab"
    monkeypatch.setitem(sys.modules, "rslab", None)
    assert fastest_direct().name == "superlu"
    with pytest.raises(SolveError, match="pip install rslab"):
        resolve_solver("rslab")


@pytest.mark.parametrize(
    ("solver", "package", "library"),
    [("cholmod", "cvxopt", "cvxopt.cholmod"), ("pardiso", "pypardiso", "pypardiso")],
)
def test_a_missing_optional_library_is_named_with_the_command(monkeypatch, solver, package, library):
    monkeypatch.setitem(sys.modules, library, None)
    mkl._routine.cache_clear()
    command = rf"'{solver}' is not installed; run: pip install \"pdeopt\[{solver}\]\" \(or: pip install {package}\)"
    for solve in (linear_solve, jax.jit(linear_solve, static_argnums=2)):
        with pytest.raises(SolveError, match=command):
            solve(A, np.ones(4), solver)
    assert solver in solver_names()


# --- not refused -------------------------------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize("scaled", ["rows", "columns", "both", "units"])
@pytest.mark.parametrize("kind", ["symmetric", "non-symmetric"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_and_columns_in_different_units_are_solved(seed, kind, scaled, solver):
    rng = np.random.default_rng(seed)
    n = 60
    D = sp.diags(10.0 ** rng.uniform(-6, 6, n))
    S = laplacian(n) if kind == "symmetric" else sp.random(n, n, 0.1, random_state=rng) + 2 * sp.eye(n)
    scaled_matrix = {"rows": D @ S, "columns": S @ D, "both": D @ S @ D, "units": D @ S @ sp.diags(1 / D.diagonal())}
    T = scaled_matrix[scaled].tocsr()
    for b in (rng.standard_normal(n), T @ np.ones(n)):
        x = np.asarray(linear_solve(CSRMatrix.from_scipy(T), b, solver))
        size = np.asarray(abs(T).sum(1)).ravel() * np.abs(x).max() + np.abs(b)
        assert (np.abs(T @ x - b) / size).max() < 1e-12


@every_solver
@pytest.mark.parametrize("contrast", [1e8, 1e13, 1e16])
def test_a_block_in_small_units_is_solved_as_well_as_one_in_large_units(contrast, solver):
    """rslab's LU fails on the second block; one norm for all rows would not show it beside the first."""
    rng = np.random.default_rng(0)
    hard = sp.random(500, 500, 0.02, random_state=0) + 1e-3 * sp.eye(500)
    tilted = sp.random(60, 60, 0.1, random_state=rng) + 2 * sp.eye(60)
    for small in (hard, tilted):
        S = sp.block_diag([contrast * laplacian(60), small]).tocsr()
        b = np.concatenate([np.full(60, contrast), np.ones(small.shape[0])])
        x = np.asarray(linear_solve(CSRMatrix.from_scipy(S), b, solver))
        assert np.abs((S @ x - b)[60:]).max() < 1e-8


def test_an_inaccurate_factorization_falls_back_to_superlu():
    S = sp.csr_matrix(sp.random(500, 500, 0.02, random_state=1) + 1e-3 * sp.eye(500))
    b = np.ones(500)
    A = CSRMatrix.from_scipy(S)
    x = np.asarray(linear_solve(A, b, "rslab"))
    assert np.abs(S @ x - b).max() < 1e-10
    gradient = jax.grad(lambda b: jnp.sum(linear_solve(A, b, "rslab") ** 2))(jnp.asarray(b))
    assert residual(S.T, np.asarray(gradient), 2 * x) < 1e-10


@every_solver
@pytest.mark.parametrize("weight", [1e-3, 1e-6, 1e-9])
def test_a_nearly_neumann_problem_is_solved(weight, solver):
    basis = skfem.Basis(skfem.MeshTri().refined(4), skfem.ElementTriP1())
    S = laplace.assemble(basis) + weight * mass.assemble(basis)
    b = np.ones(basis.N)
    assert residual(S, np.asarray(linear_solve(CSRMatrix.from_scipy(S), b, solver)), b) < 1e-12


def test_zero_columns_among_right_hand_sides_are_solved():
    b = np.stack([np.zeros(5), np.ones(5)], axis=1)
    x = linear_solve(CSRMatrix.from_scipy(laplacian(5)), b)
    np.testing.assert_array_equal(x[:, 0], 0)
    np.testing.assert_allclose(laplacian(5) @ x, b, atol=1e-14)


# --- across compiled code ----------------------------------------------------------------------------------------


@jax.jit
def energy(data):
    return jnp.sum(linear_solve(CSRMatrix(data, A.pattern), jnp.ones(4)) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiled",
    [energy, jax.jit(jax.grad(energy)), jax.jit(lambda data: jax.vmap(energy)(jnp.stack([data, data])))],
    ids=["value", "gradient", "vmap"],
)
@pytest.mark.parametrize("ran_before", [False, True])
def test_the_original_error_arrives_out_of_jit(compiled, ran_before):
    """JAX's short way into compiled code that ran before raises another exception type."""
    jax.clear_caches()
    if ran_before:
        for _ in range(2):
            jax.block_until_ready(compiled(A.data))
    with pytest.raises(SolveError, match="singular"), solve_errors():
        jax.block_until_ready(compiled(0 * A.data))


def test_another_error_of_compiled_code_passes_unchanged():
    def fail(_):
        raise ZeroDivisionError("not a solve")

    @jax.jit
    def compiled(x):
        return jax.pure_callback(fail, jax.ShapeDtypeStruct((), float), x)

    with pytest.raises(jax.errors.JaxRuntimeError, match="not a solve"), solve_errors():
        jax.block_until_ready(compiled(1.0))


def test_compiled_code_works_again_after_an_error():
    with pytest.raises(SolveError), solve_errors():
        jax.block_until_ready(energy(0 * A.data))
    x = np.linalg.solve(laplacian(4).toarray(), np.ones(4))
    assert energy(A.data) == pytest.approx((x**2).sum())


SCRIPT = """
import jax, jax.numpy as jnp, numpy as np, scipy.sparse as sp
from pdeopt.sparse import CSRMatrix, SolveError, linear_solve, solve_errors
A = CSRMatrix.from_scipy(sp.csr_matrix(([1.0, 0.0], [0, 1], [0, 1, 2]), (2, 2)))
solve = jax.jit(lambda data, b: linear_solve(CSRMatrix(data, A.pattern), b))
solve(jnp.ones(A.pattern.nnz), jnp.ones(2))
compiled_again = jax.jit(lambda b: linear_solve(A, b))
calls = (
    lambda: linear_solve(A, jnp.ones(2)),
    lambda: solve(A.data, jnp.ones(2)),
    lambda: compiled_again(jnp.ones(2)),
)
for call in calls:
    try:
        with solve_errors():
            jax.block_until_ready(call())
    except SolveError as error:
        print("refused:", error)
"""


@pytest.mark.slow
def test_python_exits_cleanly_and_silently_after_a_failed_solve():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout.count("refused: the 2 x 2 matrix is singular") == 3
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resolve_solver("CG"), "did you mean 'cg'"),
        (lambda: resolve_solver(CG), "got the class CG"),
        (lambda: resolve_solver(None), "got a NoneType"),
        (lambda: CG(preconditioner="amg"), r"preconditioner is 'amg'; expected Jacobi\(\)"),
        (lambda: CG(preconditioner=AMG), "preconditioner is <class"),
        (lambda: CG(rtol="1e-8"), "rtol is '1e-8'"),
    ],
)
def test_a_solver_that_is_none_is_refused_when_it_is_given(make, message):
    with pytest.raises(SolveError, match=message):
        make()
