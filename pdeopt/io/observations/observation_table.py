"""Observations from the columns of a CSV file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdeopt.errors import did_you_mean
from pdeopt.io.errors import FileError
from pdeopt.io.observations.csv_table import Table, read_table
from pdeopt.io.observations.values import ExpectedObservations, Observations, same_unit

#: The names of the columns of coordinates, in order.
COORDINATE_COLUMNS = ("x", "y", "z")
#: The name of the column of times.
TIME_COLUMN = "time"
#: The name of the column of standard deviations.
UNCERTAINTY_COLUMN = "uncertainty"


def from_table(path: Path, expected: ExpectedObservations) -> Observations:
    """Return the observations in the columns of a CSV file.

    Args:
        path: The path of the file.
        expected: What the file must hold.

    Raises:
        FileError: Columns are missing or in another unit; the message names the line.
    """
    table = read_table(path, expected.skip_missing)
    axes = _axes(path, table, expected)
    if expected.time_unit is not None and TIME_COLUMN not in table.columns:
        raise _missing(path, table, f"{TIME_COLUMN} ({expected.time_unit})")
    label = _value_column(path, table, expected)
    units = {**dict.fromkeys(axes, expected.length_unit), **dict.fromkeys((label, UNCERTAINTY_COLUMN), expected.unit)}
    if expected.time_unit is not None:
        units[TIME_COLUMN] = expected.time_unit
    for name, unit in units.items():
        _check_unit(path, table, name, unit)
    if UNCERTAINTY_COLUMN not in table.columns and expected.uncertainty is None:
        raise _missing(path, table, f"{UNCERTAINTY_COLUMN} ({expected.unit})")
    values = table.columns[label]
    kept = ~np.isnan(values)
    spread = np.asarray(table.columns.get(UNCERTAINTY_COLUMN, expected.uncertainty), float)
    return Observations(
        np.array([table.columns[axis][kept] for axis in axes]),
        values[kept],
        np.array(np.broadcast_to(spread, values.shape))[kept],
        label,
        expected.unit,
        expected.length_unit,
        tuple(f"line {line}" for line in table.lines[kept]),
        None if expected.time_unit is None else table.columns[TIME_COLUMN][kept],
        expected.time_unit or "",
        int((~kept).sum()),
    )


def _axes(path: Path, table: Table, expected: ExpectedObservations) -> tuple[str, ...]:
    present = [axis for axis in COORDINATE_COLUMNS if axis in table.columns]
    axes = COORDINATE_COLUMNS[: expected.dimension or (COORDINATE_COLUMNS.index(present[-1]) + 1 if present else 1)]
    for axis in axes:
        if axis not in table.columns:
            raise _missing(path, table, f"{axis} ({expected.length_unit})")
    if len(present) > len(axes):
        raise FileError(
            f"{path}, line {table.header}: there is a column {table.title(present[-1])!r}; the mesh has only "
            f"{', '.join(axes)}"
        )
    return axes


def _value_column(path: Path, table: Table, expected: ExpectedObservations) -> str:
    taken = (*COORDINATE_COLUMNS, UNCERTAINTY_COLUMN, *([] if expected.time_unit is None else [TIME_COLUMN]))
    others = [name for name in table.columns if name not in taken]
    if expected.label is not None and expected.label not in others:
        raise _missing(path, table, f"{expected.label} ({expected.unit})", did_you_mean(expected.label, others))
    if not others:
        raise _missing(path, table, f"value ({expected.unit})")
    if expected.label is None and len(others) > 1:
        hint = " or that one is the time: time_unit='s'" if TIME_COLUMN in others else ""
        first = next(name for name in others if name != TIME_COLUMN)
        raise FileError(
            f"{path}, line {table.header}: there are several columns of values, {', '.join(map(repr, others))}; say "
            f"which: read_observations(..., label={first!r}){hint}"
        )
    return expected.label or others[0]


def _check_unit(path: Path, table: Table, name: str, unit: str) -> None:
    if name in table.columns and not same_unit(table.units[name], unit):
        raise FileError(
            f"{path}, line {table.header}: the column {table.title(name)!r} is in {table.units[name] or '?'}; "
            f"expected {unit}. Nothing is converted: change the numbers and the unit in the file"
        )


def _missing(path: Path, table: Table, wanted: str, hint: str = "") -> FileError:
    return FileError(f"{path}, line {table.header}: there is no column {wanted!r}; there are {table.titles}{hint}")
