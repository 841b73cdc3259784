"""What is minimized, as callables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pdeopt.errors import PdeoptError

#: v (p,) ↦ (p,), linear and symmetric. That of `gauss_newton` takes a block (p, k), too, where there are bounds.
Action = Callable[[np.ndarray], np.ndarray]


class OptimizerError(PdeoptError, ValueError):
    """A minimization that cannot be posed: name, bounds, inner product and objective do not fit together."""


class Differentiable(Protocol):
    """The least that `minimize` needs; a `ReducedFunctional` and an `Objective` have it."""

    def value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """J and the Euclidean derivative ∂J/∂m (p,) at m (p,)."""
        ...


@dataclass(frozen=True)
class Objective:
    """A function to minimize, where it is no `ReducedFunctional`.

    Attributes:
        value_and_derivative: m (p,) ↦ (J, ∂J/∂m).
        hessian: m ↦ (v ↦ ∂²J/∂m² v), linearized once at m; for Newton's method and SciPy's trust-region methods.
        gauss_newton: m ↦ (v ↦ its Gauss–Newton part), positive semidefinite.
    """

    value_and_derivative: Callable[[np.ndarray], tuple[float, np.ndarray]]
    hessian: Callable[[np.ndarray], Action] | None = None
    gauss_newton: Callable[[np.ndarray], Action] | None = None


class Preconditioner(Protocol):
    """Approximates the inverse of the Hessian at m, with its units: best from above, where little is known."""

    def __call__(self, m: np.ndarray, free: np.ndarray) -> Action | None:
        """At m (p,), of the entries where ``free`` (p,) is True: maps a residual that vanishes elsewhere to a step that
        vanishes elsewhere, symmetric and positive definite between such vectors. None where nothing is known."""
        ...


def hessian_of(objective: Differentiable, name: str, optimizer: str) -> Callable[[np.ndarray], Action]:
    """Its method ``hessian`` or ``gauss_newton``; raises OptimizerError where it has none."""
    found = getattr(objective, name, None)
    if found is None:
        raise OptimizerError(f"{optimizer} needs {name}(m), which returns v ↦ Hv; the objective has none; use l-bfgs-b")
    return found
