"""scikit-fem's periodic meshes, whose vertices at two places are one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import skfem
from skfem.mesh.mesh_dg import MeshDG

#: The difference of coordinates of one vertex, relative to the size of the mesh, that is rounding.
SAME_PLACE_DECIMALS = 10


def is_periodic(mesh: skfem.Mesh) -> bool:
    """Return whether a mesh is one of scikit-fem's periodic meshes, as `MeshTri1DG`."""
    return isinstance(mesh, MeshDG)


def unwrapped(mesh: skfem.Mesh) -> tuple[skfem.Mesh, np.ndarray]:
    """Return a mesh with the same cells, each of whose vertices is at one place.

    Args:
        mesh: Any mesh; one that is not periodic is returned itself.

    Returns:
        The mesh, and for each of its vertices the number of the vertex of the periodic mesh, (k,).
    """
    if not is_periodic(mesh):
        return mesh, np.arange(mesh.nvertices)
    corners = np.moveaxis(mesh.mapping().F(mesh.refdom.p), 1, -1)  # (d, v, c)
    size = np.ptp(corners)
    keys = np.vstack([mesh.t.reshape(1, -1), np.round(corners.reshape(len(corners), -1) / size, SAME_PLACE_DECIMALS)])
    _, first, number = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    points = corners.reshape(len(corners), -1)[:, first]
    cells = number.reshape(mesh.t.shape).astype(mesh.t.dtype)
    plain = type(mesh).__bases__[-1](points, cells, sort_t=False)
    return plain, mesh.t.ravel()[first]


def boundary_facets_where(mesh: skfem.Mesh, condition: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the facets on the boundary of a periodic mesh whose midpoints satisfy a condition.

    scikit-fem alone takes the midpoints of a periodic mesh from wrong vertices.

    Args:
        mesh: The periodic mesh.
        condition: A function of midpoints x (d, k) that returns (k,) booleans.
    """
    plain, _ = unwrapped(mesh)
    found = plain.facets_satisfying(condition, boundaries_only=True)
    cells = plain.f2t[0, found]
    local = (plain.t2f[:, cells] == found).argmax(0)
    facets = mesh.t2f[local, cells]
    return np.unique(facets[mesh.f2t[1, facets] < 0])
