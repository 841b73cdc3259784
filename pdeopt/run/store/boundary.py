"""A coordinate along the boundary of a 2-D mesh."""

from __future__ import annotations

from typing import Any

import numpy as np


def curve_coordinate(mesh: Any, x: np.ndarray) -> tuple[np.ndarray, str]:
    """Return a coordinate along the boundary of a 1-D or 2-D mesh for points on it, and its name.

    It is x or y on a line parallel to an axis, arc length otherwise.

    Args:
        mesh: The mesh of scikit-fem.
        x: The points (d, k).

    Returns:
        The coordinate (k,) and its name; an empty array and "" in 3-D, where a boundary is no curve.
    """
    if len(x) == 1:
        return x[0], "x"
    if len(x) != 2:
        return np.empty(0), ""
    spread, size = np.ptp(x, axis=1), np.ptp(mesh.p)
    for axis, name in enumerate("xy"):
        if spread[1 - axis] <= 1e-9 * size:
            return x[axis], name
    return _arc_length(mesh, x), "arc length along the boundary"


def _arc_length(mesh: Any, x: np.ndarray) -> np.ndarray:
    """Return the arc length (k,) of points (2, k), counted along one loop of the boundary after the other.

    A loop of which a part has no points starts behind the largest gap.
    """
    s, offset = np.empty(x.shape[1]), 0.0
    left = np.ones(x.shape[1], bool)
    for loop in _loops(mesh.facets[:, mesh.boundary_facets()]):
        start, end = mesh.p[:, loop], mesh.p[:, np.roll(loop, -1)]
        lengths = np.linalg.norm(end - start, axis=0)
        before = np.concatenate([[0.0], np.cumsum(lengths)])
        on_loop, along = _projected(x, start, end, lengths)
        mine = left & (on_loop >= 0)
        t = _behind_gap(before[on_loop[mine]] + along[mine], before[-1])
        s[mine] = offset + t
        left &= ~mine
        offset += t.max(initial=0) + lengths.mean()  # apart from the next loop
    s[left] = offset
    return s


def _loops(facets: np.ndarray) -> list[np.ndarray]:
    """Return the closed polygons (vertices in order) that boundary facets (2, f) make."""
    neighbors: dict[int, list[int]] = {}
    for a, b in facets.T.tolist():
        neighbors.setdefault(a, []).append(b)
        neighbors.setdefault(b, []).append(a)
    loops = []
    while neighbors:
        vertex = min(neighbors)
        loop = []
        while vertex in neighbors:
            loop.append(vertex)
            vertex = next((v for v in neighbors.pop(vertex) if v in neighbors), -1)
        loops.append(np.array(loop))
    return loops


def _projected(x: np.ndarray, start: np.ndarray, end: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each point the segment that it lies on (−1 for none), and how far along.

    Args:
        x: The points (2, k).
        start: The first end (2, s) of each segment.
        end: The other end (2, s) of each segment.
        lengths: The length (s,) of each segment.
    """
    tangent = (end - start) / lengths
    segment, along = np.full(x.shape[1], -1), np.zeros(x.shape[1])
    for k, point in enumerate(x.T):
        t = np.clip(((point[:, None] - start) * tangent).sum(0), 0, lengths)
        distance = np.linalg.norm(start + t * tangent - point[:, None], axis=0)
        nearest = int(distance.argmin())
        if distance[nearest] <= 1e-6 * lengths[nearest]:
            segment[k], along[k] = nearest, t[nearest]
    return segment, along


def _behind_gap(s: np.ndarray, length: float) -> np.ndarray:
    """Return arc length counted from the point behind the largest gap of a closed curve."""
    if not s.size:
        return s
    ordered = np.sort(s % length)
    gaps = np.diff(ordered, append=ordered[0] + length)
    if gaps.max() <= 3 * np.median(gaps):
        return s % length
    return (s - ordered[(int(gaps.argmax()) + 1) % len(ordered)] + 1e-12 * length) % length
