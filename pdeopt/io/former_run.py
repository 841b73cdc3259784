"""The result of a former run, evaluated at any points: to start from, or to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import skfem
from scipy.spatial import cKDTree

from pdeopt.fem import FunctionSpace, MeshError, cells_at, check_mesh
from pdeopt.io.errors import FileError
from pdeopt.io.meshes.mesh_cells import MESHES
from pdeopt.io.npz import read_arrays, refuse_newer_file, text_in

#: The version of result.npz. 1 (no number) held one mesh, that of the parameter, and no role.
RESULT_FORMAT = 2
#: The arrays of result.npz that hold numbers.
NUMBER_ARRAYS = ("parameter", "coefficient", "p", "t", "at_gather", "at_x")
#: The arrays that result.npz must hold.
REQUIRED_ARRAYS = (*NUMBER_ARRAYS, "cell", "label", "at_kind")
#: The kinds of values that cannot be evaluated at points, with the reason.
NOT_ON_MESH = {"boundary": "lives on a boundary", "numbers": "is a few numbers"}
#: The largest distance to a vertex at which a point outside the mesh takes the value beside it, as a part of the
#: longest diagonal of the cells there.
MAX_OUTSIDE_DISTANCE = 0.75


@dataclass(frozen=True, eq=False)
class FormerRun:
    """The parameter of a former run, with its place in the mesh.

    Attributes:
        directory: The directory of the run.
        label: The coefficient in words, with its unit.
        parameter: The parameter m (p,).
        coefficient: The physical coefficient (p,).
        p: The vertices (d, vertices) of the mesh.
        t: The indices (vertices of a cell, cells) of the vertices of each cell.
        cell: The kind of the cells, such as "triangle"; "" for kinds without a picture.
        kind: Where the values sit: "vertices", "cells" or "boundary"; "numbers" sit nowhere.
        gather: The indices (j, k) into the values, −1 where there is none; the mean over j belongs to the k-th place in
            ``x``.
        x: The places (d, k) of the values.
        names: The names of a few numbers, with their units; empty for a function.
        unknowns: The several parameters by name, each as a run of its own; empty for one.
        steps: The number of steps of a coefficient in time, whose functions are one after the other; 1 of others.
    """

    directory: Path
    label: str
    parameter: np.ndarray
    coefficient: np.ndarray
    p: np.ndarray
    t: np.ndarray
    cell: str
    kind: str
    gather: np.ndarray
    x: np.ndarray
    names: tuple[str, ...] = ()
    unknowns: dict[str, FormerRun] = field(default_factory=dict)
    steps: int = 1

    def coefficient_at(self, points: np.ndarray) -> np.ndarray:
        """Return the coefficient (k,) at points (d, k), linear between vertices (of higher elements, too).

        Of a coefficient in time it is that in each step, (steps · k,).

        A point a little outside the mesh takes the value of the nearest vertex or cell.

        Args:
            points: The points (d, k).

        Raises:
            FileError: A point lies further outside, the points have another dimension than the mesh, or the coefficient
                cannot be evaluated elsewhere: it lives on a boundary only, is a few numbers, or has several components.
        """
        self._check(points)
        if self.steps > 1:
            rows = self.coefficient.reshape(self.steps, -1)
            return np.concatenate([replace(self, coefficient=row, steps=1).coefficient_at(points) for row in rows])
        values = np.where(self.gather >= 0, self.coefficient[self.gather], np.nan).mean(0)
        mesh = MESHES[self.cell](np.ascontiguousarray(self.p[:, : self.t.max() + 1], float), self.t)
        try:
            check_mesh(mesh, check_conformity=False)
        except MeshError as error:
            raise FileError(f"{self.directory}: {error}") from error
        cells = cells_at(mesh, points)
        found, inside = np.empty(points.shape[1]), cells >= 0
        if self.kind == "cells":
            found[inside] = values[cells[inside]]
        elif inside.any():
            found[inside] = _interpolated(mesh, values, points[:, inside])
        found[~inside] = values[self._beside(mesh, points[:, ~inside])]
        if np.isnan(found).any():
            raise FileError(f"{self.directory}: the coefficient has no value at {np.isnan(found).sum()} of the points")
        return found

    def _check(self, points: np.ndarray) -> None:
        if self.kind in NOT_ON_MESH or self.cell not in MESHES:
            where = NOT_ON_MESH.get(self.kind, "has cells of another kind than are known")
            raise FileError(f"{self.directory}: its parameter {where}, and cannot be evaluated elsewhere")
        if self.gather.ndim > 2:
            raise FileError(f"{self.directory}: its coefficient has several components and is not evaluated elsewhere")
        if len(points) != len(self.p):
            raise FileError(f"{self.directory}: its mesh has {len(self.p)} dimensions; the points have {len(points)}")

    def _beside(self, mesh: skfem.Mesh, points: np.ndarray) -> np.ndarray:
        """Return the indices (k,) of the vertices or cells nearest to points (d, k) outside the mesh.

        Raises:
            FileError: A point lies too far outside.
        """
        corners = mesh.p[:, mesh.t]
        diagonal = np.linalg.norm(np.ptp(corners, axis=1), axis=0)
        size = np.zeros(mesh.p.shape[1])
        np.maximum.at(size, mesh.t.ravel(), np.broadcast_to(diagonal, mesh.t.shape).ravel())
        distance, vertex = cKDTree(mesh.p.T).query(points.T)
        far = np.flatnonzero(distance > MAX_OUTSIDE_DISTANCE * size[vertex])
        if len(far):
            raise FileError(
                f"{self.directory}: {len(far)} points lie outside its mesh, up to {distance[far].max():.3g} from the "
                f"nearest vertex, the first at {np.round(points[:, far[0]], 6).tolist()}; both meshes must cover the "
                "same domain, in the same unit"
            )
        return cKDTree(corners.mean(1).T).query(points.T)[1] if self.kind == "cells" else vertex


def read_run(directory: str | Path) -> FormerRun:
    """Return the result of a former run.

    Args:
        directory: The directory of the run.

    Raises:
        FileError: The directory holds no result, a damaged one, or one that a newer version of pdeopt wrote.
    """
    directory = Path(directory)
    path = directory / "result.npz"
    if not path.is_file():
        missing = "it is a file" if directory.is_file() else "there is no such folder"
        what = "it has no result.npz" if directory.is_dir() else missing
        raise FileError(f"{directory} holds no run with a result: {what}; expected the directory of a run that ended")
    arrays = read_arrays(path, "the result of a run")
    refuse_newer_file(path, arrays, RESULT_FORMAT)
    names = list(map(str, arrays.get("unknown_names", ())))
    unknowns = {name: _run(path, _arrays_of_unknown(path, arrays, k)) for k, name in enumerate(names)}
    return replace(_run(path, arrays), unknowns=unknowns)


def _run(path: Path, arrays: Mapping[str, np.ndarray]) -> FormerRun:
    """Return the run, or one parameter of it, that arrays hold.

    Raises:
        FileError: One is missing, or they do not fit each other.
    """
    for name in REQUIRED_ARRAYS:
        if name not in arrays:
            raise FileError(f"{path}: there is no array {name!r}; expected the result of a run")
    for name in ("parameter", "coefficient", "p", "at_x"):
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise FileError(f"{path}, array {name!r}: it has values that are NaN or infinite; expected finite numbers")
    if not _fit(arrays):
        raise FileError(f"{path}: its arrays do not fit each other; expected the result of a run")
    label, cell, kind = (text_in(path, arrays, name) for name in ("label", "cell", "at_kind"))
    parameter, coefficient, p, t = (arrays[name] for name in ("parameter", "coefficient", "p", "t"))
    gather, x, names = arrays["at_gather"], arrays["at_x"], tuple(map(str, arrays.get("number_names", ())))
    steps = len(np.atleast_1d(arrays.get("coefficient_times", 0)))
    if not steps or len(coefficient) % steps:
        raise FileError(f"{path}: {len(coefficient)} values are those of {steps} steps; expected the result of a run")
    return FormerRun(path.parent, label, parameter, coefficient, p, t, cell, kind, gather, x, names, steps=steps)


def _arrays_of_unknown(path: Path, arrays: Mapping[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
    """Return the arrays of the k-th of several parameters under the names that those of a single one have.

    Raises:
        FileError: What says where they are is missing, or does not fit.
    """
    own = {
        name.removeprefix(f"unknown_{k}_"): array for name, array in arrays.items() if name.startswith(f"unknown_{k}_")
    }
    places = {f"at_{name}": own[name] for name in ("gather", "x", "kind") if name in own}
    mesh = {name: own.get(name, arrays.get(name, np.empty(0))) for name in ("p", "t", "cell")}
    try:
        starts = np.vstack([arrays["unknown_starts"], (len(arrays["parameter"]), len(arrays["coefficient"]))])
        (first, first_value), (last, last_value) = starts[k : k + 2].tolist()
        values = {
            "parameter": arrays["parameter"][first:last],
            "coefficient": arrays["coefficient"][first_value:last_value],
        }
        label = arrays["unknown_labels"][k]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FileError(
            f"{path}: its arrays do not say where its parameters are; expected the result of a run"
        ) from error
    names = own.get("number_names", np.empty(0))
    times = {"coefficient_times": own["times"]} if "times" in own else {}
    words = {"label": label, "number_names": names, "unknown_names": arrays["unknown_names"]}
    return {**values, **mesh, **places, **times, **words}


def _fit(arrays: Mapping[str, np.ndarray]) -> bool:
    """Return whether the arrays of a result fit each other.

    Values are real numbers, shapes agree, and indices lie within what they count.

    Args:
        arrays: The arrays of the result, by name.
    """
    m, values, p, t, gather, x = (arrays[name] for name in NUMBER_ARRAYS)
    if any(arrays[name].dtype.kind not in "fiu" for name in NUMBER_ARRAYS):
        return False
    if str(arrays["at_kind"]) == "numbers":
        if "unknown_names" in arrays:
            return values.ndim == m.ndim == 1
        return values.ndim == 1 and values.shape == m.shape == arrays.get("number_names", np.empty(0)).shape
    if not (gather.size and t.size):
        return False
    if t.dtype.kind == "f" or gather.dtype.kind == "f":
        return False
    shapes = values.ndim == m.ndim == 1 and p.ndim == t.ndim == x.ndim == 2 and gather.ndim > 1
    if not shapes or gather.shape[-1] != x.shape[1] or len(x) != len(p):
        return False
    indices = -1 <= gather.min() <= gather.max() < len(values) and 0 <= t.min() <= t.max() < p.shape[1]
    kind, cell = (str(arrays[name]) for name in ("at_kind", "cell"))
    places = {"vertices": t.max() + 1, "cells": t.shape[1], "boundary": 0}
    known = cell not in MESHES or (len(t), len(p)) == (MESHES[cell].elem.refdom.nnodes, MESHES[cell].elem.refdom.dim())
    return indices and known and kind in places and x.shape[1] >= places[kind]


def _interpolated(mesh: skfem.Mesh, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate the values at the vertices linearly at points (d, k).

    Returns:
        The values (k,); NaN where a value is needed that is missing.
    """
    weights = FunctionSpace(mesh, mesh.elem()).point_evaluation(points).to_scipy()
    missing = abs(weights) @ np.isnan(values).astype(float) > 1e-9
    return np.where(missing, np.nan, weights @ np.nan_to_num(values))
