"""A parameter that is a function in space and time: a control, a boundary flux, a source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.local_mass import lumped_mass
from pdeopt.inverse.regularization import mass
from pdeopt.inverse.unknowns.numbers import check_role
from pdeopt.inverse.unknowns.parametrization import Parametrization
from pdeopt.optimize.bounds import BoundsLike


@dataclass(frozen=True, eq=False)
class ParameterInTime:
    """A parameter that is a function on a space in each of K steps in time, in the place of a `Parameter`.

    The m (K · n,) of optimizers is (m_1, …, m_K), one step after the other; `in_steps` makes the rows (K, n) of it that
    a `pdeopt.pde.Sampled` load takes. Its inner product is that of L² in space and time, Σ_k w_k ∫ a_k b_k.

    Attributes:
        space: The space of the function, on cells or on boundary facets.
        label: The physical coefficient in words, with its unit.
        weights: The weights w (K,), the sizes of the steps.
        role: The role in pictures, as that of a `Parameter`.
        parametrization: The map from m to the coefficient, of one of several `Parameters`, as of a `Parameter`.
        initial: The initial guess of m, a number or (K · n,), as of a `Parameter`.
        bounds: The bounds (lower, upper) of m, as those of a `Problem`.
        truth: The true coefficient (K · n,), where it is known.

    Raises:
        InputError: The role is not known, or a weight is not positive.
    """

    space: FunctionSpace
    label: str
    weights: ArrayLike
    role: str | None = None
    parametrization: Parametrization | None = None
    initial: ArrayLike | None = None
    bounds: BoundsLike = None
    truth: np.ndarray | None = None

    dofs = None

    def __post_init__(self) -> None:
        check_role(self.role)
        weights = np.atleast_1d(np.array(self.weights, float))
        if weights.ndim != 1 or not weights.size or not (np.isfinite(weights) & (weights > 0)).all():
            raise InputError(f"the weights of steps are {weights}; expected the sizes of the steps, numbers > 0")
        object.__setattr__(self, "weights", weights)

    @property
    def steps(self) -> int:
        """The number K of steps."""
        return len(np.asarray(self.weights))

    @property
    def size(self) -> int:
        """The number K · n of parameters."""
        return self.steps * self.space.n

    @property
    def coefficient_size(self) -> int:
        """The number of values of the coefficient, K · n."""
        return self.size

    def in_steps(self, values: Any) -> Any:
        """Return values (K · n,) as rows of the steps, (K, n)."""
        return values.reshape(self.steps, self.space.n)

    def flat(self, coefficient: Any) -> np.ndarray:
        """Return a coefficient as one row of numbers, (K · n,), which it is."""
        return np.asarray(coefficient)

    def unflat(self, values: np.ndarray) -> np.ndarray:
        """Return the coefficient of one row of numbers, (K · n,), which it is."""
        return values

    @cached_property
    def mass(self) -> sp.csr_matrix:
        """The matrix (K · n, K · n) of the L² product in space and time."""
        return sp.csr_matrix(sp.kron(sp.diags_array(self.weights), mass.assemble(self.space).to_scipy(), format="csr"))

    @cached_property
    def lumped_mass(self) -> np.ndarray:
        """The diagonal (K · n,) of the lumped one."""
        return np.kron(np.asarray(self.weights), lumped_mass(self.space))

    @property
    def locations(self) -> np.ndarray:
        """The places of the degrees of freedom, (d, K · n), those of each step."""
        return np.tile(self.space.locations, self.steps)

    def norm(self, values: np.ndarray) -> float:
        """Return the L² norm in space and time of a function with given values (K · n,)."""
        return float(np.sqrt(values @ (self.mass @ values)))

    def relative_error(self, values: np.ndarray, truth: np.ndarray) -> float | None:
        """Return the relative error ‖values − truth‖ / ‖truth‖ in L²; None for a truth of zero."""
        size = self.norm(truth)
        return self.norm(values - truth) / size if size > 0 else None
