"""What every direct solver library offers here: analyze a pattern, factor values, solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from pdeopt.sparse.pattern import SparsityPattern


class Factor(Protocol):
    """A numeric factorization; it stays valid whatever is factored after it."""

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """X of shape (n, k) with A X = rhs, or Aᵀ X = rhs."""
        ...

    @property
    def nbytes(self) -> int:
        """About how much memory it holds."""
        ...

    @property
    def smallest_pivot(self) -> float:
        """The smallest diagonal entry of D in L D Lᵀ of a positive definite matrix; 0 where it is not known."""
        ...


class NotSuitedError(RuntimeError):
    """A kind of matrix that a backend is not made for, or a library that is missing: no failure, the next is chosen."""


def without_frames(error: RuntimeError) -> RuntimeError:
    """Return a copy to be kept: the error itself would keep the frames that it passed, and what is in them."""
    return (NotSuitedError if isinstance(error, NotSuitedError) else RuntimeError)(str(error))


Factorize = Callable[[np.ndarray], Factor]
"""Takes the values (nnz,) in the pattern's order; raises RuntimeError where they are singular, NotSuitedError for a
kind of values that it does not factor."""

Analyze = Callable[[SparsityPattern, np.ndarray], Factorize]
"""Takes a pattern and sample values (some analyses look at them); done once per pattern.

Raises NotSuitedError where the library is missing, so that the next one is tried.
"""


def upper_triangle(pattern: SparsityPattern) -> tuple[SparsityPattern, np.ndarray]:
    """Its pattern with the diagonal, and ``kept`` with ``upper.data = data[kept]``.

    By rows; for symmetric values that is also the lower triangle by columns.
    """
    kept = np.flatnonzero(pattern.indices >= pattern.rows).astype(np.int32)
    counts = np.bincount(pattern.rows[kept], minlength=pattern.shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return SparsityPattern(indptr, pattern.indices[kept], pattern.shape), kept


class PositiveDiagonal:
    """The cheap test that a matrix may be positive definite: it saves an attempt at every saddle point."""

    def __init__(self, pattern: SparsityPattern) -> None:
        self._places = np.flatnonzero(pattern.indices == pattern.rows)
        self._complete = len(self._places) == pattern.shape[0]

    def __call__(self, data: np.ndarray) -> bool:
        """Whether all diagonal entries of values (nnz,) are stored and have a positive real part."""
        return self._complete and bool((data[self._places].real > 0).all())

    def require(self, data: np.ndarray) -> None:
        """NotSuitedError where the test fails."""
        if not self(data):
            raise NotSuitedError("a diagonal entry is not positive")
