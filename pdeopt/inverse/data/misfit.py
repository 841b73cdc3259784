"""Misfits between predicted and measured data, and their sums."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.inverse.data.observation import FullField, Observation
from pdeopt.inverse.errors import InputError, refuse_incomplete


@runtime_checkable
class Misfit(Protocol):
    """A distance φ of an observation of the state to data: misfit(u, κ) = φ(observation(u, κ)).

    Where φ is convex, the Gauss–Newton model Jᵀ φ″ J is positive semidefinite. A `ReducedFunctional` takes any function
    of (u, coefficient) instead, and makes a `FunctionMisfit` of it. Misfits of several sets of data add up, ``a + b``,
    to a `MisfitSum`.

    A subclass has `__call__`, and states what is not the default. A dataclass with other required fields after one of
    these names gives that one ``= field()``.

    Attributes:
        observation: The observation, which predicts the data from the state and the physical coefficient; that of the
            whole state by default.
        data: The data that are aimed at, of the shape that the observation returns; None where there are none.
        noise: The standard deviation of the data, a number or of their shape, in their unit; None where nothing was
            measured, or it is not known.
        expected: The misfit that noise alone gives, on average; None where there is no noise.
    """

    observation: Observation = FullField()
    data: np.ndarray | None = None
    noise: np.ndarray | None = None
    expected: float | None = None

    @property
    def distance(self) -> Callable[[jax.Array], jax.Array] | None:
        """The distance φ of predicted data to the data; its second derivative is positive semidefinite.

        Its value and its derivative are those of the misfit. It is convex; or it has a rule by which JAX takes a
        positive semidefinite matrix in place of its second derivative, which the Gauss–Newton model alone sees, as
        `StudentMisfit` has one. None stands for a misfit that is convex in the state and the coefficient together; φ is
        then the misfit itself.
        """
        return None

    @abstractmethod
    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u for a physical coefficient."""
        ...

    def __add__(self, other: Misfit) -> MisfitSum:
        """Return the sum of two misfits; those without a name are called "data 1", "data 2", …."""
        if not isinstance(other, Misfit):
            return NotImplemented
        parts = [*_parts(self), *_parts(other)]
        given = [name for name, _ in parts if name]
        if len(set(given)) < len(given):
            raise InputError(
                f"the misfits that are added have the names {', '.join(given)}; expected a different one for each: "
                "MisfitSum.of({'voltages': a, 'temperatures': b})"
            )
        free = (name for name in (f"data {k + 1}" for k in itertools.count()) if name not in given)
        return MisfitSum({name or next(free): part for name, part in parts})


#: A function of the state and the coefficient, whose value is a real number.
MisfitFunction = Callable[[jax.Array, Any], jax.Array]
#: A misfit as a reduced functional takes it: a `Misfit`, a function, or several of these by name.
AnyMisfit = Misfit | MisfitFunction | Mapping[str, Misfit | MisfitFunction]


@dataclass(frozen=True, eq=False)
class FunctionMisfit(Misfit):
    """A misfit that a function of the state and the coefficient computes, with what is known of its data.

    Attributes:
        function: The function of (u, coefficient).
        observation: The observation; that of the whole state where none is known.
        distance: The distance φ of predicted data to the data; None where the function is convex in the state and the
            coefficient together.
        data: The data; None where there are none to draw.
        noise: The standard deviation of the data; None where it is not known.
        expected: The misfit that noise alone gives, on average; None where it is not known.
    """

    function: Callable[[jax.Array, Any], jax.Array]
    observation: Observation = field(default_factory=FullField)
    distance: Callable[[jax.Array], jax.Array] | None = None
    data: np.ndarray | None = None
    noise: np.ndarray | None = None
    expected: float | None = None

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u for a physical coefficient."""
        return self.function(u, coefficient)


@dataclass(frozen=True, eq=False)
class MisfitSum(Misfit):
    """A sum of misfits of several sets of data, each with its observation, its noise and its name.

    It is made by `of`, or by adding misfits. For optimizers it is one misfit of one row of data: the data of all parts
    one after the other, complex where those of one part are.

    Attributes:
        parts: The misfits by name.

    Example:
        >>> from pdeopt.inverse import AtDofs, L2Misfit
        >>> voltages = L2Misfit.of(AtDofs(np.array([0])), [1.0], noise=0.1)
        >>> temperatures = L2Misfit.of(AtDofs(np.array([1, 2])), [2.0, 3.0], noise=0.5)
        >>> both = MisfitSum.of({"voltages": voltages, "temperatures": temperatures})
        >>> {name: float(value.round(6)) for name, value in both.values(jnp.array([1.1, 2.0, 4.0]), None).items()}
        {'voltages': 0.5, 'temperatures': 2.0}
    """

    parts: Mapping[str, Misfit]

    @classmethod
    def of(cls, parts: Mapping[str, Misfit | MisfitFunction]) -> MisfitSum:
        """Return the sum of misfits, or of functions of (u, coefficient), by name.

        Raises:
            InputError: There are none, a name is no text, or a part is no misfit.
        """
        if not parts:
            raise InputError("there are no misfits to add up; expected at least one by name: {'voltages': misfit}")
        for name, part in parts.items():
            if not isinstance(name, str) or not name:
                raise InputError(f"the name of a misfit is {name!r}; expected a text, as 'voltages'")
            if isinstance(part, type) or not callable(part):
                raise InputError(
                    f"the misfit {name!r} is {part!r}; expected a misfit as L2Misfit.of(...), or a function of "
                    "(u, coefficient)"
                )
        return cls({name: as_misfit(part) for name, part in parts.items()})

    def __repr__(self) -> str:
        return f"MisfitSum({', '.join(f'{name}: {part!r}' for name, part in self.parts.items())})"

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the sum of the misfits of the state u for a physical coefficient."""
        return sum(self.values(u, coefficient).values(), jnp.zeros(()))

    def values(self, u: jax.Array, coefficient: Any) -> dict[str, jax.Array]:
        """Return the value of each part by name, for the state u and a physical coefficient."""
        return {name: part(u, coefficient) for name, part in self.parts.items()}

    def observation(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return what all parts observe, one after the other, (N,)."""
        return jnp.concatenate([jnp.ravel(part.observation(u, coefficient)) for part in self.parts.values()])

    @property
    def data(self) -> np.ndarray | None:  # type: ignore[override]
        """The data of all parts, one after the other, (N,); None where one has none."""
        found = [part.data for part in self.parts.values() if part.data is not None]
        return np.concatenate([np.ravel(data) for data in found]) if len(found) == len(self.parts) else None

    @property
    def noise(self) -> np.ndarray | None:  # type: ignore[override]
        """The standard deviations of all data, (N,); None where one part states none, or has no data."""
        found = [
            np.broadcast_to(part.noise, np.shape(part.data)).ravel()
            for part in self.parts.values()
            if part.noise is not None and part.data is not None
        ]
        return np.concatenate(found) if len(found) == len(self.parts) else None

    @property
    def expected(self) -> float | None:  # type: ignore[override]
        """The sum of what noise alone gives, on average; None where one part does not know it."""
        found = [part.expected for part in self.parts.values() if part.expected is not None]
        return sum(found) if len(found) == len(self.parts) else None

    @property
    def distance(self) -> Callable[[jax.Array], jax.Array] | None:
        """The sum of the distances of what each part observes, as a function of all of it, (N,).

        It is None where a part has no distance, or no data that tell how much it observes: the Gauss–Newton model then
        has the second derivative of the sum in the state and the coefficient, also for the other parts.
        """
        pairs = [(part.distance, part.data) for part in self.parts.values()]
        known = [(distance, data) for distance, data in pairs if distance is not None and data is not None]

        def summed(predicted: jax.Array) -> jax.Array:
            total, start = jnp.zeros(()), 0
            for distance, data in known:
                observed = predicted[start : start + data.size].reshape(data.shape)
                total += distance(observed if np.iscomplexobj(data) else jnp.real(observed))
                start += data.size
            return total

        return summed if len(known) == len(pairs) else None


def _parts(misfit: Misfit) -> list[tuple[str, Misfit]]:
    """Return the parts of a misfit with their names, "" where it is no sum."""
    return list(misfit.parts.items()) if isinstance(misfit, MisfitSum) else [("", misfit)]


def as_misfit(given: AnyMisfit) -> Misfit:
    """Return what is given as misfit as a `Misfit`; an object that has all its members is returned itself.

    Several misfits by name become a `MisfitSum`.

    Raises:
        InputError: The object has only some of them.
    """
    if isinstance(given, Mapping):
        return MisfitSum.of(given)
    if isinstance(given, Misfit):
        return given
    refuse_incomplete(given, Misfit, "pdeopt.inverse.Misfit")
    return FunctionMisfit(given)
