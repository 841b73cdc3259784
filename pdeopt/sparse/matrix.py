"""A sparse matrix that JAX can differentiate: its values are the leaf, its pattern is structure."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.pattern import SparsityPattern


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class CSRMatrix:
    """A compressed-row matrix, a JAX pytree: ``data`` is differentiable, ``pattern`` is static.

    It supports ``A @ x`` for x of shape (columns,) or (columns, k), and ``A + B``, ``A - B``, ``c * A``, ``A / c``,
    ``A.T``.

    Attributes:
        data: The values (nnz,) of the stored entries.
        pattern: The places of the stored entries.

    Example:
        >>> import scipy.sparse as sp
        >>> A = CSRMatrix.from_scipy(sp.csr_array([[2.0, 1.0], [0.0, 4.0]]))
        >>> A
        CSRMatrix(2 x 2, nnz=3, float64)
        >>> (2 * A.T) @ [1.0, 1.0]
        Array([ 4., 10.], dtype=float64)
    """

    data: jax.Array
    pattern: SparsityPattern = field(metadata={"static": True})

    __array_ufunc__ = None  # NumPy scalars and arrays on the left leave the operation to this class

    @classmethod
    def from_scipy(cls, matrix: sp.spmatrix | sp.sparray) -> CSRMatrix:
        """Return a SciPy matrix as a `CSRMatrix`; duplicates are added up, explicit zeros stay stored."""
        csr = sp.csr_matrix(matrix)
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        return cls(jnp.array(csr.data), SparsityPattern.from_scipy(csr))

    def to_scipy(self) -> sp.csr_matrix:
        """Return a SciPy matrix with the same stored entries; the values must be concrete, not traced."""
        return sp.csr_matrix((np.asarray(self.data), self.pattern.indices, self.pattern.indptr), self.shape)

    def __repr__(self) -> str:
        return f"CSRMatrix({self.shape[0]} x {self.shape[1]}, nnz={self.pattern.nnz}, {self.data.dtype})"

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self.pattern.shape

    @property
    def T(self) -> CSRMatrix:
        """The transposed matrix, without conjugation."""
        return CSRMatrix(self.pattern.transposed_values(self.data), self.pattern.transpose()[0])

    def __matmul__(self, x: ArrayLike) -> jax.Array:
        x = jnp.asarray(x)
        if x.ndim not in (1, 2) or x.shape[0] != self.shape[1]:
            n = self.shape[1]
            raise SolveError(f"A @ x: A is {self.shape}, x is {x.shape}; expected ({n},) or ({n}, k)")
        return matrix_product(self.pattern, self.data, x)

    def __add__(self, other: CSRMatrix) -> CSRMatrix:
        if not isinstance(other, CSRMatrix):
            return NotImplemented
        if self.pattern == other.pattern:
            return CSRMatrix(self.data + other.data, self.pattern)
        pattern, here, there = self.pattern.union(other.pattern)
        return CSRMatrix(here(self.data) + there(other.data), pattern)

    def __mul__(self, factor: ArrayLike) -> CSRMatrix:
        if jnp.ndim(factor) != 0:
            raise TypeError("c * A needs a scalar c; use A @ x for a product with a vector")
        return CSRMatrix(self.data * factor, self.pattern)

    __rmul__ = __mul__

    def __truediv__(self, divisor: ArrayLike) -> CSRMatrix:
        return self * (1.0 / jnp.asarray(divisor))

    def __neg__(self) -> CSRMatrix:
        return CSRMatrix(-self.data, self.pattern)

    def __sub__(self, other: CSRMatrix) -> CSRMatrix:
        return self + (-other)


def matrix_product(pattern: SparsityPattern, data: jax.Array, x: jax.Array) -> jax.Array:
    """Return A x for x of shape (columns,) or (columns, k), in JAX."""
    scale = data if x.ndim == 1 else data[:, None]
    return pattern.row_sums(scale * pattern.column_values(x))
