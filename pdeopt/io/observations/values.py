"""Values that were measured at points, and the checks that they must pass."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

import numpy as np
import skfem

from pdeopt.fem.spaces.points import locate_points
from pdeopt.io.errors import FileError, listed
from pdeopt.io.meshes.mesh_cells import MAX_COORDINATE

#: The characters that look like others: three degree signs, four dots of multiplication, five minus signs.
LOOK_ALIKE = str.maketrans(dict.fromkeys("º˚", "°") | dict.fromkeys("·⋅∙•*", " ") | dict.fromkeys("−‐‑‒–", "-"))
#: The finite numbers that stand for a missing value in many files: also fill values of netCDF and of 32-bit numbers.
NO_DATA = (-999.0, 9999.0, 99999.0, 999999.0, 32768.0, 1e20, 1e30, 9.969209968386869e36, 3.4028234663852886e38)
#: What else can be done about missing values, for messages.
SKIP_HINT = ", or read_observations(..., skip_missing=True)"
#: The name of a number in a message, by its array.
WORDS_OF_ARRAYS = {"values": "a value", "uncertainty": "an uncertainty"}


def same_unit(one: str, other: str) -> bool:
    """Return whether two units are written alike: m·K and m K, or m⁻¹ and m^-1.

    It does not matter which letter is taken for µ and Ω.
    """
    return _plain(one) == _plain(other)


def _plain(unit: str) -> str:
    text = normalize("NFKC", unit.translate(LOOK_ALIKE)).translate(LOOK_ALIKE)
    text = re.sub(r"(?<=[^\W\d])(?:\^|  +)\{?(-?\d+)\}?", r"\1", text)  # m^-1, m^{-1}, m**-1
    return re.sub(r"(?<=°) | *([/()]) *", r"\1", " ".join(text.split()))


@dataclass(frozen=True, eq=False)
class Observations:
    """A set of values that were measured at points.

    Attributes:
        points: The points (d, k), one column each.
        values: The values (k,).
        uncertainty: The standard deviations (k,) of the values; a number where all are the same.
        label: What was measured, in words.
        unit: The unit of the values and their uncertainty.
        length_unit: The unit of the points.
        places: Where each value stands in its file, such as "line 7"; empty where they are from none.
        times: The time (k,) of each value; None for what does not depend on time.
        time_unit: The unit of the times; "" without them.
        missing: How many values the file said to be missing, which are left out here.
    """

    points: np.ndarray
    values: np.ndarray
    uncertainty: np.ndarray
    label: str
    unit: str
    length_unit: str = "m"
    places: tuple[str, ...] = field(default=(), repr=False)
    times: np.ndarray | None = None
    time_unit: str = ""
    missing: int = 0

    @property
    def data_label(self) -> str:
        """The quantity with its unit, as a `Problem` takes it, such as "potential (V)"."""
        return f"{self.label} ({self.unit})"


@dataclass(frozen=True)
class ExpectedObservations:
    """A record of what a file must hold, as `read_observations` is told.

    Attributes:
        unit: The unit of the values.
        length_unit: The unit of the points.
        label: The name of the column of values; None where there is only one.
        uncertainty: The standard deviation of all values, where the file gives none.
        dimension: The dimension of the mesh; None without a mesh.
        time_unit: The unit of the times; None for values without.
        skip_missing: Whether missing values are left out, and not refused.
    """

    unit: str
    length_unit: str
    label: str | None
    uncertainty: float | None
    dimension: int | None
    time_unit: str | None = None
    skip_missing: bool = False


def check_values(path: Path, found: Observations, keep_markers: bool) -> None:
    """Check that numbers are finite and mark no missing value, and that uncertainties are > 0.

    Args:
        path: The path of the file, for messages.
        found: The values that it holds.
        keep_markers: Whether numbers that stand for a missing value in many files are taken for values.

    Raises:
        FileError: They are not, or a point is too far away.
    """
    arrays = {"points": found.points, "values": found.values, "uncertainty": found.uncertainty}
    for name, array in (arrays if found.times is None else {**arrays, "times": found.times}).items():
        bad = np.flatnonzero(~np.isfinite(np.atleast_2d(array)).all(0))
        if len(bad):
            raise FileError(
                f"{path}, array {name!r}, {found.places[bad[0]]}: NaN or infinite; leave out what was not measured"
                f"{SKIP_HINT if name == 'values' else ''}"
            )
    for name in () if keep_markers else ("values", "uncertainty"):
        sizes = np.where(arrays[name] == 999, 0, np.abs(arrays[name]))  # −999 marks, 999 may be a value
        marked = np.flatnonzero(np.isclose(sizes[:, np.newaxis], np.abs(NO_DATA), rtol=1e-6, atol=0).any(1))
        if len(marked):
            raise FileError(
                f"{path}, {found.places[marked[0]]}: {arrays[name][marked[0]]:g} as {WORDS_OF_ARRAYS[name]}, in "
                f"{len(marked)} of {len(found.values)} places: in many files it stands for a missing one. Leave out "
                "what was not measured, or read_observations(..., keep_markers=True) where it was"
            )
    far = np.flatnonzero((np.abs(found.points) > MAX_COORDINATE).any(0))
    if len(far):
        raise FileError(
            f"{path}, {found.places[far[0]]}: the point {_shown(found.points[:, far[0]])} is further away than "
            f"{MAX_COORDINATE:g}; expected coordinates in {found.length_unit}"
        )
    flat = np.flatnonzero(found.uncertainty <= 0)
    if len(flat):
        raise FileError(
            f"{path}, {found.places[flat[0]]}: the uncertainty is {found.uncertainty[flat[0]]:g}; expected a standard "
            "deviation > 0"
        )


def check_repetition(path: Path, found: Observations) -> None:
    """Check that no point is there more than once, at one time.

    Args:
        path: The path of the file, for messages.
        found: The values that it holds.

    Raises:
        FileError: A point is there more than once.
    """
    at = found.points if found.times is None else np.vstack([found.points, found.times])
    _, first, which = np.unique(at, axis=1, return_index=True, return_inverse=True)
    original = first[which.ravel()]
    again = np.flatnonzero(original != np.arange(len(original))).tolist()
    if len(again):
        when = "" if found.times is None else f" at the time {found.times[again[0]]:g}"
        raise FileError(
            f"{path}, {found.places[again[0]]}: the same point {_shown(found.points[:, again[0]])}{when} as in "
            f"{found.places[original[again[0]]]}; take the mean of the two, or read_observations(..., repeated=True) "
            "where it was measured more than once"
        )


def check_inside(path: Path, found: Observations, mesh: skfem.Mesh, tolerance: float) -> None:
    """Check that all points lie in the mesh.

    Args:
        path: The path of the file, for messages.
        found: The values that it holds.
        mesh: The mesh.
        tolerance: How far outside the mesh a point may lie, relative to the cell there.

    Raises:
        FileError: Points lie further outside, which the message lists, or have another dimension.
    """
    if len(found.points) != mesh.dim():
        raise FileError(f"{path}: points have {len(found.points)} coordinates; the mesh has {mesh.dim()} dimensions")
    places = locate_points(mesh, found.points, tolerance)
    outside = np.flatnonzero(places.cells < 0).tolist()
    if len(outside):
        raise FileError(
            f"{path}: {len(outside)} of {len(found.values)} points lie outside the mesh, which reaches from "
            f"{_shown(mesh.p.min(1))} to {_shown(mesh.p.max(1))}, {places.outside()} (tolerance={tolerance:g}): "
            f"{listed([f'{found.places[k]}: {_shown(found.points[:, k])}' for k in outside])}"
        )


def _shown(point: np.ndarray) -> str:
    return f"({', '.join(f'{x:g}' for x in point)})"
