"""Graded triangulation of a disk whose boundary vertices are given.

Vertices are inserted at circumcenters until no circumcircle is larger than the wanted edge length allows (Chew,
"Guaranteed-quality triangular meshes", Cornell TR 89-983, 1989; Ruppert, J. Algorithms 18, 1995), many at a time; then
the mesh is smoothed by moving vertices to the centroids of their patches (Chen, "Mesh smoothing schemes based on
optimal Delaunay triangulations", 13th International Meshing Roundtable, 2004). The disk is convex, so a Delaunay
triangulation of the vertices is all it takes; and as all boundary vertices lie on one circle with others inside it, no
triangle has three of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay, cKDTree

#: The circumradius, over the wanted edge length, above which a triangle is split; 0.58 in an equilateral one.
SPLIT_CIRCUMRADIUS = 0.72
#: The least distance of inserted vertices from each other, over the wanted edge length.
MIN_VERTEX_DISTANCE = 1.0
#: The least distance of inserted vertices from the wall, over the wanted edge length.
MIN_WALL_DISTANCE = 0.45
#: The largest number of times that vertices are inserted.
MAX_INSERTIONS = 100
#: The number of rounds of smoothing.
SMOOTHING_ROUNDS = 10


@dataclass(frozen=True)
class Spacing:
    """A choice of edge lengths, in the unit of the tank's radius.

    Attributes:
        middle: The edge length in the middle.
        wall: The edge length at the wall.
        end: The edge length at electrode ends.
        growth: The growth of the edge length for each unit of length.
    """

    middle: float
    wall: float
    end: float
    growth: float


def graded_points(length: float, sizes: Callable[[np.ndarray], np.ndarray], fewest: int = 2) -> np.ndarray:
    """Return points from 0 to a length, both included, at distances of nearly the sizes given, or less.

    Args:
        length: The length.
        sizes: The map from points (k,) to the distances (k,) that are wanted there.
        fewest: The least number of distances.
    """
    s = np.linspace(0, length, 4001)
    density = 1 / sizes(s)
    count = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(s))])
    pieces = max(fewest, int(np.ceil(count[-1] - 1e-6)))
    return np.interp(np.linspace(0, count[-1], pieces + 1), count, s)


def triangulate_disk(
    radius: float, wall: np.ndarray, ends: np.ndarray, spacing: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices and the triangles of a disk around the origin.

    Args:
        radius: The radius of the disk.
        wall: The angles of the vertices on the boundary, radians.
        ends: The angles of the points at which edges are to be shortest, radians.
        spacing: The edge lengths.

    Returns:
        The vertices (n, 2), those on the boundary first, and the triangles (m, 3).
    """
    fixed, near = radius * _circle(wall), cKDTree(radius * _circle(ends))

    def sizes(x: np.ndarray) -> np.ndarray:
        from_wall = np.maximum(radius - np.hypot(*x.T), 0)
        coarse = np.minimum(spacing.middle, spacing.wall + spacing.growth * from_wall)
        return np.minimum(coarse, spacing.end + spacing.growth * near.query(x)[0])

    points = _refined(np.concatenate([fixed, _lattice(radius, spacing.middle, sizes)]), radius, sizes)
    return _smoothed(points, len(fixed), sizes)


def smallest_angles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the smallest angle (m,) of each triangle, radians.

    Args:
        points: The vertices (n, 2).
        triangles: The triangles (m, 3).
    """
    corners = points[triangles]
    ahead, back = np.roll(corners, -1, 1) - corners, np.roll(corners, 1, 1) - corners
    cross = ahead[..., 0] * back[..., 1] - ahead[..., 1] * back[..., 0]
    return np.arctan2(np.abs(cross), (ahead * back).sum(-1)).min(1)


def _circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _lattice(radius: float, edge: float, sizes: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the points (k, 2) of the equilateral lattice where edges are longest; at least the center.

    Args:
        radius: The radius of the disk.
        edge: The longest edge length, that of the lattice.
        sizes: The map from points (k, 2) to the edge lengths (k,) that are wanted there.
    """
    reach = int(1.2 * radius / edge) + 2
    i, j = np.meshgrid(np.arange(-2 * reach, 2 * reach + 1), np.arange(-reach, reach + 1))
    points = edge * np.stack([(i + j % 2 / 2).ravel(), (j * np.sqrt(3) / 2).ravel()], 1)
    points = points[np.hypot(*points.T) < radius - edge / 2]
    points = points[sizes(points) >= 0.999 * edge]
    return points if len(points) else np.zeros((1, 2))


def _refined(points: np.ndarray, radius: float, sizes: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    for _ in range(MAX_INSERTIONS):
        centers, circumradii = _circumcircles(points[Delaunay(points).simplices])
        inside = np.hypot(*centers.T) < radius
        centers, circumradii = centers[inside], circumradii[inside]
        wanted = sizes(centers)
        off_wall = radius - np.hypot(*centers.T) > MIN_WALL_DISTANCE * wanted
        large = np.flatnonzero((circumradii > SPLIT_CIRCUMRADIUS * wanted) & off_wall)
        if not len(large):
            break
        order = large[np.argsort(-(circumradii / wanted)[large], kind="stable")]
        points = np.concatenate([points, _apart(centers[order], MIN_VERTEX_DISTANCE * wanted[order])])
    return points


def _circumcircles(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centers (k, 2) and radii (k,) of the circumcircles of the triangles that are not flat.

    Args:
        corners: The corners (m, 3, 2) of the triangles.
    """
    b, c = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    twice = 2 * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    bb, cc = (b**2).sum(1), (c**2).sum(1)
    proper = np.abs(twice) > 1e-9 * np.maximum(bb, cc)
    top = np.stack([c[:, 1] * bb - b[:, 1] * cc, b[:, 0] * cc - c[:, 0] * bb], 1)
    offset = top[proper] / twice[proper, None]
    return corners[proper, 0] + offset, np.hypot(*offset.T)


def _apart(points: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return those points that have no earlier point within their distance.

    Args:
        points: The points (k, 2), the most wanted first.
        distance: The distance (k,) of each.
    """
    if len(points) == 1:
        return points
    gaps, neighbors = cKDTree(points).query(points, k=min(12, len(points)))
    beaten = (gaps < distance[:, None]) & (neighbors < np.arange(len(points))[:, None])
    return points[~beaten.any(1)]


def _smoothed(
    points: np.ndarray, fixed: int, sizes: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices and triangles of the best of some rounds of smoothing.

    It is judged by the smallest angle.

    Args:
        points: The vertices (n, 2).
        fixed: The number of vertices, the first ones, that do not move.
        sizes: The map from points (k, 2) to the edge lengths (k,) that are wanted there.
    """
    meshes = [(points, Delaunay(points).simplices)]
    for _ in range(SMOOTHING_ROUNDS):
        moved = _patch_centroids(*meshes[-1], sizes)
        moved[:fixed] = points[:fixed]
        meshes.append((moved, Delaunay(moved).simplices))
    return max(meshes, key=lambda mesh: smallest_angles(*mesh).min())


def _patch_centroids(
    points: np.ndarray, triangles: np.ndarray, sizes: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return for each vertex the mean (2,) of the centroids around it, by area and wanted density.

    Args:
        points: The vertices (n, 2).
        triangles: The triangles (m, 3).
        sizes: The map from points (k, 2) to the edge lengths (k,) that are wanted there.
    """
    corners = points[triangles]
    centroids = corners.mean(1)
    ahead, back = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(ahead[:, 0] * back[:, 1] - ahead[:, 1] * back[:, 0])
    weights = area / sizes(centroids) ** 2.5

    def gathered(values: np.ndarray) -> np.ndarray:
        return np.bincount(triangles.ravel(), np.repeat(values, 3), len(points))

    total = gathered(weights)
    return np.stack([gathered(weights * x) / total for x in centroids.T], 1)
