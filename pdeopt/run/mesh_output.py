"""Fields on their mesh, for ParaView and its like."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdeopt.run.directory import atomic
from pdeopt.run.fields import FIELD, Fields
from pdeopt.run.placement import Placement

#: scikit-fem numbers the vertices of a hexahedron in another order than VTK.
VTK_ORDER = {"hexahedron": [0, 3, 6, 2, 1, 5, 7, 4]}


def write_mesh(path: Path, fields: Fields) -> bool:
    """Write parameter, coefficient, truth, error, state, adjoint and a target state; False where there are none.

    They are cell or point data. A coefficient on a boundary is left out (result.npz has it), as are state and adjoint
    of a space that is not known.
    """
    import meshio

    data = _data(fields)
    if not fields.cell or not any(data.values()):
        return False
    cells = fields.t[VTK_ORDER.get(fields.cell, slice(None))].T
    points = np.zeros((fields.p.shape[1], 3))
    points[:, : len(fields.p)] = fields.p.T
    cell_data = {name: [values] for name, values in data["cells"].items()}
    mesh = meshio.Mesh(points, [(fields.cell, cells)], point_data=data["vertices"], cell_data=cell_data)
    with atomic(path) as temporary:
        mesh.write(temporary)
    return True


def _data(fields: Fields) -> dict[str, dict[str, np.ndarray]]:
    data: dict[str, dict[str, np.ndarray]] = {"vertices": {}, "cells": {}}
    if fields.at.kind in data:
        data[fields.at.kind] |= _of_parameter(fields, fields.at)
    if fields.state_at is not None:
        given = {"state": fields.state, "adjoint": fields.adjoint}
        given |= {"target": fields.data} if fields.kind == FIELD else {}
        for name, values in given.items():
            data[fields.state_at.kind] |= _columns(fields, fields.state_at, name, values)
    return data


def _of_parameter(fields: Fields, at: Placement) -> dict[str, np.ndarray]:
    given = {"parameter": fields.parameter, "coefficient": fields.coefficient, "truth": fields.truth}
    found = {name: _padded(fields, at, at.drawn(values)) for name, values in given.items() if values is not None}
    return found | ({"error": found["coefficient"] - found["truth"]} if "truth" in found else {})


def _columns(fields: Fields, at: Placement, name: str, values: np.ndarray | None) -> dict[str, np.ndarray]:
    """One array an experiment; vectors with three components, as ParaView wants them."""
    if values is None:
        return {}
    columns = values.reshape(len(values), -1).T
    names = [name] if len(columns) == 1 else [f"{name}_{k + 1}" for k in range(len(columns))]
    drawn = {key: at.drawn(column) for key, column in zip(names, columns, strict=True)}
    return {key: _padded(fields, at, field) for key, field in drawn.items()}


def _padded(fields: Fields, at: Placement, drawn: np.ndarray) -> np.ndarray:
    """(k,), or (k, 3) of vectors. Quadratic meshes carry points that are no vertices; they get NaN."""
    missing = fields.p.shape[1] - drawn.shape[-1] if at.kind == "vertices" else 0
    padded = np.pad(drawn, [(0, 0)] * (drawn.ndim - 1) + [(0, missing)], constant_values=np.nan)
    return padded if padded.ndim == 1 else np.pad(padded, [(0, max(0, 3 - len(padded))), (0, 0)]).T
