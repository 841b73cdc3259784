"""The function and the solutions that the rules are given, and the choice that they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class RegularizedSolution:
    """A minimizer of F(m) + s R(m).

    Attributes:
        strength: The strength s > 0.
        m: The parameters (p,).
        misfit: The misfit F(m).
        regularization: The regularization R(m), without the factor s.
        converged: Whether the minimization reached its goal; a rule goes on where it did not, and says so.
        message: The reason why the minimization ended, in words.
        iterations: The number of iterations that it took.
    """

    strength: float
    m: np.ndarray
    misfit: float
    regularization: float
    converged: bool = True
    message: str = ""
    iterations: int = 0

    @property
    def penalty(self) -> float:
        """The term s R(m) that the regularization adds to the objective."""
        return self.strength * self.regularization


#: A function (strength, start (p,)) ↦ the minimizer at that strength, found from that start.
Solve = Callable[[float, np.ndarray], RegularizedSolution]


@dataclass(frozen=True, eq=False)
class Choice:
    """The choice of a rule.

    Attributes:
        rule: The name of the rule, "discrepancy", "cooling" or "lcurve".
        solution: The chosen solution; the closest to the goal where the rule could not be fulfilled.
        solutions: All solutions that were computed, in order.
        status: The status, "converged"; "stopped" where a limit, the callback, or an unfinished minimization left it
            short; "failed" where no strength fulfills the rule.
        reason: The reason for the status, in words.
        target: The misfit aimed at; None for the L-curve.
        corner: The corner of the L-curve as (strength, curvature); None where there is none.
    """

    rule: str
    solution: RegularizedSolution
    solutions: list[RegularizedSolution]
    status: str
    reason: str
    target: float | None = None
    corner: tuple[float, float] | None = None

    @property
    def strength(self) -> float:
        """The strength of the chosen solution."""
        return self.solution.strength

    @property
    def m(self) -> np.ndarray:
        """The parameters (p,) of the chosen solution."""
        return self.solution.m

    def report(self) -> dict[str, Any]:
        """Return the choice as plain numbers and words, for summary.json and the figure."""
        tried = ("strength", "misfit", "regularization", "iterations", "converged")
        return {
            "rule": self.rule,
            "strength": self.strength,
            "target": self.target,
            "corner": None if self.corner is None else dict(zip(("strength", "curvature"), self.corner, strict=True)),
            "status": self.status,
            "reason": self.reason,
            "tried": [{name: getattr(solution, name) for name in tried} for solution in self.solutions],
        }
