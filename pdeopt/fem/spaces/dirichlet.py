"""Dirichlet conditions by elimination.

The reduced system is symmetric where the full one is, and differentiable.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem.errors import FEMError
from pdeopt.fem.spaces.points import concrete_points
from pdeopt.fem.spaces.space import Facets, FunctionSpace
from pdeopt.sparse import CSRMatrix, LinearMap, SparsityPattern

#: The largest difference of equal values of one degree of freedom, relative to the largest value.
SAME_VALUE_TOLERANCE = 1e-12
#: The largest distance of a degree of freedom from the point that is meant, relative to the size of the mesh.
NODE_AT_POINT_TOLERANCE = 1e-9

#: The prescribed values: None for zero, a number, an array, or a function of x (d, k) that returns one of these.
Values = ArrayLike | Callable[[np.ndarray], ArrayLike] | None


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """A condition that prescribes values, u[dofs] = values.

    Two conditions add up, ``hot + cold``, where they agree on what they share; in ``walls | lid`` the right one counts
    there.

    Attributes:
        n: The number of degrees of freedom of the space.
        dofs: The degrees of freedom with prescribed values, (k,), sorted.
        values: The values, (k,), or (k, r) for r right-hand sides; None for zero. Differentiable.
        locations: The places of all degrees of freedom, (d, n), for messages; None where they are not known.
    """

    n: int
    dofs: np.ndarray
    values: jax.Array | None = None
    locations: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def on(
        cls,
        space: FunctionSpace,
        facets: Facets | Mapping[str | tuple[str, ...], Values] = None,
        values: Values = None,
        names: Sequence[str] | None = None,
    ) -> Dirichlet:
        """Prescribe u on boundary facets (default: on the whole boundary).

        Args:
            space: The space of u, or a part of it that `FunctionSpace.split` made: the condition is one on the whole.
            facets: The facets, as for `FunctionSpace.boundary`; or several values by the names of boundaries,
                ``{"hot": 80.0, "cold": 20.0}``, which must agree where these meet.
            values: The values: None for zero; a number; (k,) or (k, r) in the order of ``space.dofs(facets, names)``;
                or a function of x (d, k) that returns one of these (only where degrees of freedom are point values),
                with a vector-valued element also vectors (components, k).
            names: The degrees of freedom to prescribe, by scikit-fem's names, for vector-valued and mixed elements:
                ``["u^1"]`` is the first component (default: all).

        Raises:
            FEMError: Values have another shape, or differ where boundaries meet.
            MeshError: The mesh does not have a boundary of such a name.
        """
        if isinstance(facets, Mapping):
            if values is not None or not facets:
                raise FEMError("Dirichlet values by name are given as {'hot': 80.0, 'cold': 20.0}, without others")
            return reduce(operator.add, [cls.on(space, key, value, names) for key, value in facets.items()])
        return cls._at(space, space.dofs(facets, names), values, names)

    @classmethod
    def at(cls, space: FunctionSpace, point: ArrayLike, values: Values = None) -> Dirichlet:
        """Prescribe u at a point, as a pressure that the equations fix up to a constant.

        Args:
            space: The space of u, or a part of it.
            point: The point (d,), at which degrees of freedom lie.
            values: The values, as for `on`.

        Raises:
            FEMError: No degree of freedom lies at the point.
        """
        space.check_nodal()
        distance = np.linalg.norm(space.locations - np.reshape(concrete_points(point), (-1, 1)), axis=0)
        size = np.ptp(space.mesh.p, axis=1).max()
        dofs = np.flatnonzero(distance <= NODE_AT_POINT_TOLERANCE * size)
        if not len(dofs):
            nearest = space.locations[:, int(np.nanargmin(distance))]
            raise FEMError(
                f"no degree of freedom of {space} lies at {np.ravel(point).tolist()}; the nearest place of one is "
                f"{nearest.tolist()}"
            )
        return cls._at(space, dofs, values, None)

    @classmethod
    def _at(cls, space: FunctionSpace, dofs: np.ndarray, values: Values, names: Sequence[str] | None) -> Dirichlet:
        """Prescribe the values of given degrees of freedom of a space, or of a part of one."""
        whole, among = space.whole, space.indices[dofs]
        if values is None:
            return cls(whole.n, among, None, whole.locations)
        if callable(values):
            space.check_nodal(names)
        given = space.own_components(values(space.locations[:, dofs]), dofs) if callable(values) else values
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given))
        # numbers stay known inside a trace, so that they can be compared
        with nullcontext() if traced else jax.ensure_compile_time_eval():
            given = jnp.array(given)  # a copy: the caller's array may change
            given = given.astype(jnp.promote_types(given.dtype, jnp.float64))
            given = jnp.broadcast_to(given, (len(dofs),)) if given.ndim == 0 else given
        if given.shape[0] != len(dofs) or given.ndim > 2:
            raise FEMError(
                f"Dirichlet values have shape {given.shape}; expected a number, ({len(dofs)},) or ({len(dofs)}, r): "
                "one value for each boundary degree of freedom, in the order of space.dofs(...)"
            )
        return cls(whole.n, among, given, whole.locations)

    def __add__(self, other: Dirichlet) -> Dirichlet:
        """Return both conditions in one.

        Raises:
            FEMError: They prescribe different values somewhere, which it names, or belong to different spaces.
        """
        if not isinstance(other, Dirichlet):
            return NotImplemented
        self._check_fits(other)
        common, here, there = np.intersect1d(self.dofs, other.dofs, return_indices=True)
        if len(common):
            if any(isinstance(condition.values, jax.core.Tracer) for condition in (self, other)):
                raise FEMError(
                    f"two Dirichlet conditions share {len(common)} degrees of freedom, the first "
                    f"{self._place(common[0])}, and the values of one depend on what JAX traces, so that they cannot "
                    "be compared; say which counts: with first | second it is the second"
                )
            a, b = (
                np.zeros((len(common), 1)) if c.values is None else np.asarray(c.values)[at].reshape(len(common), -1)
                for c, at in ((self, here), (other, there))
            )
            size = max(np.abs(a).max(), np.abs(b).max())
            differ = ~(np.abs(a - b) <= SAME_VALUE_TOLERANCE * size).all(1)
            if differ.any():
                k = int(differ.argmax())
                raise FEMError(
                    f"two Dirichlet conditions prescribe different values for {differ.sum()} degrees of freedom, the "
                    f"first {self._place(common[k])}: {_shown(a[k])} and {_shown(b[k])}. Say which counts: with first "
                    "| second it is the second"
                )
        return self | other

    def __or__(self, other: Dirichlet) -> Dirichlet:
        """Return both conditions in one, with the values of the right one where they share degrees of freedom.

        Raises:
            FEMError: They belong to spaces with different numbers of degrees of freedom.
        """
        if not isinstance(other, Dirichlet):
            return NotImplemented
        if self.n != other.n:
            raise FEMError(
                f"Dirichlet conditions of spaces with {self.n} and {other.n} degrees of freedom do not add up"
            )
        kept = np.flatnonzero(~np.isin(self.dofs, other.dofs))
        dofs, first = np.unique(np.concatenate([self.dofs[kept], other.dofs]), return_index=True)
        locations = self.locations if other.locations is None else other.locations
        if self.values is None and other.values is None:
            return Dirichlet(self.n, dofs, None, locations)
        one, two = (jnp.zeros(len(c.dofs)) if c.values is None else c.values for c in (self, other))
        if one.ndim != two.ndim:  # a value of all experiments
            one, two = (v if v.ndim == 2 else v[:, None] for v in (one, two))
            columns = max(one.shape[1], two.shape[1])
            one, two = (jnp.broadcast_to(v, (len(v), columns)) for v in (one, two))
        return Dirichlet(self.n, dofs, jnp.concatenate([one[kept], two])[first], locations)

    def _check_fits(self, other: Dirichlet) -> None:
        if self.n != other.n:
            raise FEMError(f"two Dirichlet conditions belong to spaces of {self.n} and {other.n} degrees of freedom")
        columns = {c.values.shape[1] for c in (self, other) if c.values is not None and c.values.ndim == 2}
        if len(columns - {1}) > 1:
            raise FEMError(f"two Dirichlet conditions have values for {min(columns)} and {max(columns)} experiments")

    def _place(self, dof: int) -> str:
        return f"number {dof}" if self.locations is None else f"at {np.round(self.locations[:, dof], 6).tolist()}"

    @property
    def free(self) -> np.ndarray:
        """The degrees of freedom whose values are not prescribed, sorted."""
        return np.setdiff1d(np.arange(self.n), self.dofs, assume_unique=True)

    def condense(self, A: CSRMatrix, b: jax.Array) -> tuple[CSRMatrix, jax.Array]:
        """Return the matrix and the load of the free degrees of freedom: A_FF u_F = b_F − A_FD u_D.

        Args:
            A: The matrix of all degrees of freedom, (n, n).
            b: The load, (n,) or (n, r).

        Returns:
            A_FF, and the right-hand side (free,) or (free, r).

        Raises:
            FEMError: Matrix or load have another size.
        """
        if A.shape != (self.n, self.n) or b.ndim not in (1, 2) or b.shape[0] != self.n:
            raise FEMError(
                f"the system has a matrix of shape {A.shape} and a load of shape {b.shape}; the Dirichlet values belong"
                f" to a space with {self.n} degrees of freedom"
            )
        pattern, kept = _free_block(A.pattern, *self._key)
        reduced = CSRMatrix(kept(A.data), pattern)
        if self.values is None:
            return reduced, self.reduce(b)
        coupling, stored, order = _coupling_block(A.pattern, *self._key)
        lifted = CSRMatrix(stored(A.data), coupling) @ self.values[order]
        b = b[:, None] if b.ndim < lifted.ndim else b
        lifted = lifted[:, None] if lifted.ndim < b.ndim else lifted
        return reduced, self.reduce(b) - lifted

    def reduce(self, load: jax.Array) -> jax.Array:
        """Return the load (free,) or (free, r) of the free degrees of freedom, of a load (n,) or (n, r)."""
        return _free_values(self.n, *self._key)(load)

    def reduce_sizes(self, sizes: jax.Array) -> jax.Array:
        """Return bounds of what `reduce` returns, for bounds (n,) of the entries of a load."""
        return self.reduce(sizes)

    def lacking(self, u: jax.Array) -> jax.Array:
        """Return what u (n,) lacks to the prescribed values, (k,)."""
        return (0.0 if self.values is None else self.values) - u[self.dofs]

    def enlarged(self, count: int) -> Dirichlet:
        """Return the condition on states with a number of further entries at their ends, which it leaves free."""
        return replace(self, n=self.n + count)

    def extend(self, u_free: jax.Array) -> jax.Array:
        """Return the full vector (n,) or (n, r), with the prescribed values in their places.

        Args:
            u_free: The values of the free degrees of freedom, (free,) or (free, r).
        """
        u = _free_values(self.n, *self._key).T(u_free)
        if self.values is None:
            return u
        values = self.values if self.values.ndim == u.ndim else self.values[:, None]
        return u.at[self.dofs].set(values, unique_indices=True)

    @property
    def _key(self) -> tuple[bytes, str]:
        """The bytes and the type of the prescribed degrees of freedom, to look things up by them."""
        return self.dofs.tobytes(), self.dofs.dtype.str


def _shown(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values[:3]) + " …" * (len(values) > 3)


@lru_cache(maxsize=8)
def _free_values(n: int, dofs: bytes, dtype: str) -> LinearMap:
    """Return the map that takes the values of the free degrees of freedom from those of all."""
    return LinearMap.selection(np.setdiff1d(np.arange(n), np.frombuffer(dofs, dtype)), n)


@lru_cache(maxsize=8)
def _free_block(pattern: SparsityPattern, dofs: bytes, dtype: str) -> tuple[SparsityPattern, LinearMap]:
    """Return the pattern of A_FF, and the map to its values from those of A."""
    free = np.setdiff1d(np.arange(pattern.shape[0]), np.frombuffer(dofs, dtype))
    block, kept = pattern.submatrix(free, free)
    return block, LinearMap.selection(kept, pattern.nnz)


@lru_cache(maxsize=8)
def _coupling_block(pattern: SparsityPattern, dofs: bytes, dtype: str) -> tuple[SparsityPattern, LinearMap, np.ndarray]:
    """Return the pattern of A_FD with sorted columns, and the map to its values from those of A.

    The third result is the order (k,) that sorts the columns.
    """
    prescribed = np.frombuffer(dofs, dtype)
    free, order = np.setdiff1d(np.arange(pattern.shape[0]), prescribed), np.argsort(prescribed)
    block, stored = pattern.submatrix(free, prescribed[order])
    return block, LinearMap.selection(stored, pattern.nnz), order
