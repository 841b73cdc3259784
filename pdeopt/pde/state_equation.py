"""The protocol of state equations, with defaults, and the state equation that a plain function makes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, Self, runtime_checkable

import jax
import numpy as np

from pdeopt.fem import FunctionSpace
from pdeopt.sparse import SolveError, Solver, solver_accuracy
from pdeopt.sparse.solvers import DIRECT_ACCURACY


@runtime_checkable
class StateEquation(Protocol):
    """A state equation: a map from a coefficient to the state that JAX differentiates.

    A subclass has `__call__`, and states what is not the default. All answers are functions of the equation, its solver
    and the coefficient: what was solved before does not change them.

    Attributes:
        parts: The spaces of the parts of the state, by name: those that `FunctionSpace.split` makes of a mixed space,
            which know where they are in it, or spaces whose degrees of freedom follow each other from the beginning of
            the state. What comes after them is in no space. Empty where no space is known.
        axes: The names of the axes of the state: ("dof",) for a state (n,), ("dof", "experiment") for one (n, r).
    """

    parts: Mapping[str, FunctionSpace] = MappingProxyType({})
    axes: tuple[str, ...] = ("dof",)

    @abstractmethod
    def __call__(self, coefficient: Any, *, source: jax.Array | None = None) -> jax.Array:
        """Return the state, with the axes that the equation states.

        Args:
            coefficient: The coefficient κ.
            source: A load s, of the state's shape, that is added to the equation: A u = b + s, or F(u, κ) = s. The
                derivative of J with respect to it is the adjoint state. None stands for zero.
        """
        ...

    def part_indices(self) -> dict[str, np.ndarray]:
        """Return for each of the parts, by name, the numbers of its degrees of freedom in the state."""
        starts: dict[int, int] = {}
        found, size = {}, 0
        for name, space in self.parts.items():
            whole = space.whole
            if not space.is_part or id(whole) not in starts:
                starts[id(whole)] = size
                size += whole.n
            found[name] = starts[id(whole)] + space.indices
        return found

    def with_solver(self, solver: str | Solver) -> Self:
        """Return the same equation, solved by another linear solver.

        Args:
            solver: The solver or its name, as in `pdeopt.sparse.linear_solve`.

        Raises:
            SolveError: The solver is unknown or not installed, or the equation lets nobody choose it.
        """
        raise SolveError(
            f"the solver of the state equation {type(self).__name__} cannot be chosen from outside; give it a method "
            "with_solver(solver) that returns the equation with another one"
        )

    def with_memory(self, limit: float) -> Self:
        """Return the same equation, which keeps states for its adjoint in at most so much memory.

        Args:
            limit: The memory, in bytes.

        Raises:
            SolveError: The equation keeps no states of steps in time.
        """
        raise SolveError(
            f"the state equation {type(self).__name__} keeps no states of steps in time, so that no memory can be "
            "chosen for them; expected a pdeopt.pde.TransientStateEquation, or no limit"
        )

    def chosen_solver(self, coefficient: Any) -> Solver | None:
        """Return the solver that solves the equation: what "auto" stands for there, any other one itself.

        It is None where the solver is not known.
        """
        return None

    def accuracy(self, coefficient: Any) -> float:
        """Return the relative accuracy of the state, for stopping rules: that of the solver, or rounding."""
        solver = self.chosen_solver(coefficient)
        return DIRECT_ACCURACY if solver is None else solver_accuracy(solver)

    def backward_error(self, coefficient: Any) -> float | None:
        """Return the least relative change of the equation that makes the state exact.

        It is None where it is not known.
        """
        return None


@dataclass(frozen=True, eq=False)
class FunctionState(StateEquation):
    """A state that a plain function of the coefficient computes, of whose equation nothing is known.

    There is no adjoint state, and no solver to choose.

    Attributes:
        function: The function κ ↦ u.
        axes: The names of the axes of the state.
    """

    function: Callable[[Any], jax.Array]
    axes: tuple[str, ...] = ("dof",)

    def __call__(self, coefficient: Any, *, source: jax.Array | None = None) -> jax.Array:
        """Return the state for a coefficient.

        Raises:
            SolveError: There is a source, and no equation that it could be added to.
        """
        if source is not None:
            raise SolveError(
                "the state is a plain function of the coefficient, to whose equation no source can be added; "
                "make it a pdeopt.pde.StateEquation"
            )
        return self.function(coefficient)

    def with_solver(self, solver: str | Solver) -> Self:
        """Refuse to choose a solver.

        Raises:
            SolveError: Always: nobody knows what the function solves.
        """
        raise SolveError(
            "the state is a plain function of the coefficient, whose solver cannot be chosen from outside; "
            "make it a pdeopt.pde.StateEquation, as LinearStateEquation"
        )
