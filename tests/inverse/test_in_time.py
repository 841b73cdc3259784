"""Observations in time, controls in time, and terms of them."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad
from pdeopt.inverse import (
    AtDofs,
    AtPoints,
    FieldMisfit,
    FullField,
    InputError,
    InTime,
    L2Misfit,
    Log,
    Magnitude,
    MisfitSum,
    Parameter,
    ParameterInTime,
    Parameters,
    Problem,
    ReducedFunctional,
    each_step,
    l2_product,
    mass,
    tikhonov,
)
from pdeopt.pde import Evolution, LinearStateEquation, Sampled, TransientStateEquation
from pdeopt.sparse import SolveError, state_memory

TIMES = np.linspace(0, 0.2, 21)


@functools.cache
def space():
    return FunctionSpace(skfem.MeshTri().refined(3), skfem.ElementTriP1())


@functools.cache
def equation(axes=("dof", "time")):
    """A diffusivity ↦ the temperatures that an initial one has left."""
    V = space()
    conduction = bilinear_form(lambda u, v, w: w["k"] * dot(grad(u), grad(v)))
    M, x = mass.assemble(V), V.locations
    start = np.stack([np.sin(np.pi * x[0]) * np.sin(k * np.pi * x[1]) for k in (1, 2)], axis=1)
    initial = start if len(axes) == 3 else start[:, 0]
    return TransientStateEquation(
        lambda k: Evolution(M, conduction.assemble(V, k=V.interpolate(k)), initial=initial),
        TIMES,
        "bdf2",
        Dirichlet.on(V),
        axes=axes,
        parts={"temperature": V},
    )


POINTS = np.array([[0.3, 0.7], [0.4, 0.45]])


@pytest.mark.slow
@pytest.mark.parametrize("axes", [("dof", "time"), ("dof", "experiment", "time")])
def test_readings_in_time_are_those_of_the_states_there(axes):
    V, state, k = space(), equation(axes), np.full(space().n, 0.7)
    u = np.asarray(state(k))
    times = TIMES[[3, 20, 7]]
    states = u[..., [3, 20, 7]]
    for observation in (
        AtPoints.of(V, POINTS),
        AtDofs(np.array([40, 3])),
        FullField(),
        Magnitude(AtPoints.of(V, POINTS)),
    ):
        found = InTime(observation, times).of(state, k)
        expected = np.stack([observation(states[..., j], k) for j in range(3)], axis=-1)
        np.testing.assert_allclose(found, expected, atol=1e-14)


def test_sensors_with_different_times_are_misfits_that_add_up():
    V, state, k = space(), equation(), np.full(space().n, 0.7)
    early, late = InTime(AtPoints.of(V, POINTS), [0.02, 0.033]), InTime(AtDofs(np.array([40])), [0.1, 0.2, 0.15])
    data = {"early": early.of(state, k), "late": late.of(state, k)}
    parts = {"early": L2Misfit.of(early, data["early"], 0.1), "late": L2Misfit.of(late, data["late"] + 0.2, 0.1)}
    J = ReducedFunctional(state, MisfitSum.of(parts))
    assert J(k) == pytest.approx(0.5 * 3 * 4, rel=1e-12)
    np.testing.assert_allclose(
        J.prediction(k), np.concatenate([data["early"].ravel(), data["late"].ravel()]), rtol=1e-12
    )


@pytest.mark.slow
def test_the_objective_of_readings_has_exact_derivatives_and_keeps_no_trajectory():
    V, state = space(), equation()
    observation = InTime(AtPoints.of(V, POINTS), TIMES[1::2])
    data = observation.of(state, np.full(V.n, 1.3))
    J = ReducedFunctional(state, L2Misfit.of(observation, data, 0.01), parametrization=Log())
    m, rng = np.zeros(V.n), np.random.default_rng(0)
    v, w = rng.standard_normal((2, V.n))
    state_memory.peak = 0
    J(m)
    assert state_memory.peak <= 4 * 8 * V.n
    gradient, hessian = J.derivative(m), J.hessian(m)
    sizes = np.array([2e-2, 1e-2])
    for order, known in ((1, 0.0), (2, gradient @ v), (3, gradient @ v)):
        bend = 0.5 * v @ hessian(v) if order == 3 else 0.0
        left = np.abs([J(m + h * v) - J(m) - h * known - h**2 * bend for h in sizes])
        assert np.log2(left[0] / left[1]) == pytest.approx(order, abs=0.1)
    assert w @ hessian(v) == pytest.approx(v @ hessian(w), rel=1e-10)
    both = J.prediction_tangent(m, v), J.prediction_adjoint(m, data)
    assert np.vdot(both[0], data) == pytest.approx(np.vdot(v, both[1]), rel=1e-12)
    solved = J.solved(m)
    assert solved.state.shape == solved.adjoint.shape == (V.n, len(TIMES))
    np.testing.assert_allclose(
        J.gauss_newton(np.log(np.full(V.n, 1.3)))(v), J.hessian(np.log(np.full(V.n, 1.3)))(v), rtol=1e-8
    )


def test_a_control_in_time_has_the_product_of_space_and_time():
    V, weights = space(), np.array([0.1, 0.2, 0.3])
    parameter = ParameterInTime(V, "control", weights)
    rows = np.random.default_rng(0).standard_normal((3, V.n))
    M = mass.assemble(V).to_scipy()
    expected = sum(w * row @ (M @ row) for w, row in zip(weights, rows, strict=True))
    product = l2_product(parameter)
    assert product.norm(rows.ravel()) ** 2 == pytest.approx(expected)
    gradient = product.gradient((weights[:, None] * (M @ rows.T).T).ravel())
    np.testing.assert_allclose(parameter.in_steps(gradient), rows, rtol=1e-10, atol=1e-12)
    assert each_step(tikhonov(V, 2.0), weights)(jnp.array(rows.ravel())) == pytest.approx(expected)
    np.testing.assert_allclose(parameter.lumped_mass, np.kron(weights, M @ np.ones(V.n)))
    assert parameter.relative_error(2 * rows.ravel(), rows.ravel()) == pytest.approx(1.0)


def test_a_control_in_time_may_be_one_of_several_parameters():
    V, M = space(), mass.assemble(space())
    stiffness = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
    sizes = np.diff(TIMES)
    control = ParameterInTime(V, "source", sizes)
    unknowns = Parameters({"source": control, "start": Parameter(V, "initial temperature")})
    state = TransientStateEquation(
        lambda k: Evolution(M, stiffness, Sampled((M @ control.in_steps(k["source"]).T).T), initial=k["start"]), TIMES
    )
    misfit = FieldMisfit.of(V, np.ones((V.n, len(TIMES))), weights=np.full(len(TIMES), 0.01))
    problem = Problem(ReducedFunctional(state, misfit, parametrization=unknowns), parameter=unknowns)
    m, v = np.random.default_rng(0).standard_normal((2, unknowns.size))
    J = problem.functional
    assert (J(m + 1e-4 * v) - J(m - 1e-4 * v)) / 2e-4 == pytest.approx(J.derivative(m) @ v, rel=1e-8)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: InTime(FullField(), []), InputError, "expected at least one"),
        (lambda: InTime(FullField(), [np.nan]), InputError, "not finite"),
        (lambda: InTime(FullField(), [0.1])(np.ones(3), None), InputError, "computed; expected the readings"),
        (lambda: ParameterInTime(space(), "control", [0.1, 0.0]), InputError, "numbers > 0"),
        (lambda: each_step(tikhonov(space(), 1.0, 2.0), [1.0]), InputError, "has a reference"),
        (lambda: each_step(tikhonov(space(), 1.0), [-1.0]), InputError, "weights of steps"),
        (
            lambda: FieldMisfit.of(space(), np.ones((space().n, 2)), weights=[1.0]),
            InputError,
            r"weights have shape \(1,\)",
        ),
    ],
)
def test_what_means_nothing_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_times_and_states_that_do_not_fit_a_misfit_are_refused():
    V, k = space(), np.ones(space().n)
    late = L2Misfit.of(InTime(AtDofs(np.array([40])), [0.1, 0.3]), np.ones((1, 2)), 1.0)
    with pytest.raises(
        SolveError, match=r"observed at 2 times, of which number 2 is 0\.3; expected times between 0 and 0\.2"
    ):
        ReducedFunctional(equation(), late)(k)
    stationary = LinearStateEquation(lambda k: (mass.assemble(V), k))
    with pytest.raises(InputError, match="state equation is a LinearStateEquation; expected one in time"):
        ReducedFunctional(stationary, late)(k)
    with pytest.raises(InputError, match="another one the states that are kept"):
        ReducedFunctional(equation(), {"a": late, "b": lambda u, _: jnp.sum(u)})(k)
