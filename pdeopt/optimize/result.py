"""What every minimizer reports and returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
