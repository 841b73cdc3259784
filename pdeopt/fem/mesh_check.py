"""Refuse meshes on which a finite-element solution means nothing."""

from __future__ import annotations

import numpy as np
import skfem

from pdeopt.fem.errors import MeshError


def check_mesh(mesh: skfem.Mesh) -> None:
    """Raise MeshError for coordinates that are not finite, and for degenerate, inverted or folded elements.

    scikit-fem takes the absolute value of the Jacobian determinant, so such a mesh would give a wrong number silently.
    """
    if not np.isfinite(mesh.p).all():
        bad = np.flatnonzero(~np.isfinite(mesh.p).all(0))
        raise MeshError(f"the mesh has {len(bad)} vertices with NaN or infinite coordinates, first: {bad[:5].tolist()}")
    _check_jacobian(mesh)
    if isinstance(mesh, (skfem.MeshTri1, skfem.MeshTet1)):
        _check_folding(mesh)


def _check_jacobian(mesh: skfem.Mesh) -> None:
    """The determinant must not vanish or change sign inside an element (checked at its vertices)."""
    corners = mesh.elem.refdom.p
    jacobian = np.asarray(mesh._mapping().detDF(corners))
    size = np.abs(jacobian).max(1)
    flat = (np.abs(jacobian).min(1) <= 1e-12 * size.max()) | (jacobian.min(1) * jacobian.max(1) <= 0)
    if flat.any():
        raise MeshError(_message(np.flatnonzero(flat), "inverted or degenerate", mesh))


def _check_folding(mesh: skfem.Mesh) -> None:
    """Two neighbors must lie on opposite sides of their common facet, however their vertices are ordered."""
    interior = np.flatnonzero(mesh.f2t[1] >= 0)
    facets = mesh.facets[:, interior]
    sides = []
    for cells in mesh.f2t[:, interior]:
        opposite = mesh.t[:, cells].sum(0) - facets.sum(0)  # the one vertex of the cell that the facet lacks
        edges = mesh.p[:, np.vstack([facets[1:], opposite])] - mesh.p[:, None, facets[0]]
        sides.append(np.sign(np.linalg.det(np.moveaxis(edges, -1, 0))))
    folded = np.flatnonzero(sides[0] * sides[1] >= 0)
    if len(folded):
        raise MeshError(_message(np.unique(mesh.f2t[:, interior[folded]]), "inverted (overlapping a neighbor)", mesh))


def _message(elements: np.ndarray, what: str, mesh: skfem.Mesh) -> str:
    center = mesh.p[:, mesh.t[:, elements[0]]].mean(1)
    return (
        f"the mesh has {what} elements: {elements[:8].tolist()}{' …' if len(elements) > 8 else ''}, "
        f"{len(elements)} of {mesh.nelements}; the first lies at {np.round(center, 4).tolist()}. "
        "Move or remove the vertices that cross, then try again"
    )
