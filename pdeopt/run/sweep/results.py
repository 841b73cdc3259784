"""The results of the runs of a sweep, and the file sweep.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdeopt.run.errors import UsageError
from pdeopt.run.store.directory import write_text
from pdeopt.run.store.stored_run import read_summary
from pdeopt.run.sweep.grid import Grid, GridPoint
from pdeopt.run.sweep.processes import EndedChild
from pdeopt.run.watch.interruption import SIGNAL_EXIT_STATUSES, STOP_SIGNALS

#: The columns of sweep.csv behind the keys, where a run has them; its other numbers and texts follow.
FIRST_COLUMNS = (
    *("status", "objective", "misfit", "regularization", "relative_error", "iterations", "cg_iterations"),
    *("evaluations", "factorizations", "solves", "seconds"),
)
#: The last columns of sweep.csv.
LAST_COLUMNS = ("message", "folder")


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended by itself.

    Attributes:
        point: Its point of the grid.
        summary: The entries of its summary.json; status and message at least.
    """

    point: GridPoint
    summary: dict[str, Any]

    @property
    def failed(self) -> bool:
        """True where the run failed."""
        return self.summary["status"] == "failed"


def stored_run(directory: Path, point: GridPoint) -> FinishedRun | None:
    """Return the run in a folder, or None where there is none, or it was interrupted.

    Args:
        directory: The directory of the sweep.
        point: The point of the grid.

    Raises:
        UsageError: The folder is a link, or its summary cannot be read.
    """
    folder = directory / point.folder
    if folder.is_symlink():
        raise UsageError(f"{folder} is a symbolic link; expected a folder: the runs of a sweep lie in its directory")
    summary = read_summary(folder / "summary.json")
    return FinishedRun(point, summary) if summary and "interrupted" not in summary["message"] else None


def ended_run(directory: Path, point: GridPoint, child: EndedChild) -> FinishedRun | None:
    """Return the run that a child has left behind, or None where it was interrupted.

    It may have been interrupted also while Python itself started.

    Args:
        directory: The directory of the sweep.
        point: The point of the grid.
        child: The child.
    """
    found = stored_run(directory, point) if child.exit_status in (0, 1, *SIGNAL_EXIT_STATUSES) else None
    if found is None and child.exit_status not in (*SIGNAL_EXIT_STATUSES, *(-number for number in STOP_SIGNALS)):
        return FinishedRun(point, {"status": "failed", "message": _complaint(child)})
    return found


def write_table(path: Path, grid: Grid, runs: Sequence[FinishedRun]) -> None:
    """Write sweep.csv, with a row for each run.

    What a summary has under the name of a key is "result_…"; what no run has is left out.

    Args:
        path: The path of the file.
        grid: The grid of the sweep.
        runs: The results of the runs that have ended.
    """
    rows = [_row(run, {key.name for key in grid.varied}) for run in runs]
    given = dict.fromkeys(
        name for row in rows for name, value in row.items() if value is not None or name in FIRST_COLUMNS
    )
    names = [key.name for key in grid.varied] + [name for name in FIRST_COLUMNS if name in given]
    names += [name for name in given if name not in (*names, *LAST_COLUMNS)] + list(LAST_COLUMNS)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _row(run: FinishedRun, keys: set[str]) -> dict[str, Any]:
    """Return a row of sweep.csv: the keys, then the numbers and texts of the summary."""
    plain = {name: value for name, value in run.summary.items() if not isinstance(value, (dict, list))}
    result = {f"result_{name}" if name in keys else name: value for name, value in plain.items()}
    return {**run.point.values, **result, "folder": run.point.folder}


def _complaint(child: EndedChild) -> str:
    """Return the last thing that a run without a summary said."""
    lines = [line.removeprefix("pdeopt: error: ") for line in child.errors.splitlines() if line.strip()]
    if child.exit_status < 0:
        return f"ended by signal {-child.exit_status}"
    return lines[-1] if lines else f"ended with exit status {child.exit_status}"
