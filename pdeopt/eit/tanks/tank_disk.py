"""Triangle meshes of a tank's cross-section."""

from __future__ import annotations

import numpy as np
import skfem

from pdeopt.eit.tanks.tank import Tank, check_size, electrode_names
from pdeopt.eit.tanks.tank_mesher import Spacing, graded_points, triangulate_disk
from pdeopt.fem import MeshError
from pdeopt.inverse import InputError

#: The largest length by which a facet may reach over the end of an electrode, relative to the width of the electrode or
#: of the gap, whichever is smaller.
ELECTRODE_END_TOLERANCE = 1e-6
#: The number of vertices above which a choice of edge lengths is taken for a slip in the units.
MAX_VERTICES = 4e6


def disk_mesh(
    tank: Tank,
    size: float | None = None,
    *,
    boundary_size: float | None = None,
    end_size: float | None = None,
    growth: float = 0.25,
) -> skfem.MeshTri:
    """Return the tank's cross-section in triangles, with its electrodes as boundaries.

    The boundaries "electrode 1" … "electrode L" are whole facets. Triangles shrink towards the wall and, more, towards
    the ends of the electrodes, where the potential is not smooth. All electrodes have the same facets. The same
    arguments give the same mesh.

    Args:
        tank: The tank.
        size: The edge length in the middle (default: radius / 15). It scales what follows, too: the tank of the
            challenge gets 2500, 5000, 11 000 or 40 000 vertices by radius / 12, 25, 45 or 100.
        boundary_size: The edge length at the wall, away from electrode ends (default: size / 2).
        end_size: The edge length at electrode ends (default: boundary_size / 4). Narrow electrodes and gaps get smaller
            ones: at least four edges each.
        growth: The growth of the edge length for each unit of length away from the ends and the wall, at most 0.5;
            above 0.3 angles below 20° may appear.

    Raises:
        InputError: Sizes are not positive, larger than the radius, or far too small.
    """
    spacing = disk_spacing(tank, size, boundary_size, end_size, growth)
    points, triangles = triangulate_disk(tank.radius, wall_angles(tank, spacing), tank.ends.ravel(), spacing)
    return with_electrodes(skfem.MeshTri(points.T.copy(), triangles.T.copy()), tank)


def disk_spacing(
    tank: Tank, size: float | None, boundary_size: float | None, end_size: float | None, growth: float
) -> Spacing:
    """Return the edge lengths of a mesh, with their defaults; arguments are those of `disk_mesh`.

    Raises:
        InputError: Sizes or growth are unfit.
    """
    size = tank.radius / 15 if size is None else size
    boundary_size = size / 2 if boundary_size is None else boundary_size
    end_size = boundary_size / 4 if end_size is None else end_size
    for name, value in {"size": size, "boundary_size": boundary_size, "end_size": end_size}.items():
        check_size(name, value, tank.radius)
    if not 0 < growth <= 0.5:
        raise InputError(f"growth = {growth}; expected a number inside (0, 0.5], such as 0.25")
    wall = min(boundary_size, size)
    spacing = Spacing(size, wall, min(end_size, wall, tank.width / 4, tank.gap / 4), growth)
    _check_count(tank, spacing)
    return spacing


def _check_count(tank: Tank, spacing: Spacing) -> None:
    around = 2 * np.pi * tank.radius / spacing.wall
    count = 4 * (tank.radius / spacing.middle) ** 2 + around / spacing.growth
    if count > MAX_VERTICES:
        raise InputError(
            f"edges of {spacing.middle:g} in the middle and {spacing.wall:g} at the wall give some {count:.0e} "
            f"vertices; take larger ones, in the units of the radius ({tank.radius:g})"
        )


def wall_angles(tank: Tank, spacing: Spacing) -> np.ndarray:
    """Return the angles of the vertices on the wall, radians; electrode ends are among them.

    Args:
        tank: The tank.
        spacing: The edge lengths.
    """

    def patch(width: float) -> np.ndarray:
        def sizes(s: np.ndarray) -> np.ndarray:
            return np.minimum(spacing.wall, spacing.end + spacing.growth * np.minimum(s, width - s))

        return graded_points(width, sizes)[:-1]

    local = np.concatenate([patch(tank.width), tank.width + patch(tank.gap)]) / tank.radius
    return (tank.ends[0][:, None] + local).ravel()


def with_electrodes(mesh: skfem.MeshTri, tank: Tank) -> skfem.MeshTri:
    """Return a mesh of the tank's cross-section with named electrodes.

    Args:
        mesh: The mesh, whose center is the origin.
        tank: The tank.

    Raises:
        MeshError: The mesh has another radius, or facets reach over the end of an electrode.
    """
    facets = mesh.boundary_facets()
    corners = mesh.p[:, mesh.facets[:, facets]]  # (2, corner, facet)
    _check_radius(np.hypot(*corners), tank)
    owner = electrodes_at(tank, np.arctan2(corners[1], corners[0]))
    names = electrode_names(tank.electrodes)
    return mesh.with_boundaries({name: facets[owner == l] for l, name in enumerate(names)})


def electrodes_at(tank: Tank, angles: np.ndarray) -> np.ndarray:
    """Return the electrode (f,), from 0, that each facet lies in, −1 for gaps.

    Args:
        tank: The tank.
        angles: The angles of the facets' corners, (corners, f), radians.

    Raises:
        MeshError: A facet reaches over the end of an electrode.
    """
    first = angles[0]
    middle = first + _wrapped(angles - first).mean(0)
    nearest = np.rint((middle - tank.first_angle) / tank.pitch).astype(int)
    beyond = np.abs(_wrapped(angles - tank.first_angle - nearest * tank.pitch)) * tank.radius - tank.width / 2
    tolerance = ELECTRODE_END_TOLERANCE * min(tank.width, tank.gap)
    inside, outside = (beyond <= tolerance).all(0), (beyond >= -tolerance).all(0)
    if not (inside | outside).all():
        bad = np.flatnonzero(~(inside | outside))
        raise MeshError(
            f"{len(bad)} facets reach over the end of an electrode, the first at {np.degrees(middle[bad[0]]):.4g}°; "
            "the ends must be vertices of the mesh: take the mesh of disk_mesh, or check first_angle and coverage"
        )
    return np.where(inside, nearest % tank.electrodes, -1)


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _check_radius(radii: np.ndarray, tank: Tank) -> None:
    low, high = radii.min(), radii.max()
    if low < 0.99 * tank.radius or high > 1.01 * tank.radius:
        raise MeshError(
            f"the mesh's boundary lies at distances {low:.4g} to {high:.4g} from the origin, the tank's radius is "
            f"{tank.radius:.4g}: use the same units, and put the center at the origin"
        )
