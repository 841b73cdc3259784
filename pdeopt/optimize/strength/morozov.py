"""The discrepancy principle (Morozov 1966): the misfit is to be what the noise explains."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from pdeopt.optimize.strength.goal import Goal, check_attainable, check_positive, run_search
from pdeopt.optimize.strength.solution import Choice, RegularizedSolution, Solve
from pdeopt.optimize.strength.trail import SearchEnded, Trail, log_quotient


def discrepancy(
    solve: Solve,
    initial: np.ndarray,
    target: float,
    *,
    start_strength: float = 1.0,
    tolerance: float = 0.02,
    max_solves: int = 20,
    span: float = 1e8,
    on_solution: Callable[[RegularizedSolution], None] | None = None,
) -> Choice:
    """Find the strength at which the misfit equals the target.

    From the first strength it takes steps of a decade or two (fewer where the last two misfits say so) until the target
    lies between two solutions; then it interpolates log J with its slope, safeguarded by bisection. Every minimization
    starts at the solution of the next larger strength.

    Args:
        solve: The function that minimizes at a given strength, see `Solve`.
        initial: The start (p,) of the first minimization.
        target: The misfit aimed at, τ × the misfit that noise alone gives, τ ≥ 1 (Engl, Hanke, Neubauer 1996, section
            4.3).
        start_strength: The first strength that is tried.
        tolerance: The difference between misfit and target, as a part of the target, that is accepted.
        max_solves: The largest number of minimizations.
        span: The factor that bounds the strengths: those between start_strength / span and start_strength × span are
            tried.
        on_solution: A function that is called with every solution; StopIteration raised in it ends the search with the
            status "stopped".

    Raises:
        ValueError: A number is not positive.
    """
    check_positive(target=target, start_strength=start_strength, tolerance=tolerance)
    goal = Goal(target, tolerance, start_strength / span, start_strength * span)
    trail = Trail(solve, initial, max_solves, on_solution)
    return run_search("discrepancy", trail, goal, lambda: find_target(trail, goal, start_strength))


def find_target(trail: Trail, goal: Goal, strength: float, first_step: float = 1.0) -> RegularizedSolution:
    """Return the solution with the target misfit, which is sought from a strength on.

    Args:
        trail: The trail on which the solutions are computed.
        goal: The goal.
        strength: The first strength.
        first_step: The number of decades from the first strength to the second.

    Raises:
        SearchEnded: No solution has the target misfit, or the search was stopped.
    """
    first = trail.at(strength)
    if goal.reached(first):
        return first
    ends = _bracket(trail, goal, first, first_step)
    return next((end for end in ends if goal.reached(end)), None) or _between(trail, goal, *ends)


def _bracket(
    trail: Trail, goal: Goal, first: RegularizedSolution, first_step: float
) -> tuple[RegularizedSolution, RegularizedSolution]:
    """Return the last two solutions of a walk towards the target.

    They enclose it, or the last one reaches it.

    Raises:
        SearchEnded: The target lies beyond all strengths, or the search was stopped.
    """
    upwards = goal.excess(first) < 0
    path = [first]
    decades = first_step
    while len(path) < 2 or goal.excess(path[-1]) * goal.excess(first) > 0:
        check_attainable(path, goal, upwards)
        last = path[-1].strength
        factor = 10 ** (decades if upwards else -decades)
        path.append(trail.at(min(max(last * factor, goal.weakest), goal.strongest)))
        decades = _next_step(path, goal, decades)
    return path[-2], path[-1]


def _next_step(path: list[RegularizedSolution], goal: Goal, decades: float) -> float:
    """Return the next step of a walk, in decades.

    It leads a bit beyond the point where the secant of log F over log s crosses the target, and is at most twice the
    last step, and at most two decades.
    """
    before, last = path[-2:]
    rise = log_quotient(last.misfit, before.misfit) / log_quotient(last.strength, before.strength)
    predicted = abs(goal.excess(last)) / max(rise * math.log(10), 1e-6)
    return min(max(1.2 * predicted, 0.2), 2 * decades, 2.0)


def _between(trail: Trail, goal: Goal, one: RegularizedSolution, other: RegularizedSolution) -> RegularizedSolution:
    """Return the solution with the target misfit between two solutions that enclose it.

    Each one is sought where the path predicts it. Where a prediction halved neither the bracket (in log s) nor
    the distance of log F to the goal, the next solution is sought in the middle of the bracket.

    Raises:
        SearchEnded: The misfit jumps over the target, or the search was stopped.
    """
    weak, strong = sorted((one, other), key=lambda end: end.strength)
    trusted = True
    while not _torn(weak, strong, goal):
        width = log_quotient(strong.strength, weak.strength)
        distance = min(abs(goal.excess(weak)), abs(goal.excess(strong)))
        middle = math.sqrt(weak.strength * strong.strength)
        found = trail.at(_predicted(weak, strong, goal) if trusted else middle)
        if goal.reached(found):
            return found
        weak, strong = (found, strong) if goal.excess(found) < 0 else (weak, found)
        closer = abs(goal.excess(found)) <= 0.5 * distance
        trusted = closer or log_quotient(strong.strength, weak.strength) <= 0.5 * width
    raise SearchEnded("failed", _jump(weak, strong, goal))


def _torn(weak: RegularizedSolution, strong: RegularizedSolution, goal: Goal) -> bool:
    """Return whether F jumps over the target between two solutions.

    There it rises faster than s¹⁰ (as s² for quadratic terms), or s hardly differs.
    """
    width = log_quotient(strong.strength, weak.strength)
    rise = min(goal.excess(strong), 5.0) - max(goal.excess(weak), -5.0)  # an exact fit is no jump
    return rise > 10 * width or width < min(1e-3, 0.1 * goal.tolerance)


def _predicted(weak: RegularizedSolution, strong: RegularizedSolution, goal: Goal) -> float:
    """Return the strength of the target misfit by interpolation between two solutions.

    It is cubic Hermite interpolation of log J over t = log s, with J = F + s R. The slope of log J is s R/J at every
    solution (envelope theorem), and F = J (1 − d log J/dt): so F between the solutions follows from F and R at them.
    The strength is away from the ends by a hundredth of the bracket at least.
    """
    ends = np.log([weak.strength, strong.strength])
    objectives = np.array([max(one.misfit + one.penalty, np.finfo(float).tiny) for one in (weak, strong)])
    path = CubicHermiteSpline(ends, np.log(objectives), np.array([weak.penalty, strong.penalty]) / objectives)
    inner = ends[0] + (ends[1] - ends[0]) * np.linspace(0.01, 0.99, 200)
    misfit = np.exp(path(inner)) * (1 - path(inner, 1))
    return float(np.exp(inner[np.abs(misfit - goal.target).argmin()]))


def _jump(below: RegularizedSolution, above: RegularizedSolution, goal: Goal) -> str:
    return (
        f"the misfit jumps over the target {goal.target:.4g}: {below.misfit:.4g} at strength {below.strength:.5g}, "
        f"{above.misfit:.4g} at {above.strength:.5g}; either there are several local minima, or minimizations end early"
    )
