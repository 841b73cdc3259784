"""What a form computes for all pairs of unit functions is computed once, with the same values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeopt.fem.tracing.partial_evaluation import evaluated

FIELD = np.random.default_rng(0).standard_normal((3, 3, 50, 4))
UNITS = [np.eye(9)[k].reshape(3, 3, 1, 1) for k in range(9)]


def determinant(G):
    F = G + np.eye(3)[:, :, None, None]
    rows = F[0, 0] * (F[1, 1] * F[2, 2] - F[1, 2] * F[2, 1]), F[0, 1] * (F[1, 2] * F[2, 0] - F[1, 0] * F[2, 2])
    return sum(rows) + F[0, 2] * (F[1, 0] * F[2, 1] - F[1, 1] * F[2, 0])


def second_derivatives(G, transform):
    """Return ∂²(log det)/∂G_s∂G_t for all pairs, from one trace."""

    def slope(direction):
        return lambda G: jax.jvp(lambda G: jnp.log(determinant(G)), (G,), (direction + 0 * G,))[1]

    def all_pairs():
        return [jax.jvp(slope(v), (G,), (u + 0 * G,))[1] for u in UNITS[::4] for v in UNITS[::3]]

    return transform(jax.make_jaxpr(all_pairs)())


def as_it_is(closed):
    return jax.core.eval_jaxpr(closed.jaxpr, closed.consts)


def count(function, name):
    return [equation.primitive.name for equation in jax.make_jaxpr(function)(FIELD).jaxpr.eqns].count(name)


def test_the_values_and_their_derivatives_are_those_of_the_trace():
    small = 0.1 * FIELD[:, :, :5]
    ours, plain = (np.array(second_derivatives(small, how)) for how in (evaluated, as_it_is))
    np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-12)


def test_equal_expressions_are_computed_once():
    def twice(G):
        return evaluated(jax.make_jaxpr(lambda: [jnp.exp(G[0]) * G[1], jnp.exp(G[0]) * G[2]])())

    assert count(twice, "exp") == 1
    assert count(twice, "mul") == 2


def test_most_of_what_is_done_for_pairs_of_unit_functions_falls_away():
    pairs = [(u, v) for u in UNITS for v in UNITS]

    def products(G):
        return evaluated(jax.make_jaxpr(lambda: [(u[0] * G[0]).sum(0) * v[1, 2] for u, v in pairs])())

    def plain(G):
        return as_it_is(jax.make_jaxpr(lambda: [(u[0] * G[0]).sum(0) * v[1, 2] for u, v in pairs])())

    assert count(products, "mul") <= 4  # with the four first rows that unit functions have
    assert count(plain, "mul") == 2 * 81


def test_a_range_which_has_no_inputs_is_known():
    def scaled(G):
        return evaluated(jax.make_jaxpr(lambda: [jnp.arange(1.0, 4.0)[:, None, None] * G[0, 0]])())

    assert count(scaled, "iota") == 0
    np.testing.assert_array_equal(scaled(FIELD)[0], np.arange(1.0, 4.0)[:, None, None] * FIELD[0, 0])


@pytest.mark.parametrize("value", [0.0, 1.0, 2.5])
def test_known_arrays_of_many_cells_are_not_made(value):
    def known(G):
        def product():
            wide = jnp.broadcast_to(np.full((3, 1, 1), value), (3, 50, 4))
            return [jnp.sqrt(wide)[1] * G[0, 0]]

        return evaluated(jax.make_jaxpr(product)())

    np.testing.assert_allclose(known(FIELD)[0], np.sqrt(value) * FIELD[0, 0], rtol=1e-15)
    assert count(known, "sqrt") == 0


def test_a_derivative_that_a_function_states_itself_is_kept():
    @jax.custom_jvp
    def odd(x):
        return x**2

    odd.defjvp(lambda primals, tangents: (primals[0] ** 2, 7.0 * tangents[0]))
    slope = jax.grad(lambda x: evaluated(jax.make_jaxpr(lambda: [odd(x), odd(x)])())[1])(3.0)
    assert slope == 7.0


def test_what_happens_in_an_order_is_left_as_often_as_it_is_asked_for(capfd):
    def printed(x):
        def both():
            jax.debug.print("asked")
            jax.debug.print("asked")
            return [x]

        return evaluated(jax.make_jaxpr(both)())

    jax.jit(printed)(1.0)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("asked") == 2
