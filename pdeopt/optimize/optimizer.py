"""The protocol of every optimizer, the iterates that it reports, and the result of a minimization."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from pdeopt.optimize.trace import Trace

#: The second derivatives of an objective that an optimizer can need, by the names of its methods.
HESSIANS = ("hessian", "gauss_newton")
#: The constraints that an optimizer can keep.
CONSTRAINTS = ("bounds",)
#: The terms of an objective with kinks that an optimizer can treat.
KINKS = ("l1",)


@runtime_checkable
class Optimizer(Protocol):
    """An optimizer that `minimize` runs.

    A subclass has a name and `run`, and states what is not the default.

    Attributes:
        name: The name, as in ``minimize(optimizer=…)`` and on the command line.
        needs: The methods that an objective must have, of "hessian" and "gauss_newton".
        keeps: The constraints that its iterates satisfy, "bounds" or nothing.
        treats: The terms with kinks that J may have, "l1" or nothing.
        max_parameters: The largest number of parameters that it takes, as where it keeps a dense matrix; None: any.
        loose_iterations: The number of iterations after which a rough minimum is good enough to go on from, in
            continuation.
    """

    name: str
    needs: frozenset[str] = frozenset()
    keeps: frozenset[str] = frozenset()
    treats: frozenset[str] = frozenset()
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
            active bounds.
        step: The norm of the last update in that product.
        evaluations: The number of evaluations of J and its derivative so far.
        cg_iterations: The number of iterations of conjugate gradients in Newton systems so far.
        terms: What the objective knows of the terms of J at m, see `Evaluation`; None where it knows nothing.
    """

    iteration: int
    m: np.ndarray
    objective: float
    gradient_norm: float
    step: float
    evaluations: int
    cg_iterations: int
    terms: Any = None


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
    """

    m: np.ndarray
    objective: float
    gradient_norm: float
    status: str
    message: str
    iterations: int
    evaluations: int
    cg_iterations: int
