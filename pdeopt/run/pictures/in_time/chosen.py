"""The choice of a few out of many, for pictures that cannot show all."""

from __future__ import annotations

import numpy as np

#: The part of those that may be shown which is enough where it makes the steps between them equal.
ENOUGH = 0.6


def evenly_chosen(count: int, most: int, fewer: bool = True) -> list[int]:
    """Return some of the numbers 0, …, count − 1, evenly chosen, the first and the last among them.

    Args:
        count: The number of all.
        most: The largest number of those that are chosen.
        fewer: Whether some fewer are chosen where that makes the steps between them equal.
    """
    shown = min(count, most)
    equal = fewer and [k for k in range(shown, max(2, round(ENOUGH * shown)) - 1, -1) if (count - 1) % (k - 1) == 0]
    found: list[int] = np.linspace(0, count - 1, (equal or [shown])[0]).round().astype(int).tolist()
    return found
