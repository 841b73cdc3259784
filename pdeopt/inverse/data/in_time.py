"""Observations of states in time, which are made while the states are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.inverse.data.misfit import Misfit, MisfitSum
from pdeopt.inverse.data.observation import AtDofs, AtPoints, Observation, OfPart
from pdeopt.inverse.errors import InputError
from pdeopt.pde import StateEquation, StateInTime
from pdeopt.sparse import CSRMatrix, compiled_program, solve_errors


@dataclass(frozen=True, eq=False)
class InTime:
    """An observation at given times of a state in time. Data (k, T), or (k, r, T) of r experiments.

    It is made while the steps are computed: of `AtPoints`, `AtDofs` and `OfPart` no more is kept than what they read,
    of any other observation the states at its times. Between two steps the state is interpolated linearly in time.
    Sensors with different times are several misfits, each with an observation of its own, that are added up.

    Attributes:
        observation: The observation at one time.
        times: The times (T,), in any order, in the unit of the equation's.

    Raises:
        InputError: There are no times, or one is not finite.

    Example:
        >>> import skfem
        >>> from pdeopt.fem import FunctionSpace
        >>> V = FunctionSpace(skfem.MeshLine().refined(2), skfem.ElementLineP1())
        >>> InTime(AtPoints.of(V, [[0.1, 0.5]]), [0.0, 0.1, 0.2])
        InTime(AtPoints at 3 times)
    """

    observation: Observation
    times: ArrayLike

    def __post_init__(self) -> None:
        times = np.atleast_1d(np.array(self.times, float))
        if times.ndim != 1 or not times.size or not np.isfinite(times).all():
            raise InputError(
                f"the times of an observation have shape {times.shape}, of which {np.sum(~np.isfinite(times))} are not "
                "finite; expected at least one, in a row"
            )
        object.__setattr__(self, "times", times)

    def __repr__(self) -> str:
        return f"InTime({type(self.observation).__name__} at {len(np.asarray(self.times))} times)"

    def __call__(self, u: Any, coefficient: Any) -> jax.Array:
        """Return the data, (k, T) or (k, r, T), of the `Readings` of a state in time.

        Raises:
            InputError: The state is not read in time.
        """
        if not isinstance(u, Readings):
            raise InputError(
                "an observation InTime is made while a state in time is computed; expected the readings of a "
                f"pdeopt.pde.TransientStateEquation, got an array of shape {jnp.shape(u)}"
            )
        return u.of(self)

    def of(self, state: StateInTime, coefficient: Any) -> np.ndarray:
        """Return the data of a state equation in time for a physical coefficient, as simulated data are made."""

        def observed(coefficient: Any) -> jax.Array:
            return self.observed(state.read(coefficient, self.times, self.dofs), self.dofs, coefficient)

        program = compiled_program(observed, coefficient)
        with solve_errors():
            return np.asarray(observed(coefficient) if program is None else program(coefficient))

    @cached_property
    def dofs(self) -> np.ndarray | None:
        """The degrees of freedom that are read, sorted, (d,); None for all."""
        if isinstance(self.observation, AtDofs):
            return np.unique(self.observation.dofs)
        if isinstance(self.observation, AtPoints):
            return np.unique(self.observation.matrix.pattern.indices)
        if isinstance(self.observation, OfPart):
            return np.unique(self.observation.space.indices)
        return None

    def observed(self, u: jax.Array, dofs: np.ndarray | None, coefficient: Any) -> jax.Array:
        """Return the data of the state at the observation's times.

        Args:
            u: The state there, (d, T) or (d, r, T).
            dofs: The numbers of its degrees of freedom, sorted, (d,); None for all.
            coefficient: The physical coefficient.
        """
        if isinstance(self.observation, AtPoints):
            matrix = self.observation.matrix
            found = self._compact(dofs) @ u.reshape(len(u), -1)
            return found.reshape(matrix.shape[0], *u.shape[1:])
        if self.dofs is None:
            return jax.vmap(lambda one: self.observation(one, coefficient), in_axes=-1, out_axes=-1)(u)
        assert isinstance(self.observation, AtDofs | OfPart), "no other observation has degrees of freedom"
        wanted = self.observation.dofs if isinstance(self.observation, AtDofs) else self.observation.space.indices
        return u[wanted if dofs is None else np.searchsorted(dofs, wanted)]

    def _compact(self, dofs: np.ndarray | None) -> CSRMatrix:
        """Return the matrix of point values with the columns of some degrees of freedom alone."""
        assert isinstance(self.observation, AtPoints)
        matrix = self.observation.matrix
        return matrix if dofs is None else CSRMatrix.from_scipy(matrix.to_scipy()[:, dofs])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Readings:
    """A record of what observations in time have read of a state, a pytree.

    Attributes:
        arrays: The data of each observation.
        observations: The observations.
    """

    arrays: tuple[jax.Array, ...]
    observations: tuple[InTime, ...] = field(metadata={"static": True})

    def of(self, observation: InTime) -> jax.Array:
        """Return the data of one of the observations."""
        return self.arrays[self.observations.index(observation)]


def readings_of(state: StateEquation, misfit: Misfit) -> Callable[..., Readings] | None:
    """Return the function (κ, source=None) ↦ `Readings` of all observations in time of a misfit.

    It is None where the misfit observes the state itself.

    Raises:
        InputError: The state is not one in time, a time is outside of its times, or a part of the misfit observes the
            state itself.
    """
    parts = list(misfit.parts.values()) if isinstance(misfit, MisfitSum) else [misfit]
    observations = tuple(part.observation for part in parts)
    in_time = tuple(one for one in observations if isinstance(one, InTime))
    if not in_time:
        return None
    if not isinstance(state, StateInTime):
        raise InputError(
            f"the misfit observes at given times, and the state equation is a {type(state).__name__}; expected one in "
            "time, as pdeopt.pde.TransientStateEquation"
        )
    if len(in_time) < len(observations):
        raise InputError(
            "a part of the misfit observes at given times, another one the states that are kept; expected InTime for "
            "all of them, as InTime(FullField(), times)"
        )
    for one in in_time:
        state.check_times(one.times, "the state is observed")
    times = np.unique(np.concatenate([one.times for one in in_time]))
    read = [one.dofs for one in in_time]
    dofs = (
        None
        if any(one is None for one in read)
        else np.unique(np.concatenate([one for one in read if one is not None]))
    )

    def readings(coefficient: Any, source: jax.Array | None = None) -> Readings:
        u = state.read(coefficient, times, dofs, source=source)
        found = (one.observed(u[..., np.searchsorted(times, one.times)], dofs, coefficient) for one in in_time)
        return Readings(tuple(found), in_time)

    return readings
