"""Refuse forms that are not linear in their trial and test functions.

Assembling them would give a wrong number.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem.errors import FormError
from pdeopt.fem.field import Field, value_of
from pdeopt.fem.forms.assembly import scalar_density
from pdeopt.fem.forms.coefficients import Coefficients
from pdeopt.fem.forms.coupling import SAMPLE_SHAPE
from pdeopt.fem.forms.structure import Shapes
from pdeopt.fem.tracing.form_tracing import TracedForm

Function = tuple[Field, ...]
"""A trial or test function at the sample points: one field for each component of its element."""

#: The ranges of random coefficients, tried until the form has a finite value (a logarithm or a root may have none).
COEFFICIENT_RANGES = ((0.5, 1.5), (2.0, 10.0), (50.0, 1000.0), (-1.5, -0.5))

#: The forms that were checked and not refused, each with the kind of its arguments.
_passed: set[tuple[int, Any]] = set()


def check_linear(form: TracedForm, shapes: tuple[Shapes, ...], w: Coefficients) -> None:
    """Refuse a form that is not linear in each of its arguments, or is not evaluated point by point.

    It is tried on random functions and random coefficients of the kind that is given, which also works while JAX
    traces the true ones; once for each form and kind of arguments.

    Args:
        form: The form.
        shapes: For each argument the tensor shapes of its parts.
        w: The coefficients of the form.

    Raises:
        FormError: The form is not linear in an argument, or mixes cells or quadrature points.
    """
    key = (hash(form), str((shapes, jax.tree.structure(w), [_kind(leaf) for leaf in jax.tree.leaves(w)])))
    if key in _passed:
        return
    rng = np.random.default_rng(0)
    with jax.ensure_compile_time_eval():
        sample = _finite_sample(form, shapes, w, rng)
        if sample is not None:
            for position in range(len(shapes)):
                _check_argument(form, shapes, position, sample, rng)
    _passed.add(key)


def _kind(leaf: Any) -> tuple[int, str]:
    return jnp.ndim(leaf), jnp.result_type(leaf).kind


def _finite_sample(
    form: TracedForm, shapes: tuple[Shapes, ...], w: Coefficients, rng: np.random.Generator
) -> Coefficients | None:
    """Return random coefficients at which the form is finite; None where there seem to be none."""
    arguments = [_random(shape, rng) for shape in shapes]
    for low, high in COEFFICIENT_RANGES:
        sample: Coefficients = jax.tree.map(lambda leaf, a=low, b=high: _like(leaf, a, b, rng), w)
        if np.isfinite(_density(form, arguments, sample)).all():
            return sample
    return None


def _like(leaf: Any, low: float, high: float, rng: np.random.Generator) -> Any:
    """Return a random value of the tensor shape and the kind of a coefficient.

    It is given at the sample's cells and points; for a coefficient without axes it is a number.

    Args:
        leaf: The coefficient.
        low: The least value of a real one.
        high: The largest value of a real one.
        rng: The source of randomness.
    """
    ndim, kind = _kind(leaf)
    shape = () if ndim == 0 else (*jnp.shape(leaf)[:-2], *SAMPLE_SHAPE)
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind in "iu":
        return rng.integers(0, 2, shape)
    return rng.uniform(low, high, shape)


def _check_argument(
    form: TracedForm, shapes: tuple[Shapes, ...], position: int, w: Coefficients, rng: np.random.Generator
) -> None:
    """Refuse a form that is not linear in one of its arguments, or is not evaluated point by point.

    A form a(u) is taken as linear where a(2 u₁ − 3 u₂) = 2 a(u₁) − 3 a(u₂) for random u₁ and u₂.

    Args:
        form: The form.
        shapes: For each argument the tensor shapes of its parts.
        position: The number of the argument.
        w: Random coefficients.
        rng: The source of randomness.
    """
    arguments = [_random(shape, rng) for shape in shapes]

    def density(argument: Function) -> np.ndarray:
        return _density(form, [*arguments[:position], argument, *arguments[position + 1 :]], w)

    first, second = arguments[position], _random(shapes[position], rng)
    values = density(first), density(second)
    scale = max(np.abs(values[0]).max(), np.abs(values[1]).max())
    which = ("trial", "test")[position] if len(shapes) == 2 else "test"
    combined = density(jax.tree.map(lambda a, b: 2.0 * a - 3.0 * b, first, second))
    if not np.allclose(combined, 2.0 * values[0] - 3.0 * values[1], rtol=1e-8, atol=1e-8 * scale):
        raise FormError(
            f"form '{form.name}' is not linear in its {which} function: check for a product of two, or a term without "
            "it"
        )
    if not all(
        _is_local(form, arguments, w, point, values[0], 1e-8 * scale) for point in product(*map(range, SAMPLE_SHAPE))
    ):
        raise FormError(
            f"form '{form.name}' mixes cells or quadrature points (a sum, a mean or an index over the last two axes): "
            "a form is evaluated point by point"
        )


def _is_local(
    form: TracedForm,
    arguments: list[Function],
    w: Coefficients,
    point: tuple[int, ...],
    values: np.ndarray,
    atol: float,
) -> bool:
    """Return whether the form has the same value at a point when it is given that point alone.

    Args:
        form: The form.
        arguments: Its trial and test functions at the sample points.
        w: Its coefficients there.
        point: The numbers of the cell and of the quadrature point.
        values: The form at all points of the sample, (c, q).
        atol: The absolute tolerance of the comparison.
    """
    cell, q = point
    here = (..., slice(cell, cell + 1), slice(q, q + 1))
    at_point, w_here = jax.tree.map(lambda leaf: leaf if np.ndim(leaf) == 0 else leaf[here], (arguments, w))
    return np.allclose(_density(form, at_point, w_here), values[here], rtol=1e-8, atol=atol)


def _random(shapes: Shapes, rng: np.random.Generator) -> Function:
    return tuple(
        Field({name: rng.standard_normal((*shape, *SAMPLE_SHAPE)) for name, shape in parts.items()}) for parts in shapes
    )


def _density(form: TracedForm, arguments: list[Function], w: Coefficients) -> np.ndarray:
    fields = [field for fields in arguments for field in fields]
    points = next(iter(fields[0].parts.values())).shape[-2:]
    return np.broadcast_to(np.asarray(value_of(scalar_density(form.name, form(*fields, w)))), points)
