"""Tanks that are made up: objects, their segmentation, and the challenge's current patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdeopt.eit.images.pixels import CONDUCTIVE, PIXELS_PER_SIDE, RESISTIVE, WATER, pixel_centers
from pdeopt.eit.tanks.tank import Tank, check_positive
from pdeopt.inverse import InputError

#: The numbers of corners of objects that are drawn at random; 0 is an ellipse, drawn as often as all polygons together.
CORNER_COUNTS = (0, 0, 0, 3, 4, 5)
#: The least and the largest radius of objects that are drawn at random, relative to the tank's.
RADIUS_RANGE = (0.12, 0.3)
#: The least distance of such objects from each other and from the wall, relative to the tank's radius.
MIN_OBJECT_DISTANCE = 0.05
#: The number of places that are tried for all objects together before starting anew.
MAX_PLACES = 200
#: The largest number of times that drawing is started.
MAX_ATTEMPTS = 50


@dataclass(frozen=True)
class PhantomObject:
    """An ellipse or a squeezed regular polygon.

    Attributes:
        label: The label, 1 resistive or 2 conductive.
        center: The center (x, y), in meters, or whatever unit `Tank.radius` has.
        radius: The long half-axis, or the distance of the corners from the center before squeezing; it contains the
            object.
        corners: The number of corners, 0 for an ellipse, 3 or more for a polygon.
        angle: The angle of the long half-axis, or of the first corner, radians from the x axis.
        aspect: The factor by which it is squeezed across that, in (0, 1]; 1 is a circle or a regular polygon.

    Raises:
        InputError: The values make no such object.
    """

    label: int
    center: tuple[float, float]
    radius: float
    corners: int = 0
    angle: float = 0.0
    aspect: float = 1.0

    def __post_init__(self) -> None:
        if self.label not in (RESISTIVE, CONDUCTIVE):
            raise InputError(f"the label of an object is {self.label!r}; expected 1 (resistive) or 2 (conductive)")
        check_positive("radius of an object", self.radius)
        if self.corners not in (0, *range(3, 100)):
            raise InputError(f"an object has {self.corners!r} corners; expected 0 for an ellipse, or 3 and more")
        if not (0 < self.aspect <= 1 and np.isfinite([*self.center, self.angle]).all()):
            raise InputError(
                f"an object has center {self.center}, angle {self.angle} and aspect {self.aspect}; expected finite "
                "numbers, and an aspect in (0, 1]"
            )

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return which points are inside the object or on its rim, (…) bool.

        Args:
            points: The points (2, …), in the unit of the center.
        """
        along = np.array([np.cos(self.angle), np.sin(self.angle)])
        offset = np.moveaxis(np.asarray(points, float), 0, -1) - np.asarray(self.center)
        x = offset @ along / self.radius
        y = offset @ np.array([-along[1], along[0]]) / (self.radius * self.aspect)
        if not self.corners:
            return np.hypot(x, y) <= 1
        half = np.pi / self.corners
        normals = half * (2 * np.arange(self.corners) + 1)
        reach = np.max([np.cos(n) * x + np.sin(n) * y for n in normals], 0)
        return reach <= np.cos(half)


def labels(inclusions: Sequence[PhantomObject], points: np.ndarray) -> np.ndarray:
    """Return the labels of points, uint8: 0 water, 1 resistive, 2 conductive.

    Args:
        inclusions: The objects; where they overlap, the last one counts.
        points: The points (2, …), in the unit of the centers.
    """
    found = np.full(np.shape(points)[1:], WATER, np.uint8)
    for inclusion in inclusions:
        found[inclusion.contains(points)] = inclusion.label
    return found


def picture(inclusions: Sequence[PhantomObject], tank: Tank) -> np.ndarray:
    """Return the segmentation in the challenge's pixels, (256, 256) uint8; water outside the tank.

    Args:
        inclusions: The objects; where they overlap, the last one counts.
        tank: The tank.
    """
    pixels = pixel_centers(tank.radius, PIXELS_PER_SIDE)
    return np.where(np.hypot(*pixels) < tank.radius, labels(inclusions, pixels), np.uint8(WATER))


def random_objects(
    rng: np.random.Generator, count: int, tank: Tank | None = None, radii: tuple[float, float] = RADIUS_RANGE
) -> list[PhantomObject]:
    """Return objects of random label, form, size and place; none touches another one or the wall.

    The circles around them are 0.05 tank radii apart, and as far from the wall.

    Args:
        rng: The generator of random numbers.
        count: The number of objects.
        tank: The tank; the default tank if None.
        radii: The least and the largest radius, relative to the tank's.

    Raises:
        InputError: The radii are not in (0, 0.95) and ascending, the count is negative, or so many do not fit in.
    """
    tank = Tank() if tank is None else tank
    if count < 0:
        raise InputError(f"{count} objects; expected 0 or more")
    if not 0 < radii[0] <= radii[1] < 1 - MIN_OBJECT_DISTANCE:
        raise InputError(
            f"radii = {radii}; expected two ascending numbers in (0, {1 - MIN_OBJECT_DISTANCE}), parts of the tank's"
        )
    for _ in range(MAX_ATTEMPTS):
        circles = _placed(rng, rng.uniform(*radii, count))
        if len(circles) == count:
            return [_random_form(rng, circle * tank.radius) for circle in circles]
    raise InputError(
        f"{count} objects of radii {radii[0]:g} to {radii[1]:g} times the tank's found no place in it; take fewer, or "
        "smaller ones"
    )


def _placed(rng: np.random.Generator, radii: np.ndarray) -> list[np.ndarray]:
    """Return circles (x, y, radius) in the unit disk, largest first; perhaps not all of them.

    Args:
        rng: The generator of random numbers.
        radii: The radii of the circles, relative to the tank's.
    """
    circles: list[np.ndarray] = []
    sizes = sorted(radii, reverse=True)
    for _ in range(MAX_PLACES):
        if len(circles) == len(sizes):
            break
        circle = np.array([*rng.uniform(-1, 1, 2), sizes[len(circles)]])
        inside = np.hypot(*circle[:2]) + circle[2] + MIN_OBJECT_DISTANCE <= 1
        if inside and all(np.hypot(*(circle - c)[:2]) >= circle[2] + c[2] + MIN_OBJECT_DISTANCE for c in circles):
            circles.append(circle)
    return circles


def _random_form(rng: np.random.Generator, circle: np.ndarray) -> PhantomObject:
    return PhantomObject(
        label=int(rng.choice([RESISTIVE, CONDUCTIVE])),
        center=(float(circle[0]), float(circle[1])),
        radius=float(circle[2]),
        corners=int(rng.choice(CORNER_COUNTS)),
        angle=float(rng.uniform(0, 2 * np.pi)),
        aspect=float(rng.uniform(0.6, 1)),
    )


def ktc_patterns(electrodes: int = 32, current: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Return the current patterns and the voltage differences of the challenge, for L electrodes.

    Only odd-numbered electrodes carry current: first from each to the next of them, around the tank; then from all
    others to the first one, and to those a quarter, a half and three quarters of the way around: electrodes 1, 9, 17
    and 25 of 32, which makes 76 patterns.

    Args:
        electrodes: The number L of electrodes, even.
        current: The current, mA; the challenge's are within 6 % of 1.5 mA.

    Returns:
        The currents (L, K), mA, and the differences (L, L − 1), of which difference j is ``U_j − U_{j+1}``.

    Raises:
        InputError: The number of electrodes is odd or less than 4, or the current is not positive.
    """
    if not isinstance(electrodes, (int, np.integer)) or electrodes < 4 or electrodes % 2:
        raise InputError(f"electrodes = {electrodes}; every other one carries current: expected an even number, 4 up")
    check_positive("current", current)
    drivers = np.arange(0, electrodes, 2)
    count = len(drivers)
    sinks = np.unique([count * k // 4 for k in range(4)])
    pairs = [(k, (k + 1) % count) for k in range(count)]
    pairs += [(k, int(sink)) for sink in sinks for k in range(count) if k != sink]
    currents = np.zeros((electrodes, len(pairs)))
    for column, (source, sink) in enumerate(pairs):
        currents[drivers[source], column], currents[drivers[sink], column] = current, -current
    return currents, np.eye(electrodes)[:, :-1] - np.eye(electrodes)[:, 1:]
