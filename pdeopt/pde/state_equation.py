"""The protocol of state equations: what one answers besides its state."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax

from pdeopt.sparse import Solver


@runtime_checkable
class StateEquation(Protocol):
    """A differentiable map from a coefficient to the state that knows how, and how exactly, it is solved.

    Both answers are functions of the equation, its solver and the coefficient: what was solved before does not change
    them.
    """

    def __call__(self, coefficient: Any) -> jax.Array:
        """Return the state, (n,) or (n, r)."""
        ...

    def chosen_solver(self, coefficient: Any) -> Solver:
        """Return the solver that solves it: what "auto" stands for there, any other one itself."""
        ...

    def accuracy(self, coefficient: Any) -> float:
        """Return the relative accuracy of the state, for stopping rules."""
        ...
