"""Curvature of the L-curve from computed solutions, and its corner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from pdeopt.optimize.strength.solution import Solution

#: Least p = −d log R / d log s that is believed: below, what R has left of a slope is the minimizer's tolerance.
LEAST_DECAY = 0.01
#: Where the curve turns less than a circle of radius 1 it has no corner.
LEAST_CURVATURE = 1.0
#: Points a decade at which the curvature is looked at.
FINENESS = 100


@dataclass(frozen=True, eq=False)
class CurvedLine:
    """The L-curve (½ log 2F, ½ log 2R) over log s, finely sampled.

    Attributes:
        log_strength, curvature: increasing log s, and κ there, positive where the curve turns like an L.
        height: log F + log R, smallest in the corner that lies closest to the origin.
    """

    log_strength: np.ndarray
    curvature: np.ndarray
    height: np.ndarray

    def peaks(self) -> np.ndarray:
        """Indices of the local maxima of the curvature, ends included."""
        k = np.concatenate([[-np.inf], self.curvature, [-np.inf]])
        return np.flatnonzero((k[1:-1] > k[:-2]) & (k[1:-1] >= k[2:]))


def curved_line(solutions: list[Solution]) -> CurvedLine:
    """The L-curve through at least two solutions of different strengths with positive F and R.

    On it, F′(s) = −s R′(s). So its slope is −F/(s R), known at every solution without differences, and its curvature
    needs one derivative only (Hansen 2001, equation 18, for linear problems; it holds wherever J is stationary). With
    tan θ = F/(s R) and p = −d log R/d log s,

        κ = 2 sin² θ cos θ (1/p − 1 − cot θ).

    p is that of the monotone cubic interpolation of log R (Fritsch, Carlson 1980), which does not overshoot.
    """
    known = sorted(solutions, key=lambda one: one.strength)
    t = np.log([one.strength for one in known])
    fine = np.linspace(t[0], t[-1], max(2, int(FINENESS * (t[-1] - t[0]) / np.log(10))))
    log_misfit = PchipInterpolator(t, np.log([one.misfit for one in known]))(fine)
    log_regularization = PchipInterpolator(t, np.log([one.regularization for one in known]))
    decay = np.maximum(-log_regularization(fine, 1), LEAST_DECAY)
    cotangent = np.exp(fine + log_regularization(fine) - log_misfit)
    return CurvedLine(fine, _curvature(cotangent, decay), log_misfit + log_regularization(fine))


def _curvature(cotangent: np.ndarray, decay: np.ndarray) -> np.ndarray:
    theta = np.arctan2(1.0, cotangent)
    return 2 * np.sin(theta) ** 2 * np.cos(theta) * (1 / decay - 1 - cotangent)
