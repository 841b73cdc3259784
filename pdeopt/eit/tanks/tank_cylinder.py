"""Tetrahedral meshes of cylindrical tanks: the cross-section's triangles, extruded in layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import skfem

from pdeopt.eit.tanks.tank import Tank, check_positive, check_size, electrode_names
from pdeopt.eit.tanks.tank_disk import disk_mesh, electrodes_at
from pdeopt.eit.tanks.tank_mesher import graded_points
from pdeopt.inverse import InputError


def cylinder_mesh(
    tank: Tank,
    height: float,
    *,
    electrode_bottom: float,
    electrode_height: float,
    size: float | None = None,
    boundary_size: float | None = None,
    end_size: float | None = None,
    layer_size: float | None = None,
    growth: float = 0.25,
) -> skfem.MeshTet:
    """Return the tank from z = 0 to its height in tetrahedra; electrodes are rectangles on its wall.

    Boundaries are named "electrode 1" … "electrode L", "wall" (the wall between them), "bottom" and "top".

    Args:
        tank: The tank, in cross-section.
        height: The height of the tank (of the water in it), in the unit of the radius.
        electrode_bottom: The height above the bottom at which the electrodes begin.
        electrode_height: The height of the electrodes themselves.
        size: The edge length in the middle of the cross-section, see `disk_mesh`; coarser by default: radius / 6.
        boundary_size: The edge length at the wall, away from electrode ends, see `disk_mesh` (default: size / 2).
        end_size: The edge length at electrode ends, see `disk_mesh`; coarser by default: boundary_size / 2.
        layer_size: The thickness of the layers at the electrodes' lower and upper ends (default: boundary_size),
            growing to ``size``.
        growth: The growth of the edge length for each unit of length away from the ends and the wall, see `disk_mesh`.

    Raises:
        InputError: Sizes are not positive or larger than the tank, or electrodes leave it.
    """
    size = tank.radius / 6 if size is None else size
    boundary_size = size / 2 if boundary_size is None else boundary_size
    end_size = boundary_size / 2 if end_size is None else end_size
    layer_size = boundary_size if layer_size is None else layer_size
    check_size("layer_size", layer_size, tank.radius)
    _check_band(height, electrode_bottom, electrode_height)
    disk = disk_mesh(tank, size, boundary_size=boundary_size, end_size=end_size, growth=growth)
    band = (electrode_bottom, electrode_bottom + electrode_height)
    return _named(extruded(disk, _heights(height, band, layer_size, size, growth)), tank, band)


def extruded(mesh: skfem.MeshTri, heights: np.ndarray) -> skfem.MeshTet:
    """Return the tetrahedra between copies of a triangle mesh at several heights.

    Each prism is cut into three; neighbors cut their common side by the same diagonal, as its lower end is always the
    vertex with the smaller number (Dompierre et al., "How to subdivide pyramids, prisms and hexahedra into tetrahedra",
    8th International Meshing Roundtable, 1999).

    Args:
        mesh: The triangle mesh.
        heights: The z of the copies, ascending.
    """
    n, layers = mesh.nvertices, len(heights) - 1
    a, b, c = np.sort(mesh.t, axis=0)
    prism = np.concatenate([[a, b, c, c + n], [a, b, b + n, c + n], [a, a + n, b + n, c + n]], axis=1)  # one layer
    t = np.concatenate([prism + n * k for k in range(layers)], axis=1)
    p = np.concatenate([np.tile(mesh.p, layers + 1), np.repeat(heights, n)[None]])
    return skfem.MeshTet(p, t)


def _heights(height: float, band: tuple[float, float], layer: float, size: float, growth: float) -> np.ndarray:
    """Return the z of the layers, finest at the ends of the electrodes, which are among them.

    Args:
        height: The height of the tank.
        band: The z at which the electrodes begin and end.
        layer: The thickness of the layers there.
        size: The largest thickness.
        growth: The growth of the thickness for each unit of length away from there.
    """
    ticks = [tick for tick in (0.0, *band, height) if 1e-9 * height < tick < (1 - 1e-9) * height]
    ticks = [0.0, *ticks, height]

    def section(low: float, high: float) -> np.ndarray:
        def sizes(s: np.ndarray) -> np.ndarray:
            nearest = np.minimum(np.abs(low + s - band[0]), np.abs(low + s - band[1]))
            return np.minimum(max(size, layer), layer + growth * nearest)

        return low + graded_points(high - low, sizes, fewest=1)[:-1]

    pieces = [section(low, high) for low, high in pairwise(ticks)]
    return np.concatenate([*pieces, [height]])


def _named(mesh: skfem.MeshTet, tank: Tank, band: tuple[float, float]) -> skfem.MeshTet:
    facets = mesh.boundary_facets()
    x, y, z = mesh.p[:, mesh.facets[:, facets]]  # each (corner, facet)
    low, high = z.min(0), z.max(0)
    lids = low == high
    slack = 1e-9 * mesh.p[2].max()
    inside = ~lids & (low >= band[0] - slack) & (high <= band[1] + slack)
    owner = np.full(len(facets), -1)
    owner[inside] = electrodes_at(tank, np.arctan2(y, x)[:, inside])
    named = {name: facets[owner == l] for l, name in enumerate(electrode_names(tank.electrodes))}
    named |= {"wall": facets[~lids & (owner < 0)], "bottom": facets[lids & (low == 0)], "top": facets[lids & (low > 0)]}
    return mesh.with_boundaries(named)


def _check_band(height: float, bottom: float, tall: float) -> None:
    check_positive("height of the tank", height)
    check_positive("electrode_height", tall)
    if not 0 <= bottom < bottom + tall <= height * (1 + 1e-9):
        raise InputError(
            f"electrodes from z = {bottom:g} to {bottom + tall:g} leave the tank, which reaches from 0 to {height:g}; "
            "change electrode_bottom or electrode_height, or the height"
        )
