"""The corner of the L-curve (Hansen, O'Leary 1993): the rule that needs no noise level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from pdeopt.optimize.strength.curvature import LEAST_CURVATURE, CurvedLine, curved_line
from pdeopt.optimize.strength.goal import check_positive
from pdeopt.optimize.strength.solution import Choice, Solution, Solve
from pdeopt.optimize.strength.trail import Ended, Trail

#: One a decade, from strong to weak.
DEFAULT_STRENGTHS = tuple(10.0**k for k in range(3, -6, -1))
#: Solutions that a curve needs.
FEWEST = 5
#: Decades to either side within which the corner must have a neighbor before it is believed.
NEIGHBOR = 0.55


def lcurve(
    solve: Solve,
    initial: np.ndarray,
    strengths: Sequence[float] | None = None,
    *,
    resolution: float = 0.1,
    max_solves: int = 24,
    on_solution: Callable[[Solution], None] | None = None,
) -> Choice:
    """Find the strength where log F over log R turns most sharply.

    Solves on a grid from strong to weak, each from the solution before it; then where the curve through these
    (`curved_line`) turns most, until that point stays. Of several corners the one with the smallest product F R is
    taken (Regińska 1996). Where the curve turns most at an end of the grid, it is made longer, at most twice as long.
    A corner can lie where nothing but noise is left to fit; then the misfit is far below what the noise explains.

    Args:
        solve: minimizes at a given strength, see `Solve`. initial: (p,), the start at the largest strength.
        strengths: the grid; None: one a decade from 1e3 to 1e-5.
        resolution: decades to which the corner is located. max_solves: at most so many minimizations.
        on_solution: called with every solution; StopIteration raised in it ends the search, status "stopped".

    Raises:
        ValueError: for fewer than five strengths, or one that is not positive.
    """
    grid = sorted({float(s) for s in (DEFAULT_STRENGTHS if strengths is None else strengths)}, reverse=True)
    if len(grid) < FEWEST:
        raise ValueError(f"the L-curve got {len(grid)} different strengths; expected at least {FEWEST}")
    check_positive(strengths=grid[-1], resolution=resolution)
    trail = Trail(solve, initial, max_solves, on_solution)
    try:
        found, curvature = _search(trail, grid, resolution)
    except Ended as end:
        return trail.choice("lcurve", _bend(trail.solutions), end.status, end.reason)
    reason = f"the L-curve turns most at strength {found.strength:.3g}, with curvature {curvature:.3g}"
    return trail.choice("lcurve", found, "converged", reason, corner=(found.strength, curvature))


def _search(trail: Trail, grid: list[float], resolution: float) -> tuple[Solution, float]:
    """The solution in the corner, and the curvature there. Raises `Ended`."""
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
            raise Ended("failed", _runs_out(trail.solutions))
        trail.at(wanted)


def _corner(line: CurvedLine) -> int:
    """Index of the corner: of the peaks that are sharp enough the one closest to the origin, an end where there are
    no others. Raises `Ended`."""
    sharp = [k for k in line.peaks() if line.curvature[k] >= LEAST_CURVATURE]
    if not sharp:
        raise Ended("failed", _no_corner(line))
    inner = [k for k in sharp if 0 < k < len(line.curvature) - 1]
    return min(inner or sharp, key=lambda k: line.height[k])


def _next(line: CurvedLine, at: int, known: list[Solution], resolution: float) -> float | None:
    """The strength to solve at next; None where the corner is located."""
    if at in (0, len(line.log_strength) - 1):
        return math.exp(line.log_strength[at]) * (10.0 if at else 0.1)
    decades = np.sort(np.log10([one.strength for one in known]))
    corner = line.log_strength[at] / math.log(10)
    k = int(np.abs(decades - corner).argmin())
    if abs(decades[k] - corner) > resolution:
        return float(10**corner)
    return _into_gap(decades, k)


def _into_gap(decades: np.ndarray, k: int) -> float | None:
    """The middle of the wider gap beside point k; None where both are narrow: there the interpolation is trusted."""
    gaps = np.diff(decades)
    wide = max((j for j in (k - 1, k) if 0 <= j < len(gaps)), key=lambda j: gaps[j])
    return float(10 ** (decades[wide] + gaps[wide] / 2)) if gaps[wide] > NEIGHBOR else None


def _usable(solutions: list[Solution]) -> list[Solution]:
    """Those with a place on the curve. Raises `Ended` where they are too few."""
    known = [one for one in solutions if one.misfit > 0 and one.regularization > 0]
    if len(known) < FEWEST:
        raise Ended("failed", f"misfit and regularization are positive at {len(known)} strengths; expected {FEWEST}")
    return known


def _closest(solutions: list[Solution], log_strength: float) -> Solution:
    return min(solutions, key=lambda one: abs(math.log(one.strength) - log_strength))


def _bend(solutions: list[Solution]) -> Solution:
    """Where the curve turns most, however little; the last solution where there is no curve."""
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


def _runs_out(solutions: list[Solution]) -> str:
    strengths = [one.strength for one in solutions]
    return (
        f"the L-curve turns most at an end of the strengths tried, {min(strengths):.3g} to {max(strengths):.3g}; the "
        "corner lies beyond, or there is none. Try other strengths, or the discrepancy principle if the noise level "
        "is known"
    )
