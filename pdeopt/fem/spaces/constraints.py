"""Conditions that tie degrees of freedom: multi-point constraints, periodicity, and mean values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike
from scipy.spatial import cKDTree

from pdeopt.fem.errors import FEMError
from pdeopt.fem.spaces.dirichlet import NODE_AT_POINT_TOLERANCE, SAME_VALUE_TOLERANCE, Dirichlet
from pdeopt.fem.spaces.space import Facets, FunctionSpace
from pdeopt.sparse import CSRMatrix, LinearMap, SparsityPattern, block_matrix


class Condition(Protocol):
    """A condition u = Z y + g on the n degrees of freedom of a space, with y that is solved for."""

    @property
    def n(self) -> int:
        """The number of degrees of freedom of the space."""
        ...

    @property
    def dofs(self) -> np.ndarray:
        """The degrees of freedom that are no unknowns, (k,)."""
        ...

    def condense(self, A: CSRMatrix, b: jax.Array) -> tuple[CSRMatrix, jax.Array]:
        """Return the matrix and the load of the unknowns."""
        ...

    def reduce(self, load: jax.Array) -> jax.Array:
        """Return the load Zᵀ b of the unknowns, of a load b (n,) or (n, r)."""
        ...

    def extend(self, u_free: jax.Array) -> jax.Array:
        """Return all degrees of freedom, (n,) or (n, r), for given unknowns."""
        ...


@dataclass(frozen=True, eq=False)
class MultiPoint:
    """A condition u[dofs] = T u + g that ties degrees of freedom to others, as scikit-fem's `mpc`.

    The tied ones are eliminated on both sides, u = Z y + g and Zᵀ A Z y = Zᵀ (b − A g), so that symmetric systems stay
    symmetric and definite ones definite. `of` and `periodic` make such conditions; they add up, also with a
    `Dirichlet`, where they agree.

    Attributes:
        n: The number of degrees of freedom of the space.
        dofs: The degrees of freedom that are tied or prescribed, (k,), sorted.
        ties: The matrix T, (k, n), whose columns of tied degrees of freedom are zero.
        values: The values g, (k,), or (k, r) for r right-hand sides; None for zero. Differentiable.
        locations: The places of all degrees of freedom, (d, n), for messages.
    """

    n: int
    dofs: np.ndarray
    ties: sp.csr_array
    values: jax.Array | None = None
    locations: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        space: FunctionSpace,
        dofs: ArrayLike,
        masters: ArrayLike,
        matrix: sp.spmatrix | sp.sparray | np.ndarray | None = None,
        values: ArrayLike | None = None,
    ) -> MultiPoint:
        """Return the condition u[dofs] = T u[masters] + g.

        Args:
            space: The space of u, or a part of it: the condition is one on the whole.
            dofs: The degrees of freedom that are tied, (k,).
            masters: Those that they are tied to, (l,).
            matrix: The matrix T, (k, l), constant; None for one to one.
            values: The values g, (k,) or (k, r); None for zero. Differentiable.

        Raises:
            FEMError: Shapes do not fit, a degree of freedom is tied twice, or ties form a circle.
        """
        dofs, masters = np.ravel(dofs), np.ravel(masters)
        T = sp.coo_array(sp.eye_array(len(dofs), len(masters)) if matrix is None else matrix)
        if np.iscomplexobj(T.data):
            raise FEMError("the matrix of a multi-point constraint is complex; expected a real one")
        T = T.astype(float)
        given = None if values is None else jnp.asarray(values)
        if T.shape != (len(dofs), len(masters)) or (matrix is None and len(dofs) != len(masters)):
            raise FEMError(f"{len(dofs)} degrees of freedom are tied to {len(masters)} by a matrix {T.shape}")
        if given is not None and (given.ndim not in (1, 2) or len(given) != len(dofs)):
            raise FEMError(f"the values of {len(dofs)} ties have shape {given.shape}; expected ({len(dofs)},)")
        if len(np.unique(dofs)) < len(dofs):
            raise FEMError("a degree of freedom is tied twice in one condition; write two, which add up")
        n, order = space.whole.n, np.argsort(dofs)
        ties = sp.coo_array((T.data, (T.row, space.indices[masters[T.col]])), (len(dofs), n)).tocsr()[order]
        given = None if given is None else given[order]
        return _resolved(n, space.indices[dofs[order]], ties, given, space.whole.locations)

    @classmethod
    def periodic(cls, space: FunctionSpace, facets: Facets, others: Facets) -> MultiPoint:
        """Return the condition that u is the same on two pieces of the boundary, which a translation maps.

        Args:
            space: The space of u, or a part of it.
            facets: The piece whose degrees of freedom are eliminated, as for `FunctionSpace.boundary`.
            others: The piece that they are tied to.

        Raises:
            FEMError: The degrees of freedom of the two pieces do not match.
            MeshError: The mesh has no such boundary, or it is empty.
        """
        space.check_nodal(None)  # fluxes through facets have signs
        pairs = []
        for name in dict.fromkeys(space.element.dofnames):
            here, there = (space.dofs(one, [name]) for one in (facets, others))
            if not len(here) == len(there):
                raise FEMError(f"the two pieces have {len(here)} and {len(there)} degrees of freedom {name}")
            if len(here):
                pairs.append(_matched(space, here, there))
        return cls.of(space, *np.concatenate(pairs, axis=1))

    def __add__(self, other: MultiPoint | Dirichlet) -> MultiPoint:
        """Return both conditions in one.

        Raises:
            FEMError: They contradict each other, form a circle, or belong to different spaces.
        """
        if isinstance(other, Dirichlet):
            return _of_dirichlet(other) + self  # what is prescribed is not tied
        if not isinstance(other, MultiPoint):
            return NotImplemented
        if self.n != other.n:
            raise FEMError(f"two conditions belong to spaces of {self.n} and {other.n} degrees of freedom")
        new = ~np.isin(other.dofs, self.dofs)
        dofs = np.concatenate([self.dofs, other.dofs[new]])
        order = np.argsort(dofs)
        ties = sp.csr_array(sp.vstack([self.ties, other.ties[new]]))[order]
        values = _joined(self, other, new)
        both = _resolved(self.n, dofs[order], ties, None if values is None else values[order], self.locations)
        _check_implied(both, other, np.flatnonzero(~new))
        return both

    __radd__ = __add__

    @property
    def free(self) -> np.ndarray:
        """The degrees of freedom that are solved for, sorted."""
        return np.setdiff1d(np.arange(self.n), self.dofs, assume_unique=True)

    def condense(self, A: CSRMatrix, b: jax.Array) -> tuple[CSRMatrix, jax.Array]:
        """Return the matrix Zᵀ A Z and the load Zᵀ (b − A g) of the unknowns.

        Args:
            A: The matrix of all degrees of freedom, (n, n).
            b: The load, (n,) or (n, r).

        Raises:
            FEMError: Matrix or load have another size.
        """
        if A.shape != (self.n, self.n) or b.ndim not in (1, 2) or b.shape[0] != self.n:
            raise FEMError(
                f"the system has a matrix of shape {A.shape} and a load of shape {b.shape}; the ties belong to a space "
                f"with {self.n} degrees of freedom"
            )
        pattern, to_values = _congruence(A.pattern, *self._key)
        reduced = CSRMatrix(to_values(A.data), pattern)
        if self.values is None:
            return reduced, self.reduce(b)
        lifted = A @ self._lift
        b = b[:, None] if b.ndim < lifted.ndim else b
        lifted = lifted[:, None] if lifted.ndim < b.ndim else lifted
        return reduced, self.reduce(b - lifted)

    def reduce(self, load: jax.Array) -> jax.Array:
        """Return the load Zᵀ b (free,) or (free, r) of the unknowns, of a load b (n,) or (n, r)."""
        return _extension(*self._key)[1].T(load)

    def reduce_sizes(self, sizes: jax.Array) -> jax.Array:
        """Return bounds of what `reduce` returns, for bounds (n,) of the entries of a load."""
        return replace(self, ties=abs(self.ties)).reduce(sizes)

    def lacking(self, u: jax.Array) -> jax.Array:
        """Return what u (n,) lacks to the values that the condition gives, T u + g − u[dofs], (k,)."""
        wanted = CSRMatrix.from_scipy(self.ties) @ u
        return (wanted if self.values is None else wanted + self.values) - u[self.dofs]

    def enlarged(self, count: int) -> MultiPoint:
        """Return the condition on states with a number of further entries at their ends, which it leaves free."""
        ties = sp.csr_array((self.ties.data, self.ties.indices, self.ties.indptr), (len(self.dofs), self.n + count))
        return replace(self, n=self.n + count, ties=ties)

    def extend(self, u_free: jax.Array) -> jax.Array:
        """Return all degrees of freedom Z y + g, (n,) or (n, r).

        Args:
            u_free: The unknowns y, (free,) or (free, r).
        """
        u = _extension(*self._key)[1](u_free)
        if self.values is None:
            return u
        return u + (self._lift if self.values.ndim == u.ndim else self._lift[:, None])

    @property
    def _lift(self) -> jax.Array:
        """The values g among all degrees of freedom, (n,) or (n, r)."""
        assert self.values is not None
        zero = jnp.zeros((self.n, *self.values.shape[1:]), self.values.dtype)
        return zero.at[self.dofs].set(self.values, unique_indices=True)

    @property
    def _key(self) -> tuple[int, bytes, bytes, bytes, bytes]:
        """The content of the ties, to look things up by it."""
        ties = self.ties
        parts = (self.dofs.astype(np.int64), ties.indptr.astype(np.int64), ties.indices.astype(np.int64), ties.data)
        return self.n, *(part.tobytes() for part in parts)  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class MeanValue:
    """A condition that fixes the mean value of a function, as of a pressure that is free to shift.

    It adds a Lagrange multiplier as an unknown, which is the mean of what the equations leave over, and is zero where
    they can be satisfied; the state has no entry for it.

    Attributes:
        condition: The other conditions on the space.
        weights: The integrals (n,) of the basis functions.
        integral: The integral of the function. Differentiable.
    """

    condition: Condition
    weights: jax.Array
    integral: jax.Array

    @classmethod
    def of(cls, space: FunctionSpace, condition: Condition | None = None, mean: ArrayLike = 0.0) -> MeanValue:
        """Return the condition that a function has a mean value.

        Args:
            space: The space of the function on cells, scalar, as that of a pressure; or a part of the state's space.
            condition: The other conditions on the state, as `Dirichlet.on(velocity)`; None where there are none.
            mean: The mean value. Differentiable.

        Raises:
            FEMError: The functions are no scalars, or the condition belongs to another space.
        """
        condition = Dirichlet(space.whole.n, np.zeros(0, int)) if condition is None else condition
        if condition.n != space.whole.n:
            raise FEMError(f"the conditions belong to {condition.n} degrees of freedom, the state has {space.whole.n}")
        tables = space.tables
        if len(tables.components) > 1 or tables.components[0]["value"].ndim != 3:
            raise FEMError(f"a mean value is that of scalars; {space} has more, take a component: space.split()[0]")
        integrals = tables.local.T((tables.components[0]["value"] * tables.dx).sum(-1).ravel())
        weights = jnp.zeros(space.whole.n).at[space.indices].set(integrals)
        return cls(condition, weights, jnp.asarray(mean) * tables.dx.sum())

    @property
    def n(self) -> int:
        """The number of degrees of freedom of the space."""
        return self.condition.n

    @property
    def dofs(self) -> np.ndarray:
        """The degrees of freedom that are no unknowns, (k,)."""
        return self.condition.dofs

    def condense(self, A: CSRMatrix, b: jax.Array) -> tuple[CSRMatrix, jax.Array]:
        """Return the system of the unknowns and of the multiplier, which has one row and column more."""
        inner, load = self.condition.condense(A, b)
        weights = self.reduce(self.weights)[:-1]
        given = self.condition.extend(jnp.zeros((weights.shape[0], *load.shape[1:]), load.dtype))
        last = self.integral - self.weights @ given
        return bordered(inner, weights), jnp.concatenate([load, last[None]])

    def reduce(self, load: jax.Array) -> jax.Array:
        """Return the load of the unknowns, with zero for the multiplier."""
        inner = self.condition.reduce(load)
        return jnp.concatenate([inner, jnp.zeros((1, *inner.shape[1:]), inner.dtype)])

    def extend(self, u_free: jax.Array) -> jax.Array:
        """Return all degrees of freedom, (n,) or (n, r), without the multiplier."""
        return self.condition.extend(u_free[:-1])


def bordered(A: CSRMatrix, weights: jax.Array) -> CSRMatrix:
    """Return the matrix [[A, w], [wᵀ, 0]] of a system with a Lagrange multiplier, for weights w (n,)."""
    size = len(weights)
    column = SparsityPattern(np.arange(size + 1, dtype=np.int32), np.zeros(size, np.int32), (size, 1))
    border = CSRMatrix(weights, column)
    return block_matrix([[A, border], [border.T, None]])


def _matched(space: FunctionSpace, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return pairs (2, k) of degrees of freedom that a translation maps to each other."""
    x, y = (space.locations[:, dofs].T for dofs in (here, there))
    distance, nearest = cKDTree(y - y.mean(0)).query(x - x.mean(0))
    if distance.max() > NODE_AT_POINT_TOLERANCE * np.ptp(space.mesh.p) or len(np.unique(nearest)) < len(nearest):
        worst = x[int(distance.argmax())].tolist()
        raise FEMError(
            f"no translation maps the two pieces of the boundary to each other: nothing matches the node at {worst}; "
            "mesh both alike"
        )
    return np.stack([here, there[nearest]])


def _of_dirichlet(condition: Dirichlet) -> MultiPoint:
    nothing = sp.csr_array((len(condition.dofs), condition.n))
    return MultiPoint(condition.n, condition.dofs, nothing, condition.values, condition.locations)


def _joined(first: MultiPoint, second: MultiPoint, new: np.ndarray) -> jax.Array | None:
    if first.values is None and second.values is None:
        return None
    one, two = (jnp.zeros(len(c.dofs)) if c.values is None else c.values for c in (first, second))
    if one.ndim != two.ndim:
        columns = max(v.shape[1] for v in (one, two) if v.ndim == 2)
        one, two = (v if v.ndim == 2 else jnp.broadcast_to(v[:, None], (len(v), columns)) for v in (one, two))
    return jnp.concatenate([one, two[np.flatnonzero(new)]])


def _resolved(
    n: int, dofs: np.ndarray, ties: sp.csr_array, values: jax.Array | None, locations: np.ndarray | None
) -> MultiPoint:
    """Return the condition with ties to ties replaced by what those are tied to.

    Raises:
        FEMError: Ties form a circle.
    """
    tied = np.zeros(n, bool)
    tied[dofs] = True
    for _ in range(len(dofs).bit_length() + 1):  # each doubles the length of the chains that are followed
        to_tied = ties[:, dofs]
        if not to_tied.nnz:
            return MultiPoint(n, dofs, ties, values, locations)
        if values is not None:
            values = values + CSRMatrix.from_scipy(to_tied) @ values
        ties = sp.csr_array(ties @ sp.diags_array((~tied).astype(float)) + to_tied @ ties)
        ties.eliminate_zeros()
    raise FEMError("ties form a circle: a degree of freedom is tied to itself, through others")


def _check_implied(both: MultiPoint, other: MultiPoint, rows: np.ndarray) -> None:
    """Refuse conditions of which one contradicts the other, at given rows of the other one."""
    if not len(rows):
        return
    Z, _ = _extension(*both._key)
    gap = abs(other.ties[rows] @ Z - Z[other.dofs[rows]])
    traced = any(isinstance(v, jax.core.Tracer) for v in (both.values, other.values))
    wrong = (gap > SAME_VALUE_TOLERANCE).sum(1) > 0
    if not traced and both.values is not None:
        lift = np.asarray(both._lift).reshape(both.n, -1)
        own = 0.0 if other.values is None else np.asarray(other.values)[rows].reshape(len(rows), -1)
        differ = np.abs(other.ties[rows] @ lift + own - lift[other.dofs[rows]])
        wrong = wrong | (differ > SAME_VALUE_TOLERANCE * np.abs(lift).max(initial=0)).any(1)
    if wrong.any():
        dof = int(other.dofs[rows[int(wrong.argmax())]])
        place = f"number {dof}" if both.locations is None else f"at {np.round(both.locations[:, dof], 6).tolist()}"
        raise FEMError(
            f"two conditions contradict each other for {wrong.sum()} degrees of freedom, the first {place}: what is "
            "prescribed or tied there must follow from both; prescribe the same on both pieces"
        )


@lru_cache(maxsize=8)
def _extension(n: int, dofs: bytes, indptr: bytes, indices: bytes, data: bytes) -> tuple[sp.csr_array, LinearMap]:
    """Return the matrix Z (n, free) as such and as a map."""
    tied = np.frombuffer(dofs, np.int64)
    content = (np.frombuffer(data), np.frombuffer(indices, np.int64), np.frombuffer(indptr, np.int64))
    free = np.setdiff1d(np.arange(n), tied)
    number = np.zeros(n, int)
    number[free] = np.arange(len(free))
    ties = sp.csr_array(content, (len(tied), n)).tocoo()
    rows = np.concatenate([free, tied[ties.row]])
    cols, weights = np.concatenate([np.arange(len(free)), number[ties.col]]), np.ones(len(free))
    Z = sp.csr_array((np.concatenate([weights, ties.data]), (rows, cols)), (n, len(free)))
    by_entry = Z.tocoo()
    return Z, LinearMap.from_entries(by_entry.row, by_entry.col, Z.shape, by_entry.data)


@lru_cache(maxsize=8)
def _congruence(
    pattern: SparsityPattern, n: int, dofs: bytes, indptr: bytes, indices: bytes, data: bytes
) -> tuple[SparsityPattern, LinearMap]:
    """Return the pattern of Zᵀ A Z, and the map to its values from those of A.

    An entry (i, j) of A counts for all unknowns that u_i and u_j depend on.
    """
    Z, _ = _extension(n, dofs, indptr, indices, data)
    counts = np.diff(Z.indptr)
    left, right = counts[pattern.rows], counts[pattern.indices]
    products = left * right
    entry = np.repeat(np.arange(pattern.nnz), products)
    within = np.arange(len(entry)) - np.repeat(np.cumsum(products) - products, products)
    i = Z.indptr[pattern.rows[entry]] + within // right[entry]
    j = Z.indptr[pattern.indices[entry]] + within % right[entry]
    reduced, place = SparsityPattern.from_entries(Z.indices[i], Z.indices[j], Z.shape[1:] * 2)
    return reduced, LinearMap.from_entries(place, entry, (reduced.nnz, pattern.nnz), Z.data[i] * Z.data[j])
