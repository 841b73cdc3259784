"""The values of constraints g(m) ≤ 0 and g(m) = 0 at one point, with their derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ConstraintRows:
    """A record of what k constraints are: their names, their kinds, and how closely they are kept.

    Attributes:
        names: The name of the constraint to which each of the k rows belongs; several rows may belong to one.
        equality: Whether each row is g = 0 (k,); the others are g ≤ 0.
        tolerance: The violation of each row that is small enough (k,), in the unit of g.
    """

    names: tuple[str, ...]
    equality: np.ndarray
    tolerance: np.ndarray

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of these constraints, of "inequalities" and "equalities"."""
        every = {"equalities": self.equality.any(), "inequalities": (~self.equality).any()}
        return frozenset(name for name, present in every.items() if present)


@dataclass(frozen=True, eq=False)
class ConstraintValues:
    """The values of k constraints at one m (p,), and their derivatives.

    Attributes:
        rows: Which constraints they are.
        values: The values g(m), (k,).
        jacobian: The Euclidean derivatives ∂g/∂m, (k, p).
    """

    rows: ConstraintRows
    values: np.ndarray
    jacobian: np.ndarray

    @property
    def violations(self) -> np.ndarray:
        """The violations (k,), max(g, 0) of an inequality and ``|g|`` of an equality; infinite where g is NaN."""
        found = np.where(self.rows.equality, np.abs(self.values), np.maximum(self.values, 0.0))
        return np.where(np.isnan(found), np.inf, found)

    @property
    def violation(self) -> float:
        """The largest violation."""
        return float(self.violations.max(initial=0))

    @property
    def kept(self) -> bool:
        """True where no violation is above its tolerance."""
        return bool((self.violations <= self.rows.tolerance).all())

    def worst(self) -> str:
        """Return the constraint that is violated most, measured by its tolerance, in words."""
        k = int(np.argmax(self.violations / self.rows.tolerance))
        return f"{self.rows.names[k]!r} is violated by {self.violations[k]:.3g}"
