"""The file live.png, the picture of the result while the run is under way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.inverse import Problem
from pdeopt.inversion.history import Row
from pdeopt.run.errors import try_writing
from pdeopt.run.pictures.canvas.style import save, styled
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.store.directory import LIVE_PICTURE_FILE, refuse_foreign
from pdeopt.run.store.fields import fields_of
from pdeopt.run.watch.progress import Progress
from pdeopt.sparse import forgetting

#: The part of the run's time that drawing may take.
MAX_DRAWING_PART = 0.1
#: The least time between two pictures, in seconds.
MIN_PAUSE_SECONDS = 3.0
#: The time that the first picture is expected to take, in seconds.
FIRST_DRAWING_SECONDS = 1.0


class LivePicture:
    """A picture of the iterates, drawn where enough time has passed since the last one.

    Once that fails, no more is drawn.
    """

    def __init__(self, name: str, problem: Problem, progress: Progress) -> None:
        self._name, self._problem, self._progress = name, problem, progress
        self._next = time.perf_counter() + _pause(FIRST_DRAWING_SECONDS)
        self._drawn = False

    def update(self, directory: Path, row: Row, m: np.ndarray) -> None:
        """Draw an iterate into live.png where enough time has passed since the last picture.

        Args:
            directory: The run directory.
            row: The row of the iterate.
            m: The iterate (p,).
        """
        start = time.perf_counter()
        if start < self._next:
            return
        self._progress.stage("live picture")
        with forgetting():
            warnings = try_writing(LIVE_PICTURE_FILE, lambda: self._draw(directory / LIVE_PICTURE_FILE, row, m))
        self._progress.stage("optimization")
        now = time.perf_counter()
        self._next = float("inf") if warnings else now + _pause(now - start)
        self._tell(directory, warnings)

    def _draw(self, path: Path, row: Row, m: np.ndarray) -> None:
        refuse_foreign(path)
        with styled():
            save(draw_result(fields_of(self._problem, m).first, self._headline(row, m)), path)

    def _headline(self, row: Row, m: np.ndarray) -> dict[str, Any]:
        """Return the numbers of the title, by their names in summary.json."""
        expected = self._problem.functional.misfit.expected
        return {
            "problem": self._name,
            "status": "still running",
            "iterations": row.iteration,
            "relative_error": self._problem.relative_error(m),
            "discrepancy": row.misfit / expected if expected else None,
        }

    def _tell(self, directory: Path, warnings: list[str]) -> None:
        for warning in warnings:
            self._progress.warn(f"{warning}; the run went on without it")
        if not (self._drawn or warnings):
            self._progress.note(f"live picture: {directory / LIVE_PICTURE_FILE}")
        self._drawn = True


def _pause(seconds: float) -> float:
    """Return the seconds until the next picture, after one that took so long."""
    return max(MIN_PAUSE_SECONDS, seconds * (1 / MAX_DRAWING_PART - 1))
