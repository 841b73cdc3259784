"""Products with large sparse matrices on several cores.

SciPy computes each product on one core, and releases Python's lock meanwhile.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import scipy.sparse as sp

#: The number of entries below which one core is as fast as several.
MIN_ENTRIES = 200_000
#: The largest number of cores; more do not help, because memory is the limit.
MAX_CORES = 4


class RowBlocks:
    """A CSR matrix A (n, m) whose rows are shared out among cores, with the product ``A @ x`` for x (m,).

    Its arrays are not copied.

    Attributes:
        shape: The shape (n, m).
        dtype: The type of its values.
    """

    def __init__(self, matrix: sp.csr_array | sp.csr_matrix) -> None:
        self.shape, self.dtype = matrix.shape, matrix.dtype
        count = cores() if matrix.nnz >= MIN_ENTRIES else 1
        ends = np.searchsorted(matrix.indptr, np.linspace(0, matrix.nnz, count + 1)[1:-1])
        self._ends = np.concatenate([[0], ends, [self.shape[0]]])
        self._blocks = [_rows(matrix, *ends) for ends in zip(self._ends[:-1], self._ends[1:], strict=True)]

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        if len(self._blocks) == 1:
            product: np.ndarray = self._blocks[0] @ x
            return product
        return np.concatenate(list(_pool().map(lambda block: block @ x, self._blocks)))


def _rows(matrix: sp.csr_array | sp.csr_matrix, begin: int, end: int) -> sp.csr_array:
    first, last = matrix.indptr[begin], matrix.indptr[end]
    rows = sp.csr_array((end - begin, matrix.shape[1]), dtype=matrix.dtype)
    rows.data, rows.indices = matrix.data[first:last], matrix.indices[first:last]  # the constructor may copy them
    rows.indptr = matrix.indptr[begin : end + 1] - first
    return rows


def cores() -> int:
    """Return the number of cores that a product uses."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MAX_CORES)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores())
