"""The coefficients of a form, its last argument ``w``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pdeopt.fem.errors import FormError
from pdeopt.fem.field import Field
from pdeopt.fem.spaces.space import FunctionSpace
from pdeopt.sparse import check_process


@jax.tree_util.register_pytree_node_class
class Coefficients(dict[str, Any]):
    """A mapping of a form's coefficients by name, as ``w["m"]`` or ``w.m``.

    It has those that were passed, and ``x``, ``h`` and, on facets, ``n``; ``idx``, the sides of interior facets, is
    static for JAX.
    """

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"the form asks for w.{name}, which was not passed; w has {', '.join(sorted(self))}")

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"the form asks for w[{name!r}], which was not passed; w has {', '.join(sorted(self))}")

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[tuple[str, ...], tuple[int, ...] | None]]:
        """Return the coefficients, and their static part for JAX: their names and ``idx``."""
        names = tuple(sorted(name for name in self if name != "idx"))
        return tuple(self[name] for name in names), (names, self.get("idx"))

    @classmethod
    def tree_unflatten(
        cls, structure: tuple[tuple[str, ...], tuple[int, ...] | None], values: tuple[Any, ...]
    ) -> Coefficients:
        """Return the mapping of such coefficients and names, for JAX: the inverse of `tree_flatten`."""
        names, index = structure
        return cls(zip(names, values, strict=True), **({} if index is None else {"idx": index}))


def coefficients_of(name: str, space: FunctionSpace, given: dict[str, Any], index: tuple[int, ...]) -> Coefficients:
    """Return the last argument of a form, from the coefficients that were passed by name.

    Args:
        name: The name of the form, for messages.
        space: The space on whose cells or facets the form is integrated.
        given: The coefficients by name: fields, arrays, numbers, functions of x, or tuples of these.
        index: The sides of the interior facets that trial and test function come from; empty elsewhere.

    Raises:
        FormError: A coefficient does not fit, or has the name of a built-in one.
    """
    check_process()
    w = Coefficients(space.tables.geometry)
    for key, value in given.items():
        if key in w:
            raise FormError(f"form '{name}': {key!r} is the name of a built-in coefficient, choose another")
        w[key] = _coefficient(name, key, value, space)
    if index:
        w["idx"] = index
    return w


def _coefficient(form: str, key: str, value: Any, space: FunctionSpace) -> Any:
    if isinstance(value, tuple):
        return tuple(_coefficient(form, key, part, space) for part in value)
    if callable(value) and not isinstance(value, Field):
        value = value(space.tables.geometry["x"].value)
    field = value if isinstance(value, Field) else Field({"value": _array(form, key, value)})
    _check_shape(form, key, field.shape, space.basis.dx.shape)
    if field.cells not in (None, space.cells):
        raise FormError(
            f"form '{form}': coefficient {key!r} was interpolated on other cells, facets or quadrature points than "
            "those of the integral; make its space by .with_element(...) or .boundary(...) as the form's"
        )
    return field.value if field.ndim == 0 else Field(field.parts)


def _check_shape(form: str, key: str, shape: tuple[int, ...], points: tuple[int, ...]) -> None:
    """Refuse the shape of a coefficient that does not fit.

    It fits when it is that of a number, or has tensor axes before (cells, points), either of which may be 1.
    """
    if len(shape) == 1:
        raise FormError(
            f"form '{form}': coefficient {key!r} has shape {shape}, which could be nodal or per element; pass "
            "space.interpolate(values) for degrees of freedom, space.per_element(values) for one value an element"
        )
    if shape and any(have not in (1, want) for have, want in zip(shape[-2:], points, strict=True)):
        raise FormError(
            f"form '{form}': coefficient {key!r} has shape {shape}, but the integral is over {points[0]} cells or "
            f"facets with {points[1]} quadrature points: interpolate it on a space made by .with_element(...) or "
            ".boundary(...) in the same way as the form's"
        )


def _array(form: str, key: str, value: Any) -> jax.Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise FormError(
            f"form '{form}': coefficient {key!r} is a {type(value).__name__}; expected a field, an array, a number "
            "or a function of x"
        ) from error
