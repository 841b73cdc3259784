"""The scikit-fem mesh of a meshio mesh: one kind of cells, without the vertices that no cell has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import skfem
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skfem.generic_utils import OrientedBoundary
from skfem.io.meshio import INV_HEX_MAPPING

from pdeopt.fem import MeshError
from pdeopt.fem.meshes.conformity import SAME_PLACE_TOLERANCE
from pdeopt.io.meshes.mesh_groups import Group, node_sets_of

#: The meshes of scikit-fem, by meshio's name of the kind of their cells.
MESHES = {
    "line": skfem.MeshLine1,
    "triangle": skfem.MeshTri1,
    "quad": skfem.MeshQuad1,
    "tetra": skfem.MeshTet1,
    "hexahedron": skfem.MeshHex1,
    "triangle6": skfem.MeshTri2,
    "quad9": skfem.MeshQuad2,
    "tetra10": skfem.MeshTet2,
    "hexahedron27": skfem.MeshHex2,
}

#: The largest coordinate of a node or a point, in any unit of length: products of larger ones overflow.
MAX_COORDINATE = 1e100

#: What to do about vertices at the same place: see `read_mesh`.
Coincident = Literal["refuse", "merge", "keep"]


@dataclass(frozen=True)
class Cells:
    """The cells of the highest dimension, and what bounds them, in the numbering of the file's points.

    Attributes:
        kind: The kind of the cells, a name of `MESHES`.
        nodes: The nodes (cells, nodes of a cell) of each cell, no cell twice.
        groups: The indices of the cells of each group, by its name.
        facets: The nodes (facets, nodes of a facet) of each group's facets by its name, vertices first.
    """

    kind: str
    nodes: np.ndarray
    groups: dict[str, np.ndarray]
    facets: dict[str, np.ndarray]

    @cached_property
    def vertices(self) -> np.ndarray:
        """The nodes that are vertices of cells, sorted: their order is scikit-fem's numbering."""
        return np.unique(self.nodes[:, : MESHES[self.kind].elem.refdom.nnodes])


def mesh_of(raw: Any, groups: Mapping[str, Group], scale: float, coincident: Coincident) -> skfem.Mesh:
    """Return the scikit-fem mesh of a meshio mesh, with its groups as subdomains and boundaries.

    Groups of cells are subdomains, groups of facets boundaries.

    Args:
        raw: The meshio mesh.
        groups: Its groups, by name.
        scale: The factor of the coordinates, > 0.
        coincident: What to do about vertices at the same place: see `read_mesh`.

    Raises:
        MeshError: Cells are of several kinds or of none that is known, are a surface in space, or have vertices at the
            same place (see `read_mesh`), or a group has facets that are none of the cells'.
    """
    if not 0 < scale < np.inf:
        raise MeshError(f"the scale is {scale}; expected a number > 0: 1e-3 for a file in mm")
    kind = _kind(raw)
    points = np.asarray(raw.points, float)
    if points.ndim != 2 or not 1 <= points.shape[1] <= 3:
        raise MeshError(f"points are of shape {points.shape}; expected 1 to 3 coordinates for each")
    largest = np.max(np.abs(points), where=np.isfinite(points), initial=0) * scale
    if largest > MAX_COORDINATE:
        raise MeshError(
            f"coordinates reach {largest:.3g}; expected none above {MAX_COORDINATE:g}: squares of them overflow"
        )
    points = points * scale
    representative = _representatives(raw, kind, points, coincident)
    cells = _cells(raw, kind, groups, representative)
    used, nodes = np.unique(cells.nodes, return_inverse=True)
    t = nodes.reshape(cells.nodes.shape).T
    if "hexahedron" in kind:
        t = t[INV_HEX_MAPPING[: len(t)]]
    p = _in_dimension(points[used], MESHES[kind].elem.refdom.dim(), kind)
    return _with_names(MESHES[kind](p, np.ascontiguousarray(t)), raw, cells, representative)


def _kind(raw: Any) -> str:
    dimension = max((block.dim for block in raw.cells if len(block)), default=0)
    counts: Counter[str] = Counter()
    for block in raw.cells:
        if block.dim == dimension:
            counts[block.type] += len(block)
    if dimension == 0:
        raise MeshError("there are no cells; save the elements of the domain, too (in Gmsh, give it a physical group)")
    if len(counts) > 1:
        found = " and ".join(f"{count} {kind}" for kind, count in counts.items())
        raise MeshError(f"cells are of several kinds, {found}; expected one kind: recombine all of them, or none")
    kind = next(iter(counts))
    if kind not in MESHES:
        raise MeshError(
            f"cells are of the kind {kind!r}; expected one of {', '.join(MESHES)}. In Gmsh: Mesh.ElementOrder = 1, or "
            "2 with Mesh.SecondOrderIncomplete = 0"
        )
    return kind


def _cells(raw: Any, kind: str, groups: Mapping[str, Group], representative: np.ndarray) -> Cells:
    """Return the cells of one kind, each once: Gmsh's format 2.2 repeats a cell for each of its groups.

    Args:
        raw: The meshio mesh.
        kind: The kind of the cells.
        groups: The groups of the mesh, by name.
        representative: The point (points,) that takes the place of each point of the file.
    """
    blocks = [k for k, block in enumerate(raw.cells) if block.type == kind]
    nodes = representative[np.concatenate([raw.cells[k].data for k in blocks])]
    _, first, inverse = np.unique(np.sort(nodes, 1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.argsort(order)[inverse.ravel()]  # the place of each cell of the file among those that are kept
    offsets = dict(zip(blocks, np.cumsum([0, *(len(raw.cells[k]) for k in blocks)]), strict=False))
    of_cells = {
        name: np.unique(rank[np.concatenate([group[k] + offsets[k] for k in blocks])]) for name, group in groups.items()
    }
    facets = {name: _facet_nodes(raw, kind, group, representative) for name, group in groups.items()}
    return Cells(
        kind,
        nodes[first[order]],
        {name: members for name, members in of_cells.items() if len(members)},
        {name: members for name, members in facets.items() if len(members)},
    )


def _facet_nodes(raw: Any, kind: str, group: Group, representative: np.ndarray) -> np.ndarray:
    """Return the vertices (f, v) of those cells of a group that have one dimension less than the mesh.

    Args:
        raw: The meshio mesh.
        kind: The kind of the cells of the mesh.
        group: The indices of the cells of the group, by block.
        representative: The point (points,) that takes the place of each point of the file.
    """
    dimension = MESHES[kind].elem.refdom.dim() - 1
    found = [representative[b.data[members]] for b, members in zip(raw.cells, group, strict=True) if b.dim == dimension]
    vertices = {0: 1, 1: 2}.get(dimension, 4 if "hexahedron" in kind else 3)
    return np.concatenate([nodes[:, :vertices] for nodes in found if nodes.shape[1] >= vertices] or [np.empty((0, 1))])


def _representatives(raw: Any, kind: str, points: np.ndarray, coincident: Coincident) -> np.ndarray:
    """Return for each point of the file the point (points,) that takes its place.

    Args:
        raw: The meshio mesh.
        kind: The kind of the cells of the mesh.
        points: The coordinates (points, coordinates) in the file, scaled.
        coincident: What to do about vertices at the same place: see `read_mesh`.

    Raises:
        MeshError: Vertices share a place and are to be refused, cells have points that are not in the file, or
            ``coincident`` is unknown.
    """
    if coincident not in ("refuse", "merge", "keep"):
        raise MeshError(f"coincident is {coincident!r}; expected 'refuse', 'merge' or 'keep'")
    own = np.arange(len(points))
    lowest = MESHES[kind].elem.refdom.dim() - 1
    used = np.unique(np.concatenate([block.data.ravel() for block in raw.cells if block.dim >= lowest]))
    if used[0] < 0 or used[-1] >= len(points):  # −1 would be taken for the last point
        raise MeshError(f"cells have points that are not in the file, which holds {len(points)}; write it anew")
    if coincident == "keep" or not np.isfinite(points[used]).all():  # check_mesh refuses the latter
        return own
    pairs = used[cKDTree(points[used]).query_pairs(SAME_PLACE_TOLERANCE * np.ptp(points[used]), output_type="ndarray")]
    if len(pairs) and coincident == "refuse":
        a, b = pairs[0]
        raise MeshError(
            f"{len(np.unique(pairs))} vertices share their place with another, the first {points[a].tolist()} (points "
            f"{min(a, b) + 1} and {max(a, b) + 1} of the file): cells are not connected there. Merge them in the "
            "mesher (Gmsh: Coherence), or read_mesh(..., coincident='merge'); 'keep' if a crack is meant"
        )
    _, cluster = connected_components(coo_array((np.ones(len(pairs)), pairs.T), shape=(len(points),) * 2), False)
    return np.unique(cluster, return_index=True)[1][cluster]


def _in_dimension(points: np.ndarray, dimension: int, kind: str) -> np.ndarray:
    """Return the coordinates (d, k) of points, without those that are constant.

    Args:
        points: The points (k, coordinates).
        dimension: The dimension d of the cells.
        kind: The kind of the cells, for the message.

    Raises:
        MeshError: The other coordinates are not constant, or there are too few.
    """
    if points.shape[1] < dimension:
        raise MeshError(f"points have {points.shape[1]} coordinates; {kind} cells need {dimension}")
    for name, x in zip("xyz"[dimension:], points.T[dimension:], strict=False):
        if np.ptp(x) > 1e-9 * np.ptp(points):
            raise MeshError(
                f"its {kind} cells are bent or tilted in space: {name} reaches from {x.min():g} to {x.max():g}; "
                f"expected the same {name} everywhere. If a solid is meant, mesh its volume"
            )
    return np.ascontiguousarray(points[:, :dimension].T)


def _with_names(mesh: skfem.Mesh, raw: Any, cells: Cells, representative: np.ndarray) -> skfem.Mesh:
    boundaries = {name: _found_facets(mesh, cells, name, nodes) for name, nodes in cells.facets.items()}
    for name, nodes in node_sets_of(raw).items():
        facets = _facets_of_nodes(mesh, np.isin(cells.vertices, representative[nodes]))
        if len(facets):
            boundaries.setdefault(name, facets)
    their_boundaries, their_subdomains = mesh._decode_cell_data(raw.cell_data)  # of files that scikit-fem has written
    boundaries, subdomains = boundaries | their_boundaries, cells.groups | their_subdomains
    mesh = mesh.with_boundaries(boundaries) if boundaries else mesh
    return mesh.with_subdomains(subdomains) if subdomains else mesh


def _facets_of_nodes(mesh: skfem.Mesh, held: np.ndarray) -> np.ndarray:
    """Return the facets of the boundary that a set of vertices stands for.

    These are the facets on the rim with all vertices in the set. Facets inside count where they reach a vertex that no
    facet of the set on the rim has: between two sides of a corner is none. The vertices of whole cells, beyond the rim,
    are a region and no boundary.

    Args:
        mesh: The mesh.
        held: Whether the set has each vertex, (vertices,).
    """
    whole = np.flatnonzero(held[mesh.facets].all(0))
    rim = whole[mesh.f2t[1, whole] < 0]
    rest = held.copy()
    rest[mesh.facets[:, rim]] = False
    if (held[mesh.t[: mesh.elem.refdom.nnodes]].all(0) & rest[mesh.t[: mesh.elem.refdom.nnodes]].any(0)).any():
        return np.empty(0, int)
    return np.union1d(rim, whole[rest[mesh.facets[:, whole]].any(0)])


def _found_facets(mesh: skfem.Mesh, cells: Cells, name: str, nodes: np.ndarray) -> np.ndarray:
    """Return the mesh's facets with these vertices, each once, oriented where they lie inside.

    Args:
        mesh: The mesh.
        cells: Its cells, in the numbering of the file.
        name: The name of the group, for the message.
        nodes: The vertices (f, v) of the facets, in the numbering of the file.

    Raises:
        MeshError: The facets are no facets of cells.
    """
    vertices = cells.vertices
    given = np.searchsorted(vertices, nodes).clip(max=len(vertices) - 1).T
    if len(given) != len(mesh.facets):
        raise MeshError(f"group {name!r} has facets of {len(given)} vertices; those of cells have {len(mesh.facets)}")
    near = np.flatnonzero(np.isin(np.arange(len(vertices)), given)[mesh.facets].all(0))  # few of all facets
    both = np.hstack([np.sort(mesh.facets[:, near], 0), np.sort(given, 0)])
    _, number = np.unique(both, axis=1, return_inverse=True)
    facet_of = np.full(number.max() + 1, -1)
    facet_of[number.ravel()[: len(near)]] = near
    found = np.where((vertices[given] == nodes.T).all(0), facet_of[number.ravel()[len(near) :]], -1)
    if (found < 0).any():
        place = mesh.p[:, given[:, found < 0][:, 0]].mean(1)
        raise MeshError(
            f"group {name!r} has {(found < 0).sum()} of {len(found)} facets that bound no cell, the first near "
            f"{np.round(place, 6).tolist()}; mesh the domain so that its cells end there (Gmsh: embed, or fragments)"
        )
    found, first = np.unique(found, return_index=True)
    return _oriented(mesh, found, given[:, first])


def _oriented(mesh: skfem.Mesh, facets: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Return facets with the side from which the normal points out: that on the left of a curve.

    Only facets inside have two sides; where there are none, and in 1-D, the facets are returned as they are.

    Args:
        mesh: The mesh.
        facets: The indices (f,) of the facets.
        vertices: The vertices (v, f) of the facets, in the order of the file.
    """
    inside = mesh.f2t[1, facets] >= 0
    if not inside.any() or mesh.dim() == 1:
        return facets
    corners = mesh.p[:, vertices]  # (d, v, f)
    a, b = corners[:, 1] - corners[:, 0], corners[:, -1] - corners[:, 0]
    normal = np.stack([a[1], -a[0]]) if mesh.dim() == 2 else np.cross(a, b, axis=0)
    center = mesh.p[:, mesh.t[:, mesh.f2t[0, facets]]].mean(1)
    first_is_behind = ((center - corners[:, 0]) * normal).sum(0) < 0
    return OrientedBoundary(facets, np.where(inside & ~first_is_behind, 1, 0))
