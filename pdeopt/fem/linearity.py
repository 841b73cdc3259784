"""Refuse forms that are not linear in their trial and test functions: assembling them would give a wrong number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pdeopt.fem.assembly import scalar_density
from pdeopt.fem.errors import FormError
from pdeopt.fem.field import Coefficients, Field, value_of
from pdeopt.fem.structure import Shapes

Function = tuple[Field, ...]
"""A trial or test function at one point: one field for each component of its element."""

_passed: set[tuple[Callable[..., Any], str]] = set()


def check_linear(form: Callable[..., Any], name: str, shapes: tuple[Shapes, ...], w: Coefficients) -> None:
    """Raise FormError where the form is not linear in each of its arguments, which have the given shapes.

    Tried on random functions and random coefficients of the right tensor shape, which also works while JAX traces the
    true ones; once for each form and kind of arguments.
    """
    key = (form, str(shapes))
    if key in _passed:
        return
    rng = np.random.default_rng(0)
    sample = jax.tree.map(lambda leaf: rng.uniform(0.5, 1.5, (*np.shape(leaf)[:-2], 1, 1)), w)
    if "idx" in w:
        sample["idx"] = w["idx"]
    with jax.ensure_compile_time_eval():
        for position in range(len(shapes)):
            if not _is_linear(form, shapes, position, sample, rng):
                which = ("trial", "test")[position] if len(shapes) == 2 else "test"
                raise FormError(
                    f"form '{name}' is not linear in its {which} function: check for a product of two, or a term "
                    "without it"
                )
    _passed.add(key)


def _is_linear(
    form: Callable[..., Any], shapes: tuple[Shapes, ...], position: int, w: Coefficients, rng: np.random.Generator
) -> bool:
    """a(2 u₁ − 3 u₂) = 2 a(u₁) − 3 a(u₂) in the argument at ``position``, the others fixed."""
    others = [_random(shape, rng) for shape in shapes]

    def density(argument: Function) -> np.ndarray:
        arguments = [*others[:position], argument, *others[position + 1 :]]
        return np.asarray(value_of(scalar_density(form, *(field for fields in arguments for field in fields), w)))

    first, second = _random(shapes[position], rng), _random(shapes[position], rng)
    combined = jax.tree.map(lambda a, b: 2.0 * a - 3.0 * b, first, second)
    expected = 2.0 * density(first) - 3.0 * density(second)
    scale = max(np.abs(density(first)).max(), np.abs(density(second)).max())
    return np.allclose(density(combined), expected, rtol=1e-8, atol=1e-8 * scale, equal_nan=True)


def _random(shapes: Shapes, rng: np.random.Generator) -> Function:
    return tuple(
        Field({name: rng.standard_normal((*shape, 1, 1)) for name, shape in parts.items()}) for parts in shapes
    )
