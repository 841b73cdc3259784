"""The protocol of every optimizer, the iterates that it reports, and the result of a minimization."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from pdeopt.optimize.constraints.values import ConstraintValues

if TYPE_CHECKING:
    from pdeopt.optimize.trace import Trace

#: The second derivatives of an objective that an optimizer can need, by the names of its methods.
HESSIANS = ("hessian", "gauss_newton")
#: The constraints that an optimizer can keep.
CONSTRAINTS = ("bounds", "inequalities", "equalities")
#: The terms of an objective with kinks that an optimizer can treat.
KINKS = ("l1",)


@runtime_checkable
class Optimizer(Protocol):
    """An optimizer that `minimize` runs.

    A subclass has a name and `run`, and states what is not the default.

    Attributes:
        name: The name, as in ``minimize(optimizer=…)`` and on the command line.
        needs: The methods that an objective must have, of "hessian" and "gauss_newton".
        keeps: The constraints that it keeps, of "bounds", "inequalities" and "equalities". Its iterates satisfy bounds,
            and come to satisfy the others.
        treats: The terms with kinks that J may have, "l1" or nothing.
        starts_feasible: Whether it must start where the constraints are kept.
        requires: The module of another library that it needs, and that may be missing; empty where it needs none.
        max_parameters: The largest number of parameters that it takes, as where it keeps a dense matrix; None: any.
        loose_iterations: The number of iterations after which a rough minimum is good enough to go on from, in
            continuation.
    """

    name: str
    needs: frozenset[str] = frozenset()
    keeps: frozenset[str] = frozenset()
    treats: frozenset[str] = frozenset()
    starts_feasible: bool = False
    requires: str = ""
    max_parameters: int | None = None
    loose_iterations: int = 15

    @abstractmethod
    def run(self, trace: Trace) -> None:
        """Give one iterate after the other to ``trace.accept``, which raises `Finished` at the end.

        It returns only where no step lowers the objective: `minimize` then says whether that is the minimum.

        Args:
            trace: The trace, which evaluates the objective, and knows the first iterate, bounds, inner product and
                goals.

        Raises:
            Finished: The minimization has ended; ``trace.accept`` and ``trace.evaluate`` raise it, and it must pass.
        """
        ...


@dataclass(frozen=True)
class Iterate:
    """One accepted iterate; number 0 is the initial guess.

    Attributes:
        iteration: The number of the iterate.
        m: The parameters (p,).
        objective: The objective J(m).
        gradient_norm: The norm of the gradient in the optimizer's inner product, without the entries that are held by
            active bounds; where there are constraints, that of the Lagrangian with `multipliers`.
        step: The norm of the last update in that product.
        evaluations: The number of evaluations of J and its derivative so far.
        cg_iterations: The number of iterations of conjugate gradients in Newton systems so far.
        terms: What the objective knows of the terms of J at m, see `Evaluation`; None where it knows nothing.
        constraints: The values of the constraints at m; None where there are none.
        multipliers: The multipliers (k,) of the constraints, see `multipliers_of`; None where there are none.
    """

    iteration: int
    m: np.ndarray
    objective: float
    gradient_norm: float
    step: float
    evaluations: int
    cg_iterations: int
    terms: Any = None
    constraints: ConstraintValues | None = None
    multipliers: np.ndarray | None = None

    @property
    def violation(self) -> float:
        """The largest violation of a constraint, in its unit; 0 where there are none."""
        return 0.0 if self.constraints is None else self.constraints.violation

    @property
    def feasible(self) -> bool:
        """True where all constraints are kept up to their tolerances."""
        return self.constraints is None or self.constraints.kept


@dataclass(frozen=True)
class Result:
    """The end of a minimization.

    Attributes:
        m: The last iterate (p,).
        objective: The objective J(m).
        gradient_norm: The norm of the gradient there, see `Iterate`.
        status: The status, "converged", "stopped" or "failed".
        message: The reason for the status, in words.
        iterations: The number of iterations.
        evaluations: The number of evaluations of J and its derivative.
        cg_iterations: The number of iterations of conjugate gradients in Newton systems.
        constraints: The values of the constraints at m; None where there are none.
        multipliers: The multipliers (k,) of the constraints, with which L = J + λᵀg is stationary at a minimum; None
            where there are none.
    """

    m: np.ndarray
    objective: float
    gradient_norm: float
    status: str
    message: str
    iterations: int
    evaluations: int
    cg_iterations: int
    constraints: ConstraintValues | None = None
    multipliers: np.ndarray | None = None
