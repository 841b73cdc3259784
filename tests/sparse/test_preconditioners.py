"""Preconditioners: their transposes, their symmetry, what they refuse, and what they save."""

import numpy as np
import pytest
import scipy.sparse as sp
import skfem
from skfem.models import elasticity

from pdeopt.sparse import AMG, CG, ILU, CSRMatrix, Jacobi, SolveError, clear_memo, work
from pdeopt.sparse.solvers.krylov.multigrid import MAX_COARSE_UNKNOWNS, MAX_PSEUDO_INVERSE_UNKNOWNS, _coarse_solves

N = 30


def poisson(n=N, dimensions=2):
    line = sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])
    total = line
    for _ in range(dimensions - 1):
        total = sp.kron(total, sp.eye(n)) + sp.kron(sp.eye(total.shape[0]), line)
    return total.tocsr()


def advection(n=N, velocity=20.0):
    """−Δu + v · ∇u on a square, upwind."""
    upwind = sp.diags([-np.ones(n - 1), np.ones(n)], [-1, 0])
    drift = sp.kron(sp.eye(n), upwind) + 0.5 * sp.kron(upwind, sp.eye(n))
    return (poisson(n) + velocity / (n + 1) * drift).tocsr()


def imaginary(n=N):
    """Skew-symmetric and real, so that i times it is Hermitian."""
    return sp.kron(sp.eye(n), sp.diags([np.full(n - 1, 0.2), np.full(n - 1, -0.2)], [1, -1])).tocsr()


REAL = {"jacobi": Jacobi(), "ilu": ILU(), "rough ilu": ILU(0.1, 2), "amg": AMG(), "ruge-stuben": AMG("ruge-stuben")}
COMPLEX = {name: REAL[name] for name in ("jacobi", "ilu", "rough ilu", "amg")}
GENERAL = [pytest.param(advection(), p, id=name) for name, p in REAL.items()]
GENERAL += [pytest.param((advection() + 1j * imaginary() + 0.1j * sp.eye(N**2)).tocsr(), p, id=f"complex {name}")
            for name, p in COMPLEX.items()]  # fmt: skip


def random(matrix, seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((2, matrix.shape[0]))
    return values[0] + 1j * values[1] if np.iscomplexobj(matrix.data) else values[0]


def asymmetry(forward, backward, matrix):
    """|⟨M r, s⟩ − ⟨r, M̃ s⟩|, without conjugation, relative."""
    r, s = random(matrix, 0), random(matrix, 1)
    image = forward(r)
    return abs(image @ s - r @ backward(s)) / (np.linalg.norm(image) * np.linalg.norm(s))


@pytest.mark.parametrize(("matrix", "preconditioner"), GENERAL)
def test_the_adjoint_preconditioner_is_the_exact_transpose(matrix, preconditioner):
    applied = preconditioner.set_up(matrix)
    assert asymmetry(applied.apply, applied.apply_transposed, matrix) < 1e-13
    if not isinstance(preconditioner, Jacobi):
        assert asymmetry(applied.apply, applied.apply, matrix) > 1e-6  # else the line above shows nothing


@pytest.mark.parametrize("kind", ["smoothed-aggregation", "ruge-stuben"])
def test_the_cycle_is_symmetric_and_positive_definite_where_the_matrix_is(kind):
    matrix = poisson(8)
    assert matrix.shape[0] < MAX_COARSE_UNKNOWNS < N**2
    for matrix in (poisson(8), poisson(), poisson(8, 3)):
        cycle = AMG(kind).set_up(matrix)
        assert asymmetry(cycle.apply, cycle.apply, matrix) < 1e-14
        assert random(matrix, 2) @ cycle.apply(random(matrix, 2)) > 0


def test_the_cycle_is_hermitian_or_complex_symmetric_where_the_matrix_is():
    hermitian = (poisson() + 1j * imaginary()).tocsr()
    cycle = AMG().set_up(hermitian)
    assert asymmetry(cycle.apply, lambda s: cycle.apply(s.conj()).conj(), hermitian) < 1e-14
    symmetric = (poisson() + 0.5j * sp.eye(N**2)).tocsr()
    cycle = AMG().set_up(symmetric)
    assert asymmetry(cycle.apply, cycle.apply, symmetric) < 1e-14


@pytest.mark.parametrize("kind", ["smoothed-aggregation", "ruge-stuben"])
def test_a_cycle_reduces_the_error_on_every_level_of_a_deep_hierarchy(kind):
    matrix = poisson(100)
    cycle = AMG(kind).set_up(matrix)
    assert len(cycle.levels) >= 2
    error = random(matrix, 0)
    for _ in range(5):
        before, error = error, error - cycle.apply(matrix @ error)
    assert np.sqrt(error @ (matrix @ error)) < 0.6 * np.sqrt(before @ (matrix @ before))


def test_zeros_on_the_diagonal_are_left_out_and_the_transpose_stays_exact():
    matrix = advection().tolil()
    for row in (3, 200, 500):
        matrix[row, row] = 0
    matrix = matrix.tocsr()
    for preconditioner in (Jacobi(), AMG()):
        applied = preconditioner.set_up(matrix)
        assert asymmetry(applied.apply, applied.apply_transposed, matrix) < 1e-12


@pytest.mark.parametrize("n", [N, 10], ids=["factored", "pseudo-inverse"])
def test_the_coarsest_system_and_its_transpose_are_solved(n):
    matrix = sp.csr_array(advection(n))
    assert (matrix.shape[0] > MAX_PSEUDO_INVERSE_UNKNOWNS) == (n == N)
    solve, solve_transposed = _coarse_solves(matrix)
    r = random(matrix, 0)
    np.testing.assert_allclose(matrix @ solve(r), r, atol=1e-10)
    np.testing.assert_allclose(matrix.T @ solve_transposed(r), r, atol=1e-10)


@pytest.mark.parametrize("preconditioner", REAL.values(), ids=REAL.keys())
def test_set_ups_do_not_depend_on_random_numbers(preconditioner):
    matrix, r = advection(), random(advection(), 0)
    first = preconditioner.set_up(matrix).apply(r)
    np.random.seed(7)  # noqa: NPY002
    np.testing.assert_array_equal(preconditioner.set_up(matrix).apply(r), first)


@pytest.mark.parametrize("preconditioner", REAL.values(), ids=REAL.keys())
def test_set_ups_keep_no_reference_to_the_values(preconditioner):
    matrix, r = advection(), random(advection(), 0)
    applied = preconditioner.set_up(matrix)
    first = applied.apply(r)
    matrix.data *= 2
    np.testing.assert_array_equal(applied.apply(r), first)


def test_jacobi_takes_absolute_values_where_asked_and_ones_for_zeros():
    matrix = sp.csr_matrix(np.diag([2.0, -4.0, 0.0]))
    np.testing.assert_array_equal(Jacobi().set_up(matrix).apply(np.ones(3)), [0.5, -0.25, 1])
    np.testing.assert_array_equal(Jacobi(absolute=True).set_up(matrix).apply(np.ones(3)), [0.5, 0.25, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ILU(drop_tolerance=-1), "drop_tolerance is -1; expected a number of at least 0"),
        (lambda: ILU(drop_tolerance=np.nan), "drop_tolerance is nan"),
        (lambda: ILU(fill_factor=0.5), "fill_factor is 0.5; expected a number of at least 1"),
        (lambda: AMG("classical"), "kind is 'classical'; expected 'smoothed-aggregation' or 'ruge-stuben'"),
        (lambda: AMG(near_nullspace=np.ones(4)), r"near_nullspace has shape \(4,\); expected \(n, m\)"),
        (lambda: AMG(near_nullspace=np.full((4, 1), np.nan)), "finite numbers"),
        (lambda: AMG("ruge-stuben", np.ones((4, 1))), "ruge-stuben takes no near_nullspace"),
        (lambda: AMG(near_nullspace=np.ones((5, 2))).set_up(poisson(2)), "has 5 rows, but the matrix is 4 x 4"),
        (lambda: AMG(near_nullspace=1j * np.ones((4, 1))).set_up(poisson(2)), "complex, but the matrix is real"),
        (lambda: AMG("ruge-stuben").set_up((1j * poisson()).tocsr()), "real matrices only, this one is complex"),
        (lambda: ILU().set_up(sp.csr_matrix(np.ones((3, 3)))), "meets a zero pivot.*fill_factor.*as rslab"),
    ],
)
def test_what_has_no_meaning_is_refused(make, message):
    with pytest.raises(SolveError, match=message):
        make()


def test_what_pyamg_fails_on_is_a_solve_error_with_a_remedy(monkeypatch):
    import pyamg

    def fail(*args, **options):
        raise IndexError("out of bounds")

    monkeypatch.setattr(pyamg, "smoothed_aggregation_solver", fail)
    with pytest.raises(SolveError, match=r"no multigrid hierarchy.*IndexError: out of bounds.*jacobi"):
        AMG().set_up(poisson())


def test_preconditioners_are_equal_and_hashed_by_content():
    modes = np.ones((4, 1))
    first, same, other = AMG(near_nullspace=modes), AMG(near_nullspace=modes.copy()), AMG(near_nullspace=2 * modes)
    assert first == same
    assert hash(first) == hash(same)
    assert first != other
    assert first != AMG()
    assert AMG() == AMG() != AMG("ruge-stuben")
    modes[0] = 5  # a copy was taken
    assert first == same
    assert {CG(preconditioner=first): 1}[CG(preconditioner=same)] == 1
    with pytest.raises(ValueError, match="read-only"):
        first.near_nullspace[0] = 1


# --- what they save ----------------------------------------------------------------------------------------------


def iterations(matrix, solver, b=None):
    A = CSRMatrix.from_scipy(matrix)
    b = np.random.default_rng(0).standard_normal(matrix.shape[0]) if b is None else b
    clear_memo()
    before = work.copy()
    solver.solve(A.pattern, np.asarray(A.data), b[:, None], False)
    return work.since(before).iterations


@pytest.mark.parametrize("kind", ["smoothed-aggregation", "ruge-stuben"])
def test_multigrid_needs_as_many_iterations_on_every_mesh(kind):
    counts = [iterations(poisson(n), CG(preconditioner=AMG(kind))) for n in (16, 32, 64)]
    assert max(counts) <= min(counts) + 3
    assert max(counts) <= 15
    jacobi = [iterations(poisson(n), CG(preconditioner=Jacobi())) for n in (16, 64)]
    assert jacobi[1] > 2.5 * jacobi[0]


def rigid_motions(points):
    """(2 n, 3), two displacements and the rotation, the components of a point one after the other."""
    x, y = points
    one, zero = np.ones_like(x), np.zeros_like(x)
    return np.stack([np.stack([one, zero], 1), np.stack([zero, one], 1), np.stack([-y, x], 1)], 2).reshape(-1, 3)


def test_rigid_motions_lower_the_iterations_for_elasticity():
    mesh = skfem.MeshTri.init_tensor(np.linspace(0, 4, 81), np.linspace(0, 1, 21))
    basis = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementTriP1()))
    K = elasticity.linear_elasticity(*elasticity.lame_parameters(1.0, 0.3)).assemble(basis)
    free = basis.complement_dofs(basis.get_dofs(lambda x: x[0] == 0))
    motions = rigid_motions(mesh.p)
    assert np.abs(K @ motions).max() < 1e-12
    K, motions = K[free][:, free].tocsr(), motions[free]
    plain, informed = (iterations(K, CG(preconditioner=AMG(near_nullspace=modes))) for modes in (None, motions))
    assert informed < 0.7 * plain
