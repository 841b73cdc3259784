"""Functions of NumPy that compiled programs call on the host.

`jax.pure_callback` makes JAX arrays of the arguments before it calls the function, on other threads. That takes 0.12 ms
a call for 4000 unknowns (measured), nearly half as long as their solve; the call itself takes 0.015 ms. Here the
function is given the NumPy arrays that the program hands over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

#: A function of NumPy arrays that returns one of a known shape.
HostFunction = Callable[..., np.ndarray]


def host_call(function: HostFunction, kind: jax.ShapeDtypeStruct, *arguments: jax.Array) -> jax.Array:
    """Return the value of a function that is called on the host, when the program runs.

    It has no derivative. Under `jax.vmap` all arguments have the leading axes, of length 1 where one is not mapped. JAX
    may call the function more than once, in any order, or leave it out where its value is not used.

    Args:
        function: The function, which may not call JAX, nor change its arguments.
        kind: The shape and the type of the value.
        *arguments: The arguments.
    """
    value: jax.Array = _call_p.bind(*arguments, function=function, shape=kind.shape, dtype=np.dtype(kind.dtype))
    return value


_call_p = Primitive("host_call")


def _abstract(*_: Any, function: HostFunction, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    return jax.core.ShapedArray(shape, dtype)


def _run(*arguments: Any, function: HostFunction, shape: tuple[int, ...], dtype: np.dtype[Any]) -> jax.Array:
    return jnp.asarray(function(*map(np.asarray, arguments)))


def _batched(
    arguments: Sequence[Any], axes: Sequence[Any], *, function: HostFunction, shape: tuple[int, ...], dtype: Any
) -> tuple[jax.Array, int]:
    size = next(x.shape[axis] for x, axis in zip(arguments, axes, strict=True) if axis is not None)
    moved = [x[None] if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(arguments, axes, strict=True)]
    return _call_p.bind(*moved, function=function, shape=(size, *shape), dtype=dtype), 0


def _lowered(context: Any, *operands: Any, function: HostFunction, **_: Any) -> Any:
    def call(*arguments: np.ndarray) -> tuple[np.ndarray]:
        return (np.asarray(function(*arguments), order="C"),)

    results, _, _ = mlir.emit_python_callback(
        *(context, call, None, list(operands), context.avals_in, context.avals_out),
        has_side_effect=False,
        returns_token=False,
    )
    return results


_call_p.def_impl(_run)
_call_p.def_abstract_eval(_abstract)
batching.primitive_batchers[_call_p] = _batched
mlir.register_lowering(_call_p, _lowered, cacheable=False)
