"""What the rules are given and what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Solution:
    """A minimizer of F(m) + s R(m).

    Attributes:
        strength: s > 0. m: (p,).
        misfit: F(m). regularization: R(m), without the factor s.
        converged: the minimization reached its goal; a rule goes on without, and says so.
        message: why the minimization ended. iterations: it took.
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
        """s R(m), what the regularization adds to the objective."""
        return self.strength * self.regularization


#: (strength, start (p,)) ↦ the minimizer at that strength, found from that start.
Solve = Callable[[float, np.ndarray], Solution]


@dataclass(frozen=True, eq=False)
class Choice:
    """What a rule chose.

    Attributes:
        rule: "discrepancy", "cooling" or "lcurve".
        solution: the chosen one; the closest to the goal where the rule could not be fulfilled.
        solutions: all that were computed, in order.
        status: "converged"; "stopped" where a limit, the callback, or an unfinished minimization left it short;
            "failed" where no strength fulfills the rule. reason: in words.
        target: the misfit aimed at; None for the L-curve.
        corner: the corner of the L-curve as (strength, curvature); None where there is none.
    """

    rule: str
    solution: Solution
    solutions: list[Solution]
    status: str
    reason: str
    target: float | None = None
    corner: tuple[float, float] | None = None

    @property
    def strength(self) -> float:
        """That of the solution."""
        return self.solution.strength

    @property
    def m(self) -> np.ndarray:
        """(p,), that of the solution."""
        return self.solution.m

    def report(self) -> dict[str, Any]:
        """Plain numbers and words, for summary.json and the figure."""
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
