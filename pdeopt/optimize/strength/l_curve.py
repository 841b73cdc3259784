"""The corner of the L-curve (Hansen, O'Leary 1993): the rule that needs no noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from pdeopt.optimize.objective import OptimizerError
from pdeopt.optimize.strength.curvature import LEAST_CURVATURE, CurvedLine, curved_line
from pdeopt.optimize.strength.goal import check_positive
from pdeopt.optimize.strength.solution import Choice, RegularizedSolution, Solve
from pdeopt.optimize.strength.trail import SearchEnded, Trail

#: The strengths of the grid where none is given: one in each decade, from strong to weak.
DEFAULT_STRENGTHS = tuple(10.0**k for k in range(3, -6, -1))
#: The least number of solutions that a curve needs.
MIN_SOLUTIONS = 5
#: The number of decades to either side within which the corner must have a neighbor before it is believed.
MAX_NEIGHBOR_DECADES = 0.55


def lcurve(
    solve: Solve,
    initial: np.ndarray,
    strengths: Sequence[float] | None = None,
    *,
    resolution: float = 0.1,
    max_solves: int = 24,
    on_solution: Callable[[RegularizedSolution], None] | None = None,
) -> Choice:
    """Find the strength where log F over log R turns most sharply.

    It solves on a grid from strong to weak, each time from the solution before; then where the curve through these
    (`curved_line`) turns most, until that point stays. Of several corners the one with the smallest product F R is
    taken (Regińska 1996). Where the curve turns most at an end of the grid, the grid is made longer, at most twice as
    long. A corner can lie where nothing but noise is left to fit; then the misfit is far below what the noise explains.

    Args:
        solve: The function that minimizes at a given strength, see `Solve`.
        initial: The start (p,) at the largest strength.
        strengths: The grid; None: one in each decade from 1e3 to 1e-5.
        resolution: The number of decades to which the corner is located.
        max_solves: The largest number of minimizations.
        on_solution: A function that is called with every solution; StopIteration raised in it ends the search with the
            status "stopped".

    Raises:
        OptimizerError: There are fewer than five strengths, one of them or the resolution is not positive, or
            max_solves is less than 1.
    """
    grid = sorted({float(s) for s in (DEFAULT_STRENGTHS if strengths is None else strengths)}, reverse=True)
    if len(grid) < MIN_SOLUTIONS:
        raise OptimizerError(f"the L-curve got {len(grid)} different strengths; expected at least {MIN_SOLUTIONS}")
    check_positive(strengths=grid[-1], resolution=resolution)
    trail = Trail(solve, initial, max_solves, on_solution)
    try:
        found, curvature = _search(trail, grid, resolution)
    except SearchEnded as end:
        return trail.choice("lcurve", _bend(trail.solutions), end.status, end.reason)
    reason = f"the L-curve turns most at strength {found.strength:.3g}, with curvature {curvature:.3g}"
    return trail.choice("lcurve", found, "converged", reason, corner=(found.strength, curvature))


def _search(trail: Trail, grid: list[float], resolution: float) -> tuple[RegularizedSolution, float]:
    """Return the solution in the corner, and the curvature there.

    Raises:
        SearchEnded: No corner is found, or the search was stopped.
    """
    for strength in grid:
        trail.at(strength)
    weakest, strongest = grid[-1] ** 1.5 / grid[0] ** 0.5, grid[0] ** 1.5 / grid[-1] ** 0.5
    while True:
        line = curved_line(_usable(trail.solutions))
        at = _corner(line)
        wanted = _next(line, at, _usable(trail.solutions), resolution)
        if wanted is None:
            return _closest(trail.solutions, line.log_strength[at]), float(line.curvature[at])
        if not weakest * 0.99 <= wanted <= strongest * 1.01:
            raise SearchEnded("failed", _runs_out(trail.solutions))
        trail.at(wanted)


def _corner(line: CurvedLine) -> int:
    """Return the index of the corner among the samples of the curve.

    It is that of the peak closest to the origin, of those that are sharp enough; it is an end where there are no
    others.

    Raises:
        SearchEnded: No peak is sharp enough.
    """
    sharp = [k for k in line.peaks() if line.curvature[k] >= LEAST_CURVATURE]
    if not sharp:
        raise SearchEnded("failed", _no_corner(line))
    inner = [k for k in sharp if 0 < k < len(line.curvature) - 1]
    return min(inner or sharp, key=lambda k: line.height[k])


def _next(line: CurvedLine, at: int, known: list[RegularizedSolution], resolution: float) -> float | None:
    """Return the strength to solve at next, or None where the corner is located.

    Args:
        line: The curve.
        at: The index of the corner.
        known: The solutions on the curve.
        resolution: The number of decades to which the corner is located.
    """
    if at in (0, len(line.log_strength) - 1):
        return math.exp(line.log_strength[at]) * (10.0 if at else 0.1)
    decades = np.sort(np.log10([one.strength for one in known]))
    corner = line.log_strength[at] / math.log(10)
    k = int(np.abs(decades - corner).argmin())
    if abs(decades[k] - corner) > resolution:
        return float(10**corner)
    return _into_gap(decades, k)


def _into_gap(decades: np.ndarray, k: int) -> float | None:
    """Return the strength in the middle of the wider gap beside point k.

    It is None where both gaps are narrow: there the interpolation is trusted.
    """
    gaps = np.diff(decades)
    wide = max((j for j in (k - 1, k) if 0 <= j < len(gaps)), key=lambda j: gaps[j])
    return float(10 ** (decades[wide] + gaps[wide] / 2)) if gaps[wide] > MAX_NEIGHBOR_DECADES else None


def _usable(solutions: list[RegularizedSolution]) -> list[RegularizedSolution]:
    """Return the solutions that have a place on the curve.

    Raises:
        SearchEnded: They are too few.
    """
    known = [one for one in solutions if one.misfit > 0 and one.regularization > 0]
    if len(known) < MIN_SOLUTIONS:
        raise SearchEnded(
            "failed", f"misfit and regularization are positive at {len(known)} strengths; expected {MIN_SOLUTIONS}"
        )
    return known


def _closest(solutions: list[RegularizedSolution], log_strength: float) -> RegularizedSolution:
    return min(solutions, key=lambda one: abs(math.log(one.strength) - log_strength))


def _bend(solutions: list[RegularizedSolution]) -> RegularizedSolution:
    """Return the solution where the curve turns most, however little.

    It is the last one where there is no curve.
    """
    known = [one for one in solutions if one.misfit > 0 and one.regularization > 0]
    known = [one for one in known if math.isfinite(one.misfit * one.regularization)]
    if len(known) < 2:
        return solutions[-1]
    line = curved_line(known)
    return _closest(known, float(line.log_strength[line.curvature.argmax()]))


def _no_corner(line: CurvedLine) -> str:
    most = line.curvature.argmax()
    low, high = np.exp(line.log_strength[[0, -1]])
    return (
        f"the L-curve has no corner between strengths {low:.3g} and {high:.3g}: its curvature is at most "
        f"{line.curvature[most]:.2g}, at {math.exp(line.log_strength[most]):.3g}; expected {LEAST_CURVATURE:g}. Try "
        "other strengths, or the discrepancy principle if the noise level is known"
    )


def _runs_out(solutions: list[RegularizedSolution]) -> str:
    strengths = [one.strength for one in solutions]
    return (
        f"the L-curve turns most at an end of the strengths tried, {min(strengths):.3g} to {max(strengths):.3g}; the "
        "corner lies beyond, or there is none. Try other strengths, or the discrepancy principle if the noise level "
        "is known"
    )
