"""Observations: what is measured of a state u, of shape (n,) or (n, r) for r experiments.

An observation is called with the state and the physical coefficient, and returns the predicted data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace, dot, functional, grad
from pdeopt.fem.spaces.points import OUTSIDE_TOLERANCE
from pdeopt.fem.spaces.space import Facets
from pdeopt.inverse.errors import InputError
from pdeopt.sparse import CSRMatrix


class Observation(Protocol):
    """A map from the state u and the physical coefficient to the predicted data.

    The state is (n,), or (n, r) for r experiments. JAX differentiates the map; any function of these two will do.
    """

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the data that the state u predicts for a physical coefficient."""
        ...


@dataclass(frozen=True)
class FullField:
    """An observation of every degree of freedom: data of the state's shape, (n,) or (n, r)."""

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the state u itself."""
        return u


@dataclass(frozen=True, eq=False)
class OfPart:
    """An observation of one part of a coupled state, as its velocity. Data (n,) or (n, r).

    Attributes:
        space: The part, as `FunctionSpace.split` makes it.
    """

    space: FunctionSpace

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the degrees of freedom of the part, (n,) or (n, r)."""
        return self.space.restrict(u)


@dataclass(frozen=True, eq=False)
class AtDofs:
    """An observation of some degrees of freedom: on a boundary, or in a subdomain. Data (k,) or (k, r).

    Attributes:
        dofs: The numbers (k,) of the degrees of freedom. A call raises InputError where the state has fewer.
    """

    dofs: np.ndarray

    @classmethod
    def on_boundary(cls, space: FunctionSpace, facets: Facets = None) -> AtDofs:
        """Return the observation of the degrees of freedom on boundary facets.

        The facets are given as for `FunctionSpace.boundary`.
        """
        return cls(space.indices[space.dofs(facets)])

    @classmethod
    def in_subdomain(cls, space: FunctionSpace, elements: Any) -> AtDofs:
        """Return the observation of the degrees of freedom of a subdomain's cells.

        The cells are given as for `FunctionSpace.subdomain`.
        """
        return cls(space.indices[space.subdomain_dofs(elements)])

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return u at the observed degrees of freedom, (k,) or (k, r)."""
        if self.dofs.max(initial=-1) >= len(u):
            raise InputError(f"degree of freedom {self.dofs.max()} is observed, but the state has only {len(u)}")
        return u[self.dofs]


@dataclass(frozen=True, eq=False)
class AtPoints:
    """An observation of point values u(x_k) by the finite-element functions. Data (k,) or (k, r).

    It is made by `of`. Of a vector-valued state the data are (components · k,): all points of the first
    component, then all of the second, so that ``data.reshape(components, k)`` has a column a point.

    Attributes:
        matrix: The matrix (k, n), or (components · k, n), of `FunctionSpace.point_evaluation`.
        points: The points (d, k); None where they are not known.

    Example:
        >>> import skfem
        >>> V = FunctionSpace(skfem.MeshLine().refined(2), skfem.ElementLineP1())
        >>> observation = AtPoints.of(V, [[0.1, 0.5]])
        >>> observation(2.0 * V.locations[0], None)
        Array([0.2, 1. ], dtype=float64)
    """

    matrix: CSRMatrix
    points: np.ndarray | None = None

    @classmethod
    def of(cls, space: FunctionSpace, points: ArrayLike, *, tolerance: float = OUTSIDE_TOLERANCE) -> AtPoints:
        """Return the observation at given points.

        Args:
            space: The state's space, or a part of it.
            points: The points (d, k), one column each.
            tolerance: The largest distance outside at which points are moved, as for `FunctionSpace.point_evaluation`.

        Raises:
            FEMError: Points lie further outside the mesh; it lists them.
        """
        matrix = space.point_evaluation(points, tolerance=tolerance)
        places = np.array(points, float)
        if not space.is_part:
            return cls(matrix, places)
        entries = matrix.to_scipy().tocoo()
        shape = (matrix.shape[0], space.whole.n)
        whole = sp.coo_array((entries.data, (entries.row, space.indices[entries.col])), shape)
        return cls(CSRMatrix.from_scipy(whole), places)

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return u at the points, (k,) or (k, r)."""
        return self.matrix @ u


@dataclass(frozen=True)
class Magnitude:
    """An observation of the magnitudes ``|d|`` of complex data d, real, of their shape.

    A magnitude has no derivative where the datum is zero; JAX takes zero there.

    Attributes:
        observation: The observation that predicts d.
    """

    observation: Observation

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the magnitudes that the state u predicts."""
        return jnp.abs(self.observation(u, coefficient))


@dataclass(frozen=True, eq=False)
class Phase:
    """An observation of the phases of complex data d, in radians, of their shape.

    Of the phases that differ by multiples of 2π each is the one next to a given phase, so that the measured phases as
    given ones make a misfit that does not jump at ±π. A phase has no derivative where the datum is zero (JAX's is NaN
    there), and jumps where it is opposite to the given one.

    Attributes:
        observation: The observation that predicts d.
        near: The given phases in radians, a number or of the data's shape; the phases are within π of them.
    """

    observation: Observation
    near: ArrayLike = 0.0

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the phases that the state u predicts."""
        near = jnp.asarray(self.near)
        return near + jnp.angle(self.observation(u, coefficient) * jnp.exp(-1j * near))


@functional
def _outward_flux(w: Any) -> Any:
    return -w["k"] * dot(grad(w["u"]), w.n)


@dataclass(frozen=True, eq=False)
class BoundaryFlux:
    """An observation of total fluxes −∫ k ∂u/∂n through parts of the boundary.

    The data are (parts,) or (parts, r). The normal derivative of the finite-element solution is integrated directly,
    which is one order less accurate than the state.

    Attributes:
        spaces: The spaces of the state's traces on each part.
        conductivity: A function of the coefficient and a trace space that returns the field k there.
    """

    spaces: tuple[FunctionSpace, ...]
    conductivity: Callable[[Any, FunctionSpace], Any]

    @classmethod
    def through(
        cls, space: FunctionSpace, parts: Sequence[Facets], conductivity: Callable[[Any, FunctionSpace], Any]
    ) -> BoundaryFlux:
        """Return the observation of the fluxes through parts of the boundary.

        Args:
            space: The state's space, or a part of it.
            parts: The parts, each given as for `FunctionSpace.boundary`.
            conductivity: A function of the coefficient and a trace space that returns the field k there.
        """
        return cls(tuple(space.boundary(part) for part in parts), conductivity)

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the flux of u through each boundary, (k,) or (k, r)."""

        def flux(values: jax.Array, trace: FunctionSpace) -> jax.Array:
            field = trace.interpolate(trace.restrict(values))
            return _outward_flux.assemble(trace, u=field, k=self.conductivity(coefficient, trace))

        columns = [u] if u.ndim == 1 else list(u.T)
        fluxes = jnp.stack([jnp.stack([flux(values, trace) for trace in self.spaces]) for values in columns], axis=-1)
        return fluxes[:, 0] if u.ndim == 1 else fluxes
