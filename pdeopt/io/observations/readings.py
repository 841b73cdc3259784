"""Readings at times, put together by the sensors that read at the same times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.io.errors import FileError
from pdeopt.io.observations.values import Observations


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """The readings of sensors that read at the same times, as an observation in time predicts them.

    Attributes:
        points: The places (d, k) of the sensors, one column each.
        times: The times (T,), increasing.
        values: The values (k, T).
        uncertainty: Their standard deviations (k, T).
    """

    points: np.ndarray
    times: np.ndarray
    values: np.ndarray
    uncertainty: np.ndarray


def time_series(observations: Observations) -> tuple[TimeSeries, ...]:
    """Return readings at times as series, one for each group of sensors that read at the same times.

    Where every sensor has all times there is one, and ``InTime(AtPoints.of(V, series.points), series.times)`` observes
    it. Sensors with times of their own, as where values are missing, are series of their own, and misfits that add up.

    Args:
        observations: The readings, as `read_observations` returns them with a ``time_unit``.

    Raises:
        FileError: They have no times, or a sensor has several values at one time.

    Example:
        >>> points, times = np.array([[0.1, 0.1, 0.2, 0.2, 0.3]]), np.array([0.0, 1.0, 0.0, 1.0, 0.5])
        >>> readings = Observations(points, np.arange(5.0), np.ones(5), "T", "K", times=times, time_unit="s")
        >>> [series.values.tolist() for series in time_series(readings)]
        [[[0.0, 1.0], [2.0, 3.0]], [[4.0]]]
    """
    if observations.times is None:
        raise FileError("the observations have no times; expected those of read_observations(..., time_unit='s')")
    places, sensor = np.unique(observations.points, axis=1, return_inverse=True)
    groups: dict[bytes, list[np.ndarray]] = {}
    for k in range(places.shape[1]):
        rows = np.flatnonzero(sensor.ravel() == k)
        rows = rows[np.argsort(observations.times[rows], kind="stable")]
        times = observations.times[rows]
        if (np.diff(times) == 0).any():
            twice = times[np.flatnonzero(np.diff(times) == 0)[0]]
            raise FileError(
                f"the sensor at {places[:, k].tolist()} has several values at the time {twice:g}; take their mean"
            )
        groups.setdefault(times.tobytes(), []).append(rows)
    spread = np.broadcast_to(observations.uncertainty, observations.values.shape)
    return tuple(
        TimeSeries(
            observations.points[:, [rows[0] for rows in group]],
            observations.times[group[0]],
            observations.values[np.stack(group)],
            spread[np.stack(group)],
        )
        for group in groups.values()
    )
