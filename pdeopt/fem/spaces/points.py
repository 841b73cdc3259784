"""Evaluation of finite-element functions at points."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
import skfem
from scipy.spatial import cKDTree

from pdeopt.fem.errors import FEMError
from pdeopt.fem.meshes.curved_cells import CURVED_MESHES, Finder, clipped_into, curved_finder

#: The number of points that are looked up at once. scikit-fem's finder tests each point against the candidate cells of
#: all points: 4 k points at once take 6 s.
POINTS_PER_LOOKUP = 64
#: The distance by which a point on the boundary may lie outside by rounding, as a part of its distance to the center
#: of a cell near it.
BOUNDARY_ROUNDING = 1e-9
#: The largest distance from the boundary, relative to the size of the cell there, at which a point outside is moved to
#: the nearest place of the boundary: coordinates with four decimals are rounded by so much of cells of 0.0014, and a
#: sensor on the rim of a disk lies outside of its polygon by so much of an edge that spans 23 degrees.
OUTSIDE_TOLERANCE = 0.05
#: The number of times that a curved side is halved into straight pieces: they deviate by 1/64 of what the edge does.
SIDE_HALVINGS = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LocatedPoints:
    """A set of points in the cells that hold them.

    Attributes:
        points: The points (d, k), those a little outside moved to the nearest place of the boundary.
        cells: The cell of each point, (k,); −1 for points that are too far outside.
        distances: The distance by which each was moved, or would have to be, (k,), in the unit of the mesh; 0 inside,
            infinite where a point is far away or no number.
        relative: The same distances relative to the size of the cell there, (k,).
    """

    points: np.ndarray
    cells: np.ndarray
    distances: np.ndarray
    relative: np.ndarray

    def outside(self) -> str:
        """Return in words how far the worst of the points too far outside lies from the mesh."""
        far = np.flatnonzero(self.cells < 0)
        worst = far[np.argmax(self.distances[far])]
        if not np.isfinite(self.distances[worst]):
            return "the worst is far away, or no number"
        return f"the worst by {self.distances[worst]:.3g}, which is {self.relative[worst]:.3g} of the cell there"


def locate_points(mesh: skfem.Mesh, points: np.ndarray, tolerance: float = OUTSIDE_TOLERANCE) -> LocatedPoints:
    """Return points in their cells, those a little outside moved to the boundary, which is logged.

    Args:
        mesh: Any mesh, also of curved cells.
        points: The points (d, k), one column each.
        tolerance: The largest distance outside at which points are moved, relative to the longest edge of the cell
            there.

    Raises:
        FEMError: The tolerance is negative or no number.
    """
    if not tolerance >= 0:
        raise FEMError(f"the tolerance of points is {tolerance}; expected a number ≥ 0, relative to the cell: 0.05")
    cells, moved = cells_at(mesh, points), points.astype(float)
    distances, relative = (np.where(cells < 0, np.inf, 0.0) for _ in range(2))
    outside = np.flatnonzero((cells < 0) & (np.abs(points) < 1e100).all(0))
    if len(outside) and not isinstance(mesh, skfem.MeshWedge1):  # scikit-fem has no facets of prisms
        boundary = _Boundary(mesh)
        for k in outside if len(boundary.cells) else ():
            place, owner, distances[k] = boundary.nearest(points[:, k])
            if isinstance(mesh, CURVED_MESHES):  # from the pieces to the curved side itself
                curved = clipped_into(mesh, points[:, [k]], boundary.cells[[owner]])[:, 0]
                distance = np.sqrt(((curved - points[:, k]) ** 2).sum())
                if distance < distances[k]:
                    place, distances[k] = curved, distance
            relative[k] = distances[k] / boundary.sizes[owner]
            if relative[k] <= tolerance:
                moved[:, k], cells[k] = place, boundary.cells[owner]
    near = np.flatnonzero((distances > 0) & (cells >= 0))
    if len(near):
        _log.warning(
            "%d of %d points lie outside the mesh by up to %.3g (%.2g of the cell there), and are moved to the nearest "
            "place of its boundary",
            len(near),
            len(cells),
            distances[near].max(),
            relative[near].max(),
        )
    return LocatedPoints(moved, cells, distances, relative)


class _Boundary:
    """The boundary of a mesh, as points, segments or triangles; where it is curved, in small pieces."""

    def __init__(self, mesh: skfem.Mesh) -> None:
        facets = mesh.boundary_facets()
        self.cells = mesh.f2t[0, facets]
        if not len(facets):
            return
        nodes = mesh.p[:, mesh.t[:, self.cells]]
        self.sizes = np.sqrt(((nodes[:, :, None] - nodes[:, None]) ** 2).sum(0).max((0, 1)))
        if mesh.dim() == 1:
            corners = mesh.p[:, mesh.facets[:, facets]][:, :, :, None]  # (d, corner, f, piece)
        else:
            quads = len(mesh.facets) == 4
            reference = skfem.MeshLine if mesh.dim() == 2 else skfem.MeshQuad if quads else skfem.MeshTri
            pieces = reference.init_refdom().refined(SIDE_HALVINGS if isinstance(mesh, CURVED_MESHES) else 0)
            pieces = pieces.to_meshtri() if quads else pieces
            corners = mesh._mapping().G(pieces.p, find=facets)[:, :, pieces.t].transpose(0, 2, 1, 3)
        self.owner = np.repeat(np.arange(len(facets)), corners.shape[3])
        self.corners = corners.reshape(*corners.shape[:2], -1)  # (d, corner, piece)
        centers = self.corners.mean(1)
        self.reach = np.sqrt(((self.corners - centers[:, None]) ** 2).sum(0).max())
        self.tree = cKDTree(centers.T)

    def nearest(self, point: np.ndarray) -> tuple[np.ndarray, int, float]:
        """Return the place of the boundary that is nearest to a point (d,).

        Returns:
            The place (d,), the number of its facet among those of the boundary, and the distance.
        """
        bound, _ = self.tree.query(point)
        near = np.array(self.tree.query_ball_point(point, (bound + self.reach) * (1 + 1e-9)))
        places = _closest_places(point, self.corners[:, :, near])
        distances = np.sqrt(((places - point[:, None]) ** 2).sum(0))
        k = int(distances.argmin())
        return places[:, k], int(self.owner[near[k]]), float(distances[k])


def _closest_places(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the places (d, f) of points, segments or triangles that are nearest to a point.

    Args:
        point: The point (d,).
        corners: The corners (d, v, f) of f points (v = 1), segments (v = 2) or triangles (v = 3).
    """
    if corners.shape[1] == 1:
        return corners[:, 0]
    if corners.shape[1] == 2:
        a, along = corners[:, 0], corners[:, 1] - corners[:, 0]
        t = ((point[:, None] - a) * along).sum(0) / (along**2).sum(0)
        on_segments: np.ndarray = a + np.clip(t, 0, 1) * along
        return on_segments
    places = np.stack([_closest_places(point, corners[:, [i, j]]) for i, j in ((0, 1), (1, 2), (2, 0))])
    distances = ((places - point[:, None]) ** 2).sum(1)
    best = np.take_along_axis(places, distances.argmin(0)[None, None], 0)[0]
    a, e, f = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(e, f, axis=0)
    size = (normal**2).sum(0)
    offset = point[:, None] - a
    s = (np.cross(offset, f, axis=0) * normal).sum(0) / size
    t = (np.cross(e, offset, axis=0) * normal).sum(0) / size
    on_triangles: np.ndarray = np.where((s >= 0) & (t >= 0) & (s + t <= 1), a + s * e + t * f, best)
    return on_triangles


def point_matrix(basis: skfem.CellBasis, points: np.ndarray, tolerance: float) -> sp.csr_matrix:
    """Return the matrix (components · k, n) that evaluates a function at points, first component first.

    Args:
        basis: The basis of the function's space.
        points: The points (d, k), one column each.
        tolerance: The largest distance outside at which points are moved, relative to the longest edge of the cell
            there.

    Raises:
        FEMError: Points lie outside the mesh by more than the tolerance; it lists them.
    """
    found = locate_points(basis.mesh, points, tolerance)
    if (found.cells < 0).any():
        raise FEMError(_points_outside(found, points, tolerance))
    cells, points = found.cells, found.points
    local = basis.mapping.invF(points[:, :, np.newaxis], tind=cells)
    functions = [basis.elem.gbasis(basis.mapping, local, i, tind=cells)[0] for i in range(basis.Nbfun)]
    values = np.array([np.asarray(function).reshape(-1, len(cells)) for function in functions])  # (i, component, k)
    dofs = np.broadcast_to(basis.dofs.element_dofs[:, np.newaxis, cells], values.shape)
    rows = np.broadcast_to(np.arange(values[0].size).reshape(values.shape[1:]), values.shape)
    matrix = sp.csr_matrix((values.ravel(), (rows.ravel(), dofs.ravel())), (values[0].size, basis.N))
    matrix.sum_duplicates()
    return matrix


def concrete_points(points: Any) -> np.ndarray:
    """Return points as a NumPy array.

    Raises:
        FEMError: JAX traces the points.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(points)):
        raise FEMError(
            "JAX traces the points: the cell that holds a point does not depend smoothly on its place, so that a place "
            "cannot be a parameter here; take a smooth source or sensor at a place p in a form instead, as "
            "jnp.exp(-((w.x[0] - p[0])**2 + (w.x[1] - p[1])**2) / (2 * width**2))"
        )
    return np.asarray(points, float)


def cells_at(mesh: skfem.Mesh, points: np.ndarray) -> np.ndarray:
    """Return the cell (k,) that holds each of the points (d, k); −1 for those outside the mesh."""
    points = concrete_points(points)
    lowest, highest = mesh.p.min(1, keepdims=True), mesh.p.max(1, keepdims=True)
    size = np.max(highest - lowest)  # squares of distances to points far away would overflow
    near = ((points > lowest - size) & (points < highest + size)).all(0)
    if not near.all():
        cells = np.full(points.shape[1], -1)
        cells[near] = cells_at(mesh, points[:, near])
        return cells
    if not points.shape[1]:
        return np.empty(0, int)
    find = _line_finder(mesh) if mesh.dim() == 1 else curved_finder(mesh) if isinstance(mesh, CURVED_MESHES) else None
    find = find or mesh.element_finder()
    centers = cache(lambda: cKDTree(mesh.p[:, mesh.t].mean(1).T))  # seldom needed
    chunks = np.array_split(points, range(POINTS_PER_LOOKUP, points.shape[1], POINTS_PER_LOOKUP), axis=1)
    return np.concatenate([_found(find, chunk, centers) for chunk in chunks])


def _line_finder(mesh: skfem.Mesh) -> Finder:
    """Return the finder of a mesh of intervals, because scikit-fem's fails beyond the last one."""
    low, high = mesh.p[0, mesh.t].min(0), mesh.p[0, mesh.t].max(0)
    order = np.argsort(low)

    def find(x: np.ndarray) -> np.ndarray:
        cells = order[np.clip(np.searchsorted(low[order], x, side="right") - 1, 0, None)]
        if ((x < low[cells]) | (x > high[cells])).any():
            raise ValueError("a point is outside of the mesh")
        return cells

    return find


def _found(find: Finder, points: np.ndarray, centers: Callable[[], cKDTree]) -> np.ndarray:
    try:
        return find(*points)
    except ValueError:
        return np.array([_cell_of(find, point, centers()) for point in points.T])


def _cell_of(find: Finder, point: np.ndarray, centers: cKDTree) -> int:
    """Return the cell that holds a point (d,), −1 for none.

    A point in no cell is moved a little, by `BOUNDARY_ROUNDING`, toward the nearest ones.

    Args:
        find: The finder of the mesh.
        point: The point (d,).
        centers: The centers of the cells.
    """
    _, nearest = centers.query(point, range(1, min(4, centers.n) + 1))
    for place in (point, *(point + BOUNDARY_ROUNDING * (centers.data[nearest] - point))):
        try:
            return int(find(*place[:, np.newaxis])[0])
        except ValueError:
            continue
    return -1


def _points_outside(found: LocatedPoints, points: np.ndarray, tolerance: float) -> str:
    outside = np.flatnonzero(found.cells < 0)
    listed = "; ".join(f"{k}: {points[:, k].tolist()}" for k in outside[:5])
    return (
        f"{len(outside)} of {points.shape[1]} points lie outside the mesh ({listed}{' …' * (len(outside) > 5)}), "
        f"{found.outside()}; points that are out by up to tolerance={tolerance:g} of it are moved to the boundary"
    )
