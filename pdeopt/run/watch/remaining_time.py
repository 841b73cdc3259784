"""The time that a minimization will still take, as far as the fall of its gradient tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pdeopt.run.watch.stopwatch import in_words

if TYPE_CHECKING:
    from pdeopt.inversion.history import Row

#: The number of rows from which on the time can be told.
MIN_ROWS = 5
#: The part of the history, at its end, that tells it.
TREND_PART = 0.5
#: The least number of rows of that part.
MIN_TREND_ROWS = 4
#: The least fall over these rows, as a multiple of their scatter about it.
MIN_FALL_TO_SCATTER = 3.0


@dataclass(frozen=True)
class ConvergenceGoal:
    """The goal of a minimization, at which it ends.

    Attributes:
        relative: The gradient norm at which it has converged, relative to the first one.
        absolute: The gradient norm at which it has converged.
        max_iterations: The largest number of iterations.
    """

    relative: float
    absolute: float
    max_iterations: int

    def seconds_left(self, rows: list[Row]) -> float | None:
        """Return the seconds until the gradient norm is reached, by a line through its logarithm.

        The best norm so far is taken: it is what has been reached of the goal.

        Args:
            rows: The history.

        Returns:
            The seconds; None where the norm does not fall clearly.
        """
        if len(rows) < MIN_ROWS:
            return None
        norms = np.minimum.accumulate([row.gradient_norm for row in rows])
        goal = max(self.absolute, self.relative * norms[0])
        if not (goal > 0 and norms[-1] > 0):
            return None
        last = max(MIN_TREND_ROWS, int(TREND_PART * len(rows)))
        seconds, heights = np.array([row.seconds for row in rows[-last:]]), np.log(norms[-last:])
        slope, scatter = _line(seconds, heights)
        if not -slope * np.ptp(seconds) > MIN_FALL_TO_SCATTER * scatter:
            return None
        return max(0.0, float((heights[-1] - np.log(goal)) / -slope))

    def seconds_at_most(self, rows: list[Row]) -> float | None:
        """Return the seconds until the iterations are used up, at the pace of the last ones.

        Args:
            rows: The history.

        Returns:
            The seconds; None where there are too few rows.
        """
        if len(rows) < MIN_ROWS:
            return None
        last = rows[-max(MIN_TREND_ROWS, int(TREND_PART * len(rows))) :]
        pace = (last[-1].seconds - last[0].seconds) / (len(last) - 1)
        return pace * max(0, self.max_iterations - rows[-1].iteration)

    def time_left(self, rows: list[Row]) -> str:
        """Return the time that is left in words, "" where nothing can be told.

        Most runs end long before their iterations are used up: how long all of them take is said from the half of them
        on.
        """
        most, likely = self.seconds_at_most(rows), self.seconds_left(rows)
        if most is None:
            return ""
        if likely is None:
            return f"at most {in_words(most)} left" if 2 * rows[-1].iteration >= self.max_iterations else ""
        seconds = min(likely, most)
        return f"about {in_words(seconds)} left" if seconds >= 1 else "less than a second left"


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the slope of the line through points, and the standard deviation of the points from it."""
    centered = x - x.mean()
    if not centered.any():
        return 0.0, 0.0
    slope = float(centered @ y / (centered @ centered))
    return slope, float(np.std(y - slope * centered))
