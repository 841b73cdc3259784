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
    """Write coefficient, truth, error, state and a target state as cell or point data; False where there are none.

    A coefficient on a boundary is left out (result.npz has it), as is a state whose space is not known.
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
        target = data[fields.at.kind]
        target["coefficient"] = _padded(fields, fields.at.drawn(fields.coefficient))
        if fields.truth is not None:
            target["truth"] = _padded(fields, fields.at.drawn(fields.truth))
            target["error"] = target["coefficient"] - target["truth"]
    if fields.state_at is not None:
        given = {"state": fields.state} | ({"target": fields.data} if fields.kind == FIELD else {})
        for name, values in given.items():
            data[fields.state_at.kind] |= _columns(fields, fields.state_at, name, values)
    return data


def _columns(fields: Fields, at: Placement, name: str, values: np.ndarray | None) -> dict[str, np.ndarray]:
    """One array an experiment."""
    assert values is not None
    columns = values.reshape(len(values), -1).T
    names = [name] if len(columns) == 1 else [f"{name}_{k + 1}" for k in range(len(columns))]
    return {key: _padded(fields, at.drawn(column)) for key, column in zip(names, columns, strict=True)}


def _padded(fields: Fields, values: np.ndarray) -> np.ndarray:
    """Quadratic meshes carry points that are no vertices; they get NaN."""
    missing = fields.p.shape[1] - len(values)
    on_vertices = len(values) != fields.t.shape[1]
    return np.append(values, np.full(missing, np.nan)) if on_vertices and missing > 0 else values
