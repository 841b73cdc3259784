"""The curvature of the L-curve from computed solutions, and its peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from pdeopt.optimize.strength.solution import RegularizedSolution

#: The least p = −d log R / d log s that is believed; what R has left of a slope below that is the tolerance of the
#: minimizer.
LEAST_DECAY = 0.01
#: The least curvature of a corner, that of a circle of radius 1.
LEAST_CURVATURE = 1.0
#: The number of points in a decade of s at which the curvature is looked at.
POINTS_PER_DECADE = 100


@dataclass(frozen=True, eq=False)
class CurvedLine:
    """The L-curve (½ log 2F, ½ log 2R) over log s, finely sampled.

    Attributes:
        log_strength: The increasing log s (k,) of the samples.
        curvature: The curvature κ (k,) there, positive where the curve turns like an L.
        height: The sum log F + log R (k,) there, smallest in the corner that lies closest to the origin.
    """

    log_strength: np.ndarray
    curvature: np.ndarray
    height: np.ndarray

    def peaks(self) -> np.ndarray:
        """Return the indices of the local maxima of the curvature, ends included."""
        k = np.concatenate([[-np.inf], self.curvature, [-np.inf]])
        return np.flatnonzero((k[1:-1] > k[:-2]) & (k[1:-1] >= k[2:]))


def curved_line(solutions: list[RegularizedSolution]) -> CurvedLine:
    """Return the L-curve through at least two solutions of different strengths with positive F and R.

    On it, F′(s) = −s R′(s). So its slope is −F/(s R), known at every solution without differences, and its curvature
    needs one derivative only (Hansen 2001, equation 18, for linear problems; it holds wherever J is stationary). With
    tan θ = F/(s R) and p = −d log R/d log s::

        κ = 2 sin² θ cos θ (1/p − 1 − cot θ).

    p is that of the monotone cubic interpolation of log R (Fritsch, Carlson 1980), which does not overshoot.
    """
    known = sorted(solutions, key=lambda one: one.strength)
    t = np.log([one.strength for one in known])
    fine = np.linspace(t[0], t[-1], max(2, int(POINTS_PER_DECADE * (t[-1] - t[0]) / np.log(10))))
    log_misfit = PchipInterpolator(t, np.log([one.misfit for one in known]))(fine)
    log_regularization = PchipInterpolator(t, np.log([one.regularization for one in known]))
    decay = np.maximum(-log_regularization(fine, 1), LEAST_DECAY)
    cotangent = np.exp(fine + log_regularization(fine) - log_misfit)
    return CurvedLine(fine, _curvature(cotangent, decay), log_misfit + log_regularization(fine))


def _curvature(cotangent: np.ndarray, decay: np.ndarray) -> np.ndarray:
    theta = np.arctan2(1.0, cotangent)
    return 2 * np.sin(theta) ** 2 * np.cos(theta) * (1 / decay - 1 - cotangent)
