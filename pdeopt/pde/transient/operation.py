"""Functions with a derivative rule of their own that keep it inside of a differentiated loop.

`jax.custom_jvp` is not enough in a `jax.lax.scan` that is differentiated twice: to move what does not change out of the
loop, JAX (0.10) evaluates its body in part, and there takes the function in place of its rule. An operation of JAX has
no inside that could be looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive
from jax.interpreters import ad, batching, mlir

#: A derivative rule: the function (operation, point, direction) ↦ (value, derivative) of pytrees.
Rule = Callable[[Callable[[Any], Any], Any, Any], tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class Operation:
    """A function of one pytree of arrays with its derivative rule, as an operation of JAX.

    It is made by `of`.

    Attributes:
        program: The function, traced.
        rule: The rule, which calls the operation itself for its value.
        structures: The structures of argument and value.
    """

    program: ClosedJaxpr
    rule: Rule
    structures: tuple[Any, Any]

    @classmethod
    def of(cls, function: Callable[[Any], Any], rule: Rule, example: Any) -> Operation:
        """Return the operation for arguments of the structure, shapes and types of an example.

        Args:
            function: The function, which reads nothing from outside that JAX traces.
            rule: The rule.
            example: An argument.
        """
        program, shapes = jax.make_jaxpr(function, return_shape=True)(example)
        return cls(program, rule, (jax.tree.structure(example), jax.tree.structure(shapes)))

    def __call__(self, argument: Any) -> Any:
        """Return the value."""
        return jax.tree.unflatten(self.structures[1], _operation_p.bind(*jax.tree.leaves(argument), operation=self))


_operation_p = Primitive("operation_with_rule")
_operation_p.multiple_results = True


def _apply(*args: Any, operation: Operation) -> list[Any]:
    return list(jax.core.eval_jaxpr(operation.program.jaxpr, operation.program.consts, *args))


def _tangent(
    primals: Sequence[Any], tangents: Sequence[Any], *, operation: Operation
) -> tuple[Sequence[Any], Sequence[Any]]:
    point, direction = (
        jax.tree.unflatten(operation.structures[0], leaves) for leaves in (primals, map(ad.instantiate_zeros, tangents))
    )
    value, derivative = operation.rule(operation, point, direction)
    return jax.tree.leaves(value), jax.tree.leaves(derivative)


def _batched(args: Sequence[Any], axes: Sequence[Any], *, operation: Operation) -> tuple[list[Any], list[int]]:
    moved = [jnp.moveaxis(arg, axis, 0) for arg, axis in zip(args, axes, strict=True) if axis is not None]

    def one(batched: list[Any]) -> list[Any]:
        left = iter(batched)
        given = (arg if axis is None else next(left) for arg, axis in zip(args, axes, strict=True))
        return list(_operation_p.bind(*given, operation=operation))

    results: list[Any] = jax.lax.map(one, moved)
    return results, [0] * len(results)


_operation_p.def_impl(jax.jit(_apply, static_argnames="operation"))
_operation_p.def_abstract_eval(lambda *args, operation: list(operation.program.out_avals))
ad.primitive_jvps[_operation_p] = _tangent
batching.primitive_batchers[_operation_p] = _batched
mlir.register_lowering(_operation_p, mlir.lower_fun(_apply, multiple_results=True))
