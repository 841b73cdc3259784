"""The file history.csv of a run."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple
from pathlib import Path

import numpy as np

from pdeopt.inversion.history import HISTORY_COLUMNS, Row
from pdeopt.run.store.directory import write_text
from pdeopt.run.store.regular_file import read_bytes

#: The format of history.csv, which stands in its last column; files of the version before have no such column.
HISTORY_FORMAT = 3
#: The columns that formats 1 and 2 lack, when every equation was linear, and there were no constraints.
LATER_COLUMNS = {"newton_iterations": "0", "violation": "0"}


def write_history(path: Path, rows: list[Row]) -> None:
    """Write the whole file again, so that a reader never sees half a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*HISTORY_COLUMNS, "format"))
    writer.writerows((*astuple(row), HISTORY_FORMAT) for row in rows)
    write_text(path, text.getvalue())


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Return the history that a file holds, column → values (rows,).

    Raises:
        ValueError: The file is no history, or its format is newer than this version of pdeopt.
    """
    try:
        lines = list(csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8"), newline="")))
    except csv.Error as error:
        raise ValueError(f"it is no table: {error}") from error
    cut = next((k for k, line in enumerate(lines, 2) if None in line or None in line.values()), None)
    if cut is not None:
        raise ValueError(f"line {cut} has another number of values than the first line has names; is it cut off?")
    lines = [LATER_COLUMNS | line for line in lines]
    missing = [name for name in HISTORY_COLUMNS if not lines or name not in lines[0]]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}" if lines else "it has no rows")
    newest = max(float(line.get("format", 1)) for line in lines)
    if newest > HISTORY_FORMAT:
        raise ValueError(f"its format is {newest:g}; this version of pdeopt reads up to {HISTORY_FORMAT}: update it")
    return {name: np.array([float(line[name] or "nan") for line in lines]) for name in HISTORY_COLUMNS}
