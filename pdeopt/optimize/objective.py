"""What is minimized: a value with its derivative, and what else an objective may offer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from pdeopt.errors import PdeoptError

#: v (p,) ↦ (p,), linear and symmetric. That of `gauss_newton` takes a block (p, k), too, where there are bounds.
Action = Callable[[np.ndarray], np.ndarray]


class OptimizerError(PdeoptError, ValueError):
    """A minimization that cannot be posed: name, bounds, inner product and objective do not fit together."""


class Preconditioner(Protocol):
    """Approximates the inverse of the Hessian at m, with its units: best from above, where little is known."""

    def __call__(self, m: np.ndarray, free: np.ndarray) -> Action | None:
        """At m (p,), of the entries where ``free`` (p,) is True: maps a residual that vanishes elsewhere to a step that
        vanishes elsewhere, symmetric and positive definite between such vectors. None where nothing is known."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """An objective that states what it has besides a value and its derivative.

    A subclass has `value_and_derivative`, and a method in the place of each property that is None here.
    A `ReducedFunctional` and a `NewtonModel` are subclasses; an `Objective` is made of functions.
    """

    @abstractmethod
    def value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """J and the Euclidean derivative ∂J/∂m (p,) at m (p,)."""
        ...

    @property
    def hessian(self) -> Callable[[np.ndarray], Action] | None:
        """m ↦ (v ↦ ∂²J/∂m² v), linearized once at m; None where there is none."""
        return None

    @property
    def gauss_newton(self) -> Callable[[np.ndarray], Action] | None:
        """m ↦ (v ↦ its Gauss–Newton part), positive semidefinite; None where there is none."""
        return None

    @property
    def preconditioner(self) -> Preconditioner | None:
        """For Newton systems, about the inverse of the Hessian; None where there is none."""
        return None


@dataclass(frozen=True)
class Objective:
    """An objective made of functions.

    Attributes:
        value_and_derivative: m (p,) ↦ (J, ∂J/∂m).
        hessian: m ↦ (v ↦ ∂²J/∂m² v), linearized once at m; for Newton's method and SciPy's trust-region methods.
        gauss_newton: m ↦ (v ↦ its Gauss–Newton part), positive semidefinite.
        preconditioner: for Newton systems, see `Preconditioner`.
    """

    value_and_derivative: Callable[[np.ndarray], tuple[float, np.ndarray]]
    hessian: Callable[[np.ndarray], Action] | None = None
    gauss_newton: Callable[[np.ndarray], Action] | None = None
    preconditioner: Preconditioner | None = None


def hessians_of(objective: Differentiable) -> dict[str, Callable[[np.ndarray], Action]]:
    """Return those of its second derivatives that it has, by name: "hessian", "gauss_newton"."""
    every = {"hessian": objective.hessian, "gauss_newton": objective.gauss_newton}
    return {name: found for name, found in every.items() if found is not None}
