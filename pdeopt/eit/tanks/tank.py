"""Round tanks with electrodes of equal width along the wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.inverse import InputError


@dataclass(frozen=True)
class Tank:
    """A round tank; the default is that of the Kuopio Tomography Challenge 2023.

    Attributes:
        radius: The radius in meters, or in any unit of length that everything else uses, too.
        electrodes: The number L of electrodes, all of the same width, evenly spaced.
        coverage: The part of the circumference that the electrodes cover, from 0.01 to 0.99.
        first_angle: The angle of the center of electrode 1, radians from the x axis; the others follow
            counter-clockwise.

    Raises:
        InputError: The values make no tank.
    """

    radius: float = 0.115
    electrodes: int = 32
    coverage: float = 0.5
    first_angle: float = np.pi / 2

    def __post_init__(self) -> None:
        check_positive("radius of the tank", self.radius)
        if not isinstance(self.electrodes, (int, np.integer)) or self.electrodes < 2:
            raise InputError(f"electrodes = {self.electrodes}; a tank has a whole number of them, two or more")
        if not 0.01 <= self.coverage <= 0.99:
            raise InputError(
                f"coverage = {self.coverage}; it is the part of the circumference under electrodes, 0.01 to 0.99: "
                "0.5 where the gaps are as wide as the electrodes"
            )
        if not np.isfinite(self.first_angle):
            raise InputError(f"first_angle = {self.first_angle}; expected the angle of electrode 1 in radians")

    @property
    def pitch(self) -> float:
        """The angle from one electrode's center to the next, radians."""
        return 2 * np.pi / self.electrodes

    @property
    def width(self) -> float:
        """The arc length of an electrode, in the unit of the radius."""
        return self.radius * self.pitch * self.coverage

    @property
    def gap(self) -> float:
        """The arc length between two neighboring electrodes, in the unit of the radius."""
        return self.radius * self.pitch * (1 - self.coverage)

    @property
    def angles(self) -> np.ndarray:
        """The angles (L,) of the electrodes' centers, radians."""
        return self.first_angle + self.pitch * np.arange(self.electrodes)

    @property
    def ends(self) -> np.ndarray:
        """The angles (2, L) at which the electrodes begin and end, radians."""
        half = self.pitch * self.coverage / 2
        return np.stack([self.angles - half, self.angles + half])


def electrode_names(count: int) -> tuple[str, ...]:
    """Return ``("electrode 1", …, "electrode L")``, the names of the boundaries under electrodes.

    Args:
        count: The number L of electrodes.
    """
    return tuple(f"electrode {l}" for l in range(1, count + 1))


def check_positive(what: str, value: float) -> None:
    """Check that a value is a positive, finite number.

    Args:
        what: What the value is, in words, for the message.
        value: The value.

    Raises:
        InputError: It is not.
    """
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"the {what} is {value}; expected a positive number")


def check_size(name: str, value: float, radius: float) -> None:
    """Check that a value can be the length of an edge in a tank of some radius.

    Args:
        name: The name of the argument, for the message.
        value: The value.
        radius: The radius of the tank, in the same unit.

    Raises:
        InputError: It cannot be.
    """
    check_positive(name, value)
    if value > radius:
        raise InputError(f"{name} = {value:g} is larger than the tank, whose radius is {radius:g}; take a part of it")
