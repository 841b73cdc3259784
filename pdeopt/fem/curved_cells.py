"""The cells of a second-order mesh that hold given points: scikit-fem finds none there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import skfem
from scipy.spatial import cKDTree

SECOND_ORDER = (skfem.MeshTri2, skfem.MeshQuad2, skfem.MeshTet2, skfem.MeshHex2)
#: Cells whose centers are nearest to a point; it lies in one of them where the mesh is not badly shaped.
CANDIDATES = 16
NEWTON_STEPS = 20
INSIDE = 1e-12

Finder = Callable[..., np.ndarray]


def curved_finder(mesh: skfem.Mesh) -> Finder:
    """As ``mesh.element_finder()``: a function of the coordinates (k,) of points that returns their cells (k,).

    It raises ValueError where a point is in no cell.
    """
    centers = cKDTree(mesh.p[:, mesh.t].mean(1).T)

    def find(*coordinates: np.ndarray) -> np.ndarray:
        points = np.array(coordinates)
        _, near = centers.query(points.T, range(1, min(CANDIDATES, mesh.nelements) + 1))  # (k, candidates)
        local = _local(mesh, np.repeat(points, near.shape[1], axis=1), near.ravel())
        inside = _is_inside(mesh, local).reshape(near.shape)
        if not inside.any(1).all():
            raise ValueError("a point is outside of the mesh")
        return near[np.arange(len(near)), inside.argmax(1)]

    return find


def _local(mesh: skfem.Mesh, points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(d, k), reference coordinates of points (d, k) in cells (k,), by Newton's method; anything where it fails."""
    mapping, x = mesh._mapping(), points[:, :, np.newaxis]
    local = np.broadcast_to(mesh.elem.refdom.p.mean(1)[:, np.newaxis, np.newaxis], x.shape)
    with np.errstate(all="ignore"):
        for _ in range(NEWTON_STEPS):
            step = np.einsum("ijkl,jkl->ikl", mapping.invDF(local, cells), x - mapping.F(local, cells))
            local = local + np.clip(step, -1, 1)
    return local[..., 0]


def _is_inside(mesh: skfem.Mesh, local: np.ndarray) -> np.ndarray:
    """Whether reference coordinates (d, k) are those of a point in the cell."""
    is_simplex = mesh.elem.refdom.nnodes == mesh.dim() + 1
    highest = local.sum(0) if is_simplex else local.max(0)
    return (local.min(0) >= -INSIDE) & (highest <= 1 + INSIDE)
