"""What every optimizer is, what it reports, and what a minimization returns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from pdeopt.optimize.trace import Trace

#: What an optimizer can need of an objective, by the names of its methods.
HESSIANS = ("hessian", "gauss_newton")
#: What an optimizer can keep.
CONSTRAINTS = ("bounds",)


@runtime_checkable
class Optimizer(Protocol):
    """An optimizer that `minimize` runs; a subclass has a name and `run`, and states what is not the default.

    Attributes:
        name: as in ``minimize(optimizer=…)`` and on the command line.
        needs: of "hessian" and "gauss_newton", the methods that an objective must have.
        keeps: the constraints that its iterates satisfy, "bounds" or nothing.
        max_parameters: the largest number of parameters that it takes, as where it keeps a dense matrix; None: any.
        loose_iterations: after how many iterations a rough minimum is good enough to go on from, in continuation.
    """

    name: str
    needs: frozenset[str] = frozenset()
    keeps: frozenset[str] = frozenset()
    max_parameters: int | None = None
    loose_iterations: int = 15

    @abstractmethod
    def run(self, trace: Trace) -> None:
        """Give one iterate after the other to ``trace.accept``, which raises `Finished` at the end.

        It returns only where no step lowers the objective: `minimize` then says whether that is the minimum.

        Args:
            trace: evaluates the objective, and knows the first iterate, bounds, inner product and goals.

        Raises:
            Finished: as ``trace.accept`` and ``trace.evaluate`` raise it; let it pass.
        """
        ...


@dataclass(frozen=True)
class Iterate:
    """One accepted iterate; number 0 is the initial guess.

    Attributes:
        iteration: its number. m: (p,). objective: J(m).
        gradient_norm: norm of the gradient in the optimizer's inner product, without entries held by active bounds.
        step: norm of the last update in that product. evaluations, cg_iterations: so far.
    """

    iteration: int
    m: np.ndarray
    objective: float
    gradient_norm: float
    step: float
    evaluations: int
    cg_iterations: int


@dataclass(frozen=True)
class Result:
    """The end of a minimization.

    Attributes:
        m: the last iterate, (p,). objective: J(m).
        gradient_norm: see `Iterate`.
        status: "converged", "stopped" or "failed". message: the reason in words.
        iterations, evaluations, cg_iterations: in all.
    """

    m: np.ndarray
    objective: float
    gradient_norm: float
    status: str
    message: str
    iterations: int
    evaluations: int
    cg_iterations: int
