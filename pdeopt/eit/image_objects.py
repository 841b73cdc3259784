"""From a smooth image to the objects that it may show."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.sparse.csgraph import connected_components

from pdeopt.eit.inclusions import Inclusion
from pdeopt.eit.pixels import CONDUCTIVE, RESISTIVE
from pdeopt.fem import FunctionSpace
from pdeopt.inverse.regularization import mass

#: Parts of the image's extremes at which it is cut into objects.
CUTS = (0.25, 0.35, 0.5, 0.65)
#: Objects with a radius below this, relative to the tank's, are specks of the image.
SMALLEST = 0.03


def candidates(image: np.ndarray, space: FunctionSpace, radius: float, most: int) -> list[list[Inclusion]]:
    """Lists of at most ``most`` objects: of what sinks below one level and rises above another, for all the levels.

    Args:
        image: (n,), log-conductivity at the nodes of ``space``. radius: of the tank.
    """
    offset = image - np.median(image)
    low = _by_level(-offset, RESISTIVE, space, radius)
    high = _by_level(offset, CONDUCTIVE, space, radius)
    return [_largest(a + b, most) for a, b in product(low, high)]


def _by_level(image: np.ndarray, label: int, space: FunctionSpace, radius: float) -> list[list[Inclusion]]:
    """No object, and those above each of the levels."""
    return [[], *(_objects(image > cut * image.max(), label, space, radius) for cut in CUTS)]


def _objects(inside: np.ndarray, label: int, space: FunctionSpace, radius: float) -> list[Inclusion]:
    """Disks with the area and the center of each connected part of the nodes ``inside`` (n,)."""
    neighbors = mass.assemble(space).to_scipy()
    areas = np.asarray(neighbors.sum(1)).ravel()[inside] / radius**2
    places = space.locations[:, inside] / radius
    count, part = connected_components(neighbors[inside][:, inside], directed=False)
    area = np.bincount(part, areas, count)
    center = np.stack([np.bincount(part, areas * x, count) / area for x in places])
    radii = np.sqrt(area / np.pi)
    return [Inclusion.disk(label, center[:, k], radii[k]) for k in np.flatnonzero(radii > SMALLEST)]


def _largest(objects: list[Inclusion], most: int) -> list[Inclusion]:
    return sorted(objects, key=lambda inclusion: -inclusion.log_radius)[:most]
