"""The misfit aimed at, and whether any strength can reach it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pdeopt.optimize.objective import OptimizerError
from pdeopt.optimize.strength.solution import Choice, RegularizedSolution
from pdeopt.optimize.strength.trail import SearchEnded, Trail, decay, log_quotient, nearest


@dataclass(frozen=True)
class Goal:
    """The goal of a search: the misfit aimed at, and the range of strengths.

    Attributes:
        target: The misfit aimed at.
        tolerance: The difference from the target, as a part of it, up to which the goal is reached.
        weakest: The smallest strength that is tried.
        strongest: The largest strength that is tried.
    """

    target: float
    tolerance: float
    weakest: float
    strongest: float

    def reached(self, solution: RegularizedSolution) -> bool:
        """Return whether the misfit of a solution is close enough to the target."""
        return abs(solution.misfit - self.target) <= self.tolerance * self.target

    def excess(self, solution: RegularizedSolution) -> float:
        """Return log(F / target), or zero where the goal is reached."""
        return 0.0 if self.reached(solution) else log_quotient(solution.misfit, self.target)


def check_positive(**numbers: float) -> None:
    """Check that numbers, given by name, are positive and finite.

    Raises:
        OptimizerError: One of them is not.
    """
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise OptimizerError(f"{name} is {value}; expected a number > 0")


def run_search(rule: str, trail: Trail, goal: Goal, search: Callable[[], RegularizedSolution]) -> Choice:
    """Run a search for the target and put its end into words.

    Args:
        rule: The name of the rule.
        trail: The trail on which the search computes its solutions.
        goal: The goal.
        search: The function that returns the solution with the target misfit, or raises `SearchEnded`.
    """
    try:
        found = search()
    except SearchEnded as end:
        return trail.choice(rule, nearest(trail.solutions, goal.target), end.status, end.reason, goal.target)
    reason = f"the misfit {found.misfit:.4g} is within {100 * goal.tolerance:g} % of the target {goal.target:.4g}"
    return trail.choice(rule, found, "converged", reason, goal.target)


def check_attainable(path: list[RegularizedSolution], goal: Goal, upwards: bool) -> None:
    """Check that a strength may reach the target.

    Args:
        path: The solutions so far, in order.
        goal: The goal.
        upwards: Whether the strengths of the path grow.

    Raises:
        SearchEnded: The target lies beyond all strengths.
    """
    last = path[-1]
    if upwards and (last.strength >= goal.strongest or _highest_misfit(path) < goal.target * (1 - goal.tolerance)):
        raise SearchEnded("failed", _too_low(path, goal))
    if not upwards and (last.strength <= goal.weakest or _weightless(path, goal)):
        raise SearchEnded("failed", _too_high(path, goal))


def _highest_misfit(path: list[RegularizedSolution]) -> float:
    """Return an estimate of F at infinite strength.

    It comes from F′ = −s R′ with R ~ s⁻ᵖ beyond the last solution. p grows to 2 for quadratic terms, so that the p of
    the last two solutions gives an upper bound. Where R vanishes, more strength changes nothing.
    """
    last = path[-1]
    if last.regularization <= 0:
        return last.misfit
    p = decay(path[-2], last) if len(path) > 1 else 0.0
    return last.misfit + last.penalty * p / (p - 1) if p >= 1.5 else math.inf


def _weightless(path: list[RegularizedSolution], goal: Goal) -> bool:
    """Return whether the regularization has too little weight for the misfit to fall to the target.

    That is so after three decades in which it weighs less than a hundredth of the misfit in excess. With R ~ s⁻ᵖ
    below the last solution, F can fall by s R p/(1 − p) more (from F′ = −s R′), which for p < 0.9 is less than a tenth
    of what is missing.
    """
    last = path[-1]
    light = [one for one in path if 0 < one.penalty <= 1e-2 * (one.misfit - goal.target)]
    if len(light) < 3 or light[0].strength < 1e3 * last.strength:
        return False
    return decay(last, light[0]) < 0.9


def _too_high(path: list[RegularizedSolution], goal: Goal) -> str:
    last = path[-1]
    if not any(one.regularization for one in path):
        return f"the regularization vanishes at every strength tried, and the misfit stays at {last.misfit:.4g}"
    return (
        f"the misfit stays at {last.misfit:.4g}, above the target {goal.target:.4g}, down to strength "
        f"{last.strength:.3g}, where the regularization adds {last.penalty:.2g}: the model cannot explain the data to "
        "the noise level. Is the noise level too small, is something missing in the model, or did the minimization "
        "end early? Where the data are few, this noise may be a bit above its mean: try a larger target"
    )


def _too_low(path: list[RegularizedSolution], goal: Goal) -> str:
    last = path[-1]
    return (
        f"the misfit stays at {last.misfit:.4g}, below the target {goal.target:.4g}, up to strength "
        f"{last.strength:.3g}, where the regularization adds {last.penalty:.2g}: the data are explained without what "
        "it penalizes. Is the noise level too large, or the starting point already the answer?"
    )
