"""Sparsity patterns: where a matrix may be nonzero, independent of its values."""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.linear_map import LinearMap, grouped

#: The number of entries above the diagonal from which on only a sample of about this size is tested for symmetry.
MIRRORED_ENTRIES = 25_000


@dataclass(frozen=True, eq=False)
class SparsityPattern:
    """The structure of a sparse matrix in compressed-row form; rows are sorted and have no duplicates.

    Patterns are compared and hashed by content, so that equal patterns share compiled code and symbolic
    factorizations.

    Attributes:
        indptr: The starts of the rows (rows + 1,) int32; row r owns the entries ``indptr[r]:indptr[r + 1]``.
        indices: The column of each stored entry (nnz,) int32.
        shape: The numbers of rows and columns.
    """

    indptr: np.ndarray
    indices: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def from_entries(
        cls, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]
    ) -> tuple[SparsityPattern, np.ndarray]:
        """Return the pattern that holds all entries (rows[k], cols[k]), and their places.

        Args:
            rows: The row of each entry.
            cols: The column of each entry.
            shape: The numbers of rows and columns of the matrix.

        Returns:
            The pattern, and for each k the place of the entry among the stored values, int32 of the shape of ``rows``.
        """
        by_column = grouped(np.ravel(cols), shape[1])[1]
        starts, among = grouped(np.ravel(rows)[by_column], shape[0])
        order = by_column[among]  # the order of the entries by rows and then by columns
        sorted_cols = np.ravel(cols)[order].astype(np.int32)
        is_first = np.append(True, sorted_cols[1:] != sorted_cols[:-1])[: len(order)]
        is_first[starts[:-1][np.diff(starts) > 0]] = True
        number = np.cumsum(is_first, dtype=np.int32)
        indptr = np.concatenate([[0], number])[starts].astype(np.int32)
        place = np.empty(len(order), np.int32)
        place[order] = number - 1
        return cls(indptr, sorted_cols[is_first], shape), place.reshape(np.shape(rows))

    @classmethod
    def from_scipy(cls, matrix: sp.spmatrix | sp.sparray) -> SparsityPattern:
        """Return the pattern of a SciPy matrix; explicit zeros stay.

        Raises:
            SolveError: The column indices are unsorted or duplicate.
        """
        csr = sp.csr_matrix(matrix)
        if not csr.has_canonical_format:
            raise SolveError(
                "the CSR matrix has unsorted or duplicate column indices; call matrix.sum_duplicates() first"
            )
        return cls(csr.indptr.astype(np.int32), csr.indices.astype(np.int32), (int(csr.shape[0]), int(csr.shape[1])))

    @property
    def nnz(self) -> int:
        """The number of stored entries."""
        return len(self.indices)

    @property
    def is_square(self) -> bool:
        """True where there are as many rows as columns."""
        return self.shape[0] == self.shape[1]

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of each stored entry, (nnz,) int32; the column is in ``indices``."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.indptr))

    @cached_property
    def mirrored(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The places of entries above the diagonal, and of those at their mirror images, (k,) each.

        Of many entries they are a sample of about `MIRRORED_ENTRIES`; it is None where an entry has no mirror image.
        """
        transposed, order = self.transpose()
        if transposed != self:
            return None
        above = np.flatnonzero(self.indices > self.rows)
        above = above[:: 1 + len(above) // MIRRORED_ENTRIES]
        return above, order[above].astype(np.intp)  # NumPy would convert the indices at each use

    @cached_property
    def _form(self) -> sp.csr_matrix:
        return sp.csr_matrix((np.zeros(self.nnz), self.indices, self.indptr), self.shape)

    def matrix(self, values: np.ndarray) -> sp.csr_matrix:
        """Return the matrix of SciPy with these values (nnz,), which shares all arrays.

        SciPy's constructor would look at the indices each time, which takes longer than a product with a small matrix.
        """
        matrix = copy(self._form)
        matrix.data = values
        return matrix

    @cached_property
    def column_values(self) -> LinearMap:
        """The map x (columns, …) ↦ x[column of each stored entry], (nnz, …)."""
        return LinearMap.selection(self.indices, self.shape[1])

    @cached_property
    def row_sums(self) -> LinearMap:
        """The map from values of stored entries (nnz, …) to their sums in each row, (rows, …)."""
        return LinearMap.from_entries(self.rows, np.arange(self.nnz), (self.shape[0], self.nnz))

    @cached_property
    def _transposition(self) -> tuple[SparsityPattern, np.ndarray]:
        order = np.lexsort((self.rows, self.indices)).astype(np.int32)
        counts = np.bincount(self.indices, minlength=self.shape[1])
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return SparsityPattern(indptr, self.rows[order], self.shape[::-1]), order

    def transpose(self) -> tuple[SparsityPattern, np.ndarray]:
        """Return the pattern of the transposed matrix, and the order of its values.

        Returns:
            The pattern, and ``order`` (nnz,) int32 with ``A.T.data = A.data[order]``.
        """
        return self._transposition

    @cached_property
    def transposed_values(self) -> LinearMap:
        """The map from the values of A to those of Aᵀ, in the order of its pattern."""
        return LinearMap.selection(self._transposition[1], self.nnz)

    def union(self, other: SparsityPattern) -> tuple[SparsityPattern, LinearMap, LinearMap]:
        """Return the pattern that holds the entries of two, and the maps of the values into it.

        Args:
            other: The other pattern, of the same shape.

        Returns:
            The pattern, the map that carries the values of this pattern into it, and the same map for the other one.

        Raises:
            SolveError: The shapes are different.
        """
        if self.shape != other.shape:
            raise SolveError(f"cannot add matrices of shapes {self.shape} and {other.shape}")
        return _union(self, other)

    def submatrix(self, rows: np.ndarray, cols: np.ndarray) -> tuple[SparsityPattern, np.ndarray]:
        """Return the pattern of ``A[rows][:, cols]``, and which values it keeps.

        Args:
            rows: The indices of the rows, sorted.
            cols: The indices of the columns, sorted.

        Returns:
            The pattern, and ``kept`` int32 with ``sub.data = A.data[kept]``.
        """
        row_number = _renumbering(rows, self.shape[0])
        col_number = _renumbering(cols, self.shape[1])
        kept = np.flatnonzero((row_number[self.rows] >= 0) & (col_number[self.indices] >= 0)).astype(np.int32)
        counts = np.bincount(row_number[self.rows[kept]], minlength=len(rows))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return SparsityPattern(indptr, col_number[self.indices[kept]], (len(rows), len(cols))), kept

    @cached_property
    def _digest(self) -> bytes:
        content = hashlib.blake2b(repr(self.shape).encode(), digest_size=16)
        content.update(self.indptr.tobytes())
        content.update(self.indices.tobytes())
        return content.digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, SparsityPattern) and self._digest == other._digest)

    def __repr__(self) -> str:
        return f"SparsityPattern({self.shape[0]} x {self.shape[1]}, nnz={self.nnz})"


def _renumbering(kept: np.ndarray, size: int) -> np.ndarray:
    """Return the new number of each kept index, and -1 for each other one, (size,) int32."""
    number = np.full(size, -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    return number


@lru_cache(maxsize=8)
def _union(first: SparsityPattern, second: SparsityPattern) -> tuple[SparsityPattern, LinearMap, LinearMap]:
    rows = np.concatenate([first.rows, second.rows])
    cols = np.concatenate([first.indices, second.indices])
    pattern, place = SparsityPattern.from_entries(rows, cols, first.shape)
    places = place[: first.nnz], place[first.nnz :]
    here, there = (LinearMap.from_entries(p, np.arange(len(p)), (pattern.nnz, len(p))) for p in places)
    return pattern, here, there
