"""The trail of solutions computed so far: warm starts, limits, and what they tell of other strengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from pdeopt.optimize.objective import OptimizerError
from pdeopt.optimize.strength.solution import Choice, RegularizedSolution, Solve

#: The relative difference up to which two strengths are the same.
SAME_STRENGTH_TOLERANCE = 1e-9


class SearchEnded(Exception):
    """An exception that says that a search is over without the strength that it was after.

    Attributes:
        status: The status of the choice, "stopped" or "failed".
        reason: The reason in words.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Trail:
    """A trail, which solves at any strength, from the best start there is, and keeps every solution.

    Attributes:
        solutions: The solutions, in the order in which they were computed.
    """

    def __init__(
        self,
        solve: Solve,
        initial: np.ndarray,
        max_solves: int,
        on_solution: Callable[[RegularizedSolution], None] | None,
    ) -> None:
        if max_solves < 1:
            raise OptimizerError(f"max_solves is {max_solves}; expected at least 1")
        self._solve = solve
        self._initial = np.asarray(initial, float)
        self._max_solves = max_solves
        self._on_solution = on_solution
        self.solutions: list[RegularizedSolution] = []
        self._settled = 0  # solutions before this one were computed by another function

    def at(self, strength: float) -> RegularizedSolution:
        """Return the solution at a strength, which is computed once.

        Raises:
            SearchEnded: The largest number of minimizations is reached, the callback asked to stop, or no finite misfit
                was found.
        """
        for known in self.solutions[self._settled :]:
            if abs(known.strength - strength) <= SAME_STRENGTH_TOLERANCE * strength:
                return known
        if len(self.solutions) >= self._max_solves:
            raise SearchEnded("stopped", f"{self._max_solves} minimizations, the most allowed, did not suffice")
        return self._accept(self._solve(strength, self._start(strength)))

    def go_on_with(self, solve: Solve | None) -> None:
        """Solve by another function from here on, or by the same one where it is None."""
        if solve is not None:
            self._solve, self._settled = solve, len(self.solutions)

    def choice(
        self,
        rule: str,
        solution: RegularizedSolution,
        status: str,
        reason: str,
        target: float | None = None,
        corner: tuple[float, float] | None = None,
    ) -> Choice:
        """Return the choice with which a rule ends.

        Where the minimization of the chosen solution is unfinished, "converged" becomes "stopped".

        Args:
            rule: The name of the rule.
            solution: The chosen solution.
            status: The status, "converged", "stopped" or "failed".
            reason: The reason in words, to which doubts are added.
            target: The misfit aimed at, or None.
            corner: The corner of the L-curve as (strength, curvature), or None.
        """
        if status == "converged" and not solution.converged:
            status = "stopped"
        words = [reason, *_unfinished(solution), *self._doubts()]
        return Choice(rule, solution, self.solutions, status, "; ".join(words), target, corner)

    def _start(self, strength: float) -> np.ndarray:
        """Return the start (p,) of a minimization.

        It is the solution at the next larger strength, as J changes least from there; that at the largest one where
        there is none larger, and the initial guess where there is none at all.
        """
        larger = [one for one in self.solutions if one.strength >= strength * (1 - SAME_STRENGTH_TOLERANCE)]
        if larger:
            return min(reversed(larger), key=lambda one: one.strength).m.copy()
        return max(reversed(self.solutions), key=lambda one: one.strength).m.copy() if self.solutions else self._initial

    def _accept(self, solution: RegularizedSolution) -> RegularizedSolution:
        self.solutions.append(solution)
        try:
            if self._on_solution is not None:
                self._on_solution(solution)
        except StopIteration:
            raise SearchEnded("stopped", "the callback asked to stop") from None
        if not (math.isfinite(solution.misfit) and math.isfinite(solution.regularization)):
            message = f": {solution.message}" if solution.message else ""
            raise SearchEnded("failed", f"no finite misfit was found at strength {solution.strength:.3g}{message}")
        return solution

    def _doubts(self) -> list[str]:
        """Return the doubts, in words, whether the minimizers can be minimizers.

        With the strength, F grows and R falls.
        """
        known = sorted(self.solutions[self._settled :], key=lambda one: one.strength)
        for weak, strong in pairwise(known):
            if weak.misfit > 1.02 * strong.misfit:
                return [_disorder(weak, strong)]
        return []


def nearest(solutions: list[RegularizedSolution], target: float) -> RegularizedSolution:
    """Return the solution whose misfit is closest to the target, as a quotient.

    It is the last one where none is finite. Where all misfits are above the target, it is the strongest one whose
    misfit is within 10 % of the lowest: the last bit is bought dearly.
    """
    finite = [one for one in solutions if math.isfinite(one.misfit) and math.isfinite(one.regularization)]
    if not finite:
        return solutions[-1]
    lowest = min(one.misfit for one in finite)
    if lowest > target:
        return max((one for one in finite if one.misfit <= 1.1 * lowest), key=lambda one: one.strength)
    return min(reversed(finite), key=lambda one: abs(log_quotient(one.misfit, target)))


def log_quotient(a: float, b: float) -> float:
    """Return log(a / b) for a ≥ 0, however small it is."""
    tiny = np.finfo(float).tiny
    return math.log(max(a, tiny)) - math.log(max(b, tiny))


def decay(weak: RegularizedSolution, strong: RegularizedSolution) -> float:
    """Return p in R ~ s⁻ᵖ between two strengths.

    For quadratic terms it is 0 where s no longer matters, and 2 where nothing else does.
    """
    return log_quotient(weak.regularization, strong.regularization) / log_quotient(strong.strength, weak.strength)


def _unfinished(solution: RegularizedSolution) -> list[str]:
    if solution.converged:
        return []
    message = f" ({solution.message})" if solution.message else ""
    return [f"the minimization at this strength is unfinished{message}"]


def _disorder(weak: RegularizedSolution, strong: RegularizedSolution) -> str:
    """Return the words that say which of two solutions is no minimizer.

    The other one has a lower objective at its strength.
    """
    there = weak.misfit + strong.strength * weak.regularization
    culprit = strong if there < strong.misfit + strong.penalty else weak
    return (
        f"the misfit is not monotone in the strength ({weak.misfit:.4g} at {weak.strength:.3g}, {strong.misfit:.4g} at "
        f"{strong.strength:.3g}): the minimization at {culprit.strength:.3g} ended early or in another local minimum, "
        "tighten its tolerance or allow more iterations"
    )
