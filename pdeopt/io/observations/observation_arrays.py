"""Observations from the arrays of an NPZ file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pdeopt.io.errors import FileError
from pdeopt.io.npz import read_arrays, text_in
from pdeopt.io.observations.values import ExpectedObservations, Observations, same_unit

#: The arrays that hold numbers.
OBSERVATION_ARRAYS = ("points", "values", "uncertainty")


def from_arrays(path: Path, expected: ExpectedObservations) -> Observations:
    """Return the observations in the arrays of an NPZ file.

    Args:
        path: The path of the file.
        expected: What the file must hold.

    Raises:
        FileError: An array, which the message names, is missing, of another shape, or in another unit.
    """
    found = read_arrays(path, "an .npz file; write it with numpy.savez")
    default = {} if expected.uncertainty is None else {"uncertainty": np.array(expected.uncertainty)}
    arrays = default | dict(found)
    in_time = () if expected.time_unit is None else ("times",)
    for name in (*OBSERVATION_ARRAYS, *in_time, "unit", "length_unit", *(["time_unit"] if in_time else [])):
        if name not in arrays:
            raise FileError(f"{path}: there is no array {name!r}; there are {', '.join(map(repr, found)) or 'none'}")
    if "times" in arrays and not in_time:
        raise FileError(
            f"{path}: its values are those at 'times'; say their unit: read_observations(..., time_unit='s')"
        )
    units = {"unit": expected.unit, "length_unit": expected.length_unit, "time_unit": expected.time_unit}
    for name, unit in units.items():
        if unit is None:
            continue
        given = text_in(path, arrays, name)
        if not same_unit(given, unit):
            raise FileError(
                f"{path}, array {name!r}: the unit is {given!r}; expected {unit!r}. Nothing is converted: "
                "change the numbers and the unit in the file"
            )
    points, values, spread = _numbers(path, arrays)
    times = None if expected.time_unit is None else _times(path, arrays)
    kept = ~np.isnan(values) if expected.skip_missing else np.ones(len(values), bool)
    label = text_in(path, arrays, "label") if "label" in arrays else expected.label or "value"
    places = tuple(f"index {k}" for k in np.flatnonzero(kept))
    return Observations(
        points[:, kept],
        values[kept],
        spread[kept],
        label,
        expected.unit,
        expected.length_unit,
        places,
        None if times is None else times[kept],
        expected.time_unit or "",
        int((~kept).sum()),
    )


def _times(path: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the times (k,) of the values.

    Raises:
        FileError: The array is of another shape, or holds no real numbers.
    """
    times, shape = arrays["times"], arrays["values"].shape
    if times.dtype.kind not in "fiu" or times.shape != shape:
        raise FileError(f"{path}, array 'times': {times.dtype} of shape {times.shape}; expected real numbers {shape}")
    return np.asarray(times, float)


def _numbers(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points (d, k), the values (k,) and their uncertainty (k,).

    Args:
        path: The path of the file, for messages.
        arrays: The arrays of the file, by name.

    Raises:
        FileError: An array is of another shape, or holds no real numbers.
    """
    for name in OBSERVATION_ARRAYS:
        if arrays[name].dtype.kind not in "fiu":
            raise FileError(f"{path}, array {name!r}: its type is {arrays[name].dtype}; expected real numbers")
    points, values, spread = (np.asarray(arrays[name], float) for name in OBSERVATION_ARRAYS)
    points = np.atleast_2d(points)
    if values.ndim != 1 or not values.size:
        raise FileError(f"{path}, array 'values': its shape is {values.shape}; expected (k,), one value a point")
    if points.shape[1:] != values.shape:
        hint = ": transpose it" if points.shape[0] == len(values) else ""
        raise FileError(f"{path}, array 'points': its shape is {points.shape}; expected (d, {len(values)}){hint}")
    if spread.shape not in ((), values.shape):
        raise FileError(f"{path}, array 'uncertainty': its shape is {spread.shape}; expected () or {values.shape}")
    return points, values, np.array(np.broadcast_to(spread, values.shape))
