"""Parametrizations: from the parameter m that is optimized to the physical coefficient, pointwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.inverse.errors import InputError


class Parametrization(Protocol):
    """A smooth pointwise map m (p,) ↦ coefficient (p,), which JAX differentiates, with an inverse."""

    def __call__(self, m: jax.Array) -> Any:
        """Return the physical coefficient of m (p,)."""
        ...

    def inverse(self, coefficient: Any) -> np.ndarray:
        """Return the m (p,) of a coefficient (p,).

        Raises:
            InputError: The coefficient has none.
        """
        ...


@dataclass(frozen=True)
class Identity:
    """A parametrization coefficient = m, for sources, boundary values, anything without a sign."""

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return m itself."""
        return m

    def inverse(self, coefficient: ArrayLike) -> np.ndarray:
        """Return the coefficient itself as m."""
        return np.asarray(coefficient, float)


@dataclass(frozen=True)
class Log:
    """A parametrization coefficient = reference · exp(m): positive for every m.

    Attributes:
        reference: The coefficient at m = 0, in its unit, so that m has none.

    Raises:
        InputError: The reference is not positive.

    Example:
        >>> positive = Log(reference=2.0)
        >>> positive(jnp.zeros(1)), positive.inverse([2.0])
        (Array([2.], dtype=float64), array([0.]))
    """

    reference: float = 1.0

    def __post_init__(self) -> None:
        if not self.reference > 0:
            raise InputError(f"the reference of a positive coefficient is {self.reference}; expected a number > 0")

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the coefficient, reference · exp(m)."""
        return self.reference * jnp.exp(m)

    def inverse(self, coefficient: ArrayLike) -> np.ndarray:
        """Return the m (p,) of a positive coefficient (p,).

        Raises:
            InputError: The coefficient is zero or negative somewhere.
        """
        values = np.asarray(coefficient, float)
        if not (values > 0).all():
            bad = values[~(values > 0)]
            raise InputError(f"{bad.size} of {values.size} values of a positive coefficient are not > 0, e.g. {bad[0]}")
        return np.log(values / self.reference)


@dataclass(frozen=True)
class Bounded:
    """A parametrization coefficient = lower + (upper − lower) / (1 + exp(−m)).

    The coefficient is strictly between two bounds for every m.

    Attributes:
        lower: The lower bound, in the coefficient's unit.
        upper: The upper bound, in the coefficient's unit.

    Raises:
        InputError: The lower bound is not below the upper one.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise InputError(f"bounds are {self.lower} and {self.upper}; expected lower < upper")

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the coefficient, between the bounds."""
        return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(m)

    def inverse(self, coefficient: ArrayLike) -> np.ndarray:
        """Return the m (p,) of a coefficient (p,) strictly between the bounds.

        Raises:
            InputError: The coefficient is not between the bounds somewhere.
        """
        values = np.asarray(coefficient, float)
        if not ((values > self.lower) & (values < self.upper)).all():
            found = f"[{values.min()}, {values.max()}]"
            raise InputError(f"values range over {found}; expected ({self.lower}, {self.upper})")
        return np.log((values - self.lower) / (self.upper - values))
