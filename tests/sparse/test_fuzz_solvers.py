"""Random sparse systems: every solver gives the solution of a dense oracle in extended precision, or a SolveError."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdeopt.sparse import (
    CSRMatrix,
    SolveError,
    SparsityPattern,
    clear_memo,
    dense_solve_pullback,
    linear_solve,
    resolve_solver,
    solve_errors,
    work,
)
from pdeopt.sparse.solvers.direct.cholmod import cholmod_is_installed
from pdeopt.sparse.solvers.direct.mkl import pardiso_is_installed
from pdeopt.sparse.solvers.krylov.by_name import KRYLOV_BY_NAME

DIRECT = ["rslab", "superlu", *["cholmod"] * cholmod_is_installed(), *["pardiso"] * pardiso_is_installed()]
KINDS = ["definite", "symmetric", "saddle point", "general", "complex", "complex symmetric", "Hermitian"]
#: Error of x relative to the condition number, both in the units of the system: the bound of a direct solver's backward
#: error, with room for the norms; and a Krylov method's rtol, with room for units that are left as they are.
ALLOWED = {"direct": 1e-11, "Krylov": 1e-8}
#: Bits up to which units count as one for a Krylov method: it promises norms of residuals relative to that of b.
ONE_UNIT = 6


@dataclass
class System:
    """A x = b with A = 2^rows S 2^columns, S (n, n) with entries about 1, in which all is judged."""

    pattern: SparsityPattern
    data: np.ndarray
    b: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    transposed: bool

    def scaled(self):
        """S or Sᵀ as it is stored, in extended precision."""
        extended = np.clongdouble if np.iscomplexobj(self.data) else np.longdouble
        dense = np.zeros(self.pattern.shape, extended)
        power = self.rows[self.pattern.rows] + self.columns[self.pattern.indices]
        with np.errstate(invalid="ignore"):  # infinite data
            dense[self.pattern.rows, self.pattern.indices] = self.data.astype(extended) * two_to(-power)
        return dense.T if self.transposed else dense

    @property
    def sides(self):
        return (self.columns, self.rows) if self.transposed else (self.rows, self.columns)


def two_to(power):
    return np.ldexp(np.longdouble(1), power)


def oracle(S, b):
    """The solution by Gaussian elimination with complete rows of pivots, in the precision of the arguments."""
    n, M = len(S), np.concatenate([S, b], axis=1)
    for k in range(n):
        pivot = k + np.abs(M[k:, k]).argmax()
        if M[pivot, k] == 0:
            return None
        M[[k, pivot]] = M[[pivot, k]]
        M[k + 1 :] -= np.outer(M[k + 1 :, k] / M[k, k], M[k])
    for k in reversed(range(n)):
        M[k] /= M[k, k]
        M[:k] -= np.outer(M[:k, k], M[k])
    return M[:, n:]


def condition(S):
    """Of S with rows, then columns, of norm 1."""
    with np.errstate(under="ignore"):
        S = S.astype(complex if np.iscomplexobj(S) else float)
    S = S / np.where(np.abs(S).any(1), np.linalg.norm(S, axis=1), 1)[:, None]
    S = S / np.where(np.abs(S).any(0), np.linalg.norm(S, axis=0), 1)
    values = np.linalg.svd(S, compute_uv=False)
    return np.inf if values[-1] == 0 else values[0] / values[-1]


def dense_matrix(rng, kind, n, density):
    """Entries about 1."""

    def random(*shape):
        values = rng.standard_normal(shape)
        if kind in ("complex", "complex symmetric", "Hermitian"):
            values = values + 1j * rng.standard_normal(shape)
        return np.where(rng.random(shape) < density, values, 0)

    if kind == "saddle point":
        m = n // 3
        A, B = random(n - m, n - m), random(m, n - m) + np.eye(m, n - m)
        return np.block([[A @ A.T + np.eye(n - m), B.T], [B, np.zeros((m, m))]])
    S = random(n, n) + np.eye(n)[rng.permutation(n) if rng.random() < 0.5 else slice(None)] * rng.choice([0, 1, 3])
    if kind in ("definite", "Hermitian"):
        return S @ S.conj().T + rng.choice([1e-6, 1]) * np.eye(n)
    return S + S.T if kind in ("symmetric", "complex symmetric") else S


@st.composite
def systems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    kind, n = draw(st.sampled_from(KINDS), label="kind"), draw(st.integers(1, 40), label="n")
    S = dense_matrix(rng, kind, n, draw(st.sampled_from([0.05, 0.2, 1.0]), label="density"))
    defect = draw(st.sampled_from([None] * 6 + ["dependent", "nearly", "empty row", "zeros", "noise"]), label="defect")
    if defect in ("dependent", "nearly") and n > 1:
        S[0] = S[1:].sum(0) + (10.0 ** -rng.integers(3, 17) * S[0] if defect == "nearly" else 0)
        if kind not in ("general", "complex", "saddle point"):
            S[:, 0] = S[0].conj() if kind == "Hermitian" else S[0]
    elif defect == "empty row":
        S[rng.integers(n)] = 0
    stored = (S != 0) | (rng.random((n, n)) < (0.2 if defect in ("zeros", "noise") else 0))
    if defect == "noise":
        S = np.where(S == 0, 1e-17 * rng.standard_normal((n, n)), S)
    rows, cols = np.nonzero(stored)
    values = S[rows, cols]
    twice = np.flatnonzero(rng.random(len(rows)) < draw(st.sampled_from([0, 0.1]), label="duplicates"))
    pattern, place = SparsityPattern.from_entries(np.append(rows, rows[twice]), np.append(cols, cols[twice]), (n, n))
    data = np.zeros(pattern.nnz, values.dtype)
    halved = values.copy()
    halved[twice] /= 2
    np.add.at(data, place, np.append(halved, halved[twice]))

    spread = draw(st.sampled_from([0, 0, 3, 10, 40, 100, 300]), label="spread in bits")
    size = draw(st.sampled_from([0, 0, 0, -700, 700, -1000, 850]), label="size in bits")
    left, right = rng.integers(-spread, spread + 1, (2, n))
    if kind not in ("general", "complex") or draw(st.booleans(), label="one unit"):
        right = left
    data = in_units(data, left[pattern.rows] + right[pattern.indices] + size)
    transposed = draw(st.booleans(), label="transposed")
    columns = draw(st.sampled_from([1, 1, 3]), label="right-hand sides")
    b = rng.standard_normal((n, columns)) * (rng.random((n, columns)) < draw(st.sampled_from([1, 0.2]), label="filled"))
    if np.iscomplexobj(data):
        b = b * np.exp(1j * rng.random((n, columns)))
    system = System(pattern, data, b, left + size, right, transposed)
    sizes = draw(st.lists(st.sampled_from([0, 0, 0, 20, -200, -1000, 400]), min_size=columns, max_size=columns))
    system.b = in_units(b, system.sides[0][:, None] + np.array(sizes))
    return system


def in_units(values, power):
    """In double precision, with overflow and underflow."""
    with np.errstate(all="ignore"):
        parts = np.ldexp(values.real, power), np.ldexp(values.imag, power)
        return parts[0] + 1j * parts[1] if np.iscomplexobj(values) else parts[0]


def refused_or_right(solver, system, allowed):
    """Whether there was a solution; fails where it is wrong."""
    try:
        x = resolve_solver(solver).solve(system.pattern, system.data, system.b, system.transposed)
    except SolveError:
        return False
    assert np.isfinite(x).all()
    assert np.isfinite(system.data).all()
    assert np.isfinite(system.b).all()
    assert x.shape == system.b.shape
    left, right = system.sides
    S = system.scaled()
    kappa = condition(S)
    if kappa * allowed > 0.1:
        return True
    b = system.b.astype(S.dtype) * two_to(-left)[:, None]
    y, exact = x.astype(S.dtype) * two_to(right)[:, None], oracle(S, b)
    smallest = two_to(-1074 + right)[:, None]  # x is rounded to multiples of the smallest number
    size = np.abs(exact).max(0)
    assert (np.abs(y - exact) <= kappa * allowed * size + smallest).all(), (solver, kappa)
    return True


@pytest.mark.fuzz
@given(system=systems())
def test_every_direct_solver_is_right_or_refuses(system):
    clear_memo()
    for solver in DIRECT:
        solved = refused_or_right(solver, system, ALLOWED["direct"])
        S = system.scaled()
        if not S.any(0).all() or not S.any(1).all():
            assert not solved or not system.b.any()


@pytest.mark.fuzz
@given(system=systems(), name=st.sampled_from(sorted(KRYLOV_BY_NAME)))
def test_every_krylov_solver_reaches_its_residual_or_refuses(system, name):
    clear_memo()
    before, solver = work.copy(), resolve_solver(name)
    if max(np.ptp(system.rows), np.ptp(system.columns)) <= ONE_UNIT:
        refused_or_right(name, system, ALLOWED["Krylov"])
    try:
        x = solver.solve(system.pattern, system.data, system.b, system.transposed)
    except SolveError:
        return
    finally:
        assert work.since(before).iterations <= 4 * 1000 * system.b.shape[1]
    left, right = system.sides
    b = system.b.astype(system.scaled().dtype)
    S, y = system.scaled(), x.astype(b.dtype) * two_to(right)[:, None]
    gap, terms = b - (S @ y) * two_to(left)[:, None], (np.abs(S) @ np.abs(y)) * two_to(left)[:, None] + np.abs(b)
    rounding = len(b) * np.finfo(float).eps * norms(terms)  # of the residual that the solver computes
    assert (norms(gap) <= 1.01 * solver.rtol * norms(b) + rounding).all()


def norms(columns):
    return np.sqrt((np.abs(columns) ** 2).sum(0))


@pytest.mark.fuzz
@settings(max_examples=min(settings().max_examples, 200))
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0, 30, 100]))
def test_the_derivative_rule_holds_in_any_units(seed, spread):
    """One compiled program: a full 6 x 6 matrix."""
    rng = np.random.default_rng(seed)
    S, b, x_bar = rng.standard_normal((6, 6)) + 4 * np.eye(6), *rng.standard_normal((2, 6))
    left, right = np.ldexp(1.0, rng.integers(-spread, spread + 1, (2, 6)))
    x, S_bar, b_bar = dense_solve_pullback(S, b, x_bar)
    try:
        got, A_bar, c_bar = _solved_and_pulled_back(np.ravel(np.outer(left, right) * S), left * b, right * x_bar)
    except SolveError:
        assert spread == 100
        return
    np.testing.assert_allclose(got * right, x, rtol=1e-9, atol=1e-9 * np.abs(x).max())
    np.testing.assert_allclose(c_bar * left, b_bar, rtol=1e-9, atol=1e-9 * np.abs(b_bar).max())
    S_pulled = np.reshape(A_bar, (6, 6)) * np.outer(left, right)
    np.testing.assert_allclose(S_pulled, S_bar, rtol=1e-9, atol=1e-9 * np.abs(S_bar).max())


FULL = SparsityPattern.from_entries(*np.indices((6, 6)).reshape(2, -1), (6, 6))[0]


@jax.jit
def _compiled(data, b, x_bar):
    x, pullback = jax.vjp(lambda data, b: linear_solve(CSRMatrix(data, FULL), b, "superlu"), data, b)
    return x, *pullback(x_bar)


def _solved_and_pulled_back(data, b, x_bar):
    with solve_errors():
        return map(np.asarray, jax.block_until_ready(_compiled(*map(jnp.asarray, (data, b, x_bar)))))
