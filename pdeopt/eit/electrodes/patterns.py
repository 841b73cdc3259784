"""Current patterns and voltage differences as columns over the electrodes, and a basis of them."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike

from pdeopt.inverse import InputError

#: The largest sum of the currents of a pattern, relative to the sum of their magnitudes: charge is conserved.
BALANCE_TOLERANCE = 1e-6
#: The singular value, relative to the largest, below which others belong to rounding.
RANK_TOLERANCE = 1e-10


def checked_patterns(values: ArrayLike, electrodes: int, what: str) -> np.ndarray:
    """Return patterns (L, K) as a read-only array of 64-bit numbers.

    Args:
        values: The patterns, a row for each electrode.
        electrodes: The number L of electrodes.
        what: What the patterns are, in words, for messages.

    Raises:
        InputError: They are of another shape, complex, or not finite.
    """
    if np.iscomplexobj(values):
        raise InputError(f"the {what} are complex; expected real numbers")
    array = np.array(values, float)
    if array.ndim != 2 or len(array) != electrodes or not array.size:
        raise InputError(
            f"the {what} have shape {array.shape}; expected ({electrodes}, k), a row for each electrode and a column "
            "for each pattern"
        )
    if not np.isfinite(array).all():
        bad = np.unique(np.nonzero(~np.isfinite(array))[1])
        raise InputError(f"the {what} are NaN or infinite in column {bad[0]} ({len(bad)} such columns); leave them out")
    array.setflags(write=False)
    return array


def check_balanced(currents: np.ndarray) -> None:
    """Check that the currents of each pattern sum to zero, and are not all zero.

    Args:
        currents: The currents (L, K), a column for each pattern.

    Raises:
        InputError: A pattern, which the message names, does not sum to zero, or all currents are zero.
    """
    total, size = np.abs(currents.sum(0)), np.abs(currents).sum(0)
    bad = np.flatnonzero(total > BALANCE_TOLERANCE * size)
    if len(bad):
        k = bad[0]
        raise InputError(
            f"the currents of pattern {k} sum to {currents[:, k].sum():.3g} ({len(bad)} such patterns); expected zero: "
            "what flows in flows out"
        )
    if not size.any():
        raise InputError("all currents are zero; give at least one pattern that drives a current")


def independent_patterns(patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a basis of patterns, and how they are combined of it.

    The basis is orthonormal with columns that sum to zero, and r is the rank (singular value decomposition).

    Args:
        patterns: The patterns (L, K), a column for each.

    Returns:
        ``basis`` (L, r) and ``combination`` (r, K), whose product is the patterns less their column means.
    """
    balanced = patterns - patterns.mean(0)
    left, values, right = np.linalg.svd(balanced, full_matrices=False)
    kept = values > RANK_TOLERANCE * values.max(initial=0)
    basis = left[:, kept]
    return basis - basis.mean(0), values[kept, None] * right[kept]
