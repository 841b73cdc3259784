"""State equations of one coefficient that are solved side by side, each with a matrix of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.pde.state_equation import StateEquation
from pdeopt.sparse import SolveError, Solver

#: The axes of each of the equations, and of their joined state.
AXES = ("dof", "experiment")


@dataclass(frozen=True)
class JoinedStates(StateEquation):
    """The states of several equations of one coefficient, side by side as experiments.

    The experiments of one equation share its matrix, those of two equations do not: so waves of several frequencies are
    joined, each frequency an equation with all its incident waves. The state is (n, r), the r₁ experiments of the first
    equation first, so that observations, misfits and pictures see nothing but experiments. Each equation costs a
    factorization and its solves.

    Attributes:
        equations: The equations, of one space, each with the axes ("dof", "experiment").

    Raises:
        SolveError: There is no equation, or one has other axes.

    Example:
        >>> from pdeopt.pde import FunctionState
        >>> once, twice = (FunctionState(lambda k, c=c: c * k[:, None], ("dof", "experiment")) for c in (1, 2))
        >>> JoinedStates((once, twice))(jnp.array([3.0, 4.0]))
        Array([[3., 6.],
               [4., 8.]], dtype=float64)
    """

    equations: Sequence[StateEquation]
    axes: tuple[str, ...] = field(default=AXES, init=False)

    def __post_init__(self) -> None:
        if not self.equations:
            raise SolveError("no state equation is given; expected at least one")
        for equation in self.equations:
            if equation.axes != AXES:
                raise SolveError(
                    f"a state equation with the axes {equation.axes} cannot be joined with others; expected {AXES}: "
                    "give it loads (n, 1) where it has one experiment"
                )
        object.__setattr__(self, "parts", self.equations[0].parts)

    def __call__(self, coefficient: Any, *, source: jax.Array | None = None) -> jax.Array:
        """Return the states side by side, (n, r).

        Args:
            coefficient: The coefficient κ.
            source: A load of the shape of the state, of which each equation takes its own columns.

        Raises:
            SolveError: A system is singular, the equations have states of different sizes, or the source has another
                shape than the state.
        """
        if source is None:
            states = [equation(coefficient) for equation in self.equations]
            if len({len(state) for state in states}) > 1:
                shapes = [state.shape for state in states]
                raise SolveError(f"the states have the shapes {shapes}; expected the same number of rows")
            return jnp.concatenate(states, axis=1)
        shapes = [jax.eval_shape(equation, coefficient).shape for equation in self.equations]
        counts = [shape[1] for shape in shapes]
        if source.shape != (shapes[0][0], sum(counts)):
            raise SolveError(f"the source has shape {source.shape}; expected {(shapes[0][0], sum(counts))}")
        sources = jnp.split(source, np.cumsum(counts)[:-1], axis=1)
        pairs = zip(self.equations, sources, strict=True)
        return jnp.concatenate([equation(coefficient, source=own) for equation, own in pairs], axis=1)

    def with_solver(self, solver: str | Solver) -> Self:
        """Return the same equations, all solved by another linear solver.

        Raises:
            SolveError: The solver is unknown or not installed, or an equation lets nobody choose it.
        """
        return replace(self, equations=tuple(equation.with_solver(solver) for equation in self.equations))

    def chosen_solver(self, coefficient: Any) -> Solver | None:
        """Return the solver of the first equation."""
        return self.equations[0].chosen_solver(coefficient)

    def accuracy(self, coefficient: Any) -> float:
        """Return the relative accuracy of the state, that of the least exact equation."""
        return max(equation.accuracy(coefficient) for equation in self.equations)

    def backward_error(self, coefficient: Any) -> float | None:
        """Return the largest backward error of the equations; None where one of them is not known."""
        errors = [equation.backward_error(coefficient) for equation in self.equations]
        known = [error for error in errors if error is not None]
        return max(known) if len(known) == len(errors) else None
