"""The protocol of state equations in time: times, states that are kept, reading without keeping."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Self

import jax
import numpy as np
from jax.typing import ArrayLike

from pdeopt.pde.state_equation import StateEquation
from pdeopt.pde.transient.time_functions import TimePoints
from pdeopt.sparse import SolveError, Solver, resolve_solver

#: The axes of the state, without and with experiments.
TIME_AXES = (("dof", "time"), ("dof", "experiment", "time"))
#: The part of the last step by which a time may lie outside of those of the equation: rounding.
TIME_TOLERANCE = 1e-9


class StateInTime(StateEquation):
    """A state equation in time, which is observed as it is computed, and keeps few states.

    Attributes:
        times: The times (K + 1,), increasing, from the initial to the last one.
        kept: The times at which a call returns the state; None for all.
    """

    times: Any
    kept: Any

    def check_axes_and_times(self) -> None:
        """Refuse times that do not increase or are outside of others, and axes that are not known.

        Raises:
            SolveError: One of these is the case.
        """
        object.__setattr__(self, "times", checked_times(self.times))
        if self.axes not in TIME_AXES:
            raise SolveError(f"the axes of a state in time are {self.axes}; expected {TIME_AXES[0]} or {TIME_AXES[1]}")
        if self.kept is not None:
            object.__setattr__(self, "kept", np.atleast_1d(np.asarray(self.kept, float)))
            self.check_times(self.kept, "the state is kept")

    @abstractmethod
    def read(
        self,
        coefficient: Any,
        times: ArrayLike,
        dofs: np.ndarray | None = None,
        *,
        source: jax.Array | None = None,
    ) -> jax.Array:
        """Return degrees of freedom of the state at some times, (d, T) or (d, r, T).

        No others are kept. Between the ends of steps the state is interpolated linearly in time.

        Args:
            coefficient: The coefficient κ.
            times: The times (T,), in any order.
            dofs: The degrees of freedom (d,), all different; None for all.
            source: A load s, as for a call.

        Raises:
            SolveError: As for a call; or a time is outside of those of the equation.
        """
        ...

    def with_solver(self, solver: str | Solver) -> Self:
        """Return the same equation, whose linear systems another solver solves.

        Raises:
            SolveError: The solver is unknown or not installed.
        """
        resolve_solver(solver)
        return replace(self, solver=solver)  # type: ignore[type-var]  # each equation in time is a dataclass

    @abstractmethod
    def with_memory(self, limit: float) -> Self:
        """Return the same equation, which keeps states for its adjoint in at most so much memory.

        Products with a Hessian take twice as much.

        Args:
            limit: The memory, in bytes.
        """
        ...

    @property
    def grid(self) -> np.ndarray:
        """The times of the equation, (K + 1,)."""
        return np.asarray(self.times)

    @property
    def kept_times(self) -> np.ndarray:
        """The times of the states that a call returns, (T,)."""
        return self.grid if self.kept is None else np.asarray(self.kept)

    def __call__(self, coefficient: Any, *, source: jax.Array | None = None) -> jax.Array:
        """Return the states at the times that are kept, (n, T) or (n, r, T).

        Args:
            coefficient: The coefficient κ.
            source: A load s, of the state's shape, that is added to f in the steps at whose ends, or in which, the
                state is kept. At the first time, and where u is prescribed, it has no effect.

        Raises:
            SolveError: A system is singular, a state is not finite, or a step is too large for an explicit scheme.
        """
        return self.read(coefficient, self.kept_times, source=source)

    def check_times(self, times: ArrayLike, what: str) -> TimePoints:
        """Return some times as points in the steps of the equation.

        Args:
            times: The times (T,).
            what: What is done at these times, in words.

        Raises:
            SolveError: A time is before the first or after the last one, or not finite.
        """
        found = np.atleast_1d(np.asarray(times, float))
        grid = self.grid
        slack = TIME_TOLERANCE * (grid[-1] - grid[-2])
        outside = np.flatnonzero(~((found >= grid[0] - slack) & (found <= grid[-1] + slack)))
        if found.ndim != 1 or len(outside):
            first = f"number {outside[0] + 1} is {found[outside[0]]:.10g}" if len(outside) else f"shape {found.shape}"
            raise SolveError(
                f"{what} at {found.size} times, of which {first}; expected times between {grid[0]:.10g} and "
                f"{grid[-1]:.10g}, the first and the last one of the {len(grid) - 1} steps"
            )
        near = np.abs(found[:, None] - grid).argmin(1) if found.size else np.zeros(0, int)
        found = np.where(np.abs(found - grid[near]) <= slack, grid[near], found)  # rounding makes no new time
        steps = np.clip(np.searchsorted(grid, found, side="left"), 1, len(grid) - 1)
        return TimePoints(found, steps, grid)


def checked_times(times: ArrayLike) -> np.ndarray:
    """Return the times of an equation, (K + 1,), after a check.

    Raises:
        SolveError: There are fewer than two, one is not finite, or they do not increase.
    """
    found = np.array(times, float)
    if found.ndim != 1 or len(found) < 2:
        raise SolveError(
            f"the times have shape {found.shape}; expected two or more in a row, as np.linspace(0, 1, 101)"
        )
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise SolveError(f"time number {bad[0] + 1} is {found[bad[0]]}; expected finite numbers")
    wrong = np.flatnonzero(np.diff(found) <= 0)
    if len(wrong):
        k = int(wrong[0])
        raise SolveError(
            f"the times are out of order: number {k + 2} is {found[k + 1]:.10g}, after {found[k]:.10g}; expected "
            "increasing ones"
        )
    return found
