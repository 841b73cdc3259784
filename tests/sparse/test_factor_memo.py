"""What is remembered of earlier solves changes the cost, never the answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from direct_solvers import every_solver
from skfem.models import laplace, mass

from pdeopt.sparse import CSRMatrix, DirectSolver, SolveError, clear_memo, forgetting, linear_solve, work
from pdeopt.sparse.solvers.direct import solver as direct
from pdeopt.sparse.solvers.direct.factor_memo import Memo
from pdeopt.sparse.solvers.direct.superlu import analyze_superlu

BASIS = skfem.Basis(skfem.MeshTri().refined(4), skfem.ElementTriP1())
K, M = laplace.assemble(BASIS), mass.assemble(BASIS)


def on_pattern_of_mass(matrix):
    """K has entries on the pattern of M only; zeros are stored."""
    A = CSRMatrix.from_scipy(M)
    return CSRMatrix(jnp.asarray(np.asarray(matrix[A.pattern.rows, A.pattern.indices]).ravel()), A.pattern)


@every_solver
@pytest.mark.parametrize("before", [False, True])
def test_singular_matrix_is_refused_whatever_was_solved_before(solver, before):
    clear_memo()
    consistent = K @ np.sin(np.arange(BASIS.N))
    if before:
        linear_solve(on_pattern_of_mass(K + M), jnp.asarray(consistent), solver)
    with pytest.raises(SolveError, match="singular"):
        linear_solve(on_pattern_of_mass(K), jnp.asarray(consistent), solver)


@every_solver
@pytest.mark.parametrize(("contrast", "solvable"), [(1e8, True), (1e11, True), (1e17, False)])
def test_contrast_that_exceeds_the_precision_is_refused(solver, contrast, solvable):
    inside = (np.abs(BASIS.mesh.p[:, BASIS.mesh.t].mean(1) - 0.5) < 0.2).all(0)
    kappa = np.where(inside, contrast, 1.0)[:, None]
    stiffness = skfem.BilinearForm(lambda u, v, w: w.k * (u.grad * v.grad).sum(0)).assemble(BASIS, k=kappa)
    free = BASIS.complement_dofs(BASIS.get_dofs())
    A = CSRMatrix.from_scipy(stiffness[free][:, free].tocsr())
    b = jnp.asarray(skfem.models.unit_load.assemble(BASIS)[free])
    if solvable:  # the limit of a perfectly conducting island
        assert float(linear_solve(A, b, solver).max()) == pytest.approx(0.0623, rel=0.05)
    else:
        with pytest.raises(SolveError):
            linear_solve(A, b, solver)


def test_gradient_of_many_matrices_factors_each_once():
    clear_memo()
    A = CSRMatrix.from_scipy(K + M)
    shifts = jnp.linspace(1.0, 2.0, 9)

    def objective(data):
        solve = jax.vmap(lambda shift: linear_solve(CSRMatrix(data * shift, A.pattern), jnp.ones(BASIS.N)))
        return (solve(shifts) ** 2).sum()

    before = work.copy()
    jax.value_and_grad(objective)(A.data)
    assert work.since(before).factorizations == 9


def value_and_gradient(data, shifts):
    """Two solves with each of several matrices of one pattern, one after the other as in a program."""
    A = CSRMatrix.from_scipy(K + M)

    def objective(data):
        return sum((linear_solve(CSRMatrix(data * s, A.pattern), jnp.ones(BASIS.N)) ** 2).sum() for s in shifts)

    return jax.value_and_grad(objective)(data)


@pytest.mark.parametrize("matrices", [1, 3, 7])
def test_each_matrix_of_an_evaluation_is_factored_once_and_those_of_two_evaluations_are_kept(matrices):
    clear_memo()
    before, shifts = work.copy(), np.linspace(1.0, 2.0, matrices)
    for k in range(5):
        value_and_gradient((K + M).data * np.exp(k), shifts)
    assert work.since(before).factorizations == 5 * matrices
    assert len(direct.memo._factored) == 2 * matrices
    value_and_gradient((K + M).data * np.exp(3), shifts)  # an optimizer steps back
    assert work.since(before).factorizations == 5 * matrices


def test_values_without_gradient_do_not_pile_up_where_evaluations_are_known():
    clear_memo()
    A, b = CSRMatrix.from_scipy(K + M), np.ones(BASIS.N)
    value_and_gradient(A.data, [1.0])
    for k in range(2, 9):
        linear_solve(CSRMatrix(k * A.data, A.pattern), b)
    assert len(direct.memo._factored) == 2


def test_a_constant_matrix_of_the_same_pattern_is_factored_once():
    clear_memo()
    A, b, before = CSRMatrix.from_scipy(K + M), jnp.ones(BASIS.N), work.copy()

    def objective(data):
        u = linear_solve(A, b)
        for k in range(1, 5):
            u = linear_solve(A, linear_solve(CSRMatrix(data * k, A.pattern), u))
        return (u**2).sum()

    for k in range(4):
        jax.value_and_grad(objective)(A.data * (1.1 + k / 7))
    assert work.since(before).factorizations == 4 * 4 + 1


def test_threads_that_evaluate_at_once_soon_find_their_factors():
    memo, pattern, new = Memo(), CSRMatrix.from_scipy(M).pattern, 0
    for evaluation in range(20):  # of three threads, each of which ends its own after two others began theirs
        for adjoint in (False, True):
            place = evaluation - 2 * adjoint
            known = {id(entry) for entry in memo._factored}
            found = memo.lookup(pattern, M.data * (2.0 + place), adjoint)
            new += adjoint and place >= 6 and id(found) not in known
    assert new == 0
    assert len(memo._factored) <= 5


def test_different_systems_are_factored_at_the_same_time():
    together = threading.Barrier(2, timeout=20)

    def analyze_waiting(pattern, sample):
        factorize = analyze_superlu(pattern, sample)

        def wait_and_factorize(data):
            together.wait()
            return factorize(data)

        return wait_and_factorize

    solver = DirectSolver("waiting", (analyze_waiting,), (analyze_waiting,))
    systems = [CSRMatrix.from_scipy(K + k * M) for k in (1, 2)]
    b = np.ones((BASIS.N, 1))
    with ThreadPoolExecutor(2) as pool:
        xs = list(pool.map(lambda A: solver.solve(A.pattern, np.asarray(A.data), b, False), systems))
    for A, x in zip(systems, xs, strict=True):
        np.testing.assert_allclose(A.to_scipy() @ x, b, rtol=1e-10)


def test_memory_of_factors_is_bounded():
    memo = Memo(max_bytes=1, min_factored=2)
    pattern = CSRMatrix.from_scipy(M).pattern
    for k in range(5):
        memo.lookup(pattern, M.data * (k + 1))
    assert len(memo._factored) == 2
    memo = Memo(min_factored=1, max_factored=3)
    for k in range(5):
        memo.lookup(pattern, M.data * (k + 1))
    assert len(memo._factored) == 3


@every_solver
def test_what_is_solved_aside_neither_helps_nor_hinders(solver):
    clear_memo()
    A, other, b = CSRMatrix.from_scipy(K + M), CSRMatrix.from_scipy(K + 2 * M), np.ones(BASIS.N)
    linear_solve(A, b, solver)
    with forgetting():
        for k in range(3, 9):
            linear_solve(CSRMatrix.from_scipy(K + k * M), b, solver)
        linear_solve(other, b, solver)
    before = work.copy()
    linear_solve(A, b, solver)
    assert work.since(before).factorizations == 0, "remembered from before"
    linear_solve(other, b, solver)
    assert work.since(before).factorizations == 1, "not remembered"


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["superlu", "cg+amg"])
def test_the_time_of_factoring_is_apart_from_that_of_solving(solver):
    clear_memo()
    A, b = CSRMatrix.from_scipy(K + M), np.ones(BASIS.N)
    before = work.copy()
    linear_solve(A, b, solver)
    first = work.since(before)
    linear_solve(A, 2 * b, solver)
    both = work.since(before)
    assert 0 < first.factoring_seconds == both.factoring_seconds
    assert 0 < first.solving_seconds < both.solving_seconds
