"""The time that the stages of a run take."""

from __future__ import annotations

import time
from collections.abc import Mapping

#: The stages that come after the last iterate.
FINAL_STAGES = ("evaluating", "interpreting", "pictures")


class StageTimes:
    """A clock that measures the seconds of each stage.

    A stage that begins ends the one before it, and one that comes back goes on.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._stage = ""  # none yet
        self._start = self._since = time.perf_counter()

    def since_start(self) -> float:
        """Return the seconds since the clock was made, at the start of the command."""
        return time.perf_counter() - self._start

    def begin(self, stage: str) -> tuple[str, float]:
        """Begin a stage; return the name of the one before it, and how long that took this time, in seconds."""
        ended, took = self._stage, self._elapsed()
        self._seconds = self.seconds()
        self._stage, self._since = stage, time.perf_counter()
        return ended, took

    def add(self, part: str, seconds: float) -> None:
        """Add the seconds that a part of a stage took, measured elsewhere; it is named "stage/part"."""
        self.begin(self._stage)
        self._seconds = {**self._seconds, part: round(self._seconds.get(part, 0.0) + seconds, 6)}

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage up to now, in the order in which the stages began."""
        if not self._stage:
            return self._seconds
        running = self._seconds.get(self._stage, 0.0) + self._elapsed()
        return {**self._seconds, self._stage: round(running, 6)}

    def _elapsed(self) -> float:
        return time.perf_counter() - self._since


def total_seconds(reached: float, stages: Mapping[str, float]) -> float:
    """Return the seconds of a whole run, of all its parts where it was resumed.

    Args:
        reached: The seconds from the start to the last iterate.
        stages: The seconds by stage, as `StageTimes.seconds` returns them.
    """
    return reached + sum(stages.get(name, 0.0) for name in FINAL_STAGES)


def in_words(seconds: float) -> str:
    """Return a time in words, as 0.8 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
