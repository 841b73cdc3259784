"""Rules that choose the strength of the regularization.

They see a function that minimizes, and know no PDE. The objective is J(m; s) = F(m) + s R(m), with the misfit F, the
regularization R and its strength s. At a minimizer both depend on s alone, F grows with s, R falls, and (the envelope
theorem) F′(s) = −s R′(s), which the rules lean on.
"""

from pdeopt.optimize.strength.initial_strength import curvature_ratio
from pdeopt.optimize.strength.l_curve import lcurve
from pdeopt.optimize.strength.levels import cooling
from pdeopt.optimize.strength.morozov import discrepancy
from pdeopt.optimize.strength.solution import Choice, RegularizedSolution, Solve

__all__ = ["Choice", "RegularizedSolution", "Solve", "cooling", "curvature_ratio", "discrepancy", "lcurve"]
