"""Fields at quadrature points: values with derivatives, as forms see them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from pdeopt.fem.errors import FormError

#: The names of the parts that a field may carry, as in scikit-fem; a part that is absent is None.
PARTS = ("value", "grad", "div", "curl", "hess", "grad3", "grad4", "grad5", "grad6")


def _binary(function: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Field, other: Any) -> Any:
        return function(self.value, value_of(other))

    def reflected(self: Field, other: Any) -> Any:
        return function(value_of(other), self.value)

    return forward, reflected


@jax.tree_util.register_pytree_node_class
class Field:
    """A function at quadrature points, used like an array of its values.

    Its derivatives are attributes: ``grad``, ``div``, … Shapes are scikit-fem's: value (…, c, q), grad (…, d, c, q)
    with tensor axes first, c cells or facets, q quadrature points; c and q may be 1 and broadcast. Arithmetic and
    `jax.numpy` functions act on the value.

    Attributes:
        parts: The arrays of the field by the names of `PARTS`, the value and the derivatives that it has.
        cells: A digest of the cells and quadrature points on which a space made the field; None for any.
    """

    __array_ufunc__ = None  # NumPy leaves `array * field` to this class, and refuses np.exp(field)

    def __init__(self, parts: Mapping[str, Any], cells: bytes | None = None) -> None:
        """Make a field of its parts.

        Args:
            parts: The arrays of the field by the names of `PARTS`.
            cells: A digest of the cells and quadrature points on which a space made the field; None for any.
        """
        self.parts = parts
        self.cells = cells

    def __getattr__(self, name: str) -> Any:
        if name in PARTS:
            return self.parts[name] if name in self.parts else None  # noqa: SIM401  (`structure` records the [])
        raise AttributeError(f"a Field has no attribute {name!r}; it has {', '.join(PARTS)}")

    def __jax_array__(self) -> Any:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.value, dtype)

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value, (…, c, q)."""
        shape: tuple[int, ...] = self.value.shape
        return shape

    @property
    def ndim(self) -> int:
        """The number of axes of the value, 2 for a scalar function and 3 for a vector-valued one."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """The type of the value."""
        return self.value.dtype

    def __repr__(self) -> str:
        return "Field(" + ", ".join(f"{name} {part.shape}" for name, part in self.parts.items()) + ")"

    def __neg__(self) -> Any:
        return -self.value

    def __abs__(self) -> Any:
        return abs(self.value)

    __add__, __radd__ = _binary(operator.add)
    __sub__, __rsub__ = _binary(operator.sub)
    __mul__, __rmul__ = _binary(operator.mul)
    __truediv__, __rtruediv__ = _binary(operator.truediv)
    __pow__, __rpow__ = _binary(operator.pow)
    __lt__, __gt__ = _binary(operator.lt)[0], _binary(operator.gt)[0]
    __le__, __ge__ = _binary(operator.le)[0], _binary(operator.ge)[0]
    __eq__, __ne__ = _binary(operator.eq)[0], _binary(operator.ne)[0]
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise FormError("a field has no truth value: use jnp.where(condition, a, b) for `if`, and & for `and`")

    def __len__(self) -> int:
        if self.ndim <= 2:
            raise TypeError("a scalar field has no components to iterate over or unpack")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self.value[k] for k in range(len(self)))

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[tuple[str, ...], bytes | None]]:
        """Return the arrays of the field, and its static part for JAX: their names and ``cells``."""
        names = tuple(self.parts)
        return tuple(self.parts[name] for name in names), (names, self.cells)

    @classmethod
    def tree_unflatten(cls, structure: tuple[tuple[str, ...], bytes | None], parts: tuple[Any, ...]) -> Field:
        """Return the field of such arrays and names, for JAX: the inverse of `tree_flatten`."""
        names, cells = structure
        return cls(dict(zip(names, parts, strict=True)), cells)


def value_of(x: Any) -> Any:
    """Return the values of a field; return anything else as it is."""
    return x.value if isinstance(x, Field) else x
