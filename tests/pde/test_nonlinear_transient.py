"""Nonlinear states in time: orders of schemes, derivatives, nested loops, and steps that do not converge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, residual_form
from pdeopt.pde import Evolution, NonlinearTransientStateEquation, Sampled, TransientStateEquation
from pdeopt.pde.transient.nonlinear import nested_scan
from pdeopt.sparse import SolveError, work


@functools.cache
def line():
    V = FunctionSpace(skfem.MeshLine().refined(3), skfem.ElementLineP1())
    M = bilinear_form(lambda u, v, w: u * v).assemble(V)
    F = residual_form(lambda u, v, w: (w["a"] + w["b"] * u**2) * dot(grad(u), grad(v)) - w["f"] * v)
    return V, M, F


def equation(count, scheme, **options):
    """κ = {b, f, start} ↦ temperatures of a conductivity 1 + b u², with values prescribed in time."""
    V, M, F = line()

    def system(u, k, t):
        return F.linearized(V, u, a=1.0, b=k["b"], f=V.interpolate(k["f"] * jnp.sin(3 * t)))

    return NonlinearTransientStateEquation(
        system,
        lambda k: M,
        np.linspace(0, 0.3, count + 1),
        lambda k: k["start"],
        scheme,
        lambda k, t: Dirichlet.on(V, values=k["start"][V.dofs()] * jnp.cos(t)),
        parts={"temperature": V},
        **options,
    )


def parameters(b=1.0):
    x = line()[0].locations[0]
    return {"b": jnp.array(b), "f": jnp.array(5 * np.exp(x)), "start": jnp.array(np.cos(x))}


@functools.cache
def reference():
    return np.asarray(equation(160, "sdirk2", kept=[0.3])(parameters()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "order"), [("implicit-euler", 1), ("crank-nicolson", 2), ("bdf2", 2), ("sdirk2", 2)]
)
def test_schemes_have_their_orders(scheme, order):
    errors = [np.abs(equation(count, scheme, kept=[0.3])(parameters()) - reference()).max() for count in (20, 40)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.slow
def test_a_linear_equation_has_the_states_and_sources_of_the_linear_class():
    V, M, F = line()
    times, x = np.linspace(0, 0.2, 6), V.locations[0]
    K = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
    rows = np.stack([M @ np.cos(k + x) for k in range(5)])
    linear = TransientStateEquation(
        lambda _: Evolution(M, K, Sampled(rows), initial=x), times, "sdirk2", Dirichlet.on(V)
    )
    same = NonlinearTransientStateEquation(
        lambda u, k, t: F.linearized(V, u, a=1.0, b=0.0, f=0.0),
        lambda k: M,
        times,
        lambda k: jnp.array(x),
        "sdirk2",
        Dirichlet.on(V),
    )
    source = jnp.concatenate([jnp.zeros((V.n, 1)), jnp.array(rows.T)], axis=1)
    np.testing.assert_allclose(same(None, source=source), linear(None), atol=1e-12)
    np.testing.assert_allclose(
        same.read(None, [0.03, 0.2], np.array([5, 1])), np.asarray(same(None))[[5, 1]] @ weights(), atol=1e-14
    )


def weights():
    """Of the states at 0, 0.04, …, 0.2 for the times 0.03 and 0.2."""
    return np.array([[0.25, 0.75, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.0]]).T


@pytest.mark.slow
def test_derivatives_are_exact_and_the_nested_loop_has_the_same():
    kappa = parameters()
    direction = jax.tree.map(lambda leaf: jnp.array(np.random.default_rng(0).standard_normal(leaf.shape)), kappa)

    def along(state):
        def value(h):
            moved = jax.tree.map(lambda a, b: a + h * b, kappa, direction)
            return jnp.sum(state.read(moved, [0.1, 0.17, 0.3], np.array([3, 5])) ** 2)

        return value

    f = along(equation(8, "bdf2"))
    slope = jax.jit(jax.value_and_grad(f))
    (value, rate), bend = slope(0.0), float(jax.jit(jax.jvp, static_argnums=0)(jax.grad(f), (0.0,), (1.0,))[1])
    sizes = np.array([0.02, 0.01])
    values = np.array([float(slope(h)[0]) for h in sizes]) - float(value)
    for order, left in enumerate((values, values - rate * sizes, values - rate * sizes - 0.5 * bend * sizes**2), 1):
        assert np.log2(abs(left[0] / left[1])) == pytest.approx(order, abs=0.2)
    nested = jax.jit(jax.grad(along(equation(8, "bdf2", snapshots=12))))
    before = work.copy()
    assert float(nested(0.0)) == pytest.approx(float(rate), rel=1e-12)
    assert 8 < work.since(before).time_steps <= 16


@pytest.mark.parametrize(("count", "snapshots"), [(7, 3), (30, 6), (64, 9), (5, 100)])
def test_a_nested_loop_is_the_plain_one(count, snapshots):
    inputs = jnp.arange(1.0, count + 1)

    def step(u, x):
        return jnp.sin(u + x), u * x

    def value(start, snapshots):
        end, outputs = nested_scan(step, start, inputs, count, snapshots)
        return end + jnp.sum(outputs)

    found, expected = (jax.value_and_grad(value)(0.3, kept) for kept in (snapshots, None))
    assert np.array(found) == pytest.approx(np.array(expected))


def test_a_step_that_does_not_converge_is_told_with_its_number_and_time():
    V, M, F = line()

    def system(u, k, t):
        return F.linearized(V, u, a=1.0, b=jnp.where(t > 0.15, jnp.nan, 1.0), f=0.0)

    state = NonlinearTransientStateEquation(system, lambda k: M, np.linspace(0, 0.3, 11), lambda k: V.locations[0])
    with pytest.raises(SolveError, match=r"not finite at the first iterate in time step 6 of 10 \(t = 0\.18\)"):
        state(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "newmark"}, "scheme is newmark"),
        ({"scheme": "explicit-euler"}, "needs no Newton's method"),
        ({"axes": ("dof", "experiment", "time")}, "one experiment"),
        ({"snapshots": 0}, "expected at least 1"),
        ({"times": [0.0, 0.2, 0.1]}, "out of order"),
        ({"kept": [0.5]}, "between 0 and 0.2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    V, M, _ = line()
    given = {"times": [0.0, 0.1, 0.2]} | options
    with pytest.raises(SolveError, match=message):
        NonlinearTransientStateEquation(lambda u, k, t: None, lambda k: M, initial=lambda k: V.locations[0], **given)
