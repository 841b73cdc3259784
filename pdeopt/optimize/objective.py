"""The objective of a minimization: a value with its derivative, and what else it may offer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pdeopt.errors import PdeoptError
from pdeopt.optimize.constraints.values import ConstraintValues

#: A linear and symmetric map v (p,) ↦ (p,). That of `gauss_newton` takes a block (p, k), too, where there are bounds.
Action = Callable[[np.ndarray], np.ndarray]


class OptimizerError(PdeoptError, ValueError):
    """An error of a minimization that cannot be posed.

    Name, bounds, inner product and objective do not fit together.
    """


class Preconditioner(Protocol):
    """A preconditioner, which approximates the inverse of the Hessian at m, with its units.

    It is best to approximate it from above where little is known.
    """

    def __call__(self, m: np.ndarray, free: np.ndarray) -> Action | None:
        """Return the preconditioner of the free entries at m, or None where nothing is known.

        It maps a residual that vanishes in the other entries to a step that vanishes there, and is symmetric and
        positive definite between such vectors.

        Args:
            m: The parameters (p,).
            free: The mask (p,) of the free entries.
        """
        ...


@dataclass(frozen=True)
class Evaluation:
    """The answer of an objective at one point.

    Attributes:
        value: The objective J(m).
        derivative: The Euclidean derivative ∂J/∂m, (p,).
        terms: What the objective knows of the terms of J at m, as the `Terms` of a `ReducedFunctional`; an `Iterate`
            has it, too. None where it knows nothing.
        constraints: The values of the constraints at m and their derivatives; None where there are no constraints, and
            where J cannot be evaluated.
    """

    value: float
    derivative: np.ndarray
    terms: Any = None
    constraints: ConstraintValues | None = None


@runtime_checkable
class Differentiable(Protocol):
    """An objective that states what it has besides a value and its derivative.

    A subclass has `value_and_derivative`, and a method in the place of each property that is None here.
    A `ReducedFunctional` and a `NewtonModel` are subclasses; an `Objective` is made of functions.
    """

    @abstractmethod
    def value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and the Euclidean derivative ∂J/∂m (p,) at m (p,)."""
        ...

    def evaluate(self, m: np.ndarray) -> Evaluation:
        """Return J and its derivative at m (p,), with what is known of the terms of J there."""
        return Evaluation(*self.value_and_derivative(m))

    @property
    def hessian(self) -> Callable[[np.ndarray], Action] | None:
        """The function m ↦ (v ↦ ∂²J/∂m² v), linearized once at m; None where there is none."""
        return None

    @property
    def gauss_newton(self) -> Callable[[np.ndarray], Action] | None:
        """The function m ↦ (v ↦ H v) of the Gauss–Newton part H of the Hessian; None where there is none.

        H is positive semidefinite.
        """
        return None

    @property
    def preconditioner(self) -> Preconditioner | None:
        """The preconditioner of Newton systems, about the inverse of the Hessian; None where there is none."""
        return None

    @property
    def l1_weights(self) -> np.ndarray | None:
        """The weights w (p,) of the term ``Σ_i w_i |m_i|`` of J; None where J has none.

        Value and derivative contain it, with the derivative 0 of ``|m_i|`` at 0. Its kinks are all that J has.
        """
        return None

    @property
    def constraint_kinds(self) -> frozenset[str]:
        """The kinds of constraints that each `Evaluation` has, of "inequalities" and "equalities"."""
        return frozenset()

    @property
    def constraint_hessian(self) -> Callable[[np.ndarray, np.ndarray], Action] | None:
        """The function (m, w) ↦ (v ↦ ``Σ w_i ∂²g_i/∂m² v``) of the constraints g, with one weight each.

        It is None where there is none: methods that need it then take quasi-Newton updates in its place.
        """
        return None


@dataclass(frozen=True)
class Objective:
    """An objective made of functions.

    Attributes:
        value_and_derivative: The function m (p,) ↦ (J, ∂J/∂m).
        hessian: The function m ↦ (v ↦ ∂²J/∂m² v), linearized once at m; for Newton's method and SciPy's trust-region
            methods.
        gauss_newton: The function m ↦ (v ↦ H v) of the Gauss–Newton part H of the Hessian, positive semidefinite.
        preconditioner: The preconditioner of Newton systems, see `Preconditioner`.
        l1_weights: The weights (p,) of the L1 term that J contains, see `Differentiable.l1_weights`.
        constraints: The function m ↦ `ConstraintValues`; None where there are no constraints.
        constraint_kinds: The kinds of these constraints, of "inequalities" and "equalities".
        constraint_hessian: The function (m, w) ↦ (v ↦ ``Σ w_i ∂²g_i/∂m² v``), see `Differentiable`.

    Raises:
        OptimizerError: There are constraints and nothing says of which kinds, or kinds and no constraints.
    """

    value_and_derivative: Callable[[np.ndarray], tuple[float, np.ndarray]]
    hessian: Callable[[np.ndarray], Action] | None = None
    gauss_newton: Callable[[np.ndarray], Action] | None = None
    preconditioner: Preconditioner | None = None
    l1_weights: np.ndarray | None = None
    constraints: Callable[[np.ndarray], ConstraintValues] | None = None
    constraint_kinds: frozenset[str] = frozenset()
    constraint_hessian: Callable[[np.ndarray, np.ndarray], Action] | None = None

    def __post_init__(self) -> None:
        if (self.constraints is None) != (not self.constraint_kinds):
            raise OptimizerError(
                f"the constraints are {self.constraints!r}, and their kinds {set(self.constraint_kinds)!r}; give both: "
                'constraints=…, constraint_kinds=frozenset({"inequalities"})'
            )

    def evaluate(self, m: np.ndarray) -> Evaluation:
        """Return J and its derivative at m (p,), and the constraints where there are some."""
        found = None if self.constraints is None else self.constraints(m)
        return Evaluation(*self.value_and_derivative(m), constraints=found)


def hessians_of(objective: Differentiable) -> dict[str, Callable[[np.ndarray], Action]]:
    """Return the second derivatives that an objective has, by name: "hessian", "gauss_newton"."""
    every = {"hessian": objective.hessian, "gauss_newton": objective.gauss_newton}
    return {name: found for name, found in every.items() if found is not None}
