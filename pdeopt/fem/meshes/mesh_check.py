"""Refuse meshes on which a finite-element solution means nothing."""

from __future__ import annotations

import numpy as np
import skfem
from skfem.mesh.mesh_dg import MeshDG

from pdeopt.fem.errors import MeshError
from pdeopt.fem.helpers import cross, det, dot
from pdeopt.fem.meshes.conformity import require_conforming


def check_mesh(mesh: skfem.Mesh, *, check_conformity: bool = True) -> None:
    """Refuse a mesh on which a solution would be a wrong number, silently.

    Such a mesh has coordinates that are not finite; degenerate, inverted or folded elements, because scikit-fem takes
    the absolute value of the Jacobian determinant; or cells that do not meet in whole facets, across which functions
    are not connected: hanging nodes, parts that do not match, overlap, or touch without a common facet.

    Args:
        mesh: Any scikit-fem mesh.
        check_conformity: False where cells that do not meet in whole facets are meant.

    Raises:
        MeshError: The mesh is one of those.
    """
    if not np.isfinite(mesh.p).all():
        bad = np.flatnonzero(~np.isfinite(mesh.p).all(0))
        raise MeshError(f"the mesh has {len(bad)} vertices with NaN or infinite coordinates, first: {bad[:5].tolist()}")
    _check_jacobian(mesh)
    if not isinstance(mesh, MeshDG):  # a periodic mesh has neighbors that do not touch
        _check_folding(mesh)
    if check_conformity:
        require_conforming(mesh)


def _check_jacobian(mesh: skfem.Mesh) -> None:
    """Refuse a Jacobian determinant that vanishes or changes sign inside an element.

    It is checked at the element's vertices, and compared with its edges, so that graded meshes pass.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # scikit-fem inverts the Jacobian at once
        jacobian = np.asarray(mesh._mapping().DF(mesh.elem.refdom.p))
    edges = np.sqrt((jacobian**2).sum(0)).prod(0)
    volume = jacobian[0, 0] if mesh.dim() == 1 else det(jacobian)
    shape = volume / np.where(edges == 0, 1, edges)  # between -1 and 1
    flat = (np.abs(shape).min(1) <= 1e-12) | (shape.min(1) * shape.max(1) <= 0)
    if flat.any():
        raise MeshError(_message(np.flatnonzero(flat), "inverted or degenerate", mesh))


def _check_folding(mesh: skfem.Mesh) -> None:
    """Refuse neighbors on one side of their common facet, however their vertices are ordered."""
    interior = np.flatnonzero(mesh.f2t[1] >= 0)
    corners = mesh.p[:, mesh.facets[: mesh.dim(), interior]]  # (d, d, f), enough to span the facet
    normal = _normal([corners[:, k] - corners[:, 0] for k in range(1, mesh.dim())])
    centers = mesh.p[:, mesh.t].mean(1)
    here, there = (dot(normal, centers[:, cells] - corners[:, 0]) for cells in mesh.f2t[:, interior])
    folded = np.flatnonzero(here * there > 0)
    if len(folded):
        raise MeshError(_message(np.unique(mesh.f2t[:, interior[folded]]), "inverted (overlapping a neighbor)", mesh))


def _normal(along: list[np.ndarray]) -> np.ndarray:
    """Return vectors (d, f) that are orthogonal to the d − 1 vectors along each facet."""
    if not along:
        return np.ones((1, 1))
    return np.stack([-along[0][1], along[0][0]]) if len(along) == 1 else cross(*along)


def _message(elements: np.ndarray, what: str, mesh: skfem.Mesh) -> str:
    center = mesh.p[:, mesh.t[:, elements[0]]].mean(1)
    return (
        f"the mesh has {what} elements: {elements[:8].tolist()}{' …' if len(elements) > 8 else ''}, "
        f"{len(elements)} of {mesh.nelements}; the first lies at {np.round(center, 4).tolist()}. "
        "Move or remove the vertices that cross, then try again"
    )
