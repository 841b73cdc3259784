"""Observations from CSV and NPZ files and to them, with checked units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import skfem

from pdeopt.fem.spaces.points import OUTSIDE_TOLERANCE
from pdeopt.io.errors import FileError, existing_file
from pdeopt.io.observations.csv_table import HEADER_CELL
from pdeopt.io.observations.observation_arrays import from_arrays
from pdeopt.io.observations.observation_table import COORDINATE_COLUMNS, TIME_COLUMN, UNCERTAINTY_COLUMN, from_table
from pdeopt.io.observations.values import (
    ExpectedObservations,
    Observations,
    check_inside,
    check_repetition,
    check_values,
)


def read_observations(
    path: str | Path,
    *,
    unit: str,
    length_unit: str = "m",
    label: str | None = None,
    uncertainty: float | None = None,
    mesh: skfem.Mesh | None = None,
    time_unit: str | None = None,
    repeated: bool = False,
    skip_missing: bool = False,
    keep_markers: bool = False,
    tolerance: float = OUTSIDE_TOLERANCE,
) -> Observations:
    """Return observations from a CSV or NPZ file.

    A CSV file has a header such as ``x (m),y (m),potential (V),uncertainty (V)``: the columns x, y and z, as many as
    there are dimensions, one of values under any name, and their uncertainty; lines that begin with # are comments. An
    NPZ file has the arrays points (d, k), values (k,) and uncertainty (k,) or (), and the texts unit, length_unit and,
    possibly, label. Values at times have a column ``time (s)`` besides, or the array times (k,) and the text time_unit:
    each row is a reading of its own, so that sensors may have different times. No unit is converted; units that only
    look different are the same: m·K and m K, m⁻¹ and m^-1.

    Args:
        path: The path of the file, whose name ends in .csv or .npz.
        unit: The unit of the values that the file must state; "1" for values without unit.
        length_unit: The unit of the points that the file must state.
        label: The name of the column of values, where there are several others than x, y, z and uncertainty.
        uncertainty: The standard deviation of all values, where the file gives none.
        mesh: The mesh in which the points must lie; None if they may lie anywhere.
        time_unit: The unit of the times that the file must state; None for values that have none.
        repeated: Whether a point may be there more than once, at one time.
        skip_missing: Whether values that the file says to be missing are left out, and counted: an empty cell, "NA",
            NaN and the like.
        keep_markers: Whether −9999, 1e30 and the like, which stand for a missing value in many files, are values.
        tolerance: How far outside the mesh a point may lie, relative to the longest edge of the cell there; give
            `AtPoints.of` the same.

    Raises:
        FileError: The file is missing, damaged or not as expected; the message names the line or the array, and lists
            points outside the mesh.
    """
    path = existing_file(path, "observation data in a .csv or .npz file")
    dimension = None if mesh is None else mesh.dim()
    expected = ExpectedObservations(unit, length_unit, label, uncertainty, dimension, time_unit, skip_missing)
    read = {".csv": from_table, ".npz": from_arrays}.get(path.suffix.lower())
    if read is None:
        raise FileError(f"{path}: observation data are read from .csv and .npz files, not from {path.suffix!r}")
    found = read(path, expected)
    if not found.values.size:
        raise FileError(f"{path}: all {found.missing} values are missing; expected some that were measured")
    check_values(path, found, keep_markers)
    if not repeated:
        check_repetition(path, found)
    if mesh is not None:
        check_inside(path, found, mesh, tolerance)
    return found


def write_observations(path: str | Path, observations: Observations) -> None:
    """Write a .csv or .npz file that `read_observations` reads: data, or a template to fill in.

    Args:
        path: The path of the file, whose name ends in .csv or .npz.
        observations: The values at their points, with their units.

    Raises:
        FileError: The name has another ending, the times are not those of the values, or the label cannot be the title
            of a column in a .csv file.
    """
    path = Path(path)
    write = {".csv": _write_table, ".npz": _write_arrays}.get(path.suffix.lower())
    if write is None:
        raise FileError(f"{path}: observation data are written to .csv and .npz files, not to {path.suffix!r}")
    if observations.times is not None:
        times, shape = np.shape(observations.times), np.shape(observations.values)
        if times != shape or not observations.time_unit:
            raise FileError(
                f"{path}: there are times of shape {times} in the unit {observations.time_unit!r} for values of shape "
                f"{shape}; expected as many, and a unit: 's'"
            )
    write(path, observations)


def _write_table(path: Path, o: Observations) -> None:
    taken = o.label in (*COORDINATE_COLUMNS, TIME_COLUMN, UNCERTAINTY_COLUMN) or set(o.data_label) & set(',;"\t\n')
    if taken or not HEADER_CELL.fullmatch(o.data_label.strip()):
        raise FileError(
            f"{path}: a column cannot be named {o.data_label!r}; expected another name than x, y, z, time and "
            "uncertainty, without commas, semicolons, quotes and parentheses, and a unit"
        )
    axes = [f"{axis} ({o.length_unit})" for axis in COORDINATE_COLUMNS[: len(o.points)]]
    at = [*o.points] if o.times is None else [*o.points, o.times]
    axes += [] if o.times is None else [f"{TIME_COLUMN} ({o.time_unit})"]
    numbers = np.vstack([*at, o.values, np.broadcast_to(o.uncertainty, o.values.shape)]).T
    rows = [
        [*axes, o.data_label, f"{UNCERTAINTY_COLUMN} ({o.unit})"],
        *([repr(float(x)) for x in row] for row in numbers),
    ]
    path.write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")


def _write_arrays(path: Path, o: Observations) -> None:
    arrays: dict[str, Any] = {
        "points": o.points,
        "values": o.values,
        "uncertainty": o.uncertainty,
        "label": np.array(o.label),
        "unit": np.array(o.unit),
        "length_unit": np.array(o.length_unit),
    }
    if o.times is not None:
        arrays |= {"times": o.times, "time_unit": np.array(o.time_unit)}
    with path.open("wb") as file:
        np.savez(file, **arrays)
