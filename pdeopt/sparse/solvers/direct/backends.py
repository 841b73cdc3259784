"""The protocol of the libraries of direct solvers: to analyze a pattern, factor values, and solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from pdeopt.errors import PdeoptError
from pdeopt.sparse.pattern import SparsityPattern


class Factor(Protocol):
    """A numeric factorization; it stays valid whatever is factored after it."""

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return X of shape (n, k) with A X = rhs or, where ``transposed`` is True, Aᵀ X = rhs."""
        ...

    @property
    def nbytes(self) -> int:
        """The memory that it holds, about, in bytes."""
        ...

    @property
    def smallest_pivot(self) -> float:
        """The smallest diagonal entry of D in L D Lᵀ of a positive definite matrix; 0 where it is not known."""
        ...


class NotSuitedError(PdeoptError, RuntimeError):
    """A kind of matrix that a backend is not made for, or a library that is missing.

    This is no failure: the next backend is chosen.
    """


def without_frames(error: RuntimeError) -> RuntimeError:
    """Return a copy of an error, to be kept.

    The error itself would keep the frames that it passed, and what is in them.
    """
    return (NotSuitedError if isinstance(error, NotSuitedError) else RuntimeError)(str(error))


Factorize = Callable[[np.ndarray], Factor]
"""A function that factors values (nnz,) in the pattern's order.

Raises:
    RuntimeError: The values are singular.
    NotSuitedError: The backend does not factor this kind of values.
"""

Analyze = Callable[[SparsityPattern, np.ndarray], Factorize]
"""A function that analyzes a pattern, once; it is given sample values, too, which some analyses look at.

Raises:
    NotSuitedError: The library is missing, and the next one is to be tried.
"""


def upper_triangle(pattern: SparsityPattern) -> tuple[SparsityPattern, np.ndarray]:
    """Return the upper triangle of a pattern, the diagonal included, and which values it keeps.

    The triangle is stored by rows; for symmetric values that is also the lower triangle by columns.

    Returns:
        The pattern, and ``kept`` int32 with ``upper.data = data[kept]``.
    """
    kept = np.flatnonzero(pattern.indices >= pattern.rows).astype(np.int32)
    counts = np.bincount(pattern.rows[kept], minlength=pattern.shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return SparsityPattern(indptr, pattern.indices[kept], pattern.shape), kept


class PositiveDiagonal:
    """A cheap test that a matrix may be positive definite; it saves an attempt at every saddle point."""

    def __init__(self, pattern: SparsityPattern) -> None:
        self._places = np.flatnonzero(pattern.indices == pattern.rows)
        self._complete = len(self._places) == pattern.shape[0]

    def __call__(self, data: np.ndarray) -> bool:
        """Return whether all diagonal entries are stored and have a positive real part.

        Args:
            data: The values (nnz,).
        """
        return self._complete and bool((data[self._places].real > 0).all())

    def require(self, data: np.ndarray) -> None:
        """Refuse values (nnz,) with which the test fails.

        Raises:
            NotSuitedError: The test fails.
        """
        if not self(data):
            raise NotSuitedError("a diagonal entry is not positive")
