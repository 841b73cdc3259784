"""The pieces of an objective with bounds and an L1 term, on each of which it is smooth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.trace import Trace


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece on which some entries are held, at a bound or at 0, and the others keep their sign.

    Attributes:
        held: The mask (p,) of the entries that are held.
        values: Their values (p,); those of the others mean nothing.
        slopes: The derivative (p,) of the L1 term in the others, and 0 in those that are held.
    """

    held: np.ndarray
    values: np.ndarray
    slopes: np.ndarray

    def placed(self, m: np.ndarray) -> np.ndarray:
        """Return a parameter (p,) with the entries that are held at their values."""
        return np.where(self.held, self.values, m)

    def equals(self, other: Piece) -> bool:
        """Return whether another piece is the same one."""
        same = np.array_equal(self.held, other.held) and np.array_equal(self.slopes, other.slopes)
        return bool(same and (self.values == other.values)[self.held].all())


def piece_at(trace: Trace, m: np.ndarray, force: np.ndarray, curvature: np.ndarray | float) -> Piece:
    """Return the piece where the minimum is looked for next, as it is seen from a parameter.

    With the L1 term and the bounds g, the minimizer of J + g satisfies m = prox(m + force / c) for any c > 0, where
    force = −∇J(m), and prox(v) is the minimizer of ½ c (x − v)² + g(x), entry by entry. The pieces are those of prox.

    Args:
        trace: The trace, with bounds and weights of the L1 term.
        m: The parameter (p,).
        force: The negative derivative (p,) of the smooth part of J there.
        curvature: The number c, or one for each entry, (p,).
    """
    moved = m + force / curvature
    weights = np.zeros_like(m) if trace.l1_weights is None else trace.l1_weights
    shrunk = np.sign(moved) * np.maximum(np.abs(moved) - weights / curvature, 0.0)
    values = np.clip(shrunk, trace.lower, trace.upper)
    held = (values != shrunk) | (values == trace.lower) | (values == trace.upper) | ((values == 0) & (weights > 0))
    return Piece(held, values, np.where(held, 0.0, weights * np.sign(values)))
