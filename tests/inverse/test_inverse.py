"""Inverse problems piece by piece: parametrizations, observations, misfit, regularization, and their sum."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FEMError, FunctionSpace, MeshError, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import (
    AtDofs,
    AtPoints,
    BoundaryFlux,
    Bounded,
    FullField,
    Identity,
    InputError,
    L2Misfit,
    Log,
    Parameter,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
    tikhonov,
    total_variation,
)
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import SolveError, clear_memo, work
from pdeopt.verify import adjoint_identity, taylor_test

TICKS = np.linspace(0, 1, 6)
MESH = (
    skfem.MeshTri.init_tensor(TICKS, TICKS)
    .with_boundaries({"left": lambda x: x[0] == 0, "right": lambda x: x[0] == 1, "top": lambda x: x[1] == 1})
    .with_subdomains({"west": lambda x: x[0] < 0.4})
)
V = FunctionSpace(MESH, skfem.ElementTriP1())
V2 = FunctionSpace(MESH, skfem.ElementTriP2())


def rng(seed=0):
    return np.random.default_rng(seed)


def linear(x):
    return 1.0 + 2.0 * x[0] - 3.0 * x[1]


# --- parametrizations --------------------------------------------------------------------------------------------

PARAMETRIZATIONS = {
    "identity": (Identity(), np.array([-2.0, 0.0, 3.0])),
    "log": (Log(), np.array([1e-6, 1.0, 20.0])),
    "log with a reference": (Log(5.0), np.array([0.1, 5.0, 7.0])),
    "bounded": (Bounded(-1.0, 3.0), np.array([-0.999, 0.3, 2.99])),
}
every_parametrization = pytest.mark.parametrize(
    ("map_", "values"), PARAMETRIZATIONS.values(), ids=PARAMETRIZATIONS.keys()
)


@every_parametrization
def test_the_inverse_inverts_and_the_map_rises(map_, values):
    np.testing.assert_allclose(map_(jnp.asarray(map_.inverse(values))), values, rtol=1e-12)
    m = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(map_.inverse(map_(jnp.asarray(m))), m, atol=1e-12)
    slope = jax.vmap(jax.grad(lambda m: jnp.sum(map_(m))))(jnp.asarray(m))
    assert (slope > 0).all()
    assert np.shape(map_.inverse(values[1])) == ()


def test_positive_and_bounded_coefficients_stay_so():
    m = jnp.linspace(-30, 30, 61)
    assert (Log(2.0)(m) > 0).all()
    assert Log(2.0)(jnp.zeros(())) == 2.0
    bounded = Bounded(1.0, 3.0)(m)
    assert ((bounded >= 1) & (bounded <= 3)).all()
    assert Bounded(1.0, 3.0)(jnp.zeros(())) == 2.0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: Log(0.0), "reference of a positive coefficient is 0.0"),
        (lambda: Log(-1.0), "expected a number > 0"),
        (lambda: Log().inverse([1.0, -2.0, 0.0]), "2 of 3 values of a positive coefficient are not > 0, e.g. -2.0"),
        (lambda: Log().inverse(-1.0), "1 of 1 values"),
        (lambda: Log().inverse(np.nan), "1 of 1 values"),
        (lambda: Bounded(1.0, 1.0), "expected lower < upper"),
        (lambda: Bounded(np.nan, 1.0), "expected lower < upper"),
        (lambda: Bounded(0.0, 1.0).inverse([0.5, 1.0]), r"values range over \[0.5, 1.0\]; expected \(0.0, 1.0\)"),
        (lambda: Bounded(0.0, 1.0).inverse(np.nan), "values range over"),
    ],
)
def test_coefficients_outside_the_range_are_refused(ask, message):
    with pytest.raises(InputError, match=message):
        ask()


# --- observations ------------------------------------------------------------------------------------------------

POINTS = rng().random((2, 7))


def conductivity(coefficient, trace):
    return trace.interpolate(coefficient)


#: −∫ k ∂u/∂n for u = 1 + 2x − 3y and k = 1 + x: through the left −∫ 1·(−2), right −∫ 2·2, top −∫ (1+x)(−3).
FLUXES = [2.0, -4.0, 4.5]
OBSERVATIONS = {
    "full field": (FullField(), lambda space: linear(space.locations)),
    "points": (lambda space: AtPoints.of(space, POINTS), lambda space: linear(POINTS)),
    "boundary": (
        lambda space: AtDofs.on_boundary(space, "top"),
        lambda space: linear(space.locations[:, space.locations[1] == 1]),
    ),
    "whole boundary": (
        AtDofs.on_boundary,
        lambda space: linear(space.locations[:, np.isin(space.locations, [0, 1]).any(0)]),
    ),
    "subdomain": (
        lambda space: AtDofs.in_subdomain(space, "west"),
        lambda space: linear(space.locations[:, space.locations[0] <= 0.4 + 1e-9]),
    ),
    "fluxes": (
        lambda space: BoundaryFlux.through(space, ["left", "right", "top"], conductivity),
        lambda space: np.array(FLUXES),
    ),
}


@pytest.mark.parametrize(("make", "expected"), OBSERVATIONS.values(), ids=OBSERVATIONS.keys())
@pytest.mark.parametrize("space", [V, V2], ids=["P1", "P2"])
def test_a_linear_state_is_observed_exactly_alone_and_as_one_of_several(make, expected, space):
    observe = make if isinstance(make, FullField) else make(space)
    u, k = space.nodal(linear), 1.0 + space.locations[0]
    np.testing.assert_allclose(observe(jnp.asarray(u), k), expected(space), atol=1e-12)
    both = observe(jnp.stack([u, 2 * u], axis=1), k)
    np.testing.assert_allclose(both, np.stack([expected(space), 2 * expected(space)], axis=1), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "expected"), OBSERVATIONS.values(), ids=OBSERVATIONS.keys())
def test_tangent_and_adjoint_of_each_observation_belong_together(make, expected):
    observe = make if isinstance(make, FullField) else make(V)
    u, v, k = V.nodal(linear), rng().standard_normal(V.n), 1.0 + V.locations[0]
    data, pullback = jax.vjp(lambda u: observe(u, k), jnp.asarray(u))
    w = rng(1).standard_normal(data.shape)
    image = jax.jvp(lambda u: observe(u, k), (u,), (v,))[1]
    gap = adjoint_identity(lambda _: np.asarray(image), lambda w: np.asarray(pullback(w)[0]), v, w)
    assert gap < 1e-13


def test_observations_of_unknown_places_are_refused():
    with pytest.raises(FEMError, match="1 of 1 points lie outside"):
        AtPoints.of(V, [[2.0], [0.5]])
    with pytest.raises(MeshError, match="no boundary named 'bottom'"):
        AtDofs.on_boundary(V, "bottom")
    with pytest.raises(MeshError, match="no subdomain named 'east'"):
        AtDofs.in_subdomain(V, "east")
    with pytest.raises(MeshError, match="no boundary named 'bottom'"):
        BoundaryFlux.through(V, ["bottom"], conductivity)


# --- misfit and noise --------------------------------------------------------------------------------------------


def test_the_misfit_is_half_the_sum_of_squared_residuals_in_units_of_the_noise():
    data = np.array([1.0, 2.0, 4.0])
    u = jnp.array([1.0, 3.0, 2.0])
    assert L2Misfit.of(FullField(), data, 0.5)(u, None) == pytest.approx(0.5 * (0 + 4 + 16))
    assert L2Misfit.of(FullField(), data, [1.0, 2.0, 0.5])(u, None) == pytest.approx(0.5 * (0 + 0.25 + 16))
    assert L2Misfit.of(FullField(), data, 0.5).expected == 1.5


def test_noise_alone_gives_the_expected_misfit():
    clean = 10 * rng().standard_normal(20_000)
    noisy, sigma = add_noise(clean, 0.01, seed=3)
    misfit = L2Misfit.of(FullField(), noisy, sigma)
    assert misfit(jnp.asarray(clean), None) == pytest.approx(misfit.expected, rel=0.05)
    assert sigma == pytest.approx(0.01 * np.sqrt(np.mean(clean**2)))
    np.testing.assert_array_equal(add_noise(clean, 0.01, seed=3)[0], noisy)
    assert not np.array_equal(add_noise(clean, 0.01, seed=4)[0], noisy)


DATA = np.ones((4, 2))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: L2Misfit.of(FullField(), [1.0, np.nan, np.inf], 1.0), r"2 of 3 data .* first at index \[1\]"),
        (lambda: L2Misfit.of(FullField(), DATA, 0.0), "positive standard deviation, got 0.0"),
        (lambda: L2Misfit.of(FullField(), DATA, -1.0), "positive standard deviation"),
        (lambda: L2Misfit.of(FullField(), DATA, np.nan), "positive standard deviation"),
        (lambda: L2Misfit.of(FullField(), DATA, np.ones(2)), r"noise level has shape \(2,\); expected .* \(4, 2\)"),
        (lambda: L2Misfit.of(FullField(), DATA, 1.0)(jnp.ones(4), 0), r"data have shape \(4, 2\); .* predicts \(4,\)"),
        (lambda: add_noise(DATA, 0.0, 0), "the noise level is 0.0; expected a number > 0"),
        (lambda: add_noise(DATA, np.nan, 0), "the noise level is nan"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(ask, message):
    with pytest.raises(InputError, match=message):
        ask()


# --- regularization ----------------------------------------------------------------------------------------------

TOP = V.boundary("top")
VECTOR = FunctionSpace(MESH, skfem.ElementVector(skfem.ElementTriP1()))
TERMS = {
    "Tikhonov": lambda: (tikhonov(V, 3.0), V),
    "Tikhonov with a reference": lambda: (tikhonov(V, 3.0, V.nodal(linear)), V),
    "Tikhonov on a boundary": lambda: (tikhonov(TOP, 3.0), TOP),
    "Tikhonov of vectors": lambda: (tikhonov(VECTOR, 3.0), VECTOR),
    "H1": lambda: (h1(V, 3.0), V),
    "H1 on a boundary": lambda: (h1(TOP, 3.0), TOP),
    "H1 of vectors": lambda: (h1(VECTOR, 3.0), VECTOR),
    "total variation": lambda: (total_variation(V, 3.0, 0.5), V),
    "total variation of vectors": lambda: (total_variation(VECTOR, 3.0, 0.5), VECTOR),
    "H1 of P2": lambda: (h1(V2, 3.0), V2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TERMS)
def test_derivatives_of_regularization_terms_are_exact(name):
    term, space = TERMS[name]()
    m, v = rng().standard_normal((2, space.n))
    derivative = jax.grad(term)
    hessian_action = jax.jvp(derivative, (m,), (v,))[1]
    test = taylor_test(
        lambda m: float(term(jnp.asarray(m))),
        np.asarray(derivative(m)),
        m,
        v,
        hessian_action=np.asarray(hessian_action),
        first_step=0.01,
    )
    assert test.passed, str(test)
    reverse = jax.vjp(derivative, m)[1](v)[0]  # the Hessian is symmetric
    np.testing.assert_allclose(reverse, hessian_action, atol=1e-10)


@pytest.mark.parametrize("name", TERMS)
def test_values_are_not_negative_and_vanish_on_the_null_space(name):
    """Of Tikhonov's the reference alone, of the others all constants."""
    term, space = TERMS[name]()
    assert term(rng().standard_normal(space.n)) > 0
    null = term.reference * np.ones(space.n) if "Tikhonov" in name else np.full(space.n, 4.0)
    assert term(null) == pytest.approx(0.0, abs=1e-11)


def test_known_values_of_regularization_terms():
    m = V.nodal(lambda x: 2.0 * x[0] - 1.0 * x[1])  # ∇m = (2, −1), ∫ m² = 4/3 − 1 + 1/3
    assert tikhonov(V, 3.0)(m) == pytest.approx(0.5 * 3 * (4 / 3 - 1 + 1 / 3))
    assert tikhonov(V, 3.0, m)(m + 1.0) == pytest.approx(0.5 * 3)
    assert h1(V, 3.0)(m) == pytest.approx(0.5 * 3 * 5)
    assert total_variation(V, 3.0, 0.5)(m) == pytest.approx(3 * (np.sqrt(5 + 0.25) - 0.5))
    assert total_variation(V, 3.0, 1e-8)(m) == pytest.approx(3 * np.sqrt(5))
    # along the top, y = 1: only the tangential derivative 2 counts
    assert h1(TOP, 3.0)(m) == pytest.approx(0.5 * 3 * 4)
    assert tikhonov(TOP, 3.0)(m) == pytest.approx(0.5 * 3 * (4 / 3 - 2 + 1))
    assert tikhonov(V, 0.0)(m) == 0.0


def test_terms_on_some_degrees_of_freedom_are_those_of_the_others_at_zero():
    dofs = TOP.dofs("top")
    m = rng().standard_normal(len(dofs))
    full = np.zeros(V.n)
    full[dofs] = m
    for make in (tikhonov, h1):
        assert make(TOP, 2.0, dofs=dofs)(jnp.asarray(m)) == pytest.approx(float(make(TOP, 2.0)(full)))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: tikhonov(V, -1.0), "regularization weight is -1.0"),
        (lambda: h1(V, np.nan), "regularization weight is nan"),
        (lambda: total_variation(V, -1.0), "regularization weight is -1.0"),
        (lambda: total_variation(V, 1.0, 0.0), "smoothing of total variation is 0.0"),
    ],
)
def test_weights_that_make_no_sense_are_refused(ask, message):
    with pytest.raises(InputError, match=message):
        ask()


# --- the reduced functional --------------------------------------------------------------------------------------

diffusion = bilinear_form(lambda u, v, w: w["k"] * dot(grad(u), grad(v)))
advection = bilinear_form(lambda u, v, w: w["k"] * dot(grad(u), grad(v)) + 8.0 * grad(u)[0] * v)
LOAD = linear_form(lambda v, w: 10.0 * v).assemble(V)
DIRICHLET = Dirichlet.on(V, ["left", "top"])


def functional_of(form, solver="auto", experiments=None, weight=1e-3):
    load = LOAD if experiments is None else jnp.stack([LOAD * (1 + k) for k in range(experiments)], axis=1)
    axes = ("dof",) if experiments is None else ("dof", "experiment")
    state = LinearStateEquation(lambda k: (form.assemble(V, k=V.interpolate(k)), load), DIRICHLET, solver, axes)
    observe = AtPoints.of(V, POINTS)
    data = np.asarray(observe(state(1.0 + V.locations[0]), None)) * 1.1
    terms = [h1(V, weight), tikhonov(V, weight), total_variation(V, weight)]
    return ReducedFunctional(state, L2Misfit.of(observe, data, 0.1), terms, Log())


FUNCTIONALS = {
    "symmetric": lambda: functional_of(diffusion),
    "non-symmetric": lambda: functional_of(advection),
    "three experiments": lambda: functional_of(advection, experiments=3),
    "SuperLU": lambda: functional_of(advection, solver="superlu"),
}
every_functional = pytest.mark.parametrize("kind", FUNCTIONALS)


@cache
def made(kind):
    """Return a functional that is made, and compiled, once."""
    return FUNCTIONALS[kind]()


@pytest.fixture
def J(kind):
    return made(kind)


M0, DIRECTION, OTHER = 0.3 * rng(5).standard_normal((3, V.n))


@pytest.mark.slow
@every_functional
def test_the_terms_add_up(J):
    parts = J.terms(M0)
    assert parts.objective == pytest.approx(parts.misfit + parts.regularization, rel=1e-14)
    assert parts.regularization == pytest.approx(sum(float(term(M0)) for term in J.regularization))
    k = J.coefficient(M0)
    np.testing.assert_allclose(k, np.exp(M0))
    u = J.solution(M0)
    np.testing.assert_allclose(u, J.state(k), atol=1e-13)
    assert parts.misfit == pytest.approx(float(J.misfit(jnp.asarray(u), k)))
    np.testing.assert_allclose(J.prediction(M0), J.misfit.observation(u, k), atol=1e-13)
    assert J(M0) == parts.objective
    assert J.terms_and_derivative(M0)[0] == pytest.approx(parts, rel=1e-13)
    assert J.value_and_derivative(M0)[0] == pytest.approx(parts.objective, rel=1e-13)


@pytest.mark.slow
@every_functional
def test_taylor_orders_of_the_reduced_functional(J):
    test = taylor_test(
        J,
        J.derivative(M0),
        M0,
        DIRECTION,
        hessian_action=J.hessian_action(M0, DIRECTION),
        first_step=0.1,
        halvings=7,
    )
    assert test.passed, str(test)
    assert test.orders[2] == pytest.approx(2, abs=0.1)
    assert test.orders[3] == pytest.approx(3, abs=0.1)


@pytest.mark.slow
@every_functional
def test_the_hessian_is_symmetric(J):
    here, there = J.hessian_action(M0, DIRECTION) @ OTHER, J.hessian_action(M0, OTHER) @ DIRECTION
    assert here == pytest.approx(there, rel=1e-10)


@pytest.mark.slow
@every_functional
def test_prediction_tangent_and_adjoint_belong_together_and_approximate_differences(J):
    w = rng(1).standard_normal(J.prediction(M0).shape)
    gap = adjoint_identity(lambda v: J.prediction_tangent(M0, v), lambda w: J.prediction_adjoint(M0, w), DIRECTION, w)
    assert gap < 1e-12
    h = 1e-6
    difference = (J.prediction(M0 + h * DIRECTION) - J.prediction(M0 - h * DIRECTION)) / (2 * h)
    np.testing.assert_allclose(J.prediction_tangent(M0, DIRECTION), difference, atol=1e-7)


@pytest.mark.slow
@every_functional
def test_value_and_derivative_cost_one_factorization_and_two_solves(J):
    J.value_and_derivative(M0)  # compiled
    clear_memo()
    before = work.copy()
    J.value_and_derivative(M0)
    done = work.since(before)
    assert (done.factorizations, done.solves, done.adjoint_solves) == (1, 1, 1)
    before = work.copy()
    J.hessian_action(M0, DIRECTION)
    J.terms(M0)
    assert work.since(before).factorizations == 0


def test_one_term_or_none_and_the_identity_are_defaults():
    J = made("symmetric")
    bare = ReducedFunctional(J.state, J.misfit)
    k = 1.0 + V.locations[0]
    assert bare.terms(k).regularization == 0.0
    np.testing.assert_array_equal(bare.coefficient(k), k)
    single = ReducedFunctional(J.state, J.misfit, h1(V, 2.0))
    assert single.terms(k).regularization == pytest.approx(1.0)


def test_failures_of_the_state_arrive_as_solve_errors():
    J = made("symmetric")
    with pytest.raises(SolveError, match="not finite"):
        J.value_and_derivative(np.full(V.n, np.nan))
    with pytest.raises(SolveError, match="not finite"):
        J(np.full(V.n, 800.0))  # exp overflows
    with pytest.raises(SolveError, match="singular"):
        J.derivative(np.full(V.n, -800.0))  # exp underflows to zero
    assert np.isfinite(J(M0))


def test_data_and_parameters_of_the_wrong_shape_are_refused():
    J = made("symmetric")
    short = ReducedFunctional(J.state, L2Misfit.of(J.misfit.observation, np.ones(3), 1.0))
    with pytest.raises(InputError, match=r"data have shape \(3,\); the observation predicts \(7,\)"):
        short(np.ones(V.n))
    with pytest.raises(FEMError, match="one value a degree of freedom"):
        J(np.ones(3))


# --- the problem -------------------------------------------------------------------------------------------------


def problem(**changes):
    space = changes.pop("space", V)
    given = {"functional": made("symmetric"), "initial": M0, "parameter": Parameter(space, "k (S/m)")}
    return Problem(**{**given, **changes})


def test_the_relative_error_is_that_of_the_coefficient_in_l2():
    truth = np.exp(M0)
    assert problem(truth=truth).relative_error(M0) == pytest.approx(0.0, abs=1e-15)
    assert problem(truth=truth).relative_error(M0 + np.log(1.5)) == pytest.approx(0.5)
    assert problem().relative_error(M0) is None


def test_norms_and_fields_of_a_parameter():
    everywhere = Parameter(V, "k")
    assert everywhere.size == V.n
    assert everywhere.norm(np.ones(V.n)) == pytest.approx(1.0)
    assert everywhere.norm(V.locations[0]) == pytest.approx(np.sqrt(1 / 3))
    on_top = Parameter(TOP, "g", dofs=V.dofs("top"))
    assert on_top.size == 6
    assert on_top.norm(np.full(6, 2.0)) == pytest.approx(2.0)
    np.testing.assert_allclose(on_top.field(np.full(6, 2.0)).value, 2.0)
    np.testing.assert_allclose(everywhere.field(np.ones(V.n)).value, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial": np.ones(3)}, r"initial guess has shape \(3,\); the parameter has \(36,\)"),
        ({"initial": np.full(V.n, np.nan)}, "initial guess has NaN or infinite values"),
        ({"truth": np.ones(3)}, r"the truth has shape \(3,\)"),
    ],
)
def test_a_problem_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        problem(**changes)
