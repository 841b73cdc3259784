"""Complex-valued states with real parameters: misfits, derivatives, adjoint state and Gauss–Newton products."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import (
    AtDofs,
    AtPoints,
    FieldMisfit,
    FullField,
    InputError,
    L2Misfit,
    Magnitude,
    Parameter,
    Phase,
    Problem,
    ReducedFunctional,
    add_noise,
    h1,
)
from pdeopt.inversion.checking import check_problem, random_cotangent
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import work
from pdeopt.verify import adjoint_identity, taylor_test

V = FunctionSpace(skfem.MeshTri.init_tensor(np.linspace(0, 1, 6), np.linspace(0, 1, 5)), skfem.ElementTriP1())
WAVENUMBER = 5.0
POINTS = np.array([[0.1, 0.5, 0.8], [0.3, 0.9, 0.2]])
RNG = np.random.default_rng(3)
M = 0.3 * RNG.standard_normal(V.n)
DIRECTION, OTHER = RNG.standard_normal((2, V.n))

stiffness = bilinear_form(lambda u, v, w: dot(grad(u), grad(v)))
mass = bilinear_form(lambda u, v, w: w["c"] * u * v)


def complex_numbers(*shape):
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def waves(columns):
    """A Helmholtz equation with an impedance condition all around: m is the permittivity's departure from 1."""
    loads = np.stack([linear_form(lambda v, w: v * w.x[0]).assemble(V), linear_form(lambda v, w: v).assemble(V)], 1)
    fixed = stiffness.assemble(V) - 1j * WAVENUMBER * mass.assemble(V.boundary(), c=1.0)

    def system(m):
        A = fixed - WAVENUMBER**2 * mass.assemble(V, c=1 + V.interpolate(m))
        return A, jnp.asarray(loads if columns else loads[:, 0])

    return LinearStateEquation(system, axes=("dof", "experiment")[: 1 + columns], parts={"u": V})


def misfit_to(make, state, noise=0.01):
    """The misfit of an observation to what it predicts at another parameter."""
    predicted = np.asarray(make(state(0.5 * jnp.ones(V.n)), None))
    return L2Misfit.of(make, predicted, noise)


AT_POINTS = AtPoints.of(V, POINTS)
OBSERVATIONS = {
    "points": AT_POINTS,
    "field": FullField(),
    "dofs": AtDofs.on_boundary(V),
    "magnitudes": Magnitude(AT_POINTS),
    "phases": Phase(AT_POINTS),
}


@cache
def functional(name="points", columns=True):
    state = waves(columns)
    return ReducedFunctional(state, misfit_to(OBSERVATIONS[name], state), h1(V, 0.1))


def taylor_of(J):
    v = 0.1 * DIRECTION
    return taylor_test(J, J.derivative(M), M, v, hessian_action=J.hessian_action(M, v))


@pytest.mark.parametrize(
    "name", ["points", *(pytest.param(name, marks=pytest.mark.slow) for name in OBSERVATIONS if name != "points")]
)
def test_derivatives_of_a_complex_state_have_their_taylor_orders(name):
    J = functional(name)
    test = taylor_of(J)
    assert test.passed, test
    assert set(test.orders) == {1, 2, 3}


@pytest.mark.parametrize("name", ["points", "magnitudes"])
def test_the_prediction_has_an_adjoint_in_the_real_inner_product(name):
    J = functional(name)
    data = J.misfit.data
    w = complex_numbers(*data.shape) if np.iscomplexobj(data) else RNG.standard_normal(data.shape)
    adjoint = J.prediction_adjoint(M, w)
    assert adjoint.dtype == np.float64
    assert adjoint_identity(lambda v: J.prediction_tangent(M, v), lambda _: adjoint, DIRECTION, w) < 1e-12
    assert adjoint_identity(lambda v: J.prediction_tangent(M, v), lambda _: -adjoint, DIRECTION, w) > 1e-3
    np.testing.assert_allclose(J.tangent_and_adjoint(M, DIRECTION, w)[1], adjoint, rtol=1e-12)
    if name == "points":
        wrong = J.prediction_adjoint(M, w.conj())
        assert adjoint_identity(lambda v: J.prediction_tangent(M, v), lambda _: wrong, DIRECTION, w) > 1e-3


def test_gauss_newton_products_are_those_of_the_real_jacobian():
    J = functional("points")
    columns = np.stack([J.prediction_tangent(M, v).ravel() for v in np.eye(V.n)], axis=1)
    stacked = np.concatenate([columns.real, columns.imag]) / J.misfit.noise
    product = J.misfit_gauss_newton(M)
    np.testing.assert_allclose(product(DIRECTION), stacked.T @ (stacked @ DIRECTION), rtol=1e-10)
    block = np.stack([DIRECTION, OTHER], axis=1)
    np.testing.assert_allclose(product(block), stacked.T @ (stacked @ block), rtol=1e-10)


def test_a_gradient_costs_one_factorization_and_two_solves():
    J = functional("points")
    J.value_and_derivative(M)
    before = work.copy()
    J.value_and_derivative(0.9 * M)
    spent = work.since(before)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 1, 1)


@pytest.mark.parametrize("columns", [False, True])
def test_the_adjoint_state_is_the_derivative_to_a_source_without_conjugation(columns):
    J = functional("points", columns)
    solved = J.solved(M)
    source = complex_numbers(*solved.state.shape)

    def value(t):
        return float(J.misfit(J.state(jnp.asarray(M), source=t * jnp.asarray(source)), M))

    step = 1e-4
    slope = (value(step) - value(-step)) / (2 * step)
    assert slope == pytest.approx(np.sum(solved.adjoint * source).real, rel=1e-6)
    assert slope != pytest.approx(np.vdot(solved.adjoint, source).real, rel=1e-2)


def test_expected_misfits_are_what_circular_noise_gives():
    """Two real numbers a datum: the misfit is half of a χ² with twice as many degrees of freedom as data."""
    clean = complex_numbers(4000)
    noisy, sigma = add_noise(clean, 0.1, seed=0)
    misfit = L2Misfit.of(FullField(), noisy, sigma)
    assert misfit.expected == clean.size
    assert float(misfit(jnp.asarray(clean), None)) == pytest.approx(misfit.expected, rel=0.06)
    parts = L2Misfit.of(FullField(), np.stack([noisy.real, noisy.imag]), sigma)
    assert parts.expected == misfit.expected
    assert float(parts(jnp.stack([clean.real, clean.imag]), None)) == pytest.approx(float(misfit(clean, None)))
    assert np.linalg.norm(noisy - clean) == pytest.approx(0.1 * np.linalg.norm(clean), rel=0.05)
    assert abs(np.mean((noisy - clean) ** 2)) < 0.1 * np.mean(abs(noisy - clean) ** 2), "the parts are independent"


@pytest.mark.slow
def test_a_field_misfit_of_a_complex_target_adds_its_parts():
    u, target = complex_numbers(V.n), complex_numbers(V.n)
    misfit = FieldMisfit.of(V, target, 0.2)
    parts = [FieldMisfit.of(V, part, 0.2) for part in (target.real, target.imag)]
    expected = float(parts[0](u.real, None)) + float(parts[1](u.imag, None))
    assert float(misfit(jnp.asarray(u), None)) == pytest.approx(expected)
    assert misfit.expected == pytest.approx(parts[0].expected + parts[1].expected)
    J = ReducedFunctional(waves(columns=False), FieldMisfit.of(V, target))
    assert taylor_of(J).passed


def test_phases_are_those_next_to_the_given_ones():
    given = np.array([3.0, -3.1, 9.0])
    phases = Phase(FullField(), given)(jnp.exp(1j * (given + np.array([0.5, -0.4, 0.1]))), None)
    np.testing.assert_allclose(phases - given, [0.5, -0.4, 0.1], atol=1e-12)
    assert float(Phase(FullField())(jnp.array([-2.0 + 0j]), None)[0]) == pytest.approx(np.pi)


@pytest.mark.parametrize(
    ("observation", "data", "message"),
    [
        (AT_POINTS, np.ones((3, 2)), r"predicts complex values, the data are real.*Magnitude"),
        (Magnitude(AT_POINTS), 1j * np.ones((3, 2)), "predicts real values, the data are complex"),
        (AT_POINTS, np.full((3, 2), complex(0, np.nan)), "6 of 6 data are NaN"),
        (AT_POINTS, 1j * np.ones(3), r"the data have shape \(3,\); the observation predicts \(3, 2\)"),
    ],
)
def test_data_of_the_wrong_kind_are_refused(observation, data, message):
    with pytest.raises(InputError, match=message):
        ReducedFunctional(waves(columns=True), L2Misfit.of(observation, data, 1.0)).value_and_derivative(M)


def test_complex_parameters_directions_and_cotangents_of_real_data_are_refused():
    J, real_data = functional("points"), functional("magnitudes")
    for call in (
        lambda: J(1j * M),
        lambda: J.derivative(1j * M),
        lambda: J.prediction_tangent(M, 1j * M),
        lambda: J.hessian_action(M, 1j * M),
        lambda: J.misfit_gauss_newton(1j * M),
        lambda: real_data.prediction_adjoint(M, 1j * np.ones((3, 2))),
    ):
        with pytest.raises(InputError, match="complex"):
            call()


@pytest.mark.slow
def test_a_problem_with_a_complex_state_passes_all_checks():
    problem = Problem(functional("points"), np.zeros(V.n), Parameter(V, "contrast"))
    checks = check_problem(problem)
    assert all(check.passed for check in checks), checks


def test_the_checks_take_complex_cotangents_of_complex_data():
    """A real one would see nothing of the derivative of the imaginary parts."""
    assert random_cotangent((3, 2), np.dtype(complex)).imag.all()
    assert random_cotangent((3, 2), np.dtype(float)).dtype == np.float64
