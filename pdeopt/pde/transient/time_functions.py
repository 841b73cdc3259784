"""Functions of time: loads and prescribed values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.sparse import SolveError


@dataclass(frozen=True, eq=False)
class Modulated:
    """A vector times a function of time, w(t) q. It needs no memory for each step.

    Attributes:
        weight: The function w of times (T,), which JAX traces and differentiates; or its values at all times of the
            equation, (K + 1,), linear in between.
        vector: The vector q, (n,) or (n, r).
    """

    weight: Callable[[jax.Array], jax.Array] | ArrayLike
    vector: ArrayLike


@dataclass(frozen=True, eq=False)
class Sampled:
    """A vector for each step: a control in space and time, or what was measured.

    Attributes:
        values: The vectors (K, n) or (K, n, r), each constant in its step; or (K + 1, n) or (K + 1, n, r), at all times
            of the equation and linear in between.
    """

    values: ArrayLike


#: A function of time as an equation takes it: a constant vector, one of the above, or a sum of several.
TimeFunction = ArrayLike | Modulated | Sampled | Sequence[Any] | None


@dataclass(frozen=True, eq=False)
class TimePoints:
    """Points of time, each in a step of the equation.

    Attributes:
        times: The times (T,).
        steps: The number of the step, from 1 on, in which each is, (T,).
        grid: The times (K + 1,) of the equation.
    """

    times: np.ndarray
    steps: np.ndarray
    grid: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray, grid: np.ndarray) -> TimePoints:
        """Return points at times (T,), each in the step at whose end, or in which, it is."""
        return cls(times, np.clip(np.searchsorted(grid, times, side="left"), 1, len(grid) - 1), grid)

    def values(self, given: jax.Array, what: str) -> jax.Array:
        """Return what is given in steps, (K, …) or (K + 1, …), at these points, (T, …)."""
        count = len(self.grid) - 1
        if given.shape[0] == count:
            return given[self.steps - 1]
        if given.shape[0] != count + 1:
            raise SolveError(
                f"{what} has {given.shape[0]} values in time; expected {count}, one a step, or {count + 1}, one for "
                "each time of the equation"
            )
        left, right = self.grid[self.steps - 1], self.grid[self.steps]
        part = np.clip((self.times - left) / (right - left), 0.0, 1.0)
        part = part.reshape(-1, *([1] * (given.ndim - 1)))
        between: jax.Array = (1 - part) * given[self.steps - 1] + part * given[self.steps]
        return between


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a function of time: w(t) q, or a vector for each step.

    Attributes:
        what: What it is, in words, for messages.
        weight: The weight w as `Modulated` has it; None for 1.
        vector: The vector q (n, r), or the vectors (K, n, r) or (K + 1, n, r) of steps.
        is_sampled: Whether there is a vector for each step.
    """

    what: str
    weight: Any
    vector: jax.Array
    is_sampled: bool

    def weight_at(self, points: TimePoints) -> jax.Array:
        """Return the weights at points of time, (T,).

        Raises:
            SolveError: The weight is not one number a time.
        """
        return _weight(self.weight, points, self.what)

    def values_at(self, points: TimePoints) -> jax.Array:
        """Return the values at points of time, (T, n, r).

        Raises:
            SolveError: There is not one vector a step, or a time.
        """
        if self.is_sampled:
            return points.values(self.vector, self.what)
        return self.weight_at(points)[:, None, None] * self.vector


def pieces(given: TimeFunction, size: int, columns: int, what: str) -> list[Piece]:
    """Return the pieces whose sum a function of time is.

    Args:
        given: The function of time.
        size: The number n of degrees of freedom of its vectors.
        columns: The number r of experiments, to which all vectors are brought.
        what: What it is, in words, for messages.

    Raises:
        SolveError: A vector has another shape.
    """
    found = []
    for one in parts_of(given):
        vector, is_sampled = _array(one), isinstance(one, Sampled)
        ndim = 1 + is_sampled
        whole = vector[..., None] if vector.ndim == ndim else vector
        if whole.ndim != ndim + 1 or whole.shape[-2] != size or whole.shape[-1] not in (1, columns):
            axes = "K, " if is_sampled else ""
            raise SolveError(
                f"{what} has the shape {vector.shape}; expected ({axes}{size}) or ({axes}{size}, {columns}), one value "
                "a degree of freedom, or one for each experiment"
            )
        whole = jnp.broadcast_to(whole, (*whole.shape[:-1], columns))
        found.append(Piece(what, one.weight if isinstance(one, Modulated) else None, whole, is_sampled))
    return found


def parts_of(given: TimeFunction) -> list[Any]:
    """Return what is given as a function of time as a list of what is added up."""
    if given is None:
        return []
    if isinstance(given, (tuple, list)) and any(isinstance(one, Modulated | Sampled) for one in given):
        return list(given)
    return [given]


def experiments_of(given: TimeFunction) -> set[int]:
    """Return the numbers of experiments that the vectors of a function of time have."""
    found = set()
    for one in parts_of(given):
        array = _array(one)
        if array.ndim == 2 + isinstance(one, Sampled):
            found.add(array.shape[-1])
    return found


def _array(one: ArrayLike | Modulated | Sampled) -> jax.Array:
    if isinstance(one, Sampled):
        return jnp.asarray(one.values, float)
    return jnp.asarray(one.vector if isinstance(one, Modulated) else one, float)


def _weight(weight: Any, points: TimePoints, what: str) -> jax.Array:
    if weight is None:
        return jnp.ones(len(points.times))
    if not callable(weight):
        return points.values(jnp.asarray(weight, float), f"the weight of {what}")
    found = jnp.asarray(weight(jnp.asarray(points.times)), float)
    if found.shape not in ((), points.times.shape):
        raise SolveError(
            f"the weight of {what} returns an array of shape {found.shape} for times {points.times.shape}; expected "
            "one number a time, as jnp.sin(t) is"
        )
    return jnp.broadcast_to(found, points.times.shape)
