"""The triangles that are drawn: those of a 2-D mesh, or of a slice through a 3-D mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.run.store.placement import PlainMesh

#: The simplices into which scikit-fem's cells are cut, by name of the cell (as its to_meshtri and to_meshtet do).
SIMPLICES = {
    "triangle": [[0, 1, 2]],
    "quad": [[0, 1, 3], [1, 2, 3]],
    "tetra": [[0, 1, 2, 3]],
    "wedge": [[0, 1, 2, 3], [1, 2, 5, 3], [1, 4, 5, 3]],
    "hexahedron": [[0, 1, 3, 4], [0, 3, 2, 4], [2, 3, 4, 6], [3, 4, 6, 7], [3, 4, 5, 7], [1, 3, 4, 5]],
}
#: The edges of a tetrahedron, as pairs of its vertices.
TETRAHEDRON_EDGES = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])


@dataclass(frozen=True)
class Surface:
    """Triangles in a plane, and how to carry a field of the mesh over to them.

    Attributes:
        x: The points (2, k).
        triangles: The points (m, 3) of each triangle.
        cells: The mesh cell (m,) of each triangle.
        ends: The mesh vertices (2, k) at the ends of the edge on which each point lies.
        weight: The place (k,) of each point on its edge: 0 at the first vertex, 1 at the second.
        note: The place of the slice, for the title; empty in 2-D.
        axes: The names of the two coordinates.
    """

    x: np.ndarray
    triangles: np.ndarray
    cells: np.ndarray
    ends: np.ndarray
    weight: np.ndarray
    note: str
    axes: tuple[str, str]

    def on_vertices(self, values: np.ndarray) -> np.ndarray:
        """Return values at the points, (k,), from values at the mesh vertices."""
        return (1 - self.weight) * values[self.ends[0]] + self.weight * values[self.ends[1]]


def surface_of(mesh: PlainMesh) -> Surface | None:
    """Return the triangles that can be drawn of a mesh, or None for cells that cannot be drawn."""
    if mesh.cell not in SIMPLICES:
        return None
    corners = np.hstack([mesh.t[part] for part in SIMPLICES[mesh.cell]])
    cells = np.tile(np.arange(mesh.t.shape[1]), len(SIMPLICES[mesh.cell]))
    if len(corners) == 4:
        return _middle_slice(mesh, corners, cells)
    k = np.arange(mesh.vertices.shape[1])
    axes = mesh.named("x"), mesh.named("y")
    return Surface(mesh.vertices, corners.T, cells, np.stack([k, k]), np.zeros(len(k)), "", axes)


def _middle_slice(mesh: PlainMesh, tetrahedra: np.ndarray, cells: np.ndarray) -> Surface:
    """Return the cut of tetrahedra (4, c) with the plane z = middle.

    It is a triangle or a quadrilateral in each tetrahedron that the plane meets.
    """
    p = mesh.vertices
    z = 0.5 * (p[2].min() + p[2].max())
    height = p[2] - z
    ends = tetrahedra[TETRAHEDRON_EDGES]  # (6, 2, c)
    crossed = (height[ends[:, 0]] > 0) != (height[ends[:, 1]] > 0)
    count = crossed.sum(0)
    # Listed in the order of TETRAHEDRON_EDGES, four crossed edges go around the quadrilateral as 0, 1, 3, 2.
    pieces = [(3, (0, 1, 2)), (4, (0, 1, 3)), (4, (0, 3, 2))]
    found_ends, found_cells = [], []
    for number, order in pieces:
        chosen = np.flatnonzero(count == number)
        edge = np.nonzero(crossed[:, chosen].T)[1].reshape(-1, number)[:, order]
        found_ends.append(ends[edge, :, chosen[:, None]].reshape(-1, 2))
        found_cells.append(cells[chosen])
    a, b = np.concatenate(found_ends).T
    weight = height[a] / (height[a] - height[b])
    x = (1 - weight) * p[:2, a] + weight * p[:2, b]
    triangles = np.arange(len(a)).reshape(-1, 3)
    note = f"slice z = {z:.3g} {mesh.unit}".rstrip()
    axes = mesh.named("x"), mesh.named("y")
    return Surface(x, triangles, np.concatenate(found_cells), np.stack([a, b]), weight, note, axes)
