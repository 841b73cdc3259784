"""A set of data beside what is predicted of it, with the times and places at which it was taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pdeopt.inverse import AtPoints, InTime, Misfit, MisfitSum

#: The arrays of a data set by which result.npz holds it.
DATA_SET_ARRAYS = ("data", "predicted", "noise", "times", "points", "initial_predicted")


@dataclass(frozen=True, eq=False)
class DataSet:
    """Data beside what is predicted of them.

    Attributes:
        label: The name of the data, with their unit where it is known.
        data: The data; of readings in time the last axis is that of the times, the first one that of the sensors.
        predicted: The predicted data, of the data's shape.
        noise: The standard deviation of the data, of their shape or one number; None where it is not known.
        times: The times (T,) of readings in time; None for others.
        points: The coordinates (d, k) of the data; None where they are not known.
        initial_predicted: The data that the initial guess predicts, of the data's shape; None where they are not known.

    Raises:
        ValueError: The shapes do not fit each other.
    """

    label: str
    data: np.ndarray
    predicted: np.ndarray
    noise: np.ndarray | None
    times: np.ndarray | None = None
    points: np.ndarray | None = None
    initial_predicted: np.ndarray | None = None

    def __post_init__(self) -> None:
        noise = () if self.noise is None else self.noise.shape
        if self.predicted.shape != self.data.shape or noise not in ((), self.data.shape):
            shapes = f"{self.data.shape}, {self.predicted.shape} as predicted, and their noise {noise}"
            raise ValueError(f"the data {self.label!r} have the shape {shapes}; expected the same")
        if self.initial_predicted is not None and self.initial_predicted.shape != self.data.shape:
            raise ValueError(
                f"the data {self.label!r} have the shape {self.data.shape}, and {self.initial_predicted.shape} as the "
                "initial guess predicts them; expected the same"
            )
        if self.times is not None and (self.data.ndim < 2 or self.times.shape != self.data.shape[-1:]):
            raise ValueError(
                f"the data {self.label!r} have the shape {self.data.shape} and {self.times.shape} times; expected one "
                "time for each entry of the last axis"
            )


def with_times(sets: Sequence[DataSet], misfit: Misfit) -> list[DataSet]:
    """Return data sets with the times, and the points where they are known, of readings in time.

    Args:
        sets: The data sets of a misfit, in its order.
        misfit: The misfit.
    """
    parts = misfit.parts.values() if isinstance(misfit, MisfitSum) else [misfit]
    found = []
    for one, part in zip(sets, [part for part in parts if part.data is not None], strict=True):
        given = part.observation
        if isinstance(given, InTime):
            points = given.observation.points if isinstance(given.observation, AtPoints) else None
            one = replace(one, times=np.asarray(given.times), points=points)
        found.append(one)
    return found


def further_to_arrays(sets: Sequence[DataSet]) -> dict[str, np.ndarray]:
    """Return the arrays of result.npz that hold data sets beyond the first one."""
    arrays = {"further_labels": np.array([one.label for one in sets])} if sets else {}
    for k, one in enumerate(sets):
        given = {name: getattr(one, name) for name in DATA_SET_ARRAYS}
        arrays |= {f"further_{k}_{name}": array for name, array in given.items() if array is not None}
    return arrays


def further_from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[DataSet, ...]:
    """Return the data sets that `further_to_arrays` made arrays of.

    Raises:
        KeyError: An array is missing.
        ValueError: Arrays do not fit each other.
    """
    found = []
    for k, label in enumerate(np.atleast_1d(arrays.get("further_labels", ()))):
        data, predicted = arrays[f"further_{k}_data"], arrays[f"further_{k}_predicted"]
        others = {name: arrays.get(f"further_{k}_{name}") for name in DATA_SET_ARRAYS[2:]}
        found.append(DataSet(str(label), data, predicted, **others))
    return tuple(found)
