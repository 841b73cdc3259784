"""Compile a function whose closed-over tables are arguments of its program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def compiled_program(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any] | None:
    """Return a function, compiled for arguments of the structure, shapes and types of the given ones.

    A closed-over array would become a literal of the program, which XLA then folds for seconds (10.6 s at 524 k
    triangles). Here the function is traced to a jaxpr first, whose constants the arrays are, and they are passed as
    arguments. What the function reads from outside is read now; where JAX traces some of that, the result is None.

    Args:
        function: The function of pytrees of arrays, which JAX traces.
        *arguments: The pytrees.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    if any(isinstance(constant, jax.core.Tracer) for constant in closed.consts):
        return None
    structure = jax.tree.structure(shapes)
    run = jax.jit(lambda constants, *inputs: jax.core.eval_jaxpr(closed.jaxpr, constants, *inputs))
    constants = jax.device_put(closed.consts)  # jnp.asarray would compile a program for each shape
    return lambda *inputs: jax.tree.unflatten(structure, run(constants, *jax.tree.leaves(inputs)))
