"""Cooling: from a strong regularization down, until the data are explained."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pdeopt.optimize.objective import OptimizerError
from pdeopt.optimize.strength.goal import Goal, check_attainable, check_positive, run_search
from pdeopt.optimize.strength.morozov import find_target
from pdeopt.optimize.strength.solution import Choice, RegularizedSolution, Solve
from pdeopt.optimize.strength.trail import Trail, log_quotient


def cooling(
    solve: Solve,
    initial: np.ndarray,
    target: float,
    *,
    start_strength: float | Callable[[np.ndarray], float],
    factor: float = 3.0,
    tolerance: float = 0.05,
    landing: Solve | None = None,
    max_solves: int = 40,
    span: float = 1e10,
    on_solution: Callable[[RegularizedSolution], None] | None = None,
) -> Choice:
    """Lower the strength by a factor at a time until the misfit falls to the target, and land on it.

    The way down keeps a nonlinear problem near the path of minimizers, and ``solve`` may be inexact on it (two or
    three Gauss–Newton steps are usual: Haber, Oldenburg 2000). The strength of the landing is interpolated between the
    last two levels, and corrected as by `discrepancy` until the misfit is within ``tolerance`` of the target.

    Args:
        solve: The function that minimizes at a given strength, see `Solve`.
        initial: The start (p,) at the first level.
        target: The misfit aimed at, τ × the misfit that noise alone gives.
        start_strength: The strength of the first level, or a function that makes it of ``initial``, such as one that
            calls `curvature_ratio`.
        factor: The factor between the strengths of two levels, > 1.
        tolerance: The difference from the target, as a part of it, that the landing may leave.
        landing: A function that minimizes exactly where ``solve`` does not; it is used once the target was passed.
            None: ``solve``.
        max_solves: The largest number of minimizations.
        span: The quotient of start_strength and the strength of the weakest level.
        on_solution: A function that is called with every solution; StopIteration raised in it ends the search with the
            status "stopped".

    Raises:
        OptimizerError: A number is not positive, the factor is not > 1, or max_solves is less than 1.
    """
    first = float(start_strength(initial) if callable(start_strength) else start_strength)
    check_positive(target=target, start_strength=first, tolerance=tolerance)
    if not factor > 1:
        raise OptimizerError(f"factor is {factor}; expected a number > 1")
    goal = Goal(target, tolerance, first / span, first * span)
    trail = Trail(solve, initial, max_solves, on_solution)

    def search() -> RegularizedSolution:
        levels = _descend(trail, goal, first, factor)
        trail.go_on_with(landing)
        return find_target(trail, goal, _interpolated(levels, goal), first_step=0.5 * math.log10(factor))

    return run_search("cooling", trail, goal, search)


def _descend(trail: Trail, goal: Goal, strength: float, factor: float) -> list[RegularizedSolution]:
    """Return the levels down to the first with no more than the target misfit.

    Raises:
        SearchEnded: There is none, or the search was stopped.
    """
    levels = [trail.at(strength)]
    while levels[-1].misfit > goal.target * (1 + goal.tolerance):
        check_attainable(levels, goal, upwards=False)
        levels.append(trail.at(max(levels[-1].strength / factor, goal.weakest)))
    return levels


def _interpolated(levels: list[RegularizedSolution], goal: Goal) -> float:
    """Return the strength of the target misfit, by interpolation between the last two levels.

    log F is taken as linear in log s.
    """
    last = levels[-1]
    if len(levels) == 1 or goal.reached(last):
        return last.strength
    before = levels[-2]
    part = log_quotient(goal.target, last.misfit) / log_quotient(before.misfit, last.misfit)
    return last.strength * (before.strength / last.strength) ** part
