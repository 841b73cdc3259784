"""Refuse meshes whose cells do not meet in whole facets.

Functions on such meshes are not connected where they seem to be.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

import numpy as np
import skfem
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skfem.mesh.mesh_dg import MeshDG

from pdeopt.fem.errors import MeshError
from pdeopt.fem.meshes.curved_cells import local_coordinates

#: The largest distance of vertices at the same place, relative to the size of the mesh.
SAME_PLACE_TOLERANCE = 1e-10
#: The largest distance of a point from a cell on which it lies, relative to the widths of that cell and of the
#: point's own.
ON_CELL_TOLERANCE = 1e-3
#: The largest number of parts of a mesh of which each is searched for overlaps; of more, as many are chosen evenly.
MAX_PARTS_SEARCHED = 64
#: The meshes that were found to conform, by identity.
_CONFORMING: WeakValueDictionary[int, skfem.Mesh] = WeakValueDictionary()
#: The remedy that ends each message.
CONFORMING_REMEDY = (
    "mesh the parts together, with the same vertices and facets where they meet (Gmsh: BooleanFragments, Coherence); "
    "where this is meant, pass check_conformity=False"
)


def require_conforming(mesh: skfem.Mesh, *, torn: bool = False) -> None:
    """Refuse a mesh whose cells do not meet in whole facets.

    The facets that bound only one cell are looked at, so that the cost is that of the boundary. A crack, two sides of
    the boundary with the same places of vertices and facets, is no fault within a part that is connected elsewhere. A
    periodic mesh, which scikit-fem has made from another, and prisms are not looked at.

    Args:
        mesh: Any scikit-fem mesh without degenerate cells.
        torn: Whether a crack may also separate parts from each other.

    Raises:
        MeshError: Cells meet in less than a whole facet, overlap, or touch without being connected.
    """
    if isinstance(mesh, (MeshDG, skfem.MeshWedge1)) or _CONFORMING.get(id(mesh)) is mesh:
        return
    shared = np.bincount(mesh.t2f.ravel())
    if (shared > 2).any():
        facet = int(shared.argmax())
        raise _error(f"{(shared > 2).sum()} facets are each shared by three or more cells", _center(mesh, facet))
    boundary = np.flatnonzero(mesh.f2t[1] < 0)
    if not len(boundary):
        cell = mesh.p[:, mesh.t[:, 0]].mean(1)
        raise _error("its cells are there more than once, with the same vertices (no facet bounds one cell only)", cell)
    place = _places(mesh, boundary)
    _check_cells_near(mesh, boundary, place)
    _check_coincident_facets(mesh, boundary, place)
    _check_parts(mesh, boundary, place, torn)
    if not torn:
        _CONFORMING[id(mesh)] = mesh


def _places(mesh: skfem.Mesh, boundary: np.ndarray) -> np.ndarray:
    """Return for each vertex the first one at its place, (vertices,).

    Only vertices on the boundary are compared: each vertex inside has its own number.
    """
    place = np.arange(mesh.nvertices)
    used = np.unique(mesh.facets[:, boundary])
    points = mesh.p[:, used].T
    pairs = used[
        cKDTree(points).query_pairs(SAME_PLACE_TOLERANCE * np.ptp(points, axis=0).max(), output_type="ndarray")
    ]
    if not len(pairs):
        return place
    _, cluster = connected_components(coo_array((np.ones(len(pairs)), pairs.T), shape=(len(place),) * 2), False)
    first: np.ndarray = np.unique(cluster, return_index=True)[1][cluster]
    return first


def _check_cells_near(mesh: skfem.Mesh, boundary: np.ndarray, place: np.ndarray) -> None:
    """Refuse vertices and midpoints of the boundary's facets that lie in another cell.

    Only the cells that the boundary bounds are looked at. A vertex on the side of a cell without being its
    vertex is a hanging node; the midpoint of a facet lies on another facet where the two parts of a face are cut along
    different diagonals.
    """
    facets, cell_of = mesh.facets[:, boundary], mesh.f2t[0, boundary]
    vertices, first = np.unique(facets, return_index=True)
    cells, number = np.unique(cell_of, return_inverse=True)
    nodes = mesh.p[:, mesh.t[:, cells]]
    centers = nodes.mean(1)
    # of each cell the least width, and of each point the least of the cells that it belongs to
    widths = np.linalg.svd((nodes - centers[:, None]).transpose(2, 0, 1), compute_uv=False)[:, -1]
    width_at = np.full(mesh.nvertices, np.inf)
    np.minimum.at(width_at, mesh.t[:, cells], np.broadcast_to(widths, nodes.shape[1:]))
    points = np.hstack([mesh.p[:, vertices], mesh.p[:, facets].mean(1)])
    corners = np.hstack([np.broadcast_to(vertices, (len(facets), len(vertices))), facets])
    width_at = np.concatenate([width_at[vertices], widths[number]])
    owner = np.concatenate([cell_of[first % len(boundary)], cell_of])

    is_curved = mesh.p.shape[1] > mesh.nvertices
    radii = np.sqrt(((nodes - centers[:, None]) ** 2).sum(0).max(0)) * (1.5 if is_curved else 1)
    which, near = _pairs_within(points, centers, radii * (1 + 2 * ON_CELL_TOLERANCE))
    of_cell, of_point = place[mesh.t[:, cells[near]]], place[corners[:, which]]
    foreign = ~(of_point[:, None] == of_cell[None]).any(1).all(0)
    which, near = which[foreign], cells[near[foreign]]
    local = local_coordinates(mesh, points[:, which], near)
    is_simplex = mesh.elem.refdom.nnodes == mesh.dim() + 1
    with np.errstate(invalid="ignore"):
        inside = np.minimum(local.min(0), 1 - (local.sum(0) if is_simplex else local.max(0)))
    close = np.flatnonzero(inside >= -ON_CELL_TOLERANCE)
    which, near, inside, local = which[close], near[close], inside[close], local[:, close]
    on_cell = np.clip(local, 0, 1)
    on_cell = on_cell / np.maximum(on_cell.sum(0), 1) if is_simplex else on_cell
    distance = np.sqrt(((mesh.mapping().F(on_cell[:, :, None], near)[..., 0] - points[:, which]) ** 2).sum(0))
    found = distance <= ON_CELL_TOLERANCE * width_at[which]
    which, near, inside = which[found], near[found], inside[found]
    if not len(which):
        return
    hanging = which[(which < len(vertices)) & (inside <= ON_CELL_TOLERANCE)]
    if len(hanging):
        what = (
            f"{len(np.unique(hanging))} vertices lie on the side of a cell that does not have them as vertices "
            "(hanging nodes, or parts that do not match)"
        )
        raise _error(what, points[:, np.unique(hanging)])
    deep = inside > ON_CELL_TOLERANCE
    if deep.any():
        what = f"{len(np.unique(owner[which[deep]]))} cells reach into others (overlapping parts)"
        raise _error(what, points[:, np.unique(which[deep])])
    what = f"{len(np.unique(which))} facets lie on others with different vertices (parts that do not match)"
    raise _error(what, points[:, np.unique(which)])


def _outward_normals(mesh: skfem.Mesh, facets: np.ndarray) -> np.ndarray:
    """Return vectors (d, f), of any length, that are orthogonal to facets and point outward.

    Each of the facets bounds one cell.
    """
    corners = mesh.p[:, mesh.facets[:, facets]]
    if mesh.dim() == 1:
        normal = np.ones((1, len(facets)))
    elif mesh.dim() == 2:
        along = corners[:, 1] - corners[:, 0]
        normal = np.stack([along[1], -along[0]])
    else:
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], axis=0)
    offset = corners[:, 0] - mesh.p[:, mesh.t[:, mesh.f2t[0, facets]]].mean(1)
    return normal * np.where((normal * offset).sum(0) < 0, -1, 1)


def _pairs_within(points: np.ndarray, centers: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of a point and a ball that holds it, as two arrays of their numbers.

    Balls of like size are looked up together, so that graded meshes take no longer than uniform ones.
    """
    tree, pairs = cKDTree(points.T), [np.empty((2, 0), int)]
    levels = np.ceil(np.log2(radii)).astype(int)
    for level in np.unique(levels):
        balls = np.flatnonzero(levels == level)
        found = tree.sparse_distance_matrix(cKDTree(centers[:, balls].T), 2.0**level, output_type="ndarray")
        found = found[found["v"] <= radii[balls[found["j"]]]]
        pairs.append(np.stack([found["i"], balls[found["j"]]]))
    which, ball = np.hstack(pairs)
    return which, ball


def _check_coincident_facets(mesh: skfem.Mesh, boundary: np.ndarray, place: np.ndarray) -> None:
    """Refuse facets at one place whose cells are on the same side of it.

    Three facets are refused, and two unless their cells are on opposite sides, as those of a crack.
    """
    corners = np.sort(place[mesh.facets[:, boundary]], 0)
    _, number, count = np.unique(corners, axis=1, return_inverse=True, return_counts=True)
    if (count == 1).all():
        return
    normal = _outward_normals(mesh, boundary)
    total = np.zeros((len(count), mesh.dim()))
    np.add.at(total, number.ravel(), (normal / np.sqrt((normal**2).sum(0))).T)
    bad = (count > 2) | ((count == 2) & (np.sqrt((total**2).sum(1)) > 1))
    if bad.any():
        first = boundary[np.flatnonzero(bad[number.ravel()])[0]]
        what = (
            f"at {bad.sum()} places lie several facets with cells on the same side (overlapping parts, doubled cells)"
        )
        raise _error(what, _center(mesh, first))


def _check_parts(mesh: skfem.Mesh, boundary: np.ndarray, place: np.ndarray, torn: bool) -> None:
    """Refuse parts that touch each other, and points that lie in two cells.

    A part is a set of cells that are connected through facets.
    """
    samples = mesh.f2t[0, boundary[:: max(1, len(boundary) // 16)]]
    if _may_have_parts(mesh, boundary, place):
        links = mesh.f2t[:, mesh.f2t[1] >= 0]
        graph = coo_array((np.ones(links.shape[1]), links), shape=(mesh.nelements,) * 2)
        count, part = connected_components(graph, directed=False)
        if count > 1:
            facets = mesh.facets[:, boundary]
            where = facets if torn else place[facets]
            part_of = np.broadcast_to(part[mesh.f2t[0, boundary]], facets.shape)
            vertex, _ = np.unique(np.stack([where.ravel(), part_of.ravel()]), axis=1)
            touched = np.unique(vertex[1:][vertex[1:] == vertex[:-1]])
            if len(touched):
                raise _error(
                    f"of {count} parts, some touch at {len(touched)} places without a common facet, and are not "
                    "connected there",
                    mesh.p[:, touched],
                )
            first = np.unique(part, return_index=True)[1]
            samples = first[:: -(-len(first) // MAX_PARTS_SEARCHED)]
    centers = mesh.p[:, mesh.t[:, samples]].mean(1)
    repeated = np.flatnonzero(_numbers_of_cells(mesh, boundary, centers) > 1.5)
    if len(repeated):
        raise _error("cells lie inside others (overlapping parts)", centers[:, repeated])


def _may_have_parts(mesh: skfem.Mesh, boundary: np.ndarray, place: np.ndarray) -> bool:
    """Return whether the mesh may have parts.

    It has none where the boundary is one closed curve or surface without vertices that share a place, or in one
    dimension two points.
    """
    if mesh.dim() == 1:
        return len(boundary) > 2
    facets = mesh.facets[:, boundary]
    if (place[facets] != facets).any():
        return True
    turned = np.roll(facets, 1, axis=0)
    ridges = facets.ravel() if mesh.dim() == 2 else np.sort([facets.ravel(), turned.ravel()], axis=0)
    _, ridge, count = np.unique(ridges, axis=-1, return_inverse=True, return_counts=True)
    owner = np.tile(np.arange(len(boundary)), len(facets))
    graph = coo_array(
        (np.ones(len(owner)), (owner, len(boundary) + ridge.ravel())), shape=(len(boundary) + len(count),) * 2
    )
    return bool((count > 2).any() or connected_components(graph, directed=False)[0] > 1)


def _numbers_of_cells(mesh: skfem.Mesh, boundary: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the number (k,) of cells that hold each of the points (d, k).

    It is exact up to rounding and the bend of cells. It is the part of all directions in which the boundary is
    seen from inside, less that in which it is seen from outside; in three dimensions by solid angles (Van Oosterom,
    Strackee, IEEE Trans. Biomed. Eng. 30, 1983).
    """
    normal = _outward_normals(mesh, boundary)
    corners = mesh.p[:, mesh.facets[:, boundary]]  # (d, v, f)
    numbers = []
    for point in points.T:
        seen = corners - point[:, None, None]
        side = np.sign((seen[:, 0] * normal).sum(0))
        if mesh.dim() == 1:
            angle = np.full(len(side), 0.5)
        elif mesh.dim() == 2:
            a, b = seen[:, 0], seen[:, 1]
            angle = np.abs(np.arctan2(a[0] * b[1] - a[1] * b[0], (a * b).sum(0))) / (2 * np.pi)
        else:
            angle = np.sum([_solid_angle(seen[:, [0, k - 1, k]]) for k in range(2, seen.shape[1])], axis=0)
        numbers.append((side * angle).sum())
    return np.array(numbers)


def _solid_angle(corners: np.ndarray) -> np.ndarray:
    """Return the part (f,) of all directions that each triangle takes up, seen from the origin.

    Args:
        corners: The corners (3, 3, f) of the triangles: coordinate, corner, triangle.
    """
    a, b, c = corners.swapaxes(0, 1)
    la, lb, lc = np.sqrt((corners**2).sum(0))
    volume = np.abs((a * np.cross(b, c, axis=0)).sum(0))
    opening = la * lb * lc + (a * b).sum(0) * lc + (a * c).sum(0) * lb + (b * c).sum(0) * la
    angle: np.ndarray = np.arctan2(volume, opening) / (2 * np.pi)
    return angle


def _center(mesh: skfem.Mesh, facet: int) -> np.ndarray:
    center: np.ndarray = mesh.p[:, mesh.facets[:, facet]].mean(1)
    return center


def _error(what: str, places: np.ndarray) -> MeshError:
    """Return the error that says what is wrong, and names up to three of the places (d,) or (d, k)."""
    places = np.unique(np.round(places.reshape(len(places), -1), 6), axis=1)
    shown = ", ".join(str(place.tolist()) for place in places[:, :3].T)
    more = " …" if places.shape[1] > 3 else ""
    return MeshError(f"the mesh does not conform: {what}, near {shown}{more}; {CONFORMING_REMEDY}")
