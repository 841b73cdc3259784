"""Dirichlet conditions by elimination: the reduced system is symmetric where the full one is, and differentiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem.errors import FEMError
from pdeopt.fem.space import Facets, FunctionSpace
from pdeopt.sparse import CSRMatrix, LinearMap, SparsityPattern


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """Prescribed values u[dofs] = values.

    Attributes:
        n: number of degrees of freedom of the space.
        dofs: (k,) sorted, those with prescribed values.
        values: None for zero, otherwise (k,), or (k, r) for r right-hand sides; differentiable.
    """

    n: int
    dofs: np.ndarray
    values: jax.Array | None = None

    @classmethod
    def on(
        cls,
        space: FunctionSpace,
        facets: Facets = None,
        values: ArrayLike | Callable[[np.ndarray], ArrayLike] | None = None,
        names: Sequence[str] | None = None,
    ) -> Dirichlet:
        """Prescribe u on boundary facets (default: on the whole boundary).

        Args:
            values: nothing for zero; a number; (k,) or (k, r) in the order of ``space.dofs(facets, names)``; or a
                function of x (d, k) that returns one of these (only where degrees of freedom are point values).
            names: scikit-fem's names of the degrees of freedom to prescribe, for vector-valued and mixed elements:
                ``["u^1"]`` is the first component (default: all).
        """
        dofs = space.dofs(facets, names)
        if values is None:
            return cls(space.n, dofs)
        if callable(values):
            space.check_nodal(names)
        given = jnp.array(values(space.locations[:, dofs]) if callable(values) else values)
        given = given.astype(jnp.promote_types(given.dtype, jnp.float64))
        given = jnp.broadcast_to(given, (len(dofs),)) if given.ndim == 0 else given
        if given.shape[0] != len(dofs) or given.ndim > 2:
            raise FEMError(
                f"Dirichlet values have shape {given.shape}; expected a number, ({len(dofs)},) or ({len(dofs)}, r): "
                "one value for each boundary degree of freedom, in the order of space.dofs(...)"
            )
        return cls(space.n, dofs, given)

    @property
    def free(self) -> np.ndarray:
        """The other degrees of freedom, sorted."""
        return np.setdiff1d(np.arange(self.n), self.dofs, assume_unique=True)

    def condense(self, A: CSRMatrix, b: jax.Array) -> tuple[CSRMatrix, jax.Array]:
        """The system of the free degrees of freedom: A_FF u_F = b_F − A_FD u_D. Raises FEMError for other sizes."""
        if A.shape != (self.n, self.n) or b.ndim not in (1, 2) or b.shape[0] != self.n:
            raise FEMError(
                f"the system has a matrix of shape {A.shape} and a load of shape {b.shape}; the Dirichlet values belong"
                f" to a space with {self.n} degrees of freedom"
            )
        pattern, kept = _free_block(A.pattern, *self._key)
        reduced = CSRMatrix(kept(A.data), pattern)
        to_free = _free_values(self.n, *self._key)
        if self.values is None:
            return reduced, to_free(b)
        coupling, stored, order = _coupling_block(A.pattern, *self._key)
        lifted = CSRMatrix(stored(A.data), coupling) @ self.values[order]
        b = b[:, None] if b.ndim < lifted.ndim else b
        lifted = lifted[:, None] if lifted.ndim < b.ndim else lifted
        return reduced, to_free(b) - lifted

    def extend(self, u_free: jax.Array) -> jax.Array:
        """The full vector (n,) or (n, r): free values from the solve, prescribed ones as given."""
        u = _free_values(self.n, *self._key).T(u_free)
        if self.values is None:
            return u
        values = self.values if self.values.ndim == u.ndim else self.values[:, None]
        return u.at[self.dofs].set(values)

    @property
    def _key(self) -> tuple[bytes, str]:
        """The prescribed degrees of freedom, as something to look up."""
        return self.dofs.tobytes(), self.dofs.dtype.str


@lru_cache(maxsize=8)
def _free_values(n: int, dofs: bytes, dtype: str) -> LinearMap:
    """Takes the values of the free degrees of freedom from those of all."""
    return LinearMap.selection(np.setdiff1d(np.arange(n), np.frombuffer(dofs, dtype)), n)


@lru_cache(maxsize=8)
def _free_block(pattern: SparsityPattern, dofs: bytes, dtype: str) -> tuple[SparsityPattern, LinearMap]:
    """The pattern of A_FF, and the map to its values from those of A."""
    free = np.setdiff1d(np.arange(pattern.shape[0]), np.frombuffer(dofs, dtype))
    block, kept = pattern.submatrix(free, free)
    return block, LinearMap.selection(kept, pattern.nnz)


@lru_cache(maxsize=8)
def _coupling_block(pattern: SparsityPattern, dofs: bytes, dtype: str) -> tuple[SparsityPattern, LinearMap, np.ndarray]:
    """The pattern of A_FD, columns sorted, the map to its values from those of A, and what sorts the columns."""
    prescribed = np.frombuffer(dofs, dtype)
    free, order = np.setdiff1d(np.arange(pattern.shape[0]), prescribed), np.argsort(prescribed)
    block, stored = pattern.submatrix(free, prescribed[order])
    return block, LinearMap.selection(stored, pattern.nnz), order
