"""The cells of a second-order mesh that hold given points: scikit-fem finds none there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import skfem
from scipy.spatial import cKDTree

#: The meshes with curved cells, of second order.
CURVED_MESHES = (skfem.MeshTri2, skfem.MeshQuad2, skfem.MeshTet2, skfem.MeshHex2)
#: The number of cells, those with the nearest centers, in which a point is looked for first; it lies in one of them
#: unless cells are long and thin.
CANDIDATE_CELLS = 16
#: The number of steps of Newton's method for the reference coordinates of a point.
NEWTON_STEPS = 20
#: The distance by which a point in a cell may lie outside by rounding, in reference coordinates.
INSIDE_TOLERANCE = 1e-12

#: A function from the coordinates of points, d arrays (k,), to the cells (k,) that hold them.
Finder = Callable[..., np.ndarray]


def curved_finder(mesh: skfem.Mesh) -> Finder:
    """Return a function that finds the cells that hold points.

    It stands for ``mesh.element_finder()``, which finds none here.

    Args:
        mesh: A mesh of second order, one of `CURVED_MESHES`.

    Returns:
        A function from the coordinates of points, d arrays (k,), to their cells (k,). It raises ValueError where a
        point is in no cell.
    """
    corners = mesh.p[:, mesh.t]  # (d, corner, c)
    centers = cKDTree(corners.mean(1).T)
    margin = 0.5 * np.ptp(corners, axis=1).max(0)  # edges bend
    low, high = corners.min(1) - margin, corners.max(1) + margin

    def find(*coordinates: np.ndarray) -> np.ndarray:
        points = np.array(coordinates)
        _, near = centers.query(points.T, range(1, min(CANDIDATE_CELLS, mesh.nelements) + 1))  # (k, candidates)
        cells = _holding(mesh, points, near)
        for k in np.flatnonzero(cells < 0):
            point = points[:, [k]]
            boxed = np.flatnonzero(((low <= point) & (point <= high)).all(0))
            if not boxed.size or (cell := _holding(mesh, point, boxed[np.newaxis])[0]) < 0:
                raise ValueError("a point is outside of the mesh")
            cells[k] = cell
        return cells

    return find


def _holding(mesh: skfem.Mesh, points: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return for points (d, k) the first of their candidates (k, j) that holds them, (k,); −1 for none."""
    local = local_coordinates(mesh, np.repeat(points, candidates.shape[1], axis=1), candidates.ravel())
    inside = _is_inside(mesh, local).reshape(candidates.shape)
    return np.where(inside.any(1), candidates[np.arange(len(candidates)), inside.argmax(1)], -1)


def local_coordinates(mesh: skfem.Mesh, points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the reference coordinates (d, k) of points (d, k) in cells (k,).

    They are any numbers where Newton's method fails.
    """
    mapping, x = mesh._mapping(), points[:, :, np.newaxis]
    if isinstance(mapping, skfem.MappingAffine):
        affine: np.ndarray = skfem.MappingAffine(mesh, tind=cells).invF(x)[..., 0]
        return affine
    local = np.broadcast_to(mesh.elem.refdom.p.mean(1)[:, np.newaxis, np.newaxis], x.shape)
    with np.errstate(all="ignore"):
        for _ in range(NEWTON_STEPS):
            step = np.einsum("ijkl,jkl->ikl", mapping.invDF(local, cells), x - mapping.F(local, cells))
            local = local + np.clip(step, -1, 1)
    return local[..., 0]


def clipped_into(mesh: skfem.Mesh, points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the points (d, k), those outside their cells (k,) moved onto the sides.

    They are moved in reference coordinates.
    """
    local = np.clip(local_coordinates(mesh, points, cells), 0, 1)
    if mesh.elem.refdom.nnodes == mesh.dim() + 1:
        local = local / np.maximum(local.sum(0), 1)
    places: np.ndarray = mesh._mapping().F(local[:, :, np.newaxis], cells)[..., 0]
    return places


def _is_inside(mesh: skfem.Mesh, local: np.ndarray) -> np.ndarray:
    """Return for reference coordinates (d, k) whether they are those of a point in the cell, (k,)."""
    is_simplex = mesh.elem.refdom.nnodes == mesh.dim() + 1
    highest = local.sum(0) if is_simplex else local.max(0)
    inside: np.ndarray = (local.min(0) >= -INSIDE_TOLERANCE) & (highest <= 1 + INSIDE_TOLERANCE)
    return inside
