"""What regularization terms state: operators, null spaces, sums, continuation; each against dense matrices."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    InputError,
    Quadratic,
    Sum,
    gaussian,
    h1,
    mass,
    matern,
    stiffness,
    terms_of,
    tikhonov,
    total_variation,
)
from pdeopt.sparse import CSRMatrix

TICKS = np.array([0.0, 0.1, 0.3, 0.6, 1.0])
MESH = skfem.MeshTri.init_tensor(TICKS, TICKS).with_defaults()
V = FunctionSpace(MESH, skfem.ElementTriP1())
V2 = V.with_element(skfem.ElementTriP2())
VECTOR = FunctionSpace(MESH, skfem.ElementVector(skfem.ElementTriP1()))
TOP, ON_TOP, INSIDE = V.boundary("top"), V.dofs("top"), np.setdiff1d(np.arange(V.n), V.dofs())
THETA = np.array([[2.0, 0.3], [0.3, 0.5]])


def random(p):
    return np.random.default_rng(p).standard_normal(p)


#: Makers of (term, number of parameters): what is not tested is not made.
QUADRATIC = {
    "Tikhonov": lambda: (tikhonov(V, 3.0), V.n),
    "Tikhonov with a reference": lambda: (tikhonov(V, 3.0, V.locations[0]), V.n),
    "Tikhonov on a boundary": lambda: (tikhonov(TOP, 3.0, dofs=ON_TOP), len(ON_TOP)),
    "H1": lambda: (h1(V, 3.0), V.n),
    "H1 of P2": lambda: (h1(V2, 3.0), V2.n),
    "H1 of vectors": lambda: (h1(VECTOR, 3.0), VECTOR.n),
    "H1 on a boundary": lambda: (h1(TOP, 3.0, dofs=ON_TOP), len(ON_TOP)),
    "H1 of inner dofs": lambda: (h1(V, 3.0, dofs=INSIDE), len(INSIDE)),
    "Matérn": lambda: (matern(V, gamma=0.2, delta=3.0, weight=2.0, reference=V.locations[1]), V.n),
    "Matérn, anisotropic, P2": lambda: (matern(V2, gamma=0.2, delta=3.0, anisotropy=THETA), V2.n),
    "Matérn of vectors": lambda: (matern(VECTOR, gamma=0.2, delta=3.0), VECTOR.n),
    "Matérn on a boundary": lambda: (matern(TOP, gamma=0.2, delta=3.0, dofs=ON_TOP), len(ON_TOP)),
    "sum": lambda: (h1(V, 3.0) + 2.0 * tikhonov(V, 3.0) + matern(V, gamma=0.2, delta=3.0), V.n),
}
VARIATIONS = {
    "TV of cells": lambda: (total_variation(V, 3.0, 0.5), V.n),
    "TV of P2": lambda: (total_variation(V2, 3.0, 0.5), V2.n),
    "TV of vectors": lambda: (total_variation(VECTOR, 3.0, 0.5), VECTOR.n),
    "TV of boundary": lambda: (total_variation(TOP, 3.0, 0.5, dofs=ON_TOP), len(ON_TOP)),
    "TV of inner dofs": lambda: (total_variation(V, 3.0, 0.5, dofs=INSIDE), len(INSIDE)),
}
ALL = {**QUADRATIC, **VARIATIONS}


def cases(table):
    return pytest.mark.parametrize("name", table)


@cache
def made(name):
    return ALL[name]()


@pytest.fixture
def term(name):
    return made(name)[0]


@pytest.fixture
def p(name):
    return made(name)[1]


@cases(QUADRATIC)
def test_the_operator_of_a_quadratic_term_is_its_hessian(term, p):
    m = random(p)
    hessian = np.asarray(jax.hessian(term)(jnp.asarray(m)))
    np.testing.assert_allclose(term.operator(m).toarray(), hessian, atol=1e-12 * np.abs(hessian).max())


@pytest.mark.slow
@cases(VARIATIONS)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_lagged_diffusivity_times_m_is_the_derivative_of_the_variation(term, p, size):
    m = size * random(p)
    derivative = np.asarray(jax.grad(term)(jnp.asarray(m)))
    np.testing.assert_allclose(term.operator(m) @ m, derivative, atol=1e-12 * np.abs(derivative).max())


@pytest.mark.slow
@cases(VARIATIONS)
def test_lagged_diffusivity_lies_above_the_hessian(term, p):
    m = random(p)
    above = term.operator(m).toarray() - np.asarray(jax.hessian(term)(jnp.asarray(m)))
    assert np.linalg.eigvalsh(above).min() > -1e-12 * np.abs(above).max()
    assert np.linalg.eigvalsh(above).max() > 1e-3  # they do differ


@cases(VARIATIONS)
def test_the_primal_dual_operator_lies_between_lagged_diffusivity_and_the_hessian(term, p):
    m, before = random(p), 0.5 * random(p)
    none = term.first_dual(m)
    np.testing.assert_allclose(term.operator(m, none).toarray(), term.operator(m).toarray(), atol=1e-12)
    exact = term.next_dual(none, m, m)  # ∇m / √(|∇m|² + ε²)
    hessian = np.asarray(jax.hessian(term)(jnp.asarray(m)))
    np.testing.assert_allclose(term.operator(m, exact).toarray(), hessian, atol=1e-12 * np.abs(hessian).max())
    R = term.operator(m, term.next_dual(none, before, m)).toarray()  # of another point: |w| ≤ 1 is what counts
    assert np.linalg.eigvalsh(R).min() > -1e-12 * np.abs(R).max()


@cases(VARIATIONS)
def test_the_dual_after_a_step_is_exact_to_second_order(term, p):
    m, direction, none = random(p), random(p + 1)[:p], term.first_dual(random(p))

    def exact(m):
        return term.next_dual(none, m, m)

    errors = [
        np.abs(term.next_dual(exact(m), m, m + step * direction) - exact(m + step * direction)).max()
        for step in (1e-3, 5e-4)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


@cases(ALL)
def test_operators_are_sparse_symmetric_and_see_all_but_the_stated_null_space(term, p):
    R = term.operator(random(p))
    assert sp.issparse(R)
    assert R.shape == (p, p)
    eigenvalues = np.linalg.eigvalsh(R.toarray())
    np.testing.assert_allclose(R.toarray(), R.toarray().T, atol=1e-12 * eigenvalues[-1])
    dimension = {"{0}": 0, "constants": 2 if p == VECTOR.n else 1}[term.null_space]
    assert np.abs(eigenvalues[:dimension]).max(initial=0) < 1e-12 * eigenvalues[-1]
    assert eigenvalues[dimension] > 1e-6 * eigenvalues[-1]
    assert isinstance(term.inner_product, str)


def test_null_spaces_in_words():
    assert tikhonov(V, 1.0).null_space == h1(V, 1.0, dofs=INSIDE).null_space == "{0}"
    assert h1(V, 1.0).null_space == total_variation(V, 1.0).null_space == "constants"
    assert h1(TOP, 1.0, dofs=ON_TOP).null_space == "constants"
    assert h1(TOP, 1.0).null_space == "constants, functions that vanish where it is integrated"
    assert tikhonov(TOP, 1.0).null_space == "functions that vanish where it is integrated"
    assert (h1(V, 1.0) + tikhonov(V, 1.0)).null_space == "{0}"
    assert (h1(V, 1.0) + total_variation(V, 1.0)).null_space == "constants"
    assert (h1(V, 1.0) + tikhonov(V, 1.0)).inner_product == "H1 seminorm + L2"


@cases(ALL)
def test_scaled_terms_and_sums(term, p):
    m = random(p)
    value, R = float(term(m)), term.operator(m).toarray()
    for scaled in (2.0 * term, term * 2.0, np.float64(2.0) * term):
        assert float(scaled(m)) == pytest.approx(2 * value)
        np.testing.assert_allclose(scaled.operator(m).toarray(), 2 * R)
    both = term + 3.0 * term
    assert isinstance(both, Sum)
    assert float(both(m)) == pytest.approx(4 * value)
    assert float((0.5 * both)(m)) == pytest.approx(2 * value)
    np.testing.assert_allclose((0.5 * both).operator(m).toarray(), 2 * R, atol=1e-12 * np.abs(R).max())


def test_the_terms_of_a_sum_carry_its_weight():
    def own(m):
        return (m**4).sum()

    a, b, c = h1(V, 1.0), tikhonov(V, 2.0), total_variation(V, 3.0)
    found = terms_of([0.5 * (a + 4.0 * (b + c)), own])
    assert [term.weight for term in found[:3]] == [0.5, 4.0, 6.0]
    assert found[3].function is own
    assert [term.function for term in terms_of(own)] == [own]
    assert terms_of(()) == ()
    with pytest.raises(TypeError):
        a + own


def test_known_operators():
    M = mass.assemble(V).to_scipy().toarray()
    np.testing.assert_allclose(tikhonov(V, 3.0).operator(np.zeros(V.n)).toarray(), 3 * M)
    K = stiffness.assemble(V).to_scipy().toarray()
    np.testing.assert_allclose(h1(V, 3.0).operator(np.zeros(V.n)).toarray(), 3 * K)
    np.testing.assert_allclose(total_variation(V, 3.0, 0.5).operator(np.ones(V.n)).toarray(), 3 / 0.5 * K, atol=1e-14)
    m = 3 * V.locations[0] - 4 * V.locations[1]  # |∇m| = 5
    np.testing.assert_allclose(total_variation(V, 3.0, 12.0).operator(m).toarray(), 3 / 13 * K, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_stiffness_of_equal_facets_is_known(n):
    V = FunctionSpace(skfem.MeshTri.init_tensor(*2 * [np.linspace(0, 1, n + 1)]).with_defaults(), skfem.ElementTriP1())
    dofs = V.dofs("bottom")[np.argsort(V.locations[0, V.dofs("bottom")])]
    found = h1(V.boundary("bottom"), 1.0, dofs).operator(np.zeros(n + 1)).toarray()
    known = n * (np.diag([1.0, *[2.0] * (n - 1), 1.0]) - np.eye(n + 1, k=1) - np.eye(n + 1, k=-1))
    np.testing.assert_allclose(found, known, rtol=0, atol=1e-13 * n)


def test_continuation_and_smoothing():
    term = total_variation(V, 3.0, 0.5, continuation=(100, 10))
    assert term.continuation == (100, 10)
    rough = term.with_smoothing(5.0)
    assert (rough.smoothing, rough.continuation, rough.weight, rough.space) == (5.0, (), 3.0, V)
    assert (2 * term).continuation == (100, 10)
    m = random(V.n)
    assert float(rough(m)) == pytest.approx(float(total_variation(V, 3.0, 5.0)(m)))
    assert term.smoothing == 0.5


def test_a_newton_step_with_lagged_diffusivity_always_descends():
    """Denoising ½|m − d|² + TV by the fixed point (M + R(m)) m⁺ = M d, which lowers the objective at every step."""
    term, d = total_variation(V, 0.1, 1e-3), np.sign(V.locations[0] - 0.4) + 0.1 * random(V.n)
    M = mass.assemble(V).to_scipy().toarray()

    def objective(m):
        return 0.5 * (m - d) @ M @ (m - d) + float(term(m))

    m, values = d, [objective(d)]
    for _ in range(25):
        m = np.linalg.solve(M + term.operator(m).toarray(), M @ d)
        values.append(objective(m))
    assert (np.diff(values) <= 1e-14).all()
    gradient = M @ (m - d) + np.asarray(jax.grad(term)(jnp.asarray(m)))
    assert np.abs(gradient).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: total_variation(V, 1.0, continuation=(10, -1)), "continuation of total variation is"),
        (lambda: total_variation(V, 1.0).with_smoothing(0.0), "smoothing of total variation is 0.0"),
        (lambda: -1.0 * h1(V, 1.0), "regularization weight is -1.0"),
        (lambda: h1(V, 1.0) * np.ones(3), r"scaled by a number, got an array of shape \(3,\)"),
        (lambda: matern(V, gamma=0.0, delta=1.0), "gamma of a Matérn term is 0.0"),
        (lambda: matern(V, gamma=1.0, delta=np.nan), "delta of a Matérn term is nan"),
        (lambda: matern(V, gamma=1.0, delta=1.0, weight=-1.0), "weight is -1.0"),
        (lambda: matern(V.with_element(skfem.ElementTriP0()), gamma=1.0, delta=1.0), "no gradient"),
        (lambda: matern(V, gamma=1.0, delta=1.0, anisotropy=[1.0, 2.0]), r"shape \(2,\); expected \(2, 2\)"),
        (lambda: matern(V, gamma=1.0, delta=1.0, anisotropy=[[1, 2], [2, 1]]), "symmetric positive definite"),
        (lambda: matern(V, gamma=1.0, delta=1.0, anisotropy=[[1, 0.5], [0, 1]]), "symmetric positive definite"),
        (lambda: matern(TOP, gamma=1.0, delta=1.0, anisotropy=np.eye(2)), "on facets takes no anisotropy"),
        (lambda: matern(TOP, gamma=1.0, delta=1.0), r"dofs=space.dofs"),
    ],
)
def test_terms_that_make_no_sense_are_refused(ask, message):
    with pytest.raises(InputError, match=message):
        ask()


def test_a_quadratic_term_of_ones_own_matrix_is_a_term():
    R = sp.csr_matrix(np.diag([1.0, 2.0, 0.0]))
    term = Quadratic(2.0, CSRMatrix.from_scipy(R))
    np.testing.assert_allclose(term.operator(np.zeros(3)).toarray(), 2 * R.toarray())
    assert term.null_space == term.inner_product == "that of its matrix"


def test_a_normal_prior_of_numbers():
    term = gaussian([1.0, -2.0], [0.5, 2.0])
    m = np.array([2.0, 0.0])
    density = scipy.stats.multivariate_normal([1.0, -2.0], np.diag([0.25, 4.0]))
    assert float(term(m)) == pytest.approx(density.logpdf([1.0, -2.0]) - density.logpdf(m))
    np.testing.assert_array_equal(term.operator(m).toarray(), np.diag([4.0, 0.25]))
    assert term.is_definite
    for mean, deviation, message in (
        ([1.0, np.nan], 1.0, "finite numbers"),
        (1.0, 1.0, r"the means have shape \(\)"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"the deviations \(3,\)"),
        ([1.0], 0.0, "expected numbers > 0"),
    ):
        with pytest.raises(InputError, match=message):
            gaussian(mean, deviation)
