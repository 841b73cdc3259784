"""A few unknown numbers, without a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.inverse.errors import InputError
from pdeopt.inverse.unknowns.parametrization import Parametrization
from pdeopt.optimize.bounds import BoundsLike

#: The roles of a parameter, which say what it is called in pictures.
ROLES = ("reconstruction", "control", "design", "result")


@dataclass(frozen=True, eq=False)
class Numbers:
    """A handful of unknown numbers, in the place of a `Parameter`.

    They may be conductivities of layers, or rates of wells. The coefficient is an array (p,) in the order of the names.
    The numbers have the Euclidean inner product: choose units, or a `Log` parametrization, in which they are of similar
    size.

    Attributes:
        names: The name of each number, with its unit: "conductivity of clay (W/(m K))".
        label: A name for all of them together.
        role: The role in pictures, as that of a `Parameter`.
        parametrization: The map from m (p,) to the numbers, of one of several `Parameters`, as of a `Parameter`.
        initial: The initial guess of m, a number or (p,), as of a `Parameter`.
        bounds: The bounds (lower, upper) of m, as those of a `Problem`.
        truth: The true numbers (p,), where they are known.

    Raises:
        InputError: Names are missing or not unique, or the role is not known.
    """

    names: Sequence[str]
    label: str = "numbers"
    role: str | None = None
    parametrization: Parametrization | None = None
    initial: ArrayLike | None = None
    bounds: BoundsLike = None
    truth: np.ndarray | None = None

    space = None
    dofs = None

    def __post_init__(self) -> None:
        check_role(self.role)
        if isinstance(self.names, str) or not len(self.names) or not all(isinstance(name, str) for name in self.names):
            raise InputError(f"the names of the numbers are {self.names!r}; expected a list of texts, one a number")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"the names of the numbers are {list(self.names)}; expected a different one for each")

    @property
    def size(self) -> int:
        """The number p of unknowns."""
        return len(self.names)

    @property
    def coefficient_size(self) -> int:
        """The number of values of the coefficient, p."""
        return self.size

    def flat(self, coefficient: Any) -> np.ndarray:
        """Return a coefficient as one row of numbers, (p,), which it is."""
        return np.asarray(coefficient)

    def unflat(self, values: np.ndarray) -> np.ndarray:
        """Return the coefficient of one row of numbers, (p,), which it is."""
        return values

    @property
    def mass(self) -> sp.csr_matrix:
        """The matrix (p, p) of the Euclidean product, the identity."""
        return sp.identity(self.size, format="csr")

    @property
    def lumped_mass(self) -> np.ndarray:
        """The diagonal (p,) of the Euclidean product, ones."""
        return np.ones(self.size)

    @property
    def locations(self) -> np.ndarray:
        """The places of the numbers, (0, p), because they have none."""
        return np.empty((0, self.size))

    def relative_error(self, values: np.ndarray, truth: np.ndarray) -> float | None:
        """Return the root mean square of the relative errors, which units do not change.

        Args:
            values: The numbers (p,).
            truth: The true numbers (p,).

        Returns:
            The error; None where a true number is zero.
        """
        if not np.all(truth):
            return None
        return float(np.sqrt(np.mean((values / truth - 1) ** 2)))


def check_role(role: str | None) -> None:
    """Refuse a role that is not known.

    Raises:
        InputError: The role is neither None nor one of `ROLES`.
    """
    if role is not None and role not in ROLES:
        raise InputError(f"the role of a parameter is {role!r}; expected one of {', '.join(ROLES)}, or None")
