"""Hessians and Gauss–Newton matrices of reduced functionals, against dense matrices by other means, and their cost."""

from dataclasses import dataclass, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import InputError, Log, Misfit, ReducedFunctional, h1, tikhonov, total_variation
from pdeopt.run.problem_files.loading import load_build, problem_files
from pdeopt.sparse import clear_memo, work
from pdeopt.verify import taylor_test


def own_term(m):
    """A regularization that states no operator; convex."""
    return 0.3 * jnp.sum(m**4) + jnp.sum(m[1:] * m[:-1] + m[1:] ** 2 + m[:-1] ** 2)


OWN_HESSIAN = jax.jit(jax.hessian(own_term))


@dataclass(frozen=True, eq=False)
class Huber(Misfit):
    """A convex misfit that is not quadratic, with an observation that depends on the coefficient."""

    data: np.ndarray

    def observation(self, u, coefficient):
        return u.reshape(len(u), -1)[:, 0] * coefficient

    def distance(self, predicted):
        return jnp.sum(jnp.sqrt(1 + (predicted - self.data) ** 2))

    def __call__(self, u, coefficient):
        return self.distance(self.observation(u, coefficient))


def plain_misfit(u, coefficient):
    """Convex in (u, coefficient) together."""
    return jnp.sum((u.reshape(len(u), -1)[:, 0] - 2 * coefficient) ** 4) + jnp.sum(coefficient**2)


def small(name, **options):
    """The functional of a problem that comes with pdeopt, and its mesh small."""
    functional = load_build(problem_files()[name])(**options).functional
    return replace(functional, regularization=own_term, strength=0.6)


#: A nonlinear state that compiles at once, where the solve does not matter, and every kind of term: quadratic ones in a
#: sum, one with a lagged operator, and a plain function.
MIXING = np.random.default_rng(1).standard_normal((9, 9)) / 3
SPACE = FunctionSpace(skfem.MeshTri.init_tensor(np.linspace(0, 1, 3), np.linspace(0, 1, 3)), skfem.ElementTriP1())
TERMS = h1(SPACE, 2.0) + 0.5 * tikhonov(SPACE, 3.0), total_variation(SPACE, 4.0, 0.7), own_term
CHEAP = ReducedFunctional(lambda k: jnp.sin(MIXING @ k), Huber(np.ones(9)), TERMS, Log(1.5), strength=0.6)

SOLVES = {
    "symmetric, three experiments": lambda: small("conductivity", n=3),
    "non-symmetric": lambda: small("advection_diffusion", refinements=1, sensors=6, unknown="diffusivity"),
}
FUNCTIONALS = {
    **SOLVES,
    "misfit that is not quadratic": lambda: CHEAP,
    "plain misfit": lambda: replace(CHEAP, misfit=plain_misfit),
}
SIZES = dict(zip(FUNCTIONALS, (16, 21, 9, 9), strict=True))
every = pytest.mark.parametrize("name", FUNCTIONALS)


@cache
def made(name):
    """Return a functional that is made, and compiled, once."""
    return FUNCTIONALS[name]()


@pytest.fixture
def J(name):
    return made(name)


@pytest.fixture
def m(name):
    return 0.3 * np.random.default_rng(3).standard_normal(SIZES[name])


def expected_of_misfit(J, m):
    """The Hessian of the misfit and its Gauss–Newton matrix, dense."""
    return by_hand(J, m) if hasattr(J.state, "system") else by_jax(J, m)


def by_hand(J, m):
    """Textbook formulas with dense matrices, for A(κ) linear in κ and ½ Σ ((P u − d)/σ)²; κ is proportional to exp(m).

    A u = b gives A u_j = −B_j u and A u_ij = −B_i u_j − B_j u_i, with B_j the derivative of A along κ_j.
    """
    state, kappa, observe = J.state, J.coefficient(m), J.misfit.observation
    pattern = state.system(kappa)[0].pattern

    def dense(data):
        full = np.zeros((*data.shape[:-1], *pattern.shape))
        full[..., pattern.rows, pattern.indices] = data
        return full

    values = jax.jit(lambda k: state.system(k)[0].data)
    A, B = dense(np.asarray(values(kappa))), dense(np.asarray(jax.jacfwd(values)(kappa)).T)
    b = np.asarray(state.system(kappa)[1]).reshape(len(A), -1)
    dofs, prescribed = state.dirichlet.dofs, state.dirichlet.values
    u = np.zeros(b.shape)
    u[dofs] = 0.0 if prescribed is None else prescribed
    free = np.setdiff1d(np.arange(len(A)), dofs)
    inverse = np.zeros(A.shape)
    inverse[np.ix_(free, free)] = np.linalg.inv(A[np.ix_(free, free)])
    u = u + inverse @ (b - A @ u)

    P = np.asarray(observe(jnp.eye(len(A)), kappa))
    first = -inverse @ B @ u
    mixed = np.einsum("iab,jbr->ijar", B, first)
    second = -inverse @ (mixed + mixed.swapaxes(0, 1))
    residual = (P @ u - J.misfit.data.reshape(len(P), -1)) / J.misfit.noise**2
    slopes = np.einsum("ka,jar->jkr", P, first)
    gauss_newton = np.einsum("ikr,jkr->ij", slopes, slopes) / J.misfit.noise**2
    hessian = gauss_newton + np.einsum("kr,ka,ijar->ij", residual, P, second)
    gradient = np.einsum("kr,jkr->j", residual, slopes)
    return np.outer(kappa, kappa) * hessian + np.diag(gradient * kappa), np.outer(kappa, kappa) * gauss_newton


def by_jax(J, m):
    """Of a state without a solve."""

    def compared(m):
        k = J.parametrization(m)
        return jnp.stack([J.state(k), k]) if J.misfit.distance is None else J.misfit.observation(J.state(k), k)

    def distance(compared):
        return plain_misfit(*compared) if J.misfit.distance is None else J.misfit.distance(compared)

    jacobian = np.asarray(jax.jit(jax.jacobian(lambda m: compared(m).ravel()))(m))
    at = compared(m)
    curvature = np.asarray(jax.jit(jax.hessian(lambda d: distance(d.reshape(at.shape))))(at.ravel()))
    hessian = jax.jit(jax.hessian(lambda m: distance(compared(m))))(m)
    return np.asarray(hessian), jacobian.T @ curvature @ jacobian


def relative_gap(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def random(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


@pytest.mark.slow
@every
def test_hessian_and_gauss_newton_matrix_are_those_of_a_dense_computation(J, m):
    hessian, gauss_newton = expected_of_misfit(J, m)
    identity = np.eye(len(m))
    assert relative_gap(J.misfit_hessian(m)(identity), hessian) < 1e-11
    assert relative_gap(J.misfit_gauss_newton(m)(identity), gauss_newton) < 1e-11
    assert relative_gap(hessian, gauss_newton) > 1e-3, "one can be told from the other"
    for term in J.regularization_terms:
        exact = np.asarray(OWN_HESSIAN(m) if term.operator is None else jax.jit(jax.hessian(term))(m))
        hessian = hessian + J.strength * exact
        gauss_newton = gauss_newton + J.strength * (exact if term.operator is None else term.operator(m).toarray())
    assert relative_gap(J.hessian(m)(identity), hessian) < 1e-11
    assert relative_gap(J.hessian_action(m, identity[0]), hessian[0]) < 1e-11
    found = J.gauss_newton(m)(identity)
    assert relative_gap(found, gauss_newton) < 1e-11
    eigenvalues = np.linalg.eigvalsh(0.5 * (found + found.T))
    assert eigenvalues.min() > -1e-12 * eigenvalues.max(), "semidefinite"


@pytest.mark.slow
@every
def test_jax_transforms_the_objective(J, m):
    points = np.stack([m, m + 0.1, m - 0.2])
    assert float(jax.jit(J.objective)(m)) == pytest.approx(J(m), rel=1e-12)
    np.testing.assert_allclose(jax.vmap(J.objective)(points), [J(point) for point in points], rtol=1e-11)
    assert relative_gap(jax.jit(jax.grad(J.objective))(m), J.derivative(m)) < 1e-11
    assert relative_gap(jax.jit(jax.hessian(J.objective))(m), J.hessian(m)(np.eye(len(m)))) < 1e-10
    scaled = jax.grad(lambda scale: J.objective(scale * jnp.asarray(m)))(1.0)
    assert float(scaled) == pytest.approx(J.derivative(m) @ m, rel=1e-10), "as a part of a larger program"


def test_the_objective_takes_one_row_of_real_numbers():
    with pytest.raises(InputError, match="complex"):
        CHEAP.objective(1j * np.ones(9))
    with pytest.raises(InputError, match=r"m has shape \(3, 3\)"):
        CHEAP.objective(np.ones((3, 3)))


@pytest.mark.slow
@every
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_products_are_symmetric(J, m, kind):
    action = getattr(J, kind)(m)
    for v, w in zip(random(2, len(m)), random(len(m), 2).T, strict=True):
        here, there = action(v) @ w, v @ action(w)
        assert abs(here - there) <= 1e-12 * np.linalg.norm(action(v)) * np.linalg.norm(w)


@every
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_a_block_is_its_columns(J, m, kind):
    action, block = getattr(J, kind)(m), random(len(m), 4)
    columns = np.stack([action(v) for v in block.T], axis=1)
    np.testing.assert_allclose(action(block), columns, atol=1e-12 * max(np.abs(columns).max(), 1e-300))


@pytest.mark.parametrize("name", list(FUNCTIONALS)[2:])
def test_the_remainder_is_of_third_order(J, m):
    """Of those with a solve in test_inverse.py."""
    v = random(len(m))
    test = taylor_test(J, J.derivative(m), m, v, hessian_action=J.hessian(m)(v), first_step=0.05, halvings=7)
    assert test.orders[3] == pytest.approx(3, abs=0.1), str(test)


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("name", SOLVES)
def test_a_product_costs_two_solves_and_no_factorization(J, m, kind):
    J.value_and_derivative(m)  # compiled
    getattr(J, kind)(m)(m)
    clear_memo()
    at = work.copy()
    J.value_and_derivative(m)
    assert work.since(at).factorizations == 1
    at = work.copy()
    action = getattr(J, kind)(m)
    linearized = work.since(at)
    assert linearized.factorizations == 0, "the one of the value is remembered"
    assert (linearized.solves, linearized.adjoint_solves) == (1, 1 if kind == "hessian" else 0)
    for direction in (random(len(m)), m, random(len(m), 4)):
        at = work.copy()
        action(direction)
        spent = work.since(at)
        assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (0, 1, 1)


@pytest.mark.parametrize("name", ["non-symmetric"])
def test_an_action_stays_that_of_its_point(J, m):
    v = random(len(m))
    action = J.hessian(m)
    before = action(v)
    J.hessian(m + 1.0)(v)
    clear_memo()
    np.testing.assert_allclose(action(v), before, rtol=1e-13)


@pytest.mark.slow
def test_another_strength_scales_the_regularization_and_compiles_nothing():
    traces = []

    def counted_term(m):
        traces.append("term")
        return own_term(m)

    def counted_misfit(u, coefficient):
        traces.append("misfit")
        return jnp.sum((u - 1) ** 2)

    one = replace(CHEAP, misfit=counted_misfit, regularization=(h1(SPACE, 2.0), counted_term), strength=1.0)
    m, v = 0.3 * random(9, 1)[:, 0], random(9)

    def everything(J):
        terms, derivative = J.terms_and_derivative(m)
        return [
            *(np.array(terms), derivative, J.terms(m).regularization),
            *(J.hessian(m)(v), J.gauss_newton(m)(v), J.hessian(m)(random(len(m), 2)), J.misfit_gauss_newton(m)(v)),
            *(J.regularization_operator(m) @ v, J.plain_regularization_hessian(m)(v)),
        ]

    first = everything(one)
    assert traces
    traces.clear()
    second = everything(one.with_strength(2.0))
    tenth = everything(one.with_strength(2.0).with_strength(10.0))
    nothing = everything(one.with_strength(0.0))
    for a in np.linspace(0, 1, 3):
        one.hessian(m + a)(v)
        one.gauss_newton(m + a)(v)
    assert not traces, "traced again"
    for at_one, at_two, at_ten, at_zero in zip(first, second, tenth, nothing, strict=True):
        scale = np.abs(at_ten).max()
        np.testing.assert_allclose(at_two - at_zero, 2 * (at_one - at_zero), atol=1e-12 * scale)
        np.testing.assert_allclose(at_ten - at_zero, 10 * (at_one - at_zero), atol=1e-12 * scale)
    misfits, zeros = nothing[3:5], nothing[-2:]
    np.testing.assert_allclose(misfits[0], one.misfit_hessian(m)(v))
    np.testing.assert_allclose(misfits[1], one.misfit_gauss_newton(m)(v))
    assert not np.any(zeros)
    assert (one.strength, one.with_strength(2.0).strength) == (1.0, 2.0)


@pytest.mark.parametrize("strength", [-1.0, np.nan, np.inf])
def test_strengths_that_make_no_sense_are_refused(strength):
    for ask in (CHEAP.with_strength, lambda strength: replace(CHEAP, strength=strength)):
        with pytest.raises(InputError, match=r"strength of the regularization is .*; expected a number ≥ 0"):
            ask(strength)


def test_terms_without_operators_have_none():
    J, m, v = replace(CHEAP, regularization=()), random(9), random(9, 1)[:, 0]
    own = replace(J, regularization=own_term)
    assert J.regularization_operator(m) is own.regularization_operator(m) is None
    assert not J.plain_regularization_hessian(m)(v).any()
    expected = J.strength * np.asarray(OWN_HESSIAN(m)) @ v
    np.testing.assert_allclose(own.plain_regularization_hessian(m)(v), expected, rtol=1e-12)
    np.testing.assert_allclose(own.gauss_newton(m)(v), J.gauss_newton(m)(v) + expected, rtol=1e-10)
    np.testing.assert_allclose(J.hessian(m)(v), CHEAP.misfit_hessian(m)(v), rtol=1e-12)


def test_directions_are_taken_as_they_come():
    """Integers, lists, and directions that are not contiguous."""
    J, m = CHEAP, random(9)
    whole, action = np.arange(9), J.hessian(m)
    np.testing.assert_array_equal(action(whole), action(whole.astype(float)))
    np.testing.assert_array_equal(J.hessian_action(m, list(whole)), action(whole.astype(float)))
    block = random(3, len(m))
    np.testing.assert_array_equal(action(block.T), action(np.ascontiguousarray(block.T)))
    with pytest.raises(InputError, match="complex"):
        action(1j * whole)


def test_the_observation_of_a_plain_misfit_is_the_state():
    J, m = made("plain misfit"), random(9)
    np.testing.assert_array_equal(J.prediction(m), J.solution(m))
