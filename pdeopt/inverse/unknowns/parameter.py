"""A parameter that is a function on a mesh or on a part of its boundary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.local_mass import lumped_mass
from pdeopt.inverse.regularization import mass
from pdeopt.inverse.unknowns.numbers import check_role
from pdeopt.inverse.unknowns.parametrization import Parametrization
from pdeopt.optimize.bounds import BoundsLike


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter that lives on a space, with its name.

    Attributes:
        space: The space whose degrees of freedom the parameter gives; on facets for a boundary coefficient.
        label: The physical coefficient in words, with its unit, as axis label: "conductivity κ (S/m)".
        dofs: The degrees of freedom that are parameters, (p,); None for all.
        role: The name of what is found, in pictures: "reconstruction", "control", "design" or "result". None stands for
            a reconstruction where there are data, and for a result where there are none, or where a state is wanted.
        parametrization: The map from m (p,) to the coefficient, of one of several `Parameters`; the identity where
            None. A single one has that of its `ReducedFunctional`.
        initial: The initial guess of m, a number or (p,); None for zero, or for that of the `Problem`.
        bounds: The bounds (lower, upper) of m, as those of a `Problem`.
        truth: The true coefficient (physical, not m), (p,), where it is known.
        coordinate: What the coordinate of a function on a line is, with its unit: "time t (s)"; "" for a place x.

    Raises:
        InputError: The role is not known, the degrees of freedom are no numbers, or a coordinate is named of a function
            that is not one on a line.
    """

    space: FunctionSpace
    label: str
    dofs: np.ndarray | None = None
    role: str | None = None
    parametrization: Parametrization | None = None
    initial: ArrayLike | None = None
    bounds: BoundsLike = None
    truth: np.ndarray | None = None
    coordinate: str = ""

    def __post_init__(self) -> None:
        check_role(self.role)
        if self.coordinate and self.space.mesh.dim() != 1:
            raise InputError(
                f"the coordinate of {self.label!r} is named {self.coordinate!r}, and its mesh has "
                f"{self.space.mesh.dim()} dimensions; expected a function on a line"
            )
        if self.dofs is not None and not np.issubdtype(np.asarray(self.dofs).dtype, np.integer):
            raise InputError(
                f"the dofs of a parameter are an array of {np.asarray(self.dofs).dtype}; expected their numbers, as "
                "np.flatnonzero(mask)"
            )

    @property
    def size(self) -> int:
        """The number p of parameters."""
        return self.space.n if self.dofs is None else len(self.dofs)

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

    def field(self, values: ArrayLike) -> Any:
        """Return the function with given values (p,) at the parameter's degrees of freedom, for forms.

        At all others it is zero.
        """
        values = jnp.asarray(values)
        if self.dofs is not None:
            values = jnp.zeros(self.space.n, values.dtype).at[self.dofs].set(values)
        return self.space.interpolate(values)

    @cached_property
    def mass(self) -> Any:
        """The mass matrix of the parameter, a SciPy matrix (p, p), which gives its L² product."""
        matrix = mass.assemble(self.space).to_scipy()
        return matrix if self.dofs is None else matrix[self.dofs][:, self.dofs]

    @cached_property
    def lumped_mass(self) -> np.ndarray:
        """The diagonal (p,) of the lumped mass matrix."""
        weights = lumped_mass(self.space)
        return weights if self.dofs is None else weights[self.dofs]

    @property
    def locations(self) -> np.ndarray:
        """The places of the parameter's degrees of freedom, (d, p)."""
        return self.space.locations if self.dofs is None else self.space.locations[:, self.dofs]

    def norm(self, values: np.ndarray) -> float:
        """Return the L² norm of a function with given values (p,) at the parameter's degrees of freedom."""
        return float(np.sqrt(values @ (self.mass @ values)))

    def relative_error(self, values: np.ndarray, truth: np.ndarray) -> float | None:
        """Return the relative error ‖values − truth‖ / ‖truth‖ in L²; None for a truth of zero."""
        size = self.norm(truth)
        return self.norm(values - truth) / size if size > 0 else None
