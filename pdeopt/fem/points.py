"""Evaluation of finite-element functions at points."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
import skfem
from scipy.spatial import cKDTree

from pdeopt.fem.curved_cells import SECOND_ORDER, Finder, curved_finder
from pdeopt.fem.errors import FEMError

#: scikit-fem's finder tests each point against the candidate cells of all points: 4 k points at once take 6 s.
CHUNK = 64
#: A point on the boundary may lie outside by rounding: by so much of its distance to the center of a cell near it.
ROUNDING = 1e-9


def point_matrix(basis: skfem.CellBasis, points: np.ndarray) -> sp.csr_matrix:
    """The matrix (components · k, n) that evaluates a function at points (d, k), first component first.

    Raises FEMError that lists the points outside the mesh.
    """
    cells = cells_at(basis.mesh, points)
    if (cells < 0).any():
        raise FEMError(_points_outside(np.flatnonzero(cells < 0), points))
    local = basis.mapping.invF(points[:, :, np.newaxis], tind=cells)
    functions = [basis.elem.gbasis(basis.mapping, local, i, tind=cells)[0] for i in range(basis.Nbfun)]
    values = np.array([np.asarray(function).reshape(-1, len(cells)) for function in functions])  # (i, component, k)
    dofs = np.broadcast_to(basis.dofs.element_dofs[:, np.newaxis, cells], values.shape)
    rows = np.broadcast_to(np.arange(values[0].size).reshape(values.shape[1:]), values.shape)
    matrix = sp.csr_matrix((values.ravel(), (rows.ravel(), dofs.ravel())), (values[0].size, basis.N))
    matrix.sum_duplicates()
    return matrix


def known_points(points: Any) -> np.ndarray:
    """Return points as a NumPy array; raises FEMError where JAX traces them."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(points)):
        raise FEMError(
            "JAX traces the points: the cell that holds a point does not depend smoothly on its place, so that a place "
            "cannot be a parameter here; take a smooth source or sensor at a place p in a form instead, as "
            "jnp.exp(-((w.x[0] - p[0])**2 + (w.x[1] - p[1])**2) / (2 * width**2))"
        )
    return np.asarray(points, float)


def cells_at(mesh: skfem.Mesh, points: np.ndarray) -> np.ndarray:
    """Return (k,), the cell that holds each of the points (d, k), −1 for those outside the mesh."""
    points = known_points(points)
    lowest, highest = mesh.p.min(1, keepdims=True), mesh.p.max(1, keepdims=True)
    size = np.max(highest - lowest)  # squares of distances to points far away would overflow
    near = ((points > lowest - size) & (points < highest + size)).all(0)
    if not near.all():
        cells = np.full(points.shape[1], -1)
        cells[near] = cells_at(mesh, points[:, near])
        return cells
    if not points.shape[1]:
        return np.empty(0, int)
    find = curved_finder(mesh) if isinstance(mesh, SECOND_ORDER) else mesh.element_finder()
    centers = cache(lambda: cKDTree(mesh.p[:, mesh.t].mean(1).T))  # seldom needed
    chunks = np.array_split(points, range(CHUNK, points.shape[1], CHUNK), axis=1)
    return np.concatenate([_found(find, chunk, centers) for chunk in chunks])


def _found(find: Finder, points: np.ndarray, centers: Callable[[], cKDTree]) -> np.ndarray:
    try:
        return find(*points)
    except ValueError:
        return np.array([_cell_of(find, point, centers()) for point in points.T])


def _cell_of(find: Finder, point: np.ndarray, centers: cKDTree) -> int:
    """Where the point is in no cell, it is moved a little toward the nearest ones."""
    _, nearest = centers.query(point, range(1, min(4, centers.n) + 1))
    for place in (point, *(point + ROUNDING * (centers.data[nearest] - point))):
        try:
            return int(find(*place[:, np.newaxis])[0])
        except ValueError:
            continue
    return -1


def _points_outside(outside: np.ndarray, points: np.ndarray) -> str:
    listed = "; ".join(f"{k}: {points[:, k].tolist()}" for k in outside[:5])
    return f"{len(outside)} of {points.shape[1]} points lie outside the mesh ({listed}{' …' * (len(outside) > 5)})"
