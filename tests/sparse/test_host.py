"""What compiled programs call on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdeopt.sparse.host import host_call


def doubled(x):
    """Twice x, on the host, as a transposed array that is no copy in order."""
    return host_call(lambda x: np.asfortranarray(2 * x), jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["as it is", "compiled"])
@pytest.mark.parametrize("dtype", [float, complex])
def test_the_value_is_what_the_function_returns(run, dtype):
    x = jnp.arange(6.0).reshape(2, 3).astype(dtype)
    np.testing.assert_array_equal(run(doubled)(x), 2 * x)


@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["as it is", "compiled"])
def test_arguments_that_are_not_mapped_have_an_axis_of_length_one(run):
    shapes = []

    def summed(x, y):
        shapes.append((x.shape, y.shape))
        return x + y

    def call(x, y):
        return host_call(summed, jax.ShapeDtypeStruct(x.shape, x.dtype), x, y)

    x, y = jnp.arange(6.0).reshape(3, 2), jnp.ones(2)
    np.testing.assert_array_equal(run(jax.vmap(call, in_axes=(1, None), out_axes=1))(x, jnp.ones(3)), x + 1)
    assert shapes == [((2, 3), (1, 3))]
    nested = jax.vmap(jax.vmap(call, in_axes=(0, None)), in_axes=(None, 0))
    np.testing.assert_array_equal(run(nested)(x, jnp.stack([y, 2 * y])), jnp.stack([x + 1, x + 2]))


def test_arguments_stay_what_they_are_after_the_call():
    """A solver of the user may keep the values that it was given."""
    kept = []

    def keep(x):
        kept.append(x)
        return x

    @jax.jit
    def program(x):
        for _ in range(3):
            x = host_call(keep, jax.ShapeDtypeStruct(x.shape, x.dtype), 2 * x)
        return x

    program(jnp.ones(1000)).block_until_ready()
    program(jnp.zeros(1000)).block_until_ready()
    assert [float(array.mean()) for array in kept] == [2, 4, 8, 0, 0, 0]
