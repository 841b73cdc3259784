"""The direct libraries, each by itself, without the next one that would hide its mistakes."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
from direct_solvers import needing

from pdeopt.sparse import CSRMatrix, SolveError, SparsityPattern, clear_memo, linear_solve, resolve_solver
from pdeopt.sparse.solvers.direct import mkl
from pdeopt.sparse.solvers.direct.cholmod import analyze_cholmod
from pdeopt.sparse.solvers.direct.pardiso import analyze_pardiso_general, analyze_pardiso_symmetric
from pdeopt.sparse.solvers.direct.rslab_backend import analyze_rslab_ldlt, analyze_rslab_lu
from pdeopt.sparse.solvers.direct.solver import DirectSolver, memo
from pdeopt.sparse.solvers.direct.superlu import analyze_superlu, analyze_superlu_symmetric

RNG = np.random.default_rng(0)
N = 40


def laplacian(n):
    return sp.csr_matrix(sp.diags([-np.ones(n - 1), 2.1 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1]))


def sprinkled(n, dtype=float):
    """Without symmetry in its pattern, some of its diagonal missing, far from its transpose."""
    values = RNG.standard_normal((n, n)) + (1j * RNG.standard_normal((n, n)) if dtype is complex else 0)
    dense = np.where(RNG.random((n, n)) < 0.1, values, 0) + 3 * np.eye(n)[RNG.permutation(n)]
    return sp.csr_matrix(dense)


def saddle_point(n, m, stored_diagonal=False):
    """Positive definite n x n block, zero m x m block."""
    B = sp.random(m, n, 0.1, random_state=1) + sp.eye(m, n)
    S = sp.csr_matrix(sp.block_array([[laplacian(n), B.T], [B, None]]))
    if stored_diagonal:
        S = S + sp.csr_matrix((np.full(n + m, 1.0), (np.arange(n + m),) * 2))
        S.data[S.indices == np.repeat(np.arange(n + m), np.diff(S.indptr))] -= 1.0
    return S


DEFINITE = laplacian(N) + sp.csr_matrix(([0.3, 0.3], ([0, 9], [9, 0])), (N, N))
MATRICES = {
    "definite": DEFINITE,
    "saddle point": saddle_point(30, 12),
    "saddle point, zeros stored": saddle_point(30, 12, stored_diagonal=True),
    "complex symmetric": sp.csr_matrix(DEFINITE + 1j * sp.diags(RNG.standard_normal(N))),
    "complex saddle point": sp.csr_matrix((1 + 0.5j) * saddle_point(30, 12)),
    "general": sprinkled(N),
    "complex general": sprinkled(N, complex),
}
SYMMETRIC = [name for name in MATRICES if "general" not in name]
TAKES = {
    analyze_cholmod: ["definite"],
    analyze_pardiso_symmetric: SYMMETRIC,
    analyze_pardiso_general: [*MATRICES],
    analyze_rslab_ldlt: ["definite", "complex symmetric"],  # it refuses these saddle points; its LU follows
    analyze_rslab_lu: [*MATRICES],
    analyze_superlu: [*MATRICES],
    analyze_superlu_symmetric: ["definite", "complex symmetric"],
}
LIBRARY = {analyze_cholmod: "cvxopt", analyze_pardiso_symmetric: "pypardiso", analyze_pardiso_general: "pypardiso"}
every_case = pytest.mark.parametrize(
    ("analyze", "name"),
    [needing(LIBRARY.get(analyze, "scipy"), analyze, name) for analyze, names in TAKES.items() for name in names],
)
each_pardiso = pytest.mark.parametrize(
    ("analyze", "name"),
    [
        needing("pypardiso", analyze_pardiso_symmetric, "definite"),
        needing("pypardiso", analyze_pardiso_symmetric, "saddle point"),
        needing("pypardiso", analyze_pardiso_general, "general"),
    ],
)
each_new_library = pytest.mark.parametrize("solver", [needing("cvxopt", "cholmod"), needing("pypardiso", "pardiso")])


def taken_apart(name):
    S = MATRICES[name]
    return S, SparsityPattern.from_scipy(S), S.data


def right_hand_sides(S, columns):
    rng = np.random.default_rng(columns)
    real = rng.standard_normal((S.shape[0], columns))
    return real + 1j * rng.standard_normal(real.shape) if np.iscomplexobj(S.data) else real


def symmetrically_varied(S, seed):
    """Other values on the same pattern: D S D with a diagonal D."""
    d = np.random.default_rng(seed).uniform(0.5, 2, S.shape[0])
    data = S.data * np.repeat(d, np.diff(S.indptr)) * d[S.indices]  # a product of matrices drops stored zeros
    return sp.csr_matrix((data, S.indices, S.indptr), S.shape)


def assert_solves(factor, S, columns=2):
    b = right_hand_sides(S, columns)
    dense = S.toarray()
    np.testing.assert_allclose(factor.solve(b, False), np.linalg.solve(dense, b), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(factor.solve(b, True), np.linalg.solve(dense.T, b), rtol=1e-8, atol=1e-9)


def factored_by():
    """What the last solve used."""
    return [analyze for analyze, factor in memo._factored[-1].factors.items() if not isinstance(factor, RuntimeError)]


def test_the_general_matrices_are_far_from_symmetric_and_lack_diagonal_entries():
    for name in ("general", "complex general"):
        S = MATRICES[name]
        assert abs(S - S.T).max() > 1
        assert (S.diagonal() == 0).sum() > N // 2
    stored, missing = MATRICES["saddle point, zeros stored"], MATRICES["saddle point"]
    assert stored.nnz == missing.nnz + 12
    np.testing.assert_array_equal(stored.toarray(), missing.toarray())


@every_case
@pytest.mark.parametrize("columns", [1, 3])
def test_solutions_with_the_matrix_and_its_transpose_equal_dense_ones(analyze, name, columns):
    S, pattern, data = taken_apart(name)
    assert_solves(analyze(pattern, data)(data), S, columns)


@every_case
def test_right_hand_sides_are_left_alone(analyze, name):
    S, pattern, data = taken_apart(name)
    factor = analyze(pattern, data)(data)
    for columns in (1, 3):
        b = right_hand_sides(S, columns)
        for transposed in (False, True):
            factor.solve(b, transposed)
            np.testing.assert_array_equal(b, right_hand_sides(S, columns))


@every_case
def test_factors_of_one_pattern_live_side_by_side(analyze, name):
    S, pattern, data = taken_apart(name)
    factorize = analyze(pattern, data)
    varied = [symmetrically_varied(S, seed) for seed in range(6)]
    factors = [factorize(V.data) for V in varied]
    for k in (5, 0, 3, 1, 4, 2):
        assert_solves(factors[k], varied[k])
    del factors[3]
    factors.append(factorize(varied[0].data))  # in the place that became free
    for k, factor in zip((0, 1, 2, 4, 5, 0), factors, strict=True):
        assert_solves(factor, varied[k])


@each_pardiso
def test_more_factors_than_one_instance_has_slots(monkeypatch, analyze, name):
    monkeypatch.setattr(mkl, "MAX_FACTORS", 3)
    S, pattern, data = taken_apart(name)
    factorize = analyze(pattern, data)
    varied = [symmetrically_varied(S, seed) for seed in range(8)]
    factors = [factorize(V.data) for V in varied]
    for factor, V in zip(factors, varied, strict=True):
        assert_solves(factor, V)


@each_pardiso
def test_an_instance_is_released_with_its_analysis_and_a_slot_with_its_factor(monkeypatch, analyze, name):
    phases, run = [], mkl._Instance.run

    def recorded(self, phase, *args, **options):
        phases.extend([phase] * (phase != mkl.SOLVE))
        return run(self, phase, *args, **options)

    monkeypatch.setattr(mkl._Instance, "run", recorded)
    _, pattern, data = taken_apart(name)
    factorize = analyze(pattern, data)
    factor, second, other = factorize(data), factorize(data), factorize(data)
    del factor
    assert phases == [mkl.ANALYZE, *[mkl.FACTOR] * 3]  # its memory is for the next factor
    del second
    assert phases.pop() == mkl.FREE_FACTOR
    phases.clear()
    del factorize
    assert phases == []  # a factor still needs it
    del other
    assert phases == [mkl.FREE_FACTOR, mkl.FREE_ALL]


@pytest.mark.slow
@pytest.mark.parametrize("analyze", [needing("pypardiso", analyze_pardiso_general)])
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("new_garbage_only")
def test_an_instance_in_a_reference_cycle_is_released_whatever_goes_first(analyze):
    _, pattern, data = taken_apart("general")
    for _ in range(20):
        cycle = [analyze(pattern, data)(data)]
        cycle.append(cycle)
        cycle[0]._analysis.cycle = cycle
        gone = weakref.ref(cycle[0])
        del cycle
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("analyze", [needing("pypardiso", analyze_pardiso_general)])
def test_a_singular_matrix_does_not_spoil_the_next_of_its_pattern(analyze):
    S, pattern, data = taken_apart("general")
    factorize = analyze(pattern, data)
    before = factorize(data)
    singular = np.where(pattern.rows == 5, 0, data)
    alone = DirectSolver("alone", (), (analyze,))
    clear_memo()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not finite"):
            factorize(singular)
        with pytest.raises(SolveError, match="singular to working precision"):
            alone.solve(pattern, singular, np.ones((N, 1)), False)
        assert_solves(factorize(data), S)
        np.testing.assert_allclose(S @ alone.solve(pattern, data, np.ones((N, 1)), False), 1, atol=1e-10)
    assert_solves(before, S)


@pytest.mark.parametrize("scale", [1.0, -1.0])
@pytest.mark.parametrize(
    ("analyze", "refused"),
    [
        needing("cvxopt", analyze_cholmod, ["complex symmetric", "saddle point", "saddle point, zeros stored"]),
        (analyze_superlu_symmetric, ["saddle point", "saddle point, zeros stored"]),
    ],
)
def test_cholesky_refuses_what_is_not_positive_definite(analyze, refused, scale):
    indefinite = sp.csr_matrix(DEFINITE - 2 * sp.eye(N))  # with a positive diagonal
    for S in [indefinite * scale, *(MATRICES[name] for name in refused)]:
        factorize = analyze(SparsityPattern.from_scipy(S), S.data)
        if S.diagonal().min() > 0 and analyze is analyze_superlu_symmetric:
            assert_solves(factorize(S.data), S)  # LU does not need it
            continue
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"not positive|complex"):
                factorize(S.data)


@pytest.mark.parametrize("analyze", [needing("cvxopt", analyze_cholmod)])
def test_cholmod_goes_on_after_an_indefinite_matrix_of_the_pattern(analyze):
    S, pattern, data = taken_apart("definite")
    factorize = analyze(pattern, data)
    before = factorize(data)
    diagonal = pattern.indices == pattern.rows
    with pytest.raises(RuntimeError, match="not positive definite"):
        factorize(np.where(diagonal, data - 2, data))
    after = factorize(2 * data)
    assert_solves(before, S)
    assert_solves(after, 2 * S)


@each_new_library
@pytest.mark.parametrize("name", MATRICES)
def test_the_solver_takes_its_own_library_first(solver, name):
    S, _, _ = taken_apart(name)
    clear_memo()
    b = right_hand_sides(S, 2)
    x = linear_solve(CSRMatrix.from_scipy(S), b, solver)
    np.testing.assert_allclose(x, np.linalg.solve(S.toarray(), b), rtol=1e-8, atol=1e-10)
    pardiso = analyze_pardiso_symmetric if name in SYMMETRIC else analyze_pardiso_general
    cholmod = {"definite": analyze_cholmod, "complex symmetric": analyze_rslab_ldlt}.get(name, analyze_rslab_lu)
    assert factored_by() == [{"pardiso": pardiso, "cholmod": cholmod}[solver]]


@pytest.mark.parametrize("seed", [needing("pypardiso", seed) for seed in (4, 23, 43)])
def test_pardiso_factors_what_it_would_alone_after_any_matrix_of_the_pattern(seed):
    """The matching of the first matrix leaves small pivots in the second one."""
    rng = np.random.default_rng(seed)
    S = sp.csr_matrix(sp.random(60, 60, 0.08, random_state=rng) + sp.eye(60))
    S.sort_indices()
    first, second = (rng.standard_normal(S.nnz) * 10.0 ** rng.integers(-9, 1, S.nnz) for _ in range(2))
    b = rng.standard_normal((60, 1))
    pattern = SparsityPattern.from_scipy(S)
    factorize = analyze_pardiso_general(pattern, first)
    factorize(first)
    matrix = sp.csr_matrix((second, S.indices, S.indptr))
    for factor in (factorize(second), analyze_pardiso_general(pattern, second)(second)):
        x = factor.solve(b, False)
        assert np.max(abs(b - matrix @ x) / (abs(matrix) @ abs(x) + abs(b))) < 1e-10


@each_new_library
def test_without_rslab_superlu_follows(monkeypatch, solver):
    clear_memo()
    monkeypatch.setitem(sys.modules, "rslab", None)
    S = MATRICES["saddle point"]
    x = linear_solve(CSRMatrix.from_scipy(S), np.ones(S.shape[0]), solver)
    np.testing.assert_allclose(S @ x, 1, atol=1e-10)
    with pytest.raises(SolveError, match="rslab_lu: rslab is not installed; superlu"):
        linear_solve(CSRMatrix.from_scipy(0 * S), np.ones(S.shape[0]), solver)
    clear_memo()


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("definite", [analyze_superlu_symmetric]),
        ("complex symmetric", [analyze_superlu_symmetric]),
        ("saddle point", [analyze_superlu]),
        ("saddle point, zeros stored", [analyze_superlu]),
        ("general", [analyze_superlu]),
    ],
)
def test_superlu_uses_its_symmetric_mode_where_the_diagonal_is_positive(name, used):
    clear_memo()
    S = MATRICES[name]
    b = right_hand_sides(S, 1)
    x = resolve_solver("superlu").solve(SparsityPattern.from_scipy(S), S.data, b, False)
    np.testing.assert_allclose(S @ x, b, atol=1e-10)
    assert factored_by() == used


SILENT = """
import logging, sys, numpy as np, scipy.sparse as sp
logging.getLogger("pdeopt").setLevel(logging.ERROR)  # what we say of a fallback is tested elsewhere
from pdeopt.sparse import CSRMatrix, SolveError, linear_solve
for diagonal in (2.0, 0.5, 0.0):
    S = sp.csr_matrix(np.diag(np.full(5, diagonal)) - np.eye(5, k=1) - np.eye(5, k=-1))
    for A in (S, 1j * S, S + sp.eye(5, k=2)):
        try:
            linear_solve(CSRMatrix.from_scipy(A), np.ones(5), sys.argv[1])
        except SolveError:
            pass
"""


@pytest.mark.slow
@each_new_library
def test_nothing_is_printed(solver):
    done = subprocess.run([sys.executable, "-c", SILENT, solver], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def resident():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("analyze", "kind"),
    [
        needing("cvxopt", analyze_cholmod, "definite"),
        needing("pypardiso", analyze_pardiso_symmetric, "definite"),
        needing("pypardiso", analyze_pardiso_general, "definite"),
        needing("pypardiso", analyze_pardiso_symmetric, "indefinite"),
    ],
)
def test_memory_does_not_grow_with_factorizations_nor_with_patterns(analyze, kind):
    n = 400
    S = sp.csr_matrix(sp.kron(laplacian(20), sp.eye(20)) + sp.kron(sp.eye(20), laplacian(20)))
    pattern = SparsityPattern.from_scipy(S)
    data = S.data if kind == "definite" else np.where(pattern.indices == pattern.rows, S.data - 3, S.data)
    b = np.ones((n, 1))

    def work_through(times):
        factorize = analyze(pattern, data)
        for k in range(times):
            if k % 10 == 0:
                factorize = analyze(pattern, data)
            factorize(data * (1 + k)).solve(b, False)
        return factorize(data).nbytes

    size = work_through(50)
    before = resident()
    work_through(300)
    assert resident() - before < 60 * size  # of the 300 factors
    assert size > 8 * S.nnz / 2
